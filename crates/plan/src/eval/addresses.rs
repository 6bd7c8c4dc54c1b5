//! The reference's word on addresses: which the node answers on, and which nobody may take.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    Family, Node, NodePortAddresses, Service, ServiceKind, ServiceSettings, dns_address,
    loopback_alias,
};

use super::Cluster;

/// Whether a Service has addresses that lead to endpoints (S1, S34).
pub(super) fn is_balanced(service: &Service) -> bool {
    !service.foreign
        && !service.cluster_ips.is_empty()
        && !matches!(service.kind, ServiceKind::ExternalName(_))
}

/// Whether it has a load balancer.
pub(super) fn has_balancer(service: &Service) -> bool {
    service.kind == ServiceKind::LoadBalancer
}

/// Addresses that nobody can have for himself.
pub(super) fn is_special(address: IpAddr) -> bool {
    let family = Family::of(address);
    let by_number = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    by_number
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address == loopback_alias(family)
        || address == dns_address(family)
}

fn is_node(cluster: &Cluster, address: IpAddr) -> bool {
    let mut nodes = cluster.nodes.iter();
    nodes.any(|node| node.addresses.contains(&address))
}

/// Whether a cluster address is in force.
pub(super) fn cluster_ip_counts(cluster: &Cluster, address: IpAddr) -> bool {
    !is_special(address) && !is_node(cluster, address)
}

/// Whether an address outside the cluster is in force for a Service.
pub(super) fn external_counts(
    cluster: &Cluster,
    settings: &ServiceSettings,
    service: &Service,
    address: IpAddr,
) -> bool {
    let in_pods = |node: &Node| node.pod_cidrs.iter().any(|net| net.contains(&address));
    let has_it = |other: &Service| {
        let is_other = other.name != service.name;
        is_other && is_balanced(other) && other.cluster_ips.contains(&address)
    };
    cluster_ip_counts(cluster, address)
        && !settings
            .service_cidrs
            .iter()
            .any(|net| net.contains(&address))
        && !cluster.nodes.iter().any(in_pods)
        && !cluster.services.iter().any(has_it)
}

/// Whether the node's ports are open on an address, beside the loopback one (S15).
pub(super) fn opens_node_ports(
    cluster: &Cluster,
    settings: &ServiceSettings,
    node: &Node,
    address: IpAddr,
) -> bool {
    match &settings.node_ports {
        NodePortAddresses::Primary => node.address(Family::of(address)) == Some(address),
        NodePortAddresses::Within(nets) => {
            let is_lent = |service: &Service| {
                let by_balancer =
                    has_balancer(service) && service.load_balancer_ips.contains(&address);
                let by_itself = settings.external_ips && service.external_ips.contains(&address);
                is_balanced(service) && (by_balancer || by_itself)
            };
            cluster.host_addresses.contains(&address)
                && !is_special(address)
                && nets.iter().any(|net| net.contains(&address))
                && (node.addresses.contains(&address) || !cluster.services.iter().any(is_lent))
        }
    }
}

/// Whether cluster addresses come from a network around this address (S14): not from one that the
/// node or its Pods are in.
pub(super) fn is_cluster_range(settings: &ServiceSettings, node: &Node, address: IpAddr) -> bool {
    let clashes = |net: &IpNet| {
        let pods = node.pod_cidrs.iter();
        let mut pods = pods.map(IpNet::trunc);
        node.addresses.iter().any(|own| net.contains(own))
            || pods.any(|own| net.contains(&own) || own.contains(net))
    };
    let mut nets = settings.service_cidrs.iter().map(IpNet::trunc);
    nets.any(|net| net.contains(&address) && !clashes(&net))
}
