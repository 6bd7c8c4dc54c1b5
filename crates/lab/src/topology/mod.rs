//! What a lab consists of, as plain data: nodes with their names and addresses, the network between
//! them, and the Pods that stand on them at first. Nothing here touches a kernel.

mod addresses;
mod network;

pub(crate) use addresses::router_in;
pub(crate) use network::{DEFAULT_MTU, parse_family};
pub use network::{Families, Network, UnderlayKind};

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use seaway_model::{Family, NodeName, Transport};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use network::{LARGEST_MTU, SMALLEST_MTU};

/// As many nodes as the third byte of their Pod network can number.
pub(crate) const MAX_NODES: u16 = 250;
/// As many first Pods as a node of a lab may have.
pub(crate) const MAX_PODS_PER_NODE: u16 = 100;
/// The Kubernetes namespace of the lab's Pods.
pub(crate) const POD_NAMESPACE: &str = "default";
/// The nodes' link to the underlay.
pub(crate) const UPLINK: &str = "eth0";

/// The namespaces that the API server and the controllers run in.
pub(crate) const CONTROL_PLANE: &str = "control";
/// The host beyond the cluster.
pub(crate) const OUTSIDE: &str = "outside";
/// The router between the nodes, or between them and the outside.
pub(crate) const ROUTER: &str = "router";
/// The API server's port on the underlay.
pub(crate) const API_PORT: u16 = 6443;
/// The nodes take turns in being in these.
const ZONES: [&str; 2] = ["zone-a", "zone-b"];
/// Node N gets the Nth part of a cluster network, so that the numbers read alike.
pub(crate) const FIRST_NODE_CIDR: u32 = 1;

/// A lab cannot have this shape or name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// The number of nodes.
    #[error("{0} nodes: a lab has 1 to {MAX_NODES}")]
    Nodes(u16),
    /// The number of Pods of a node.
    #[error("{0} Pods per node: a lab starts with at most {MAX_PODS_PER_NODE}")]
    Pods(u16),
    /// The name of the lab.
    #[error(
        "lab name \"{0}\" is not valid: it must be 1 to 30 lower-case letters, digits and -, beginning with a letter"
    )]
    Name(String),
    /// The transport, on the routed underlay.
    #[error(
        "transport {0} needs all nodes on one link, and the routed underlay puts a router between \
         them: use --transport auto or vxlan, or --underlay flat (--force brings the lab up all the \
         same, with nodes whose Pods do not reach each other's)"
    )]
    NotOnLink(Transport),
    /// The family of VXLAN's outer packets.
    #[error("VXLAN over {0} needs nodes with {0} addresses: these have {1} alone")]
    VxlanUnderlay(Family, Families),
    /// The MTU of the underlay.
    #[error("MTU {0}: the links of a lab's underlay have {SMALLEST_MTU} to {LARGEST_MTU} bytes")]
    Mtu(u32),
}

/// The name of a lab.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<LabName, TopologyError> {
        let body = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if body && first && text.len() <= 30 {
            Ok(LabName(text.to_owned()))
        } else {
            Err(TopologyError::Name(text.to_owned()))
        }
    }
}

impl TryFrom<String> for LabName {
    type Error = TopologyError;
    fn try_from(text: String) -> Result<LabName, TopologyError> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> String {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A node of the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabNode {
    /// Its name, `node1` and on.
    pub name: NodeName,
    /// Its addresses on the underlay, with the underlay's prefix length.
    pub addresses: Vec<IpNet>,
    /// The zone that it says to be in.
    pub zone: String,
}

impl LabNode {
    /// Its addresses without prefix lengths.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(IpNet::addr).collect()
    }
}

/// The shape of a lab: a number of nodes on an underlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The nodes, in order.
    pub nodes: Vec<LabNode>,
    /// The network between them.
    pub network: Network,
    /// How many Pods each node has at first.
    pub pods_per_node: u16,
}

impl Topology {
    /// A lab of `nodes` nodes with `pods_per_node` Pods on each.
    pub fn new(
        nodes: u16,
        pods_per_node: u16,
        network: Network,
    ) -> Result<Topology, TopologyError> {
        if nodes == 0 || nodes > MAX_NODES {
            return Err(TopologyError::Nodes(nodes));
        }
        if pods_per_node > MAX_PODS_PER_NODE {
            return Err(TopologyError::Pods(pods_per_node));
        }
        Ok(Topology {
            nodes: (1..=nodes).map(|number| node(number, &network)).collect(),
            network,
            pods_per_node,
        })
    }

    /// The Pods that the lab starts with, and the node of each: `pod-1-2` is the second of `node1`.
    pub fn first_pods(&self) -> Vec<(NodeName, String)> {
        let pods_of = |(at, node): (usize, &LabNode)| {
            let name = node.name.clone();
            (1..=self.pods_per_node).map(move |k| (name.clone(), format!("pod-{}-{k}", at + 1)))
        };
        self.nodes.iter().enumerate().flat_map(pods_of).collect()
    }

    /// How many nodes there are.
    pub fn size(&self) -> u16 {
        u16::try_from(self.nodes.len()).unwrap_or(u16::MAX)
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&LabNode> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }
}

fn node(number: u16, network: &Network) -> LabNode {
    let name = NodeName::new(format!("node{number}")).expect("a word and a number are a node name");
    LabNode {
        name,
        addresses: network.node_addresses(number),
        zone: ZONES[usize::from(number - 1) % ZONES.len()].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(nodes: u16, pods: u16) -> Result<Topology, TopologyError> {
        Topology::new(nodes, pods, Network::default())
    }

    #[test]
    fn pods_are_named_after_their_node() {
        let lab = lab(2, 2).expect("valid");
        let names: Vec<_> = lab
            .first_pods()
            .iter()
            .map(|(n, p)| format!("{n}/{p}"))
            .collect();
        assert_eq!(
            names,
            [
                "node1/pod-1-1",
                "node1/pod-1-2",
                "node2/pod-2-1",
                "node2/pod-2-2"
            ]
        );
    }

    #[test]
    fn neighbours_are_in_different_zones() {
        let lab = lab(3, 0).expect("valid");
        let zones: Vec<_> = lab.nodes.iter().map(|node| node.zone.as_str()).collect();
        assert_eq!(zones, ["zone-a", "zone-b", "zone-a"]);
    }

    #[test]
    fn impossible_shapes_are_refused_by_name() {
        let refusal = |nodes, pods| lab(nodes, pods).expect_err("refused").to_string();
        assert_eq!(refusal(0, 0), "0 nodes: a lab has 1 to 250");
        assert_eq!(refusal(251, 0), "251 nodes: a lab has 1 to 250");
        assert_eq!(
            refusal(1, 101),
            "101 Pods per node: a lab starts with at most 100"
        );
    }

    #[test]
    fn lab_names_are_safe_as_folder_names() {
        for good in ["seaway", "a", "lab-2"] {
            assert_eq!(good.parse::<LabName>().expect("valid").to_string(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "A",
            "2",
            "-a",
            "a b",
            "x".repeat(31).as_str(),
        ] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }
}
