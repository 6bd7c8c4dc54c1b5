//! A small cluster with everybody of the cast, told of Services and known to have heard.

use std::net::{IpAddr, SocketAddr};

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol, Service, ServiceKind, ServiceName};
use seaway_testkit::eventually;

use super::case::TableSettings;
use super::cast::ZONES;
use super::objects::{SERVICE_CIDRS, cluster_address};
use super::{Cast, Crowd, Objects};
use crate::agent::LIMIT;
use crate::net::{Cluster, Net, Shape, set};

/// The cluster and the cast.
pub struct Stage {
    /// Everybody.
    pub cast: Cast,
    /// The cluster.
    pub net: Net,
    generation: usize,
}

/// The flags that say how Services are to be balanced.
pub fn flags(settings: &TableSettings) -> Vec<String> {
    let mut flags = Vec::new();
    for cidr in SERVICE_CIDRS {
        flags.extend(["--service-cidr".to_owned(), cidr.to_owned()]);
    }
    for net in &settings.node_port_addresses {
        flags.extend(["--node-port-addresses".to_owned(), net.to_string()]);
    }
    let switches = [
        (settings.external_ips, "--external-ips"),
        (settings.masquerade_all, "--masquerade-all"),
        (settings.node_endpoints, "--node-endpoints"),
    ];
    let on = switches.iter().filter(|(on, _)| *on);
    flags.extend(on.map(|(_, flag)| (*flag).to_owned()));
    flags
}

/// Every family and protocol.
pub fn ways() -> impl Iterator<Item = (Family, Protocol)> {
    Family::ALL
        .into_iter()
        .flat_map(|family| Protocol::ALL.map(|protocol| (family, protocol)))
}

impl Stage {
    /// Two nodes with the usual settings.
    pub fn two_nodes() -> Stage {
        Stage::set(Shape::flat(), &TableSettings::default())
    }

    /// Starts it, with no Service yet.
    pub fn set(shape: Shape, settings: &TableSettings) -> Stage {
        let mut stage = Stage::set_without_servers(shape, settings);
        stage.cast.crowd = Some(Crowd::start(stage.cast.servers()));
        stage
    }

    /// The same where nobody serves yet.
    pub fn set_without_servers(shape: Shape, settings: &TableSettings) -> Stage {
        let mut stage = Stage::set_bare(shape, settings);
        stage.net.publish();
        for agent in &mut stage.net.agents {
            agent.spawn_agent(&[]);
        }
        stage.net.settle();
        stage.cast = Cast::without_servers(&stage.net);
        stage
    }

    /// The cluster alone: no Pods, no agents, and everybody on paper.
    pub fn set_bare(shape: Shape, settings: &TableSettings) -> Stage {
        let flags = flags(settings);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut net = Net::without_agents(&shape.flags(&flags));
        for (member, zone) in net.cluster.members.iter_mut().zip(ZONES) {
            member.zone = Some(zone.to_owned());
        }
        for agent in &net.agents {
            answer_everybody(agent.netns());
        }
        Stage {
            cast: Cast::on_paper(),
            net,
            generation: 0,
        }
    }

    /// Starts the agent of node 1 when this is what it is told of the cluster, and waits until it is
    /// in force.
    pub fn start_with(&mut self, cluster: &Cluster) {
        self.net.change(|own| own.clone_from(cluster));
        self.net.agent_mut(1).start_agent();
        self.net.agent(1).wait_settled();
    }

    /// Tells of these Services (a list in YAML, as in a case), and waits until they are in force.
    pub fn publish_written(&mut self, services: &str) -> Objects {
        let objects = Objects::written(services, &self.cast);
        self.publish(&objects);
        objects
    }

    /// A node's address with a port.
    pub fn node_door(&self, number: usize, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.net.address(number, family), port)
    }

    /// Tells the agents of these Services and no others, and waits until all of it is in force.
    pub fn publish(&mut self, objects: &Objects) {
        self.tell(objects);
        self.wait_heard();
    }

    /// Tells the agents, and waits for nothing.
    pub fn tell(&mut self, objects: &Objects) {
        self.generation += 1;
        self.net.cluster.services.clone_from(&objects.services);
        self.net.cluster.slices.clone_from(&objects.slices);
        self.net.cluster.services.push(marker(self.generation));
        self.net.publish();
    }

    /// Waits until every agent has heard what was told last, and every row is in force.
    pub fn wait_heard(&self) {
        for number in 1..=self.net.agents.len() {
            self.wait_heard_by(number);
        }
    }

    /// The same for the agent of one node.
    pub fn wait_heard_by(&self, number: usize) {
        let agent = self.net.agent(number);
        let mark = marker_address(self.generation).to_string();
        eventually("the agent has heard of the Services", LIMIT, || {
            let rows = agent.rows();
            let mut addresses = rows.iter().filter(|row| row["table"] == "cluster-ips");
            let heard = addresses.any(|row| row["planned"] == mark.as_str());
            if heard { Ok(()) } else { Err(rows.len()) }
        });
        agent.wait_settled();
    }
}

/// Lets a node say by ICMP that nobody is there as often as it is asked: the kernel's limits are for
/// the world, and would make refusals look like silence where many are asked for at once.
fn answer_everybody(netns: &Netns) {
    for (name, value) in [
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv4/icmp_msgs_per_sec", "100000"),
        ("net/ipv4/icmp_msgs_burst", "10000"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        set(netns, name, value);
    }
}

/// A Service that shows that this telling has been heard: each telling has another address.
fn marker(generation: usize) -> Service {
    Service {
        name: ServiceName::new("default", "marker").expect("valid"),
        created: 0,
        kind: ServiceKind::ClusterIp,
        cluster_ips: vec![marker_address(generation)],
        ports: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        external_policy: Default::default(),
        internal_policy: Default::default(),
        affinity: None,
        health_port: None,
        publish_not_ready: false,
        foreign: false,
    }
}

fn marker_address(generation: usize) -> IpAddr {
    cluster_address(60_000 + generation % 5000, Family::V4)
}
