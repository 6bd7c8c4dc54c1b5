//! What is wrong with other nodes, as this node sees them: no way to their Pods, and claims to
//! what belongs to somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Family, Node, NodeName, Transport};

use super::{Finding, finding};
use crate::context::Obstacle;
use crate::planner::Planner;

/// Adds the findings about other nodes.
pub(super) fn findings(planner: &Planner, findings: &mut Vec<Finding>) {
    for peer in others(planner) {
        for net in &peer.pod_cidrs {
            pod_cidr(planner, peer, net, findings);
        }
    }
    overlapping(planner, findings);
    duplicate_addresses(planner, findings);
    addresses_of_pods(planner, findings);
}

fn others(planner: &Planner) -> impl Iterator<Item = &Node> {
    let nodes = planner.nodes().values();
    nodes.filter(|node| node.name != *planner.name())
}

fn pod_cidr(planner: &Planner, peer: &Node, net: &IpNet, findings: &mut Vec<Finding>) {
    let object = format!("node {}", peer.name);
    let context = planner.context();
    if let Some(why) = context.conflict(peer, net) {
        let message = format!("{net} is not routed: {why}; give each node its own pod CIDRs");
        findings.push(finding(object, "podCIDRs", message));
    } else if let Err(obstacle) = context.way(peer, Family::of_net(net)) {
        let transport = planner.settings().transport;
        if let Some(message) = no_way(obstacle, transport, net) {
            findings.push(finding(object, "addresses", message));
        }
    }
}

/// What to say of a pod CIDR that cannot be reached; nothing where the reason is not the peer's.
fn no_way(obstacle: Obstacle, transport: Transport, net: &IpNet) -> Option<String> {
    match obstacle {
        Obstacle::NotReady | Obstacle::VxlanOff | Obstacle::NoOwnVtep(_) => None,
        Obstacle::NoAddress(family) => Some(format!(
            "it has no {family} address, so pod CIDR {net} is not reachable"
        )),
        Obstacle::NotOnLink(address) if transport == Transport::Auto => Some(format!(
            "{address} is in no network of this node's uplink and VXLAN is switched off, so pod \
             CIDR {net} is not reachable; switch VXLAN on"
        )),
        Obstacle::NotOnLink(address) => Some(format!(
            "transport {transport} needs every node on one link: {address} is in no network of \
             this node's uplink, so pod CIDR {net} is not reachable; use --transport auto or vxlan"
        )),
        Obstacle::NoVtep(family) => Some(format!(
            "it has no {family} address of its own for the outer packets of VXLAN, so pod CIDR \
             {net} is not reachable; give it one, or choose the other family as the underlay on \
             every node"
        )),
    }
}

fn overlapping(planner: &Planner, findings: &mut Vec<Finding>) {
    let nets_of =
        |node: &'_ Node| -> Vec<IpNet> { node.pod_cidrs.iter().map(IpNet::trunc).collect() };
    let mut nets: Vec<(IpNet, &NodeName)> = others(planner)
        .flat_map(|node| nets_of(node).into_iter().map(|net| (net, &node.name)))
        .collect();
    nets.sort();
    // Sorted by address, then length: an overlapping network follows the one that holds it,
    // with nothing but other networks of the same holder between.
    let mut holder: Option<(IpNet, &NodeName)> = None;
    for (net, node) in nets {
        match holder {
            Some((wide, first)) if wide.contains(&net) => {
                if first != node {
                    let message = format!("{net} overlaps {wide} of node {first}");
                    findings.push(finding(format!("node {node}"), "podCIDRs", message));
                }
            }
            _ => holder = Some((net, node)),
        }
    }
}

/// Two nodes of one address are one to everybody else, in VXLAN above all.
fn duplicate_addresses(planner: &Planner, findings: &mut Vec<Finding>) {
    let own = planner.context().own_addresses();
    let mut seen: BTreeMap<IpAddr, &NodeName> = own.map(|a| (a, planner.name())).collect();
    for node in others(planner) {
        for address in &node.addresses {
            let first = *seen.entry(*address).or_insert(&node.name);
            if *first != node.name {
                let message = format!(
                    "{address} is also an address of node {first}, so what is for one gets to \
                     the other; give each node its own"
                );
                findings.push(finding(format!("node {}", node.name), "addresses", message));
            }
        }
    }
}

/// A node whose address is in another's pod CIDR: packets for it get to that one's Pods, and one of
/// these could speak for it.
fn addresses_of_pods(planner: &Planner, findings: &mut Vec<Finding>) {
    let nodes = planner.nodes().values();
    let nets: BTreeMap<IpNet, &NodeName> = nodes
        .flat_map(|node| node.pod_cidrs.iter().map(|net| (net.trunc(), &node.name)))
        .collect();
    // Few, so that each address costs a few look-ups however many nodes there are.
    let lengths: BTreeSet<u8> = nets.keys().map(IpNet::prefix_len).collect();
    for node in others(planner) {
        for address in &node.addresses {
            let around = |length: &u8| {
                let net = IpNet::new(*address, *length).ok()?.trunc();
                let holder = nets.get(&net).filter(|holder| ***holder != node.name)?;
                Some((net, *holder))
            };
            if let Some((net, holder)) = lengths.iter().find_map(around) {
                let message = format!(
                    "{address} is in pod CIDR {net} of node {holder}, so a Pod there may get what \
                     is for this node; give nodes addresses outside all pod CIDRs"
                );
                findings.push(finding(format!("node {}", node.name), "addresses", message));
            }
        }
    }
}
