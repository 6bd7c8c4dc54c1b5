//! The rules of the bridge: who may say what at which port, before the bridge learns from it.
//!
//! Only frames that enter at a Pod's port are judged; what the node itself sends is not.

use seaway_model::{DropReason, Family};

use super::groups;
use super::parts::Part;
use super::rules::{filter, inner};
use super::sets::guards::{PORT_MACS, bridge_sets, port_guards};
use super::words::{IcmpType, When};
use crate::nft::{CmpOp, Rule, TableFamily, TableSpec};

/// Router and neighbour discovery.
pub(super) const DISCOVERY: [IcmpType; 5] = [
    IcmpType::ROUTER_SOLICITATION,
    IcmpType::ROUTER_ADVERTISEMENT,
    IcmpType::NEIGHBOUR_SOLICITATION,
    IcmpType::NEIGHBOUR_ADVERTISEMENT,
    IcmpType::REDIRECT,
];
/// Is there a router?
pub(super) const ROUTERS_WANTED: IcmpType = IcmpType::ROUTER_SOLICITATION;
/// Who listens to which multicast groups.
pub(super) const LISTENERS: [IcmpType; 4] = [
    IcmpType::LISTENER_QUERY,
    IcmpType::LISTENER_REPORT,
    IcmpType::LISTENER_DONE,
    IcmpType::LISTENER_REPORT_V2,
];

/// Where those who ask for an address by DHCP hear the answer, and by DHCPv6: no Pod gives addresses
/// away.
const DHCP_CLIENTS: [u16; 2] = [68, 546];

const PREROUTING: u32 = 0;
const EARLY: i32 = -300;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Ethernet, IPv4, and the lengths of their addresses, as ARP says it.
const ARP_OF_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// The table.
pub(super) fn table() -> TableSpec {
    let ports = vec![
        When::from_group(groups::DYING).drop_silently(),
        When::not_from_group(groups::PODS).accept(),
        When::always()
            .unknown_in(PORT_MACS, &[Part::InterfaceName, Part::LinkSource])
            .drop(DropReason::PodMac),
        When::ether_type(IPV4).go("port-v4"),
        When::ether_type(IPV6).go("port-v6"),
        When::ether_type(ARP).go("port-arp"),
        When::always().drop(DropReason::PodProtocol),
    ];
    TableSpec {
        family: TableFamily::Bridge,
        chains: vec![
            inner("port-v4", ipv4()),
            inner("port-v6", ipv6()),
            inner("port-arp", arp()),
            filter("ports", PREROUTING, EARLY, ports),
        ],
        sets: bridge_sets(),
        verdicts: vec![],
        counters: [
            DropReason::PodSource,
            DropReason::PodMac,
            DropReason::PodArp,
            DropReason::PodDiscovery,
            DropReason::PodProtocol,
        ]
        .map(DropReason::as_str)
        .to_vec(),
    }
}

fn own(family: Family, address: Part) -> When {
    let key = [Part::InterfaceName, Part::LinkSource, address];
    When::always().known_in(port_guards(family), &key)
}

fn own_source(family: Family) -> Rule {
    own(family, Part::Source(family)).accept()
}

fn forged_source() -> Rule {
    When::always().drop(DropReason::PodSource)
}

fn arp() -> Vec<Rule> {
    let says = |offset, op, value: &[u8]| {
        When::always()
            .arp(offset, op, value)
            .drop(DropReason::PodArp)
    };
    let sender = [
        Part::InterfaceName,
        Part::ArpSenderMac,
        Part::ArpSenderAddress,
    ];
    vec![
        says(0, CmpOp::Neq, &ARP_OF_IPV4),
        // Only requests and replies.
        says(6, CmpOp::Eq, &[0, 0]),
        says(6, CmpOp::Gt, &[0, 2]),
        When::always()
            .known_in(port_guards(Family::V4), &sender)
            .accept(),
        When::always().drop(DropReason::PodArp),
    ]
}

fn offer(port: u16) -> Rule {
    When::always().udp_to(port).drop(DropReason::PodDiscovery)
}

fn ipv4() -> Vec<Rule> {
    vec![
        offer(DHCP_CLIENTS[0]),
        own_source(Family::V4),
        forged_source(),
    ]
}

fn ipv6() -> Vec<Rule> {
    let unspecified = std::net::Ipv6Addr::UNSPECIFIED.into();
    let any = || When::always();
    let solicitation = IcmpType::NEIGHBOUR_SOLICITATION;
    let target = [Part::InterfaceName, Part::LinkSource, Part::DiscoveryTarget];
    let guards = port_guards(Family::V6);
    let mut rules = vec![
        any()
            .icmp6(IcmpType::ROUTER_ADVERTISEMENT)
            .drop(DropReason::PodDiscovery),
        any()
            .icmp6(IcmpType::REDIRECT)
            .drop(DropReason::PodDiscovery),
        any()
            .icmp6(IcmpType::NEIGHBOUR_ADVERTISEMENT)
            .unknown_in(guards, &target)
            .drop(DropReason::PodDiscovery),
        // A kernel that asks whether its own address is free, or reports its multicast groups
        // before it has one, does nothing wrong. Nobody needs to hear it.
        any()
            .icmp6(solicitation)
            .source(unspecified)
            .known_in(guards, &target)
            .drop_silently(),
        any()
            .icmp6(IcmpType::LISTENER_REPORT_V2)
            .source(unspecified)
            .drop_silently(),
        offer(DHCP_CLIENTS[1]),
        own_source(Family::V6),
    ];
    // What is left has a forged source.
    rules.extend(DISCOVERY.map(|kind| any().icmp6(kind).drop(DropReason::PodDiscovery)));
    rules.push(forged_source());
    rules
}
