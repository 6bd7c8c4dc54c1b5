//! Tables and properties of range allocation.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pool(cidr: &str, mask: u8, first: u64) -> ClusterCidr {
    ClusterCidr::new(cidr.parse().expect("a CIDR"), mask, first).expect("a pool")
}

fn node(name: &str, created: &str, ranges: &[&str]) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": created},
            "spec": {"podCIDRs": ranges, "podCIDR": ranges.first()},
        }))
        .expect("a Node"),
    )
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-01T00:00:01Z";

fn told(pools: &[ClusterCidr], nodes: &[Arc<Node>]) -> Vec<String> {
    assign(pools, nodes, &BTreeMap::new())
        .into_iter()
        .map(|assignment| {
            let ranges = match assignment.ranges {
                Ok(ranges) => ranges
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(pool) => format!("{} is full", pool.cidr()),
            };
            format!("{} {ranges}", meta::name(&assignment.node.metadata))
        })
        .collect()
}

#[test]
fn nodes_get_ranges_of_both_families_in_the_order_of_creation() {
    let pools = [
        pool("10.244.0.0/16", 24, 1),
        pool("fd00:10:244::/56", 64, 1),
    ];
    let nodes = [
        node("node10", EARLY, &[]),
        node("node2", EARLY, &[]),
        node("a", LATE, &[]),
    ];
    assert_eq!(
        told(&pools, &nodes),
        [
            "node2 10.244.1.0/24 fd00:10:244:1::/64",
            "node10 10.244.2.0/24 fd00:10:244:2::/64",
            "a 10.244.3.0/24 fd00:10:244:3::/64",
        ]
    );
}

#[test]
fn what_others_gave_is_taken_whatever_its_size() {
    let pools = [pool("10.0.0.0/16", 24, 0)];
    let nodes = [
        node("wide", EARLY, &["10.0.0.0/23"]),
        node("narrow", EARLY, &["10.0.2.128/25"]),
        node("around", EARLY, &["192.168.0.0/16", "fd00::/64"]),
        node("new", LATE, &[]),
    ];
    assert_eq!(told(&pools, &nodes), ["new 10.0.3.0/24"]);
    let all = [node("all", EARLY, &["10.0.0.0/8"]), node("new", LATE, &[])];
    assert_eq!(told(&pools, &all), ["new 10.0.0.0/16 is full"]);
}

#[test]
fn a_full_family_gives_nothing_of_the_other() {
    let pools = [pool("10.0.0.0/24", 24, 0), pool("fd00::/48", 64, 0)];
    let nodes = [node("a", EARLY, &[]), node("b", LATE, &[])];
    assert_eq!(
        told(&pools, &nodes),
        ["a 10.0.0.0/24 fd00::/64", "b 10.0.0.0/24 is full"]
    );
}

#[test]
fn a_deleted_node_frees_its_range_and_the_lowest_is_used_first() {
    let pools = [pool("10.0.0.0/16", 24, 0)];
    let nodes = [
        node("b", EARLY, &["10.0.1.0/24"]),
        node("c", EARLY, &["10.0.2.0/24"]),
        node("d", LATE, &[]),
    ];
    assert_eq!(told(&pools, &nodes), ["d 10.0.0.0/24"]);
}

#[test]
fn a_promise_is_kept_and_not_given_to_another() {
    let pools = [pool("10.0.0.0/16", 24, 0)];
    let promised = BTreeMap::from([("b".to_owned(), vec!["10.0.0.0/24".parse().expect("range")])]);
    let nodes = [node("a", EARLY, &[]), node("b", LATE, &[])];
    let given: Vec<_> = assign(&pools, &nodes, &promised)
        .into_iter()
        .map(|assignment| assignment.ranges.expect("a range")[0].to_string())
        .collect();
    assert_eq!(given, ["10.0.1.0/24", "10.0.0.0/24"]);
}

#[test]
fn impossible_cuts_are_refused_with_the_way_out() {
    let cidr: IpNet = "10.0.0.0/16".parse().expect("a CIDR");
    let error = ClusterCidr::new(cidr, 8, 0)
        .expect_err("too wide")
        .to_string();
    assert!(error.contains("between 16 and 32"), "{error}");
    let error = ClusterCidr::new(cidr, 24, 256)
        .expect_err("no such")
        .to_string();
    assert!(error.contains("there are 256"), "{error}");
    assert_eq!(pool("10.0.0.0/16", 24, 1).capacity(), 255);
    assert_eq!(pool("::/0", 128, 0).capacity(), u128::MAX);
}

fn overlap(left: &IpNet, right: &IpNet) -> bool {
    left.contains(right) || right.contains(left)
}

fn any_range() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u8..16, 20u8..=30).prop_map(|(third, mask)| format!("10.9.{third}.0/{mask}")),
        (0u16..16, 60u8..=70).prop_map(|(fourth, mask)| format!("fd00:0:0:{fourth:x}::/{mask}")),
    ]
}

proptest! {
    /// No range overlaps with one that was there or is given to another; each is in its cluster range;
    /// the order of the list changes nothing; a node is refused only if nothing is free.
    #[test]
    fn ranges_never_overlap(
        has in prop::collection::vec(any_range(), 0..12),
        fresh in 1usize..20,
        first in 0u64..4,
        turn in 0usize..20,
    ) {
        let pools = [pool("10.9.0.0/20", 24, first), pool("fd00::/60", 64, first)];
        let mut nodes: Vec<_> = has
            .iter()
            .enumerate()
            .map(|(index, range)| node(&format!("old{index}"), EARLY, &[range.as_str()]))
            .collect();
        nodes.extend((0..fresh).map(|index| node(&format!("new{index}"), LATE, &[])));
        let given = assign(&pools, &nodes, &BTreeMap::new());
        let mut seen: Vec<IpNet> = nodes.iter().flat_map(|node| ranges_of(node)).collect();
        for assignment in &given {
            match &assignment.ranges {
                Ok(ranges) => for (range, pool) in ranges.iter().zip(&pools) {
                    prop_assert!(pool.cidr().contains(range));
                    prop_assert!(!seen.iter().any(|other| overlap(other, range)));
                    prop_assert!(!overlap(range, &pool.cidr()) || range.prefix_len() == pool.node_mask());
                    seen.push(*range);
                },
                Err(full) => {
                    let free = full.cidr().subnets(full.node_mask()).expect("subnets")
                        .skip(usize::try_from(first).expect("small"))
                        .find(|range| !seen.iter().any(|other| overlap(other, range)));
                    prop_assert_eq!(free, None);
                }
            }
        }
        let before = told(&pools, &nodes);
        let turn = turn % nodes.len();
        nodes.rotate_left(turn);
        prop_assert_eq!(before, told(&pools, &nodes));
    }
}
