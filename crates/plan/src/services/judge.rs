//! What is refused: endpoints that lead where no Service may lead, and addresses that no Service
//! may take. Everything else of the same Service goes on.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::{
    ClusterIpRow, Endpoint, EndpointSlice, Family, NodeName, ServiceName, dns_address,
    loopback_alias,
};

use super::contest::Contests;
use super::ground::{Ground, Places};
use crate::ledger::Owner;
use crate::table::Table;

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is what these words say.
    Special(&'static str),
    /// It is not of the slice's family.
    Family(Family),
    /// It is this node's.
    Node(NodeName),
    /// Pods of some node may have it.
    PodNet(IpNet),
    /// Cluster addresses come from this network.
    ServiceNet(IpNet),
    /// It is another Service's cluster address.
    ClusterIp,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Special(what) => write!(f, "it is {what}"),
            Reason::Family(family) => write!(f, "it is no {family} address"),
            Reason::Node(node) => write!(f, "it is an address of node {node}"),
            Reason::PodNet(net) => write!(f, "it is in pod CIDR {net}"),
            Reason::ServiceNet(net) => write!(f, "it is in service CIDR {net}"),
            Reason::ClusterIp => f.write_str("it is the cluster address of another Service"),
        }
    }
}

/// What makes an address unfit, by its number alone, for being reached through a Service.
pub(crate) fn is_special(address: IpAddr) -> Option<&'static str> {
    let of_every_node = |own: fn(Family) -> IpAddr| own(Family::of(address)) == address;
    if of_every_node(loopback_alias) || of_every_node(dns_address) {
        return Some("kept by every node for itself");
    }
    if address.is_unspecified() {
        return Some("no address");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    match address {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address in disguise"),
        _ => None,
    }
}

/// Whether endpoints of this Service may be nodes: they are the API servers.
fn is_api_server(service: &ServiceName) -> bool {
    service.namespace() == "default" && service.name() == "kubernetes"
}

/// What is judged by.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    /// What concerns every Service.
    pub(super) ground: &'a Ground,
    /// Where all nodes are.
    pub(super) places: &'a Places,
    /// The cluster addresses of Services.
    pub(super) cluster_ips: &'a Table<ClusterIpRow>,
    /// Those that several have.
    pub(super) contests: &'a Contests,
}

impl Judge<'_> {
    /// Why an endpoint is not used, if so.
    pub(super) fn endpoint(&self, slice: &EndpointSlice, endpoint: &Endpoint) -> Option<Reason> {
        let address = endpoint.address;
        if Family::of(address) != slice.family {
            return Some(Reason::Family(slice.family));
        }
        if let Some(what) = is_special(address) {
            return Some(Reason::Special(what));
        }
        let holders = self.places.holders(address)?;
        let is_pod = |node: &NodeName| endpoint.pod.is_some() && holders.contains(node);
        let allowed = self.ground.settings.node_endpoints
            || is_api_server(&slice.service)
            || endpoint.node.as_ref().is_some_and(is_pod);
        let holder = holders.first().filter(|_| !allowed)?;
        Some(Reason::Node(holder.clone()))
    }

    /// Why a cluster address is not in force, if so: it would cut off who has it.
    pub(super) fn cluster_ip(&self, address: IpAddr) -> Option<Reason> {
        if let Some(what) = is_special(address) {
            return Some(Reason::Special(what));
        }
        let holder = self.places.holders(address)?.first()?;
        Some(Reason::Node(holder.clone()))
    }

    /// Why an address outside the cluster is not in force for `service`, if so.
    pub(super) fn external(&self, service: &ServiceName, address: IpAddr) -> Option<Reason> {
        if let Some(reason) = self.cluster_ip(address) {
            return Some(reason);
        }
        let nets = &mut self.ground.settings.service_cidrs.iter();
        if let Some(net) = nets.find(|net| net.contains(&address)) {
            return Some(Reason::ServiceNet(net.trunc()));
        }
        if let Some(net) = self.places.pod_net(address) {
            return Some(Reason::PodNet(net));
        }
        let (_, owner) = self.cluster_ips.owned(&address)?;
        let is_shared = self.contests.cluster_ip(address).is_some();
        let is_own = matches!(owner.map(Arc::as_ref), Some(Owner::Service(own)) if own == service);
        (is_shared || !is_own).then_some(Reason::ClusterIp)
    }
}
