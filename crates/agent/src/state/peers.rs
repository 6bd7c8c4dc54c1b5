//! The other nodes, as far as it concerns how large packets to them may be.

use std::net::IpAddr;

use seaway_model::NodeName;
use seaway_plan::{ChangeSet, Input, Uplink};

use super::State;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its name.
    pub(crate) name: NodeName,
    /// The addresses under which it is reached.
    pub(crate) addresses: Vec<IpAddr>,
}

/// The other nodes, and the way to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peers {
    /// The uplink, if there is one.
    pub(crate) uplink: Option<Uplink>,
    /// The nodes that have Pods, by name.
    pub(crate) nodes: Vec<Peer>,
}

impl State {
    /// The other nodes with Pods.
    pub(crate) fn peers(&self) -> Peers {
        let others = self.planner.nodes().values();
        let others = others.filter(|n| n.name != *self.planner.name() && !n.pod_cidrs.is_empty());
        let peer = |node: &seaway_model::Node| Peer {
            name: node.name.clone(),
            addresses: node.addresses.clone(),
        };
        Peers {
            uplink: self.planner.uplink().cloned(),
            nodes: others.map(peer).collect(),
        }
    }

    /// Takes in how large packets to a node may be.
    pub(crate) fn path_mtu(&mut self, node: NodeName, mtu: Option<u32>) -> ChangeSet {
        self.planner.apply(Input::PathMtu(node, mtu))
    }
}
