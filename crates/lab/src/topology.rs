//! What a lab consists of, as plain data: nodes with their names, addresses and Pod networks, and
//! the Pods that stand on them at first. Nothing here touches a kernel.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use seaway_model::NodeName;
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
/// The API server's port on the underlay.
pub(crate) const API_PORT: u16 = 6443;
/// Pods of the whole cluster, with the prefix length of a node's part.
pub(crate) const CLUSTER_CIDRS: [(&str, u8); 2] = [("10.244.0.0/16", 24), ("fd00:10:244::/48", 64)];
/// Service addresses.
pub(crate) const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// Node N gets the Nth part of a cluster network, so that the numbers read alike.
pub(crate) const FIRST_NODE_CIDR: u32 = 1;

/// The addresses of the control plane on the underlay, beyond those of nodes.
pub(crate) fn control_plane_addresses() -> [IpNet; 2] {
    let v6 = Ipv6Addr::new(0xfd00, 0x5ea, 0, 0, 0, 0, 0, 0xffff);
    nets(Ipv4Addr::new(172, 18, 255, 1), 16, v6, 64)
}

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
}

impl LabNode {
    /// Its addresses without prefix lengths.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(IpNet::addr).collect()
    }
}

/// The shape of a lab: a flat underlay with a number of nodes on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The nodes, in order.
    pub nodes: Vec<LabNode>,
    /// How many Pods each node has at first.
    pub pods_per_node: u16,
}

impl Topology {
    /// A lab of `nodes` nodes with `pods_per_node` Pods on each.
    pub fn flat(nodes: u16, pods_per_node: u16) -> Result<Topology, TopologyError> {
        if nodes == 0 || nodes > MAX_NODES {
            return Err(TopologyError::Nodes(nodes));
        }
        if pods_per_node > MAX_PODS_PER_NODE {
            return Err(TopologyError::Pods(pods_per_node));
        }
        Ok(Topology {
            nodes: (1..=nodes).map(node).collect(),
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

fn node(number: u16) -> LabNode {
    let name = NodeName::new(format!("node{number}")).expect("a word and a number are a node name");
    LabNode {
        name,
        addresses: node_addresses(number).into(),
    }
}

/// `172.18.0.N/16` and `fd00:5ea::N/64`.
fn node_addresses(number: u16) -> [IpNet; 2] {
    let v4 = Ipv4Addr::new(172, 18, 0, low_byte(number));
    let v6 = Ipv6Addr::new(0xfd00, 0x5ea, 0, 0, 0, 0, 0, digits_as_hex(number));
    nets(v4, 16, v6, 64)
}

fn nets(v4: Ipv4Addr, v4_bits: u8, v6: Ipv6Addr, v6_bits: u8) -> [IpNet; 2] {
    let v4 = Ipv4Net::new(v4, v4_bits).expect("at most 32");
    let v6 = Ipv6Net::new(v6, v6_bits).expect("at most 128");
    [v4.into(), v6.into()]
}

fn low_byte(number: u16) -> u8 {
    u8::try_from(number).expect("nodes are numbered up to 250")
}

/// The number whose hexadecimal digits read like `number`'s decimal ones, so that node 12 is `:12`
/// in IPv6 as it is `.12` in IPv4.
fn digits_as_hex(number: u16) -> u16 {
    let mut rest = number;
    let mut result = 0;
    let mut place = 0;
    while rest > 0 {
        result |= (rest % 10) << place;
        rest /= 10;
        place += 4;
    }
    result
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use seaway_model::Family;

    use super::*;

    fn text(nets: &[IpNet]) -> Vec<String> {
        nets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_twelfth_node_reads_as_such_everywhere() {
        let lab = Topology::flat(16, 2).expect("valid");
        let node = lab.node("node12").expect("exists");
        assert_eq!(text(&node.addresses), ["172.18.0.12/16", "fd00:5ea::12/64"]);
    }

    #[test]
    fn no_address_is_given_twice_at_any_size() {
        for size in [1, 2, 3, 16, MAX_NODES] {
            let lab = Topology::flat(size, 0).expect("valid");
            assert_eq!(lab.nodes.len(), usize::from(size));
            let mut seen = BTreeSet::from(control_plane_addresses());
            for node in &lab.nodes {
                for net in node.addresses.iter() {
                    assert!(seen.insert(*net), "{net} of {}", node.name);
                }
            }
        }
    }

    #[test]
    fn every_node_is_on_the_underlay_in_both_families() {
        let lab = Topology::flat(MAX_NODES, 0).expect("valid");
        for node in &lab.nodes {
            for family in Family::ALL {
                let net = node
                    .addresses
                    .iter()
                    .find(|net| Family::of_net(net) == family);
                let first = lab.nodes[0]
                    .addresses
                    .iter()
                    .find(|net| Family::of_net(net) == family);
                assert_eq!(net.map(IpNet::trunc), first.map(IpNet::trunc));
            }
        }
    }

    #[test]
    fn pods_are_named_after_their_node() {
        let lab = Topology::flat(2, 2).expect("valid");
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
    fn impossible_shapes_are_refused_by_name() {
        let refusal = |nodes, pods| {
            Topology::flat(nodes, pods)
                .expect_err("refused")
                .to_string()
        };
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
