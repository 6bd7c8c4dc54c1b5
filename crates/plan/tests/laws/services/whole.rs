//! The rows of Services are whole: every frontend has its backends, each in one slot, and what
//! follows from all rows follows. And one change touches its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use seaway_model::{
    DENSE_SLOTS, Endpoint, FALLBACK_SLOT, Family, FrontendAction, GroupId, Protocol, Service,
    TrafficPolicy, View,
};
use seaway_plan::{Change, Planner, Tables};

use super::inputs::{endpoint, simple_service, simple_slice, upsert_service, upsert_slice};
use super::scene::{balancer, planner, two, web_slice};
use crate::inputs::{inputs, ip, planned};

type Law = Result<(), TestCaseError>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn services_hang_together(inputs in inputs()) {
        let planner = planned(inputs);
        groups_are_whole(planner.rows())?;
        frontends_are_whole(planner.rows())?;
        sums_follow(&planner)?;
    }

    #[test]
    fn slots_do_not_remember(
        start in prop::collection::btree_set(1u8..=250, 0..120),
        toggled in prop::collection::vec(1u8..=250, 0..60),
    ) {
        let slice = |addresses: &BTreeSet<u8>| {
            let all = addresses.iter().map(|i| endpoint(&format!("10.244.1.{i}"), 1));
            simple_slice("d/web-1", "d/web", all.collect())
        };
        let mut planner = planner(&[balancer()], &[slice(&start)]);
        let mut now = start;
        for i in toggled {
            if !now.remove(&i) {
                now.insert(i);
            }
            planner.apply(upsert_slice(slice(&now)));
            groups_are_whole(planner.rows())?;
        }
        let fresh = self::planner(&[balancer()], &[slice(&now)]);
        prop_assert_eq!(planner.rows(), fresh.rows());
    }
}

fn groups_are_whole(rows: &Tables) -> Law {
    let mut wanted: BTreeMap<GroupId, (u8, Option<u32>)> = BTreeMap::new();
    for row in rows.frontends.iter() {
        if let FrontendAction::Balance {
            group,
            slots,
            affinity,
        } = row.action
        {
            let known = wanted.entry(group).or_insert((slots, affinity));
            prop_assert_eq!(*known, (slots, affinity), "{}", row);
        }
    }
    let mut members: BTreeMap<GroupId, BTreeSet<SocketAddr>> = BTreeMap::new();
    for row in rows.members.iter() {
        members.entry(row.group).or_default().insert(row.target);
    }
    let mut groups: BTreeMap<GroupId, BTreeMap<u16, SocketAddr>> = BTreeMap::new();
    for row in rows.backends.iter() {
        let slots = groups.entry(row.key.group).or_default();
        slots.insert(row.key.slot, row.target);
    }
    for (group, (bits, affinity)) in wanted {
        let all = groups.get(&group).cloned().unwrap_or_default();
        let kept = members.get(&group).cloned().unwrap_or_default();
        group_is_whole(bits, all.clone())?;
        let targets: BTreeSet<_> = all.values().copied().collect();
        let wanted = if affinity.is_some() {
            targets
        } else {
            BTreeSet::new()
        };
        prop_assert_eq!(kept, wanted);
    }
    Ok(())
}

fn group_is_whole(bits: u8, mut slots: BTreeMap<u16, SocketAddr>) -> Law {
    let fallback = slots.remove(&FALLBACK_SLOT);
    let distinct: BTreeSet<_> = slots.values().copied().collect();
    let (count, size) = (slots.len(), 1usize << bits);
    prop_assert_eq!(distinct.len(), count, "a backend in two slots");
    prop_assert!(slots.keys().all(|slot| usize::from(*slot) < size));
    if bits <= DENSE_SLOTS {
        prop_assert!(fallback.is_none());
        prop_assert!(count <= size && 2 * count > size, "{} in {}", count, size);
        prop_assert!(
            slots
                .keys()
                .copied()
                .eq(0..u16::try_from(count).expect("few"))
        );
    } else {
        prop_assert!(4 * count <= 3 * size && 8 * count >= 3 * size);
        prop_assert_eq!(fallback, distinct.first().copied());
    }
    Ok(())
}

fn frontends_are_whole(rows: &Tables) -> Law {
    for row in rows.frontends.iter() {
        let other = |view| {
            let key = seaway_model::FrontendKey { view, ..row.key };
            rows.frontends.get(&key)
        };
        if row.key.view == View::Outside {
            let everyone = other(View::Everyone);
            prop_assert!(
                everyone.is_some_and(|e| e.guarded == row.guarded),
                "{}",
                row
            );
        }
        prop_assert!(row.key.port != 0);
    }
    for row in rows.source_ranges.iter() {
        let guarded = rows.frontends.iter().any(|f| {
            let at = (f.key.address, f.key.protocol, f.key.port);
            f.guarded && at == (row.address, row.protocol, row.port)
        });
        prop_assert!(guarded, "{}", row);
        prop_assert_eq!(Family::of_net(&row.net), Family::of(row.address));
    }
    Ok(())
}

fn sums_follow(planner: &Planner) -> Law {
    let rows = planner.rows();
    let on = planner.node().is_some() && planner.settings().services.is_some();
    let firewall = rows.firewall.iter().next();
    let rules = firewall.and_then(|row| row.services.clone());
    prop_assert_eq!(rules.is_some(), on);
    let pods: usize = planner
        .attachments()
        .values()
        .map(|a| a.addresses.len())
        .sum();
    prop_assert!(rows.local_pods.len() <= pods);
    prop_assert_eq!(rows.local_pods.is_empty(), pods == 0 || !on);
    let Some(rules) = rules else {
        let all = rows.frontends.len() + rows.backends.len() + rows.cluster_ips.len();
        prop_assert_eq!(all + rows.members.len() + rows.source_ranges.len(), 0);
        prop_assert_eq!(planner.programming(), Default::default());
        return Ok(());
    };
    let lengths: BTreeSet<_> = {
        let nets = rows.source_ranges.iter().map(|row| row.net);
        nets.map(|net| (Family::of_net(&net), net.prefix_len()))
            .collect()
    };
    prop_assert_eq!(rules.range_lengths, lengths);
    for row in rows.frontends.iter() {
        if let FrontendAction::Balance {
            affinity: Some(seconds),
            ..
        } = row.action
        {
            prop_assert!(rules.affinities.contains(&seconds), "{}", row);
        }
    }
    prop_assert!(rules.affinities.len() <= 16);
    Ok(())
}

/// Node 0 of a cluster with `count` Services of two endpoints each.
fn many(count: usize) -> Planner {
    let address = |i: usize| format!("10.96.{}.{}", i / 250, 1 + i % 250);
    let services: Vec<_> = (0..count)
        .map(|i| simple_service(&format!("d/s{i}"), &address(i)))
        .collect();
    let slices: Vec<_> = (0..count)
        .map(|i| {
            let pod = |node: usize| endpoint(&format!("10.244.{node}.{}", 2 + i % 250), node);
            simple_slice(
                &format!("d/s{i}-a"),
                &format!("d/s{i}"),
                vec![pod(0), pod(1)],
            )
        })
        .collect();
    planner(&services, &slices)
}

#[test]
fn an_endpoint_costs_the_same_however_many_services_there_are() {
    let change = |others: usize| {
        let mut planner = many(others);
        let more = [endpoint("10.244.0.3", 0), endpoint("10.244.1.9", 1)];
        let slice = simple_slice("d/s1-a", "d/s1", more.to_vec());
        let first = planner.apply(upsert_slice(slice));
        let service = Service {
            internal_policy: TrafficPolicy::Local,
            ..simple_service("d/s1", "10.96.0.2")
        };
        (first, planner.apply(upsert_service(service)))
    };
    let ((endpoint, service), few) = (change(300), change(2));
    assert_eq!((endpoint.clone(), service), few);
    assert_eq!(endpoint.len(), 1, "one slot: {endpoint:?}");
    assert_eq!(endpoint.backends.len(), 1);
}

#[test]
fn one_endpoint_more_in_a_large_group_moves_few() {
    let endpoints = |count: u32| -> Vec<Endpoint> {
        let address = |i: u32| format!("10.244.{}.{}", 1 + i / 250, 1 + i % 250);
        (0..count).map(|i| endpoint(&address(i), 1)).collect()
    };
    let mut planner = planner(&[balancer()], &[web_slice(endpoints(500))]);
    let mut moved = 0;
    for count in (450..500).rev() {
        let changes = planner.apply(upsert_slice(web_slice(endpoints(count))));
        assert_eq!(
            changes.len(),
            changes.backends.len(),
            "slots and nothing else"
        );
        moved += changes.len();
    }
    assert!(moved <= 50 * 8, "{moved}");
}

#[test]
fn a_policy_changes_the_frontends_and_not_the_backends_of_the_other() {
    let mut planner = planner(&[balancer()], &[two()]);
    let changes = planner.apply(upsert_service(Service {
        external_policy: TrafficPolicy::Local,
        ..balancer()
    }));
    assert!(changes.deletions().is_empty());
    let outside = |c: &Change<seaway_model::FrontendRow>| c.row().key.view == View::Outside;
    assert!(changes.frontends.iter().all(outside));
    assert_eq!((changes.frontends.len(), changes.backends.len()), (3, 1));
}

#[test]
fn a_node_that_comes_touches_only_services_that_mention_it() {
    let mut planner = many(100);
    let by_hand = simple_slice("d/s7-b", "d/s7", vec![endpoint("192.168.0.9", 1)]);
    planner.apply(upsert_slice(by_hand));
    let before = planner.rows().backends.len();
    let changes = planner.apply(crate::inputs::upsert(crate::inputs::dual_node(8)));
    let of_services = changes.backends.len() + changes.frontends.len();
    assert!((1..=4).contains(&of_services), "{of_services}");
    assert_eq!(planner.rows().backends.len(), before - 1);
    planner.apply(crate::inputs::delete(8));
    assert_eq!(planner.rows().backends.len(), before);
    let key = (ip("10.96.0.8"), Protocol::Tcp, 80);
    let service = planner.service_at(key.0, key.1, key.2).expect("planned");
    assert_eq!(service.to_string(), "d/s7");
}
