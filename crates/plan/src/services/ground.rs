//! What the rows of Services follow from beside the Services themselves: the node, what people
//! chose, and where all nodes are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Family, Node, NodeName, ServiceSettings};

use super::judge::is_special;
use crate::totals::Counts;

/// What concerns every Service. Small, and compared as a whole: when it changes, all are planned
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    /// The node's name.
    pub(crate) name: NodeName,
    /// The zone that it is in.
    pub(crate) zone: Option<String>,
    /// What people chose.
    pub(crate) settings: ServiceSettings,
    /// The node's addresses in its own object.
    pub(crate) own_addresses: Vec<IpAddr>,
    /// The addresses on which the node's ports are open, beside the loopback address.
    pub(crate) node_ports: BTreeSet<IpAddr>,
    /// The UDP port to which other nodes send VXLAN frames, if they may.
    pub(crate) vxlan_port: Option<u16>,
}

/// The addresses of `host` in `nets` that can stand for the node.
pub(crate) fn within(host: &[IpAddr], nets: &[IpNet]) -> BTreeSet<IpAddr> {
    let inside = |address: &&IpAddr| nets.iter().any(|net| net.contains(*address));
    let usual = host
        .iter()
        .filter(|address| is_special(**address).is_none());
    usual.filter(inside).copied().collect()
}

/// Where all nodes are: the addresses that are theirs, and those that are their Pods'.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    nodes: BTreeMap<IpAddr, BTreeSet<NodeName>>,
    pod_nets: Counts<IpNet>,
    lengths: Counts<(Family, u8)>,
}

/// What became of addresses when a node changed.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Addresses that some node got or lost.
    pub(crate) addresses: Vec<IpAddr>,
    /// Networks that became or ceased to be some node's Pods'.
    pub(crate) nets: Vec<IpNet>,
}

impl Places {
    /// Takes in a change of one node.
    pub(crate) fn change(&mut self, before: Option<&Node>, now: Option<&Node>) -> Moved {
        let mut moved = Moved::default();
        let addresses = |node: Option<&Node>| -> BTreeSet<IpAddr> {
            node.into_iter()
                .flat_map(|n| n.addresses.iter().copied())
                .collect()
        };
        let nets = |node: Option<&Node>| -> BTreeSet<IpNet> {
            node.into_iter()
                .flat_map(|n| n.pod_cidrs.iter().map(IpNet::trunc))
                .collect()
        };
        let (old, new) = (addresses(before), addresses(now));
        for address in old.difference(&new) {
            if let (Some(holders), Some(node)) = (self.nodes.get_mut(address), before) {
                holders.remove(&node.name);
                if holders.is_empty() {
                    self.nodes.remove(address);
                }
            }
            moved.addresses.push(*address);
        }
        for address in new.difference(&old) {
            if let Some(node) = now {
                let holders = self.nodes.entry(*address).or_default();
                holders.insert(node.name.clone());
            }
            moved.addresses.push(*address);
        }
        let (old, new) = (nets(before), nets(now));
        for net in old.difference(&new) {
            self.lengths.remove((Family::of_net(net), net.prefix_len()));
            if self.pod_nets.remove(*net) {
                moved.nets.push(*net);
            }
        }
        for net in new.difference(&old) {
            self.lengths.add((Family::of_net(net), net.prefix_len()));
            if self.pod_nets.add(*net) {
                moved.nets.push(*net);
            }
        }
        moved
    }

    /// The nodes that have an address.
    pub(crate) fn holders(&self, address: IpAddr) -> Option<&BTreeSet<NodeName>> {
        self.nodes.get(&address)
    }

    /// The network of some node's Pods that an address is in.
    pub(crate) fn pod_net(&self, address: IpAddr) -> Option<IpNet> {
        let family = Family::of(address);
        let lengths = self.lengths.iter().filter(|(of, _)| *of == family);
        lengths
            .filter_map(|(_, length)| Some(IpNet::new(address, length).ok()?.trunc()))
            .find(|net| self.pod_nets.contains(net))
    }
}
