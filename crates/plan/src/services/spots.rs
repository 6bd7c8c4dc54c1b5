//! Where a Service can be reached by its object alone, whether it may or not: its addresses and
//! ports in order, each once.

use std::net::IpAddr;

use seaway_model::{
    Family, FrontendKey, Protocol, Service, ServiceKind, TrafficPolicy, View, loopback_alias,
};

use super::ground::Ground;

/// An address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) address: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

impl Point {
    /// The key of its frontend in a view.
    pub(super) fn key(self, view: View) -> FrontendKey {
        FrontendKey {
            address: self.address,
            protocol: self.protocol,
            port: self.port,
            view,
        }
    }

    /// Its family.
    pub(super) fn family(self) -> Family {
        Family::of(self.address)
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.key(View::Everyone).fmt(f)
    }
}

/// By what right a Service claims a point; the order is the precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It is its cluster address.
    Cluster,
    /// It is its port of the node.
    NodePort,
    /// It is an address outside the cluster.
    External,
}

/// A point where a Service can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Where.
    pub(super) point: Point,
    /// By what right.
    pub(super) class: Class,
    /// The address is a load balancer's, so that it may be for some sources only.
    pub(super) is_balancer: bool,
    /// Which of the Service's ports leads there.
    pub(super) port: usize,
}

/// Whether a Service is balanced at all (S1, S34).
pub(super) fn is_balanced(service: &Service) -> bool {
    let is_alias = matches!(service.kind, ServiceKind::ExternalName(_));
    !service.foreign && !is_alias && !service.cluster_ips.is_empty()
}

/// Whether it offers ports of every node.
fn has_node_ports(service: &Service) -> bool {
    matches!(
        service.kind,
        ServiceKind::NodePort | ServiceKind::LoadBalancer
    )
}

/// The load balancer's addresses, where it has a load balancer.
pub(super) fn balancer_ips(service: &Service) -> &[IpAddr] {
    match service.kind {
        ServiceKind::LoadBalancer => &service.load_balancer_ips,
        _ => &[],
    }
}

/// Whether it can be reached otherwise than by its cluster addresses.
pub(super) fn has_outside(service: &Service) -> bool {
    has_node_ports(service) || !service.external_ips.is_empty()
}

/// The policies by which its endpoints are chosen, as its groups need them.
pub(super) fn policies(service: &Service) -> impl Iterator<Item = TrafficPolicy> {
    let outside = has_outside(service);
    let cluster = service.internal_policy == TrafficPolicy::Cluster || outside;
    let local = service.internal_policy == TrafficPolicy::Local
        || (outside && service.external_policy == TrafficPolicy::Local);
    let of = |policy, used: bool| used.then_some(policy);
    [
        of(TrafficPolicy::Cluster, cluster),
        of(TrafficPolicy::Local, local),
    ]
    .into_iter()
    .flatten()
}

/// The families that it has.
pub(super) fn families(service: &Service) -> impl Iterator<Item = Family> + '_ {
    Family::ALL
        .into_iter()
        .filter(|family| service.cluster_ip(*family).is_some())
}

/// All spots of a Service that is balanced, in the order of their points.
pub(super) fn spots(service: &Service, ground: &Ground) -> Vec<Spot> {
    let mut all = Vec::new();
    if !is_balanced(service) {
        return all;
    }
    for (index, port) in service.ports.iter().enumerate() {
        let mut add = |address: IpAddr, number: u16, class, is_balancer| {
            if number != 0 && service.cluster_ip(Family::of(address)).is_some() {
                all.push(Spot {
                    point: Point {
                        address,
                        protocol: port.protocol,
                        port: number,
                    },
                    class,
                    is_balancer,
                    port: index,
                });
            }
        };
        for address in &service.cluster_ips {
            add(*address, port.port, Class::Cluster, false);
        }
        let open = |number: &u16| !is_vxlan_port(ground, port.protocol, *number);
        let node_port = port.node_port.filter(|_| has_node_ports(service));
        if let Some(number) = node_port.filter(open) {
            let aliases = Family::ALL.map(loopback_alias);
            for address in ground.node_ports.iter().chain(&aliases) {
                add(*address, number, Class::NodePort, false);
            }
        }
        for address in balancer_ips(service) {
            add(*address, port.port, Class::External, true);
        }
        if ground.settings.external_ips {
            for address in &service.external_ips {
                add(*address, port.port, Class::External, false);
            }
        }
    }
    all.sort_by_key(|spot| (spot.point, spot.class, !spot.is_balancer));
    all.dedup_by_key(|spot| spot.point);
    all
}

/// Whether the frames of other nodes come to this port.
pub(super) fn is_vxlan_port(ground: &Ground, protocol: Protocol, port: u16) -> bool {
    protocol == Protocol::Udp && ground.vxlan_port == Some(port)
}

/// The ports of the node that are not opened because of VXLAN.
pub(super) fn refused_ports<'a>(
    service: &'a Service,
    ground: &'a Ground,
) -> impl Iterator<Item = u16> + 'a {
    let ports = service.ports.iter().filter(|_| has_node_ports(service));
    ports.filter_map(|port| {
        let number = port.node_port?;
        is_vxlan_port(ground, port.protocol, number).then_some(number)
    })
}
