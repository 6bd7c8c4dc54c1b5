//! The reference: what becomes of the first packet of a flow, by the specification (S1-S45) alone.
//!
//! It looks at all objects for every packet, shares nothing with the planner but the model, and is
//! what planner and kernel are held against.

mod addresses;
mod by_rows;
mod decide;
mod endpoints;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use seaway_model::{DropReason, EndpointSlice, Node, NodeName, Protocol, Service, Settings};

pub use by_rows::by_rows;
pub use decide::decide;

/// A cluster as its objects say it is.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All Services.
    pub services: Vec<Service>,
    /// All slices.
    pub slices: Vec<EndpointSlice>,
    /// What people chose, the same on every node.
    pub settings: Settings,
    /// All addresses that the node at which packets enter has; needed where node ports are open on
    /// more than the primary ones.
    pub host_addresses: Vec<IpAddr>,
}

/// The first packet of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The node at which it enters.
    pub node: NodeName,
    /// Who sends it.
    pub from: Source,
    /// Where to.
    pub destination: SocketAddr,
    /// By which protocol.
    pub protocol: Protocol,
}

/// Who sends a packet, as the node sees it at which it enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Pod of that node, from this address.
    Pod(IpAddr),
    /// The node itself, or a Pod in its network.
    Node,
    /// Anybody else, from this address: a client outside, another node, a Pod of another node.
    Outside(IpAddr),
}

/// What becomes of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets to one of these.
    Backends {
        /// The endpoints, each as likely as any other.
        targets: BTreeSet<SocketAddr>,
        /// The source that they see. A client that is led to itself sees the node whatever this
        /// says: [`Verdict::source_at`].
        source: SourceSeen,
        /// How long the client keeps its endpoint, in seconds.
        affinity: Option<u32>,
    },
    /// The sender is told at once that nobody answers.
    Refused,
    /// It is dropped.
    Dropped(DropReason),
    /// It is no business of Services: it goes its way as if there were none.
    NotAService,
}

/// The source address that a backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceSeen {
    /// The sender's own.
    Kept,
    /// The node's.
    Node,
}

impl Verdict {
    /// The source that the backend `target` sees if `packet` gets to it; `None` if it does not.
    pub fn source_at(&self, packet: &Packet, target: SocketAddr) -> Option<SourceSeen> {
        match self {
            Verdict::Backends {
                targets, source, ..
            } if targets.contains(&target) => match packet.from {
                Source::Pod(client) if client == target.ip() => Some(SourceSeen::Node),
                _ => Some(*source),
            },
            _ => None,
        }
    }
}
