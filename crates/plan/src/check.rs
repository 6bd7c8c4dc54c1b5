//! The linter of cluster state: contradictions that no row can repair, in words, each with the
//! object, the field and the way out. Used in status and in tests; it plans nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Family, Node, NodeName, Pod};
use serde::Serialize;

use crate::ipam::Pool;
use crate::planner::Planner;
use crate::rows::conflict;

/// Something that is wrong with the cluster's objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The object, for example `node b`.
    pub object: String,
    /// The field.
    pub field: &'static str,
    /// What is wrong, what follows, and what to do.
    pub message: String,
}

/// All findings, as the planner's node sees them.
pub fn findings(planner: &Planner) -> Vec<Finding> {
    let mut findings = Vec::new();
    own_node(planner, &mut findings);
    for peer in planner
        .nodes()
        .values()
        .filter(|node| node.name != *planner.name())
    {
        peer_node(planner, peer, &mut findings);
    }
    overlapping_peers(planner, &mut findings);
    duplicate_pod_addresses(planner, &mut findings);
    findings.sort();
    findings
}

fn finding(object: String, field: &'static str, message: String) -> Finding {
    Finding {
        object,
        field,
        message,
    }
}

fn own_node(planner: &Planner, findings: &mut Vec<Finding>) {
    let object = format!("node {}", planner.name());
    match planner.node() {
        None => findings.push(finding(
            object,
            "name",
            "the cluster has no node of this name, so no Pod can be given an address; \
             check --node-name"
                .to_owned(),
        )),
        Some(node) if !node.pod_cidrs.is_empty() => own_pod_cidrs(&object, node, findings),
        Some(_) => findings.push(finding(
            object,
            "podCIDRs",
            "it is empty, so no Pod can be given an address".to_owned(),
        )),
    }
}

fn own_pod_cidrs(object: &str, node: &Node, findings: &mut Vec<Finding>) {
    for (index, net) in node.pod_cidrs.iter().enumerate() {
        let mut add = |message| findings.push(finding(object.to_owned(), "podCIDRs", message));
        if let Err(too_small) = Pool::new(*net) {
            add(too_small.to_string());
        }
        if let Some(address) = node.addresses.iter().find(|address| net.contains(*address)) {
            add(format!(
                "{net} contains the node's own address {address}; Pods need other networks"
            ));
        }
        let overlapping = |other: &&IpNet| other.contains(net) || net.contains(*other);
        if let Some(other) = node.pod_cidrs[..index].iter().find(overlapping) {
            add(format!(
                "{net} overlaps {other} and is not used; remove one of them"
            ));
        }
    }
}

fn peer_node(planner: &Planner, peer: &Node, findings: &mut Vec<Finding>) {
    let addresses = planner
        .uplink()
        .map(|uplink| &uplink.addresses[..])
        .unwrap_or_default();
    for net in &peer.pod_cidrs {
        let object = format!("node {}", peer.name);
        let family = Family::of_net(net);
        if let Some(why) = conflict(net, planner.pod_cidrs(), addresses) {
            let message = format!("{net} is not routed: {why}; give each node its own pod CIDRs");
            findings.push(finding(object, "podCIDRs", message));
        } else if peer.address(family).is_none() {
            let message = format!("it has no {family} address, so pod CIDR {net} is not reachable");
            findings.push(finding(object, "addresses", message));
        }
    }
}

fn overlapping_peers(planner: &Planner, findings: &mut Vec<Finding>) {
    let mut nets: Vec<(IpNet, &NodeName)> = planner
        .nodes()
        .values()
        .filter(|node| node.name != *planner.name())
        .flat_map(|node| node.pod_cidrs.iter().map(|net| (net.trunc(), &node.name)))
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

fn duplicate_pod_addresses(planner: &Planner, findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<IpAddr, &Pod> = BTreeMap::new();
    let live = |pod: &&Pod| !pod.host_network && !pod.phase.is_terminal();
    for pod in planner.pods().values().filter(live) {
        for address in &pod.addresses {
            if let Some(first) = seen.insert(*address, pod) {
                let message = format!("{address} is also an address of Pod {}", first.name);
                findings.push(finding(format!("Pod {}", pod.name), "addresses", message));
            }
        }
    }
}
