//! Addresses that only this node uses: what stands for its loopback address while a packet is
//! translated, and where its Pods ask for names.
//!
//! Both are the same on every node, so nobody on the wire may use them.

use std::net::IpAddr;

use seaway_model::{DropReason, Family, FirewallRow, View, dns_address};

use super::groups;
use super::parts::Part;
use super::services::filter::refused_loopback;
use super::sets::host_ports::host_ports;
use super::sets::services::frontends;
use super::words::{When, alias, loopback};
use crate::nft::Rule;

/// Whether Pods ask for names at the address of the node.
fn has_names(row: &FirewallRow) -> bool {
    row.services.as_ref().is_some_and(|services| services.dns)
}

fn from(address: IpAddr, reason: DropReason) -> Rule {
    When::of_family(Family::of(address))
        .source(address)
        .drop(reason)
}

fn to(address: IpAddr, reason: DropReason) -> Rule {
    When::of_family(Family::of(address))
        .destination(address)
        .drop(reason)
}

/// What comes in by the wire is neither from them nor to them.
pub(super) fn of_nobody(row: &FirewallRow) -> Vec<Rule> {
    let mut rules = of_no_pod(row);
    if has_names(row) {
        let reason = DropReason::DnsAddress;
        rules.extend(Family::ALL.map(|family| to(dns_address(family), reason)));
    }
    rules
}

/// What a Pod sends is neither from them nor to the alias.
pub(super) fn of_no_pod(row: &FirewallRow) -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in Family::ALL {
        let reason = DropReason::LoopbackAlias;
        rules.extend([from(alias(family), reason), to(alias(family), reason)]);
        if has_names(row) {
            rules.push(from(dns_address(family), DropReason::DnsAddress));
        }
    }
    rules
}

/// Does a port of the node lead elsewhere what is sent from its loopback address to itself? Then
/// another address stands for it until it is back, because the kernel does not route loopback
/// addresses.
pub(super) fn from_loopback(row: &FirewallRow) -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in Family::ALL {
        let looped = || {
            When::of_family(family)
                .source(loopback(family))
                .destination(loopback(family))
        };
        let port = [Part::Protocol, Part::Port];
        let at = [Part::Alias(family), Part::Protocol, Part::Port];
        let mut led = vec![
            looped().leads(host_ports(family, false), &port),
            looped().leads(host_ports(family, true), &at),
        ];
        if row.services.is_some() {
            rules.push(refused_loopback(looped(), family));
            led.push(looped().leads(frontends(View::Everyone, family), &at));
        }
        rules.extend(led.into_iter().map(|when| when.rewrite_ends(alias(family))));
    }
    rules
}

/// What comes back to the loopback address gets it back.
pub(super) fn back_to_loopback() -> Vec<Rule> {
    let rules = Family::ALL.map(|family| {
        When::of_family(family)
            .source(alias(family))
            .destination(alias(family))
            .rewrite_ends(loopback(family))
    });
    rules.to_vec()
}

/// Nothing of them leaves the node; names are told to its Pods.
pub(super) fn staying(row: &FirewallRow) -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in Family::ALL {
        let leaving = || When::to_wire().family(family);
        let reason = DropReason::LoopbackAlias;
        rules.push(leaving().source(alias(family)).drop(reason));
        rules.push(leaving().destination(alias(family)).drop(reason));
        if has_names(row) {
            let beyond = || {
                leaving()
                    .not_to_group(groups::PODS)
                    .not_to_group(groups::BRIDGE)
            };
            let (names, reason) = (dns_address(family), DropReason::DnsAddress);
            rules.push(beyond().source(names).drop(reason));
            rules.push(beyond().destination(names).drop(reason));
        }
    }
    rules
}
