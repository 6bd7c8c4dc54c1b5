//! The linter of cluster state: contradictions that no row can repair, in words, each with the
//! object, the field and the way out. Used in status and in tests; it plans nothing.

mod peers;
mod ports;
mod settings;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Family, Node, Pod, gateway, loopback_alias};
use serde::Serialize;

use crate::ipam::Pool;
use crate::planner::Planner;

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
    settings::findings(planner, &mut findings);
    peers::findings(planner, &mut findings);
    ports::findings(planner, &mut findings);
    duplicate_pod_addresses(planner, &mut findings);
    planner.service_findings(&mut findings);
    findings.sort();
    findings
}

/// Those about Services and about ports of the node. Costs nothing where nothing is wrong, however
/// many Services there are.
pub fn of_services(planner: &Planner) -> Vec<Finding> {
    let mut findings = Vec::new();
    ports::findings(planner, &mut findings);
    planner.service_findings(&mut findings);
    findings.sort();
    findings
}

pub(crate) fn finding(object: String, field: &'static str, message: String) -> Finding {
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
        let family = Family::of_net(net);
        for special in [loopback_alias(family), gateway(family)] {
            if net.contains(&special) {
                add(format!(
                    "{net} contains {special}, which every node keeps for itself; \
                     Pods need other networks"
                ));
            }
        }
        let overlapping = |other: &&IpNet| other.contains(net) || net.contains(*other);
        if let Some(other) = node.pod_cidrs[..index].iter().find(overlapping) {
            add(format!(
                "{net} overlaps {other} and is not used; remove one of them"
            ));
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
