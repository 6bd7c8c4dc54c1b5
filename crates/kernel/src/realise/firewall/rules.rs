//! The static part of the firewall: chains and rules, made from one row.
//!
//! In the order in which a packet meets them:
//! 1. prerouting: what a Pod may not send is dropped, before conntrack sees it;
//! 2. prerouting and output: Services refuse or drop what no backend takes, then Services and ports
//!    of the node lead to Pods;
//! 3. input: VXLAN frames are admitted, loopback traffic gets its addresses back;
//! 4. forward: flows of Pods are counted first and last, so that what others drop shows;
//! 5. postrouting: Pods that leave the cluster get the node's address, and so do those whom a
//!    Service leads to where their own would not be answered.
//!
//! The rules of a bridge are in [`super::bridge`], those of Services in [`super::services`], those of
//! addresses that only this node uses in [`super::reserved`]. Data are in sets ([`super::sets`]).

use ipnet::IpNet;
use seaway_model::{DropReason, Family, FirewallRow, ServiceRules, VxlanGuard, Wiring};

use super::parts::Part;
use super::sets::host_ports::host_ports;
use super::sets::inet_sets;
use super::sets::peers::{cluster_nets, inner_sources, vteps};
use super::sets::services::local_pods;
use super::words::{Drawn, When, alias, link_local, multicast, unspecified};
use super::{bridge, groups, reserved, services};
use crate::nft::{ChainKind, ChainSpec, Hook, Rule, TableFamily, TableSpec, VerdictMap};

/// The first counter of flows of Pods that are forwarded.
pub(super) const FORWARD_IN: &str = "forward-in";
/// The last one.
pub(super) const FORWARD_OUT: &str = "forward-out";

const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// Before conntrack, behind the assembly of fragments.
const RAW: i32 = -300;
/// `NF_IP_PRI_NAT_DST` and `_SRC`.
const TRANSLATE_DESTINATION: i32 = -100;
const TRANSLATE_SOURCE: i32 = 100;
/// Behind all translation.
const LATE: i32 = 300;
/// Before and behind everybody else.
const FIRST: i32 = -2_000_000_000;
const LAST: i32 = 2_000_000_000;

/// Ports of the node.
const HOST_PORTS: &str = "host-ports";
/// The chains of what a Pod sends.
const FROM_POD: &str = "from-pod";
const FROM_POD_ICMPV6: &str = "from-pod-icmpv6";
/// Its number in an IP header (IANA).
const ICMPV6: u8 = 58;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The tables that a row stands for.
pub(super) fn tables(row: &FirewallRow) -> Vec<TableSpec> {
    let mut tables = vec![inet_table(row), arp_table()];
    if row.wiring == Wiring::Bridge {
        tables.push(bridge::table());
    }
    tables
}

pub(super) fn filter(name: &str, number: u32, priority: i32, rules: Vec<Rule>) -> ChainSpec {
    base(name, ChainKind::Filter, number, priority, rules)
}

fn base(name: &str, kind: ChainKind, number: u32, priority: i32, rules: Vec<Rule>) -> ChainSpec {
    ChainSpec {
        name: name.to_owned(),
        hook: Some(Hook {
            kind,
            number,
            priority,
        }),
        rules,
    }
}

/// A chain that is entered from others.
pub(super) fn inner(name: &str, rules: Vec<Rule>) -> ChainSpec {
    ChainSpec {
        name: name.to_owned(),
        hook: None,
        rules,
    }
}

/// Nothing of a Pod needs ARP where its neighbours are permanent. What a bridge takes in is ARP of
/// the bridge, not of its port; only frames to the reserved addresses of IEEE 802.1D
/// (01:80:c2:00:00:0x) pass the bridge and its filters by, and are the port's.
fn arp_table() -> TableSpec {
    let rules = vec![
        When::from_group(groups::DYING).drop_silently(),
        When::from_group(groups::PODS).drop(DropReason::PodArp),
    ];
    TableSpec {
        family: TableFamily::Arp,
        chains: vec![filter("input", 0, 0, rules)],
        sets: vec![],
        verdicts: vec![],
        counters: vec![DropReason::PodArp.as_str()],
    }
}

fn inet_table(row: &FirewallRow) -> TableSpec {
    use ChainKind::Nat;
    let mut chains: Vec<ChainSpec> = Vec::new();
    if let Some(vxlan) = &row.vxlan {
        chains.extend(vxlan_chains(vxlan));
    }
    if row.masquerade {
        chains.extend(Family::ALL.map(|family| leaving_chain(row, family)));
    }
    chains.extend(pod_chains(row));
    chains.push(inner(HOST_PORTS, to_host_ports()));
    chains.extend(service_chains(row));
    chains.extend([
        filter("prerouting", PREROUTING, RAW, prerouting(row)),
        base(
            "translate",
            Nat,
            PREROUTING,
            TRANSLATE_DESTINATION,
            translate(row, services::balance::arriving),
        ),
        base(
            "translate-output",
            Nat,
            OUTPUT,
            TRANSLATE_DESTINATION,
            translate(row, |_, _| services::balance::made_here()),
        ),
        filter(
            "loopback-output",
            OUTPUT,
            RAW - 10,
            reserved::from_loopback(row),
        ),
        filter("input", INPUT, 0, input(row)),
        filter("loopback-input", INPUT, LATE, reserved::back_to_loopback()),
        filter(
            "forward-first",
            FORWARD,
            FIRST,
            forwarded(row.wiring, FORWARD_IN),
        ),
        filter(
            "forward-last",
            FORWARD,
            LAST,
            forwarded(row.wiring, FORWARD_OUT),
        ),
        base(
            "postrouting",
            Nat,
            POSTROUTING,
            TRANSLATE_SOURCE,
            postrouting(row),
        ),
        filter(
            "loopback-postrouting",
            POSTROUTING,
            LATE,
            reserved::staying(row),
        ),
    ]);
    let mut counters = vec![FORWARD_IN, FORWARD_OUT];
    counters.extend(DropReason::ALL.map(DropReason::as_str));
    TableSpec {
        family: TableFamily::Inet,
        chains,
        sets: inet_sets(row.services.as_ref()),
        verdicts: service_maps(row),
        counters,
    }
}

/// The chains of Services.
fn service_chains(row: &FirewallRow) -> Vec<ChainSpec> {
    let Some(rules) = &row.services else {
        return Vec::new();
    };
    let mut chains = services::filter::chains(rules, pods(row.wiring));
    chains.extend(services::invalid::chains(row, pods(row.wiring)));
    chains.extend(services::balance::chains(rules, HOST_PORTS));
    chains.extend(services::source::chains(rules));
    let remembered = services::source::first(rules);
    if !remembered.is_empty() {
        // What leads to the node itself does not come to postrouting.
        let (kind, priority) = (ChainKind::Nat, TRANSLATE_SOURCE);
        chains.push(base("remember-input", kind, INPUT, priority, remembered));
    }
    chains
}

fn service_maps(row: &FirewallRow) -> Vec<VerdictMap> {
    let Some(rules) = &row.services else {
        return Vec::new();
    };
    [
        services::filter::maps(),
        services::balance::maps(rules),
        services::source::maps(rules),
    ]
    .concat()
}

/// Services come before ports of the node.
fn translate(row: &FirewallRow, balanced: fn(&ServiceRules, u32) -> Vec<Rule>) -> Vec<Rule> {
    match &row.services {
        Some(rules) => balanced(rules, pods(row.wiring)),
        None => vec![When::always().go(HOST_PORTS)],
    }
}

pub(super) fn pods(wiring: Wiring) -> u32 {
    match wiring {
        Wiring::Routed => groups::PODS,
        Wiring::Bridge => groups::BRIDGE,
    }
}

/// What comes in: each packet meets as few rules as can be, for all pass here.
fn prerouting(row: &FirewallRow) -> Vec<Rule> {
    let mut rules = vec![
        When::from_group(pods(row.wiring)).go(FROM_POD),
        When::from_group(groups::DYING).drop_silently(),
    ];
    if row.wiring == Wiring::Bridge {
        // A link that is not at the bridge (yet) has nothing to say.
        rules.push(When::from_group(groups::PODS).drop(DropReason::PodSource));
    }
    rules.push(When::from_loopback().accept());
    rules.extend(reserved::of_nobody(row));
    rules
}

/// What a Pod sends.
fn pod_chains(row: &FirewallRow) -> [ChainSpec; 2] {
    let mut rules = vec![When::always().protocol(ICMPV6).go(FROM_POD_ICMPV6)];
    rules.extend(reserved::of_no_pod(row));
    if let Some(vxlan) = &row.vxlan {
        let to_vtep = When::always().udp_to(vxlan.port).for_node();
        rules.push(to_vtep.drop(DropReason::PodToVtep));
    }
    let link_local = || When::of_family(Family::V6).source_in(&link_local());
    match row.wiring {
        Wiring::Routed => {
            rules.push(link_local().drop(DropReason::PodSource));
            // The kernel's look-up lets these pass, for the sake of DHCP.
            let nobody = When::of_family(Family::V4).source_in(&unspecified());
            rules.push(nobody.drop(DropReason::PodSource));
        }
        Wiring::Bridge => rules.push(link_local().accept()),
    }
    rules.push(When::always().not_routed_back().drop(DropReason::PodSource));
    [
        inner(FROM_POD_ICMPV6, pod_icmpv6(row)),
        inner(FROM_POD, rules),
    ]
}

fn pod_icmpv6(row: &FirewallRow) -> Vec<Rule> {
    let of_type = |kind| When::always().icmp6(kind);
    let link_local = || When::of_family(Family::V6).source_in(&link_local());
    let mut rules = reserved::of_no_pod(row);
    match row.wiring {
        Wiring::Routed => {
            // Every kernel asks for routers unless it is told not to.
            rules.push(of_type(bridge::ROUTERS_WANTED).drop_silently());
            rules.extend(bridge::DISCOVERY.map(|k| of_type(k).drop(DropReason::PodDiscovery)));
            // Every kernel reports the multicast groups that it is in; nobody here listens.
            rules.extend(bridge::LISTENERS.map(|k| of_type(k).drop_silently()));
            rules.push(link_local().drop(DropReason::PodSource));
        }
        Wiring::Bridge => {
            // These were judged at the ports of the bridge.
            let judged = bridge::DISCOVERY.into_iter().chain(bridge::LISTENERS);
            rules.extend(judged.map(|kind| of_type(kind).accept()));
            rules.push(link_local().accept());
        }
    }
    rules.push(When::always().not_routed_back().drop(DropReason::PodSource));
    rules
}

fn to_host_ports() -> Vec<Rule> {
    let rules = Family::ALL.map(|family| {
        let port = [Part::Protocol, Part::Port];
        let at = [Part::Destination(family), Part::Protocol, Part::Port];
        let for_node = || When::of_family(family).for_node();
        [
            for_node()
                .leads(host_ports(family, true), &at)
                .translate(family),
            for_node()
                .leads(host_ports(family, false), &port)
                .translate(family),
        ]
    });
    rules.concat()
}

fn input(row: &FirewallRow) -> Vec<Rule> {
    let to_vtep = |vxlan: &VxlanGuard| When::always().udp_to(vxlan.port).go("vxlan");
    row.vxlan.iter().map(to_vtep).collect()
}

fn vxlan_chains(vxlan: &VxlanGuard) -> [ChainSpec; 3] {
    let underlay = vxlan.underlay;
    let other = match underlay {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    let frame = vec![
        When::of_family(other).drop(DropReason::VtepUnknown),
        When::always()
            .unknown_in(vteps(underlay), &[Part::Source(underlay)])
            .drop(DropReason::VtepUnknown),
        When::always()
            .vni_is_not(vxlan.vni)
            .drop(DropReason::VtepNetwork),
        When::always().inner_type(ETHERTYPE_IPV4).go("vxlan-v4"),
        When::always().inner_type(ETHERTYPE_IPV6).go("vxlan-v6"),
        When::always().drop(DropReason::VtepInnerProtocol),
    ];
    let packet = |family| {
        let mut rules = Vec::new();
        for (_, length) in vxlan.inner_lengths.iter().filter(is_family(family)) {
            let key = [
                Part::Source(underlay),
                Part::Length(*length),
                Part::InnerSourceNet(family, *length),
            ];
            rules.push(
                When::always()
                    .known_in(inner_sources(underlay, family), &key)
                    .accept(),
            );
        }
        rules.push(When::always().drop(DropReason::VtepInnerSource));
        rules
    };
    [
        inner("vxlan-v4", packet(Family::V4)),
        inner("vxlan-v6", packet(Family::V6)),
        inner("vxlan", frame),
    ]
}

/// Of pairs of family and length, those of a family.
pub(super) fn is_family(family: Family) -> impl Fn(&&(Family, u8)) -> bool {
    move |(of, _)| *of == family
}

fn forwarded(wiring: Wiring, counter: &str) -> Vec<Rule> {
    let pods = pods(wiring);
    vec![
        When::to_group(pods).beginning().count(counter),
        // Each flow counts once.
        When::to_group(pods).accept(),
        When::from_group(pods).beginning().count(counter),
    ]
}

fn postrouting(row: &FirewallRow) -> Vec<Rule> {
    let services = row.services.as_ref();
    let mut rules: Vec<Rule> = services.map(services::source::first).unwrap_or_default();
    for family in Family::ALL {
        let of = || When::of_family(family);
        let alias = || of().source(alias(family));
        let appear = |when: When| match services {
            Some(services) => services::source::appear(when, row, services, family),
            None => when.masquerade(Drawn::of(row)),
        };
        // To the node itself: there it gets the loopback address back when it is answered.
        rules.push(alias().by_loopback().accept());
        rules.push(appear(alias()));
        let ends = [Part::Source(family), Part::Destination(family)];
        let to_itself = of().translated().known_in(local_pods(family), &ends);
        rules.push(appear(to_itself));
    }
    if let Some(services) = services {
        rules.extend(services::source::of_pods(row, services));
    }
    let of_pod = |net: &IpNet| {
        let family = Family::of_net(net);
        let of_pod = When::of_family(family).source_in(net);
        match row.masquerade {
            true => of_pod.go(leaving(family)),
            false => of_pod.accept(),
        }
    };
    rules.extend(row.own_nets.iter().map(of_pod));
    rules.extend(
        services
            .map(|services| services::source::of_others(row, services))
            .unwrap_or_default(),
    );
    rules
}

fn leaving(family: Family) -> &'static str {
    match family {
        Family::V4 => "leaving-v4",
        Family::V6 => "leaving-v6",
    }
}

/// What has a Pod as its source: does it leave the cluster?
fn leaving_chain(row: &FirewallRow, family: Family) -> ChainSpec {
    let staying = [groups::PODS, groups::BRIDGE, groups::VXLAN];
    let mut rules: Vec<Rule> = staying.map(|group| When::to_group(group).accept()).to_vec();
    rules.push(When::to_loopback().accept());
    rules.push(When::always().destination_in(&multicast(family)).accept());
    for (_, length) in row.cluster_lengths.iter().filter(is_family(family)) {
        let key = [Part::Length(*length), Part::DestinationNet(family, *length)];
        rules.push(When::always().known_in(cluster_nets(family), &key).accept());
    }
    if let Some(vxlan) = &row.vxlan {
        // With the node's address it would come to other nodes as a frame of this node's VTEP.
        let forged = When::always().udp_to(vxlan.port);
        rules.push(forged.drop(DropReason::PodToVtep));
    }
    rules.push(When::always().masquerade(Drawn::of(row)));
    inner(leaving(family), rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_the_reason_of_some_rule() {
        let text: String = [Wiring::Routed, Wiring::Bridge]
            .map(|wiring| {
                let row = FirewallRow {
                    wiring,
                    own_nets: [IpNet::V4("10.0.0.0/24".parse().expect("valid"))].into(),
                    vxlan: Some(VxlanGuard {
                        vni: 1,
                        port: 4789,
                        underlay: Family::V4,
                        inner_lengths: [(Family::V4, 24)].into(),
                    }),
                    masquerade: true,
                    cluster_lengths: [(Family::V4, 24)].into(),
                    services: Some(ServiceRules {
                        service_cidrs: [IpNet::V4("10.96.0.0/16".parse().expect("valid"))].into(),
                        dns: true,
                        ..ServiceRules::default()
                    }),
                };
                format!("{:?}", tables(&row))
            })
            .concat();
        for reason in DropReason::ALL {
            let counted = format!("Counter {{ name: \"{reason}\" }}");
            assert!(text.contains(&counted), "{reason}");
        }
    }
}
