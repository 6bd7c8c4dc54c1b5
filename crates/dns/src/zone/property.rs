//! Laws of the zone: the order of events does not matter, and every name that exists answers.

use proptest::prelude::*;
use seaway_model::{ClusterEvent, EndpointSlice, Family, Service, ServiceKind};

use super::tests::{service, slice};
use super::{Data, Found, Kind, Zone, ZoneConfig, hosts};

/// One of few Services, so that they meet.
fn any_service() -> impl Strategy<Value = Service> {
    let addresses = prop::sample::subsequence(vec!["10.96.0.1", "10.96.0.2", "fd00:96::1"], 0..=2);
    (0usize..3, addresses, 0u8..6, any::<bool>(), 0i64..3).prop_map(
        |(n, addresses, kind, publish_not_ready, created)| {
            let name = ["a/one", "a/two", "b/one"][n];
            let mut service = Service {
                publish_not_ready,
                created,
                ..service(name, &addresses)
            };
            if kind == 0 {
                service.cluster_ips.clear();
                service.kind = ServiceKind::ExternalName("two.a.svc.cluster.local".to_owned());
            }
            service
        },
    )
}

fn any_slice() -> impl Strategy<Value = EndpointSlice> {
    let all = vec![
        "10.1.0.1",
        "10.1.0.1=x",
        "10.1.0.2=y",
        "10.1.0.3!",
        "10.1.0.4=z!",
        "10.1.0.5=x",
    ];
    let endpoints = prop::sample::subsequence(all, 0..=5);
    (0usize..4, 0usize..3, endpoints).prop_map(|(name, owner, endpoints)| {
        let name = ["a/1", "a/2", "a/3", "b/1"][name];
        // A slice is in the namespace of its Service, and may change to another one.
        let owner = match name.starts_with('a') {
            true => ["a/one", "a/two", "a/one"][owner],
            false => "b/one",
        };
        slice(name, owner, &endpoints)
    })
}

fn any_event() -> impl Strategy<Value = ClusterEvent> {
    prop_oneof![
        3 => any_service().prop_map(ClusterEvent::ServiceUpsert),
        1 => any_service().prop_map(|s| ClusterEvent::ServiceDelete(s.name)),
        4 => any_slice().prop_map(ClusterEvent::SliceUpsert),
        1 => any_slice().prop_map(|s| ClusterEvent::SliceDelete(s.name)),
    ]
}

/// What is there in the end.
fn remains(events: &[ClusterEvent]) -> Vec<ClusterEvent> {
    let mut services = std::collections::BTreeMap::new();
    let mut slices = std::collections::BTreeMap::new();
    for event in events {
        match event {
            ClusterEvent::ServiceUpsert(s) => drop(services.insert(s.name.clone(), s.clone())),
            ClusterEvent::ServiceDelete(name) => drop(services.remove(name)),
            ClusterEvent::SliceUpsert(s) => drop(slices.insert(s.name.clone(), s.clone())),
            ClusterEvent::SliceDelete(name) => drop(slices.remove(name)),
            _ => {}
        }
    }
    let slices = slices.into_values().rev().map(ClusterEvent::SliceUpsert);
    let services = services.into_values().map(ClusterEvent::ServiceUpsert);
    slices.chain(services).collect()
}

fn zone(events: &[ClusterEvent]) -> Zone {
    let mut zone = Zone::new(&ZoneConfig::default());
    events.iter().for_each(|event| zone.apply(event));
    zone.apply(&ClusterEvent::Synced);
    zone
}

fn find(zone: &Zone, name: &str, kind: Kind) -> Found {
    zone.find(&name.split('.').collect::<Vec<_>>(), kind)
}

const V4: Kind = Kind::Address(Family::V4);

/// All names that could be there.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    for service in ["one.a", "two.a", "one.b"] {
        let of = |inner: &str| format!("{inner}{service}.svc.cluster.local");
        let inner = ["", "x.", "y.", "z.", "_tcp.", "_http._tcp.", "_dns._udp."];
        names.extend(inner.map(of));
        names.extend((1..6).map(|n| of(&format!("10-1-0-{n}."))));
    }
    let reverse = (1..6).map(|n| format!("{n}.0.1.10.in-addr.arpa"));
    names.extend(reverse.chain((1..3).map(|n| format!("{n}.0.96.10.in-addr.arpa"))));
    names.extend(["a.svc.cluster.local", "b.svc.cluster.local"].map(str::to_owned));
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_events_is_a_cold_start(events in prop::collection::vec(any_event(), 0..40)) {
        let (lived, cold) = (zone(&events), zone(&remains(&events)));
        for name in names() {
            for kind in [V4, Kind::Address(Family::V6), Kind::Srv, Kind::Ptr, Kind::Other] {
                prop_assert_eq!(find(&lived, &name, kind), find(&cold, &name, kind), "{}", name);
            }
        }
        prop_assert_eq!(lived.cluster_ips, cold.cluster_ips);
        prop_assert_eq!(lived.named_hosts, cold.named_hosts);
        prop_assert_eq!(lived.namespaces, cold.namespaces);
        prop_assert_eq!(lived.owners, cold.owners);
        prop_assert_eq!(lived.services.len(), cold.services.len());
    }

    #[test]
    fn every_name_that_is_told_exists(events in prop::collection::vec(any_event(), 0..40)) {
        let zone = zone(&events);
        for name in names() {
            let Found::Records { answers, extra } = find(&zone, &name, Kind::Srv) else {
                continue;
            };
            for (target, address) in &extra {
                let found = find(&zone, target, Kind::Address(Family::of(*address)));
                let Found::Records { answers, .. } = found else {
                    return Err(TestCaseError::fail(format!("{target}: {found:?}")));
                };
                prop_assert!(answers.contains(&Data::Address(*address)));
            }
            for answer in &answers {
                let Data::Srv { target, .. } = answer else {
                    return Err(TestCaseError::fail(format!("{answer:?}")));
                };
                prop_assert!(extra.iter().any(|(name, _)| name == target), "{}", target);
            }
        }
        for name in names().iter().filter(|name| name.ends_with("arpa")) {
            if let Found::Records { answers, .. } = find(&zone, name, Kind::Ptr) {
                let address = hosts::reverse(&name.split('.').collect::<Vec<_>>());
                for answer in answers {
                    let Data::Ptr(target) = &answer else { continue };
                    let Found::Records { answers, .. } = find(&zone, target, V4) else {
                        return Err(TestCaseError::fail(target.clone()));
                    };
                    prop_assert!(answers.iter().any(|a| Some(a) == address.map(Data::Address).as_ref()));
                }
            }
        }
    }

    #[test]
    fn no_name_makes_it_panic(labels in prop::collection::vec("[a-z0-9_*-]{0,6}|svc|pod|cluster|local|arpa|in-addr|ip6", 0..9)) {
        let zone = zone(&[]);
        let view: Vec<&str> = labels.iter().map(String::as_str).collect();
        for kind in [V4, Kind::Srv, Kind::Ptr, Kind::Other] {
            zone.find(&view, kind);
        }
    }
}
