//! What there is to check, as plain data.

use std::net::IpAddr;

/// What there is to check.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) nodes: Vec<NodeView>,
    /// The host beyond the cluster.
    pub(super) outside: Vec<IpAddr>,
    /// Whether there is one that takes part.
    pub(super) reaches_outside: bool,
    /// The Pod that has a port of its node, if it could be made.
    pub(super) exposed: Option<Exposed>,
    /// The Services that were made for the check, if they could be.
    pub(super) staged: Option<Staged>,
}

#[derive(Clone, Debug)]
pub(super) struct NodeView {
    pub(super) name: String,
    /// The port of the server on it, which calls itself as the node is called.
    pub(super) echo: u16,
    pub(super) addresses: Vec<IpAddr>,
    /// What stands for a source that cannot show its own address, beside the node's addresses: what
    /// is sent from a loopback address, or comes back to where it is from.
    pub(super) stand_ins: Vec<IpAddr>,
    /// Whether Pods of the node answer each other past it.
    pub(super) bridged: bool,
    pub(super) pods: Vec<PodView>,
}

#[derive(Clone, Debug)]
pub(super) struct PodView {
    /// As a source of exchanges: in a lab, as `lab exec` names it.
    pub(super) name: String,
    /// As it calls itself.
    pub(super) host: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) mtu: u32,
}

/// A Pod with a port of its node.
#[derive(Clone, Debug)]
pub(super) struct Exposed {
    pub(super) pod: PodView,
    pub(super) node: String,
    pub(super) port: u16,
}

/// Services that were made for a check, and what is behind them.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// Its Pods are those of `web`, on any nodes.
    pub(super) web: ServiceView,
    pub(super) web_hosts: Vec<String>,
    /// Leads to them, too, and each client always to the same.
    pub(super) sticky: ServiceView,
    /// Leads to nothing.
    pub(super) empty: ServiceView,
    /// Its only Pod is on a node of its own choice, and its external traffic policy is Local.
    pub(super) lone: ServiceView,
    pub(super) lone_pod: PodView,
    pub(super) lone_node: String,
    /// Whether they serve SCTP.
    pub(super) sctp: bool,
}

/// A Service.
#[derive(Clone, Debug)]
pub(super) struct ServiceView {
    pub(super) name: String,
    /// Its whole name in DNS, without a dot at its end.
    pub(super) domain: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Of its cluster addresses.
    pub(super) port: u16,
    /// Ports of nodes for TCP and UDP, if it has them.
    pub(super) node_ports: Option<[u16; 2]>,
}

impl NodeView {
    /// All that a server may see for something that the node sends in its own name.
    pub(super) fn all_own(&self) -> Vec<IpAddr> {
        [&self.addresses[..], &self.stand_ins].concat()
    }
}

impl View {
    /// The smallest MTU that a Pod has.
    pub(super) fn pod_mtu(&self) -> Option<u32> {
        let pods = self.nodes.iter().flat_map(|node| &node.pods);
        pods.map(|pod| pod.mtu).min()
    }
}
