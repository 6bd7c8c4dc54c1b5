//! A small cluster: two or three nodes in namespaces of their own on an underlay, the real agent
//! on each, Pods attached by the real plugin, and a host outside.
//!
//! It knows nothing of what the agents are to do; tests look at that from below and from above.

mod cluster;
mod fabric;

use std::fs;
use std::path::Path;

use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_model::{Family, Transport, Wiring};
use seaway_testkit::isolate;

pub use cluster::{Cluster, Member};
pub use fabric::{Fabric, Underlay, get, outside_address, set};

use crate::{Agent, Pod};

const CLUSTER_FILE: &str = "/run/cluster.yaml";

/// How a [`Net`] is to be.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes.
    pub nodes: usize,
    /// What is between them.
    pub underlay: Underlay,
    /// How Pods are joined to their nodes.
    pub wiring: Wiring,
    /// How packets get from node to node.
    pub transport: Transport,
    /// The family of VXLAN's outer packets, when it is not left to the agents.
    pub vxlan_family: Option<Family>,
    /// More flags of every agent.
    pub flags: Vec<String>,
}

impl Shape {
    /// Two nodes on one link, wired and connected as by default.
    pub fn flat() -> Shape {
        Shape {
            nodes: 2,
            underlay: Underlay::Flat,
            wiring: Wiring::default(),
            transport: Transport::default(),
            vxlan_family: None,
            flags: Vec::new(),
        }
    }

    /// Two nodes with a router between.
    pub fn routed() -> Shape {
        Shape {
            underlay: Underlay::Routed,
            ..Shape::flat()
        }
    }

    /// With so many nodes.
    pub fn nodes(mut self, nodes: usize) -> Shape {
        self.nodes = nodes;
        self
    }

    /// With this wiring.
    pub fn wiring(mut self, wiring: Wiring) -> Shape {
        self.wiring = wiring;
        self
    }

    /// With this transport.
    pub fn transport(mut self, transport: Transport) -> Shape {
        self.transport = transport;
        self
    }

    /// With VXLAN over this family.
    pub fn vxlan_over(mut self, family: Family) -> Shape {
        self.transport = Transport::Vxlan;
        self.vxlan_family = Some(family);
        self
    }

    /// With more flags.
    pub fn flags(mut self, flags: &[&str]) -> Shape {
        self.flags
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// The flags that say all this to an agent.
    pub fn agent_flags(&self) -> Vec<String> {
        let mut flags = vec![
            "--wiring".to_owned(),
            self.wiring.to_string(),
            "--transport".to_owned(),
            self.transport.to_string(),
        ];
        if let Some(family) = self.vxlan_family {
            flags.extend(["--vxlan-underlay".to_owned(), family.to_string()]);
        }
        flags.extend(self.flags.iter().cloned());
        flags
    }
}

/// A small cluster.
pub struct Net {
    /// What it was made as.
    pub shape: Shape,
    /// The agents of the nodes; node 1 is the first.
    pub agents: Vec<Agent>,
    /// Everything else.
    pub fabric: Fabric,
    /// What the agents have been told of the cluster.
    pub cluster: Cluster,
}

/// The networks that the Pods of node `number` get their addresses from.
pub fn pod_cidrs(number: usize) -> [IpNet; 2] {
    let cidr = |text: String| text.parse().expect("a network");
    [
        cidr(format!("10.244.{number}.0/24")),
        cidr(format!("fd00:10:244:{number}::/64")),
    ]
}

impl Net {
    /// Isolates the calling thread, makes the nodes, and waits until all agents have settled.
    pub fn start(shape: &Shape) -> Net {
        let mut net = Net::without_agents(shape);
        for agent in &mut net.agents {
            agent.spawn_agent(&[]);
        }
        net.settle();
        net
    }

    /// The same with no agent started.
    pub fn without_agents(shape: &Shape) -> Net {
        isolate();
        fs::create_dir_all("/run/netns").expect("folder");
        let fabric = Fabric::new(shape.underlay);
        let mut cluster = Cluster::default();
        let mut agents = Vec::new();
        for number in 1..=shape.nodes {
            let name = format!("node{number}");
            let netns = fabric::namespace(&name);
            fabric.plug(number, &netns, &name);
            let folder = format!("/run/seaway-{name}");
            let file = Path::new(CLUSTER_FILE);
            let mut agent = Agent::new(&name, netns, Path::new(&folder), file);
            agent.flags = shape.agent_flags();
            agents.push(agent);
            cluster.members.push(Member {
                name,
                addresses: shape.underlay.node_nets(number).map(|n| n.addr()).to_vec(),
                pod_cidrs: pod_cidrs(number).to_vec(),
                transport: None,
                zone: None,
            });
        }
        cluster.write(Path::new(CLUSTER_FILE));
        Net {
            shape: shape.clone(),
            agents,
            fabric,
            cluster,
        }
    }

    /// Tells the agents what the cluster is by now.
    pub fn publish(&self) {
        self.cluster.write(Path::new(CLUSTER_FILE));
    }

    /// Changes the cluster and tells the agents.
    pub fn change(&mut self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.cluster);
        self.publish();
    }

    /// Waits until every agent is ready and every row is in force.
    pub fn settle(&self) {
        self.agents.iter().for_each(Agent::wait_settled);
    }

    /// The namespace of node `number`.
    pub fn node(&self, number: usize) -> &Netns {
        self.agents[number - 1].netns()
    }

    /// The agent of node `number`.
    pub fn agent(&self, number: usize) -> &Agent {
        &self.agents[number - 1]
    }

    /// The agent of node `number`, to be changed.
    pub fn agent_mut(&mut self, number: usize) -> &mut Agent {
        &mut self.agents[number - 1]
    }

    /// The address of node `number`, as the cluster has it.
    pub fn address(&self, number: usize, family: Family) -> std::net::IpAddr {
        let addresses = &self.cluster.members[number - 1].addresses;
        let found = addresses.iter().find(|a| Family::of(**a) == family);
        *found.expect("dual stack")
    }

    /// A Pod on node `number`, attached.
    pub fn pod(&self, number: usize, container: &str) -> Pod {
        let mut pod = self.bare_pod(number, container);
        pod.add().expect("ADD");
        pod
    }

    /// A Pod on node `number`, not attached yet.
    pub fn bare_pod(&self, number: usize, container: &str) -> Pod {
        Pod::of(self.agent(number), container)
    }
}
