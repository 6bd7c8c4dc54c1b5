//! What is wrong with ranges that nodes have. They are left as they are: Kubernetes forbids to change
//! them, and Pods use their addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use super::{ClusterCidr, ranges_of};
use crate::meta;

/// By node's uid, what somebody should know.
pub(super) fn doubts(pools: &[ClusterCidr], nodes: &[Arc<Node>]) -> BTreeMap<String, String> {
    let mut all = shared(nodes);
    for node in nodes {
        let doubts = unfit(pools, &ranges_of(node));
        if !doubts.is_empty() {
            let uid = meta::uid(&node.metadata).to_owned();
            all.entry(uid).or_default().extend(doubts);
        }
    }
    all.into_iter()
        .map(|(uid, doubts)| (uid, doubts.join("; ")))
        .collect()
}

fn same_family(left: &IpNet, right: &IpNet) -> bool {
    left.max_prefix_len() == right.max_prefix_len()
}

/// What does not fit to the cluster ranges.
fn unfit(pools: &[ClusterCidr], ranges: &[IpNet]) -> Vec<String> {
    if ranges.is_empty() {
        return Vec::new();
    }
    let inside = |range: &&IpNet| !pools.iter().any(|pool| pool.cidr().contains(*range));
    let outside = ranges.iter().filter(inside).map(|range| {
        let all: Vec<String> = pools.iter().map(|pool| pool.cidr().to_string()).collect();
        format!(
            "{range} lies outside of the cluster CIDRs ({})",
            all.join(", ")
        )
    });
    let lacks = pools.iter().filter(|pool| {
        let mut ranges = ranges.iter();
        !ranges.any(|range| same_family(range, &pool.cidr()))
    });
    let lacks = lacks.map(|pool| format!("it has no range of {}", pool.cidr()));
    outside.chain(lacks).collect()
}

/// Who has addresses that another node has too: told of the later one.
fn shared(nodes: &[Arc<Node>]) -> BTreeMap<String, Vec<String>> {
    let mut ranges: Vec<(IpNet, &Arc<Node>)> = nodes
        .iter()
        .flat_map(|node| ranges_of(node).into_iter().map(move |range| (range, node)))
        .collect();
    // By first address, the wider first: whoever overlaps comes behind what reaches furthest.
    ranges.sort_by_key(|(range, _)| (range.network(), range.prefix_len()));
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let mut widest: Option<(IpAddr, IpNet, &Arc<Node>)> = None;
    for (range, node) in ranges {
        if let Some((end, other_range, other)) = widest
            && same_family(&range, &other_range)
            && range.network() <= end
        {
            let later = |node: &Node| {
                (
                    meta::created(&node.metadata),
                    meta::name(&node.metadata).to_owned(),
                )
            };
            let (late, early, theirs) = match later(node) >= later(other) {
                true => (node, other, other_range),
                false => (other, node, range),
            };
            let doubt = format!(
                "its range overlaps with {theirs} of node {}",
                meta::name(&early.metadata)
            );
            let uid = meta::uid(&late.metadata).to_owned();
            found.entry(uid).or_default().push(doubt);
            if range.broadcast() <= end {
                continue;
            }
        }
        widest = Some((range.broadcast(), range, node));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, created: &str, ranges: &[&str]) -> Arc<Node> {
        let created = format!("2026-01-01T00:00:{created}Z");
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "creationTimestamp": created},
                "spec": {"podCIDRs": ranges, "podCIDR": ranges.first()},
            }))
            .expect("a Node"),
        )
    }

    fn pools() -> [ClusterCidr; 2] {
        [("10.244.0.0/16", 24), ("fd00:10:244::/56", 64)].map(|(cidr, mask)| {
            ClusterCidr::new(cidr.parse().expect("a CIDR"), mask, 0).expect("a pool")
        })
    }

    #[test]
    fn ranges_that_fit_raise_no_doubt_and_none_is_none() {
        let nodes = [
            node("a", "00", &["10.244.0.0/24", "fd00:10:244::/64"]),
            node("b", "01", &["10.244.1.0/24", "fd00:10:244:1::/64"]),
            node("c", "02", &[]),
        ];
        assert_eq!(doubts(&pools(), &nodes), BTreeMap::new());
    }

    #[test]
    fn ranges_outside_and_families_that_lack_are_told() {
        let nodes = [node("a", "00", &["10.1.0.0/24"])];
        let all = doubts(&pools(), &nodes);
        assert_eq!(
            all["a"],
            "10.1.0.0/24 lies outside of the cluster CIDRs (10.244.0.0/16, fd00:10:244::/56); \
             it has no range of fd00:10:244::/56"
        );
    }

    #[test]
    fn a_range_that_two_have_is_told_of_the_later_one() {
        let nodes = [
            node("late", "09", &["10.244.0.0/24"]),
            node("early", "00", &["10.244.0.128/25"]),
            node("next", "03", &["10.244.1.0/24"]),
            node("twin", "04", &["10.244.1.0/24"]),
        ];
        let found = shared(&nodes);
        let told: Vec<_> = found
            .iter()
            .map(|(uid, doubts)| (uid.as_str(), doubts.join(" ")))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "late",
                    "its range overlaps with 10.244.0.128/25 of node early".to_owned()
                ),
                (
                    "twin",
                    "its range overlaps with 10.244.1.0/24 of node next".to_owned()
                ),
            ]
        );
    }
}
