//! The reference's verdict on a packet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use seaway_model::{
    DropReason, Family, Node, Protocol, Service, ServiceKind, ServicePort, ServiceSettings,
    TrafficPolicy, dns_address, loopback_alias,
};

use super::addresses::{
    cluster_ip_counts, external_counts, has_balancer, is_balanced, is_cluster_range,
    opens_node_ports,
};
use super::endpoints::choose;
use super::{Cluster, Packet, Source, SourceSeen, Verdict};

/// How many different times of affinity there can be.
const MOST_TIMES: usize = 16;

/// By what right a Service has an address and port; the order is the precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    ClusterIp,
    NodePort,
    External,
}

/// A Service's port that a packet is for.
struct Match<'a> {
    right: Right,
    is_balancer: bool,
    service: &'a Service,
    port: &'a ServicePort,
}

/// What becomes of a packet, by the objects of the cluster alone.
///
/// A node that the cluster does not know balances nothing.
pub fn decide(cluster: &Cluster, packet: &Packet) -> Verdict {
    let mut nodes = cluster.nodes.iter();
    let (Some(node), Some(settings)) = (
        nodes.find(|node| node.name == packet.node),
        &cluster.settings.services,
    ) else {
        return Verdict::NotAService;
    };
    let mut address = packet.destination.ip();
    let family = Family::of(address);
    let alias = loopback_alias(family);
    match packet.from {
        Source::Node if address.is_loopback() => address = alias,
        Source::Node => {}
        Source::Outside(_) if settings.dns && address == dns_address(family) => {
            return Verdict::Dropped(DropReason::DnsAddress);
        }
        _ if address == alias => return Verdict::Dropped(DropReason::LoopbackAlias),
        _ => {}
    }
    let (protocol, port) = (packet.protocol, packet.destination.port());
    if let Some(found) = find(cluster, settings, node, address, protocol, port) {
        return balance(cluster, settings, node, packet, address, &found);
    }
    let is_vip =
        |service: &&Service| is_balanced(service) && service.cluster_ips.contains(&address);
    if cluster.services.iter().any(|s| is_vip(&s)) && cluster_ip_counts(cluster, address) {
        Verdict::Refused
    } else if is_cluster_range(settings, node, address) {
        Verdict::Dropped(DropReason::ServiceUnknown)
    } else {
        Verdict::NotAService
    }
}

/// Who has an address and port: of several, the one of the better right, then the older.
fn find<'a>(
    cluster: &'a Cluster,
    settings: &ServiceSettings,
    node: &Node,
    address: IpAddr,
    protocol: Protocol,
    number: u16,
) -> Option<Match<'a>> {
    let family = Family::of(address);
    let mut found: Vec<Match<'a>> = Vec::new();
    let of_family = |s: &&Service| is_balanced(s) && s.cluster_ip(family).is_some();
    for service in cluster.services.iter().filter(of_family) {
        for port in service.ports.iter().filter(|p| p.protocol == protocol) {
            let mut add = |right, is_balancer| {
                found.push(Match {
                    right,
                    is_balancer,
                    service,
                    port,
                });
            };
            let is_port = port.port == number && number != 0;
            if is_port && service.cluster_ips.contains(&address) {
                if cluster_ip_counts(cluster, address) {
                    add(Right::ClusterIp, false);
                }
                continue;
            }
            let is_open = is_node_port(cluster, service, port, number)
                && (address == loopback_alias(family)
                    || opens_node_ports(cluster, settings, node, address));
            if is_open {
                add(Right::NodePort, false);
            }
            if is_port && external_counts(cluster, settings, service, address) {
                if has_balancer(service) && service.load_balancer_ips.contains(&address) {
                    add(Right::External, true);
                }
                if settings.external_ips && service.external_ips.contains(&address) {
                    add(Right::External, false);
                }
            }
        }
    }
    // A port of the same Service that comes first counts; so does the guarded address.
    found.sort_by(|a, b| {
        let key = |m: &Match<'_>| (m.right, m.service.created, m.service.name.clone());
        key(a).cmp(&key(b)).then(b.is_balancer.cmp(&a.is_balancer))
    });
    found.into_iter().next()
}

/// Whether a port of every node leads to this port of the Service. The one to which VXLAN frames
/// come is not opened.
fn is_node_port(cluster: &Cluster, service: &Service, port: &ServicePort, number: u16) -> bool {
    let kind = matches!(
        service.kind,
        ServiceKind::NodePort | ServiceKind::LoadBalancer
    );
    let vxlan = cluster.settings.vxlan.as_ref();
    let is_vxlan = port.protocol == Protocol::Udp && vxlan.is_some_and(|v| v.port == number);
    kind && number != 0 && port.node_port == Some(number) && !is_vxlan
}

fn balance(
    cluster: &Cluster,
    settings: &ServiceSettings,
    node: &Node,
    packet: &Packet,
    address: IpAddr,
    found: &Match<'_>,
) -> Verdict {
    let (service, family) = (found.service, Family::of(address));
    // Who may not use it is not told whether anybody is there (S20).
    if found.is_balancer && !is_let_in(node, packet, address, service) {
        return Verdict::Dropped(DropReason::ServiceSource);
    }
    let choice = choose(cluster, node, service, found.port, family);
    let is_local = match (found.right, packet.from) {
        (Right::ClusterIp, _) => service.internal_policy == TrafficPolicy::Local,
        // Own Pods and the node itself are as good as inside (S10).
        (_, Source::Outside(_)) => service.external_policy == TrafficPolicy::Local,
        _ => false,
    };
    let targets = if is_local {
        choice.local
    } else {
        choice.cluster.clone()
    };
    if choice.cluster.is_empty() && targets.is_empty() {
        return Verdict::Refused;
    }
    if targets.is_empty() {
        return Verdict::Dropped(DropReason::ServiceNotLocal);
    }
    let keeps = match packet.from {
        Source::Node => false,
        Source::Pod(_) => !settings.masquerade_all,
        Source::Outside(_) => is_local && found.right != Right::ClusterIp,
    };
    Verdict::Backends {
        targets,
        source: if keeps {
            SourceSeen::Kept
        } else {
            SourceSeen::Node
        },
        affinity: service.affinity.map(|wanted| affinity(cluster, wanted)),
    }
}

/// Whether the sender may use a load balancer's address (S20).
fn is_let_in(node: &Node, packet: &Packet, address: IpAddr, service: &Service) -> bool {
    let ranges = &service.source_ranges;
    let family = Family::of(address);
    let sender = match packet.from {
        Source::Pod(sender) | Source::Outside(sender) => Some(sender),
        Source::Node => node.address(family),
    };
    let in_ranges = |address: IpAddr| ranges.iter().any(|net| net.contains(&address));
    let own = node
        .addresses
        .iter()
        .filter(|own| Family::of(**own) == family);
    let mut own = own.copied();
    ranges.is_empty()
        || sender.is_some_and(in_ranges)
        || (sender == Some(address) && own.any(in_ranges))
}

/// The time that a client keeps its endpoint: the one asked for, or, where there are too many
/// different ones, the next longer that is among the longest.
fn affinity(cluster: &Cluster, wanted: u32) -> u32 {
    let seconds = |s: &Service| s.affinity.map(|seconds| seconds.clamp(1, 86_400));
    let balanced = cluster.services.iter().filter(|s| is_balanced(s));
    let all: BTreeSet<u32> = balanced.filter_map(seconds).collect();
    let longest: BTreeSet<u32> = all.into_iter().rev().take(MOST_TIMES).collect();
    let wanted = wanted.clamp(1, 86_400);
    longest.range(wanted..).next().copied().unwrap_or(wanted)
}
