//! A small cluster to measure: real agents on nodes joined by a wire, Pods attached by the real
//! plugin.
//!
//! A node is a [`Room`] with an uplink to an [`Underlay`]. This is no lab: no restarts, no tools in the Pods, and everything ends with this program.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_model::{Transport, Wiring};
use serde_json::{Value, json};

use crate::binaries::Binaries;
use crate::launch::Daemon;
use crate::plugin::{Plugin, Pod};
use crate::room::Room;
use crate::underlay::{UPLINK, Underlay};

const CLUSTER_FILE: &str = "/run/cluster.yaml";
const READY_WITHIN: Duration = Duration::from_secs(20);

/// What the plugin is configured with.
pub(crate) const CONFIG: &str = r#"{"cniVersion":"1.1.0","name":"seaway","type":"seaway-cni"}"#;

/// The nodes and the wire between them.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The nodes.
    pub(crate) nodes: Vec<Node>,
    /// What joins them.
    _between: Netns,
}

/// How the nodes of a cluster are joined, and what their agents are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The network between them.
    pub(crate) underlay: Underlay,
    /// How Pods are joined to their node.
    pub(crate) wiring: Wiring,
    /// How packets get to other nodes.
    pub(crate) transport: Transport,
    /// Pods that leave the cluster get the node's address.
    pub(crate) masquerade: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            underlay: Underlay::Flat,
            wiring: Wiring::default(),
            transport: Transport::default(),
            masquerade: true,
        }
    }
}

impl Settings {
    /// The agent's flags.
    fn flags(&self) -> Vec<String> {
        let (wiring, transport) = (self.wiring.to_string(), self.transport.to_string());
        let mut flags = vec!["--wiring".to_owned(), wiring];
        flags.extend(["--transport".to_owned(), transport]);
        if !self.masquerade {
            flags.push("--no-masquerade".to_owned());
        }
        flags
    }
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where it is.
    pub(crate) room: Room,
    /// Its plugin.
    pub(crate) plugin: Plugin,
    name: String,
    addresses: Vec<IpNet>,
    settings: Settings,
    agent: Option<Daemon>,
}

impl Cluster {
    /// Starts so many nodes (at most 100) as they are by default, and waits until their agents
    /// serve.
    pub(crate) fn start(count: usize, binaries: &Binaries) -> Result<Cluster> {
        Cluster::start_with(Settings::default(), count, binaries)
    }

    /// Starts so many nodes (at most 100) and waits until their agents serve.
    pub(crate) fn start_with(
        settings: Settings,
        count: usize,
        binaries: &Binaries,
    ) -> Result<Cluster> {
        let nodes: Vec<Node> = (1..=count)
            .map(|n| Node::new(n, settings, binaries))
            .collect::<Result<_>>()?;
        let namespaces: Vec<&Netns> = nodes.iter().map(|node| node.room.netns()).collect();
        let between = settings.underlay.join(&namespaces)?;
        let mut cluster = Cluster {
            nodes,
            _between: between,
        };
        let file = cluster.file(&[]);
        for node in &mut cluster.nodes {
            node.write_cluster_file(&file)?;
            node.start_agent(binaries)?;
        }
        cluster
            .nodes
            .iter_mut()
            .try_for_each(Node::wait_until_ready)?;
        Ok(cluster)
    }

    /// Tells the agents of so many Services, each of which leads to one of these Pods.
    pub(crate) fn publish(&self, count: usize, pods: &[Vec<IpAddr>]) -> Result<()> {
        anyhow::ensure!(count == 0 || !pods.is_empty(), "Services need a Pod");
        let services: Vec<Balanced> = (0..count)
            .map(|number| Balanced::new(number, &pods[number % pods.len()]))
            .collect::<Result<_>>()?;
        let file = self.file(&services);
        self.nodes
            .iter()
            .try_for_each(|node| node.write_cluster_file(&file))
    }

    /// The cluster file of the agents.
    fn file(&self, services: &[Balanced]) -> String {
        let nodes = self.nodes.iter().enumerate().map(|(i, node)| {
            let addresses: Vec<IpAddr> = node.addresses.iter().map(IpNet::addr).collect();
            json!({"name": node.name, "addresses": addresses, "podCIDRs": pod_networks(i + 1)})
        });
        let slices: Vec<&Value> = services.iter().flat_map(|s| &s.slices).collect();
        let services: Vec<&Value> = services.iter().map(|s| &s.service).collect();
        // JSON is YAML.
        json!({
            "nodes": nodes.collect::<Vec<_>>(),
            "pods": [],
            "services": services,
            "endpointSlices": slices,
        })
        .to_string()
    }
}

/// A Service and its slices, as the cluster file has them.
#[derive(Debug)]
struct Balanced {
    service: Value,
    slices: Vec<Value>,
}

impl Balanced {
    fn new(number: usize, pod: &[IpAddr]) -> Result<Balanced> {
        let number = u16::try_from(number).context("at most 65535 Services")?;
        let name = format!("default/service-{number}");
        let [high, low] = number.to_be_bytes();
        let addresses = [
            format!("10.96.{high}.{low}"),
            format!("fd00:10:96::1:{number:x}"),
        ];
        let slice = |address: &IpAddr| {
            let family = if address.is_ipv4() { "v4" } else { "v6" };
            json!({
                "name": format!("{name}-{family}"),
                "service": name,
                "family": family,
                "ports": [{"protocol": "tcp", "port": 8080}],
                "endpoints": [{"address": address}],
            })
        };
        Ok(Balanced {
            service: json!({
                "name": name,
                "kind": "ClusterIP",
                "cluster_ips": addresses,
                "ports": [{"protocol": "tcp", "port": 80}],
            }),
            slices: pod.iter().map(slice).collect(),
        })
    }
}

/// Large enough for every Pod of a run, addresses in quarantine included.
fn pod_networks(n: usize) -> [String; 2] {
    [
        format!("10.{}.0.0/16", 100 + n),
        format!("fd00:10:{n}::/64"),
    ]
}

impl Node {
    fn new(n: usize, settings: Settings, binaries: &Binaries) -> Result<Node> {
        let plugin = Plugin {
            program: binaries.program("seaway-cni")?,
            search: binaries.dir().to_owned(),
            config: CONFIG.to_owned(),
        };
        Ok(Node {
            room: Room::new()?,
            plugin,
            name: format!("node-{n}"),
            addresses: settings.underlay.addresses(n).to_vec(),
            settings,
            agent: None,
        })
    }

    fn write_cluster_file(&self, text: &str) -> Result<()> {
        let write = || std::fs::write(CLUSTER_FILE, text).context("writing the cluster file");
        self.room.run(write)
    }

    fn start_agent(&mut self, binaries: &Binaries) -> Result<()> {
        let args = [
            "agent",
            "--node-name",
            &self.name,
            "--cluster-file",
            CLUSTER_FILE,
        ];
        let args = args
            .into_iter()
            .chain(["--uplink", UPLINK])
            .map(str::to_owned)
            .chain(self.settings.flags());
        let program = binaries.program("seaway")?;
        let log = Path::new("/run/agent.log");
        let agent = Daemon::start(&self.room, &program, &args.collect::<Vec<_>>(), log);
        self.agent = Some(agent.with_context(|| format!("starting the agent of {}", self.name))?);
        Ok(())
    }

    /// Asks the plugin until it says that an ADD would be served.
    fn wait_until_ready(&mut self) -> Result<()> {
        let agent = self.agent.as_mut().context("this node has no agent")?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            agent.check(&self.room)?;
            let status = self.room.run(|| self.plugin.call_with("STATUS", CONFIG));
            match status {
                Ok(_) => return Ok(()),
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => {
                    let said = agent.said(&self.room);
                    let name = &self.name;
                    return Err(error.context(format!("the agent of {name} is not ready:\n{said}")));
                }
            }
        }
    }

    /// Waits until so many Services are known and all that is planned is in force.
    pub(crate) fn wait_until_settled(&self, binaries: &Binaries, services: usize) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let status = self.status(binaries)?;
            let known = status["services"]["services"].as_u64();
            if known == Some(services as u64) && status["drifted"] == 0 {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} does not settle: {services} Services are wanted, and its agent says {status}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the agent says of its node.
    fn status(&self, binaries: &Binaries) -> Result<Value> {
        let program = binaries.program("seaway")?;
        let ask = || {
            let mut seaway = std::process::Command::new(&program);
            Ok(seaway.args(["status", "-o", "json"]).output()?)
        };
        let answer = self.room.run(ask).context("running seaway status")?;
        serde_json::from_slice(&answer.stdout).context("the status is no JSON")
    }

    /// Kills the agent as a crash would and starts it again; the time until it serves.
    pub(crate) fn restart(&mut self, binaries: &Binaries) -> Result<Duration> {
        self.agent = None;
        let start = Instant::now();
        self.start_agent(binaries)?;
        self.wait_until_ready()?;
        Ok(start.elapsed())
    }

    /// Kills the agent as a crash would; what it made is still in force.
    pub(crate) fn end_agent(&mut self) {
        self.agent = None;
    }

    /// The agent's process id.
    pub(crate) fn agent_pid(&self) -> Result<u32> {
        let agent = self.agent.as_ref().context("this node has no agent")?;
        Ok(agent.pid())
    }

    /// Attaches a Pod and gives its addresses.
    pub(crate) fn attach(&self, pod: &Pod) -> Result<Vec<IpAddr>> {
        let call = self.room.run(|| self.plugin.call("ADD", pod))?;
        addresses_of(&call.stdout).with_context(|| format!("attaching a Pod to {}", self.name))
    }
}

/// The addresses that a CNI result names.
pub(crate) fn addresses_of(result: &[u8]) -> Result<Vec<IpAddr>> {
    let value: Value = serde_json::from_slice(result).context("the result is no JSON")?;
    let texts = value["ips"].as_array().into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|ip| ip["address"].as_str()).collect();
    let nets = texts.iter().map(|text| text.parse::<IpNet>());
    let nets: Vec<IpNet> = nets
        .collect::<Result<_, _>>()
        .context("an address is not one")?;
    if nets.is_empty() {
        bail!("the result names no address: {value}");
    }
    Ok(nets.iter().map(IpNet::addr).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_result() {
        let result = br#"{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.2/32"},{"address":"fd00::2/128"}]}"#;
        let expected: Vec<IpAddr> = ["10.1.0.2", "fd00::2"]
            .map(|t| t.parse().expect("valid"))
            .into();
        assert_eq!(addresses_of(result).expect("it names two"), expected);
        let error = addresses_of(br#"{"ips":[]}"#)
            .expect_err("it names none")
            .to_string();
        assert!(error.contains("no address"), "{error}");
        assert!(addresses_of(b"no JSON").is_err());
    }

    #[test]
    fn nodes_have_networks_apart() {
        assert_ne!(pod_networks(1), pod_networks(2));
    }
}
