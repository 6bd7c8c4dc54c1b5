//! S25: how long a client keeps its endpoint, what it is remembered by, and when it is forgotten.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol};
use seaway_testkit::eventually;
use seaway_tests::net::Shape;
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::{Stage, at};

use crate::common::{LIMIT, node_door, publish, two_nodes, ways};

/// Who answers a client that asks many times, in order.
fn names(from: &Netns, door: SocketAddr, protocol: Protocol) -> Vec<String> {
    let once = |_| {
        let outcome = at(from, door, protocol).ask();
        let name = outcome.name().map(str::to_owned);
        name.unwrap_or_else(|| panic!("{protocol} {door}: {outcome:?}"))
    };
    (0..16).map(once).collect()
}

/// Who always answers a client.
fn only(what: &str, from: &Netns, door: SocketAddr, protocol: Protocol) -> String {
    let names = names(from, door, protocol);
    let first = names[0].clone();
    assert!(
        names.iter().all(|name| *name == first),
        "{what}: {protocol} {door}: {names:?}"
    );
    first
}

/// Key is the client and the Service's port, whichever of its addresses is asked.
#[test]
fn s25_one_endpoint_at_all_addresses_of_a_service() {
    let settings = TableSettings {
        external_ips: true,
        ..TableSettings::default()
    };
    let mut stage = Stage::set(Shape::flat(), &settings);
    let objects = publish(
        &mut stage,
        "[{type: LoadBalancer, affinity: 100, load_balancer: [by-node1], external_ips: [by-node1],
           endpoints: [b1, c1, b2, c2]}]",
    );
    let service = objects.service(0, "s").clone();
    for (family, protocol) in ways() {
        let of = |addresses: &[std::net::IpAddr]| {
            let mut all = addresses.iter().filter(|a| Family::of(**a) == family);
            SocketAddr::new(*all.next().expect("dual stack"), 80)
        };
        let node_port = node_door(&stage, 1, family, objects.node_port("s", protocol));
        let doors = [
            of(&service.cluster_ips),
            of(&service.external_ips),
            of(&service.load_balancer_ips),
            node_port,
        ];
        for from in ["pod1", "outside"] {
            let netns = stage.cast.place(from).netns();
            let kept: BTreeSet<String> = doors
                .iter()
                .map(|door| only(from, netns, *door, protocol))
                .collect();
            assert_eq!(kept.len(), 1, "{from} {family} {protocol}: {kept:?}");
        }
    }
}

/// Different clients are spread all the same.
#[test]
fn s25_clients_are_spread() {
    let mut stage = two_nodes();
    let objects = publish(&mut stage, "[{affinity: 100, endpoints: [b1, c1, b2, c2]}]");
    let mut met = BTreeSet::new();
    for (family, protocol) in ways() {
        let door = objects.cluster_door("s", protocol, family);
        for from in ["pod1", "pod2", "b1", "c1", "b2", "c2", "node1", "node2"] {
            met.insert(only(from, stage.cast.place(from).netns(), door, protocol));
        }
    }
    // 48 clients that all draw one or two of four by chance are not to be expected in this world.
    assert!(met.len() > 2, "{met:?}");
}

/// An endpoint that is gone is forgotten, by those who were led to it and by no other.
///
/// e2e: "should be able to switch session affinity for service with type clusterIP".
#[test]
fn s25_forgotten_with_the_endpoint_and_when_switched_off() {
    let mut stage = two_nodes();
    let all = ["b1", "c1", "b2", "c2"];
    let with =
        |names: &[&str], more: &str| format!("[{{{more} endpoints: [{}]}}]", names.join(", "));
    let objects = publish(&mut stage, &with(&all, "affinity: 1000,"));
    let client =
        |stage: &Stage, from: &str| stage.cast.place(from).netns().try_clone().expect("one");
    let mut kept = Vec::new();
    for (family, protocol) in ways() {
        let door = objects.cluster_door("s", protocol, family);
        for from in ["pod1", "pod2"] {
            let netns = client(&stage, from);
            let name = only("at first", &netns, door, protocol);
            kept.push((netns, door, protocol, name));
        }
    }
    let gone = kept[0].3.clone();
    let rest: Vec<&str> = all.into_iter().filter(|name| **name != gone).collect();
    publish(&mut stage, &with(&rest, "affinity: 1000,"));
    for (netns, door, protocol, before) in &kept {
        let now = only("one is gone", netns, *door, *protocol);
        if *before == gone {
            assert_ne!(now, gone, "{protocol} {door}");
        } else {
            assert_eq!(now, *before, "{protocol} {door}: others are left alone");
        }
    }
    // It is back, and nobody is led back to it for that.
    publish(&mut stage, &with(&all, ""));
    for (netns, door, protocol, _) in &kept {
        at(netns, *door, *protocol).reaches("switched off", &all);
    }
    publish(&mut stage, &with(&all, "affinity: 1000,"));
    for (netns, door, protocol, _) in &kept {
        only("switched on again", netns, *door, *protocol);
    }
}

/// e2e: "should have session affinity timeout work for service with type clusterIP", "… for NodePort
/// service".
#[test]
fn s25_kept_as_long_as_it_is_used_and_forgotten_after_the_time() {
    let mut stage = two_nodes();
    let objects = publish(
        &mut stage,
        "[{type: NodePort, affinity: 2, endpoints: [b1, c1, b2, c2]}]",
    );
    let family = Family::V4;
    let pod = stage.cast.place("pod1").netns();
    let outside = stage.cast.place("outside").netns();
    let port = objects.node_port("s", Protocol::Tcp);
    let doors = [
        (pod, objects.cluster_door("s", Protocol::Tcp, family)),
        (outside, node_door(&stage, 1, family, port)),
    ];
    for (netns, door) in doors {
        // Each new connection renews it: after three times its time it is still the same.
        let first = only("at first", netns, door, Protocol::Tcp);
        let end = Instant::now() + Duration::from_secs(6);
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            let asked = Instant::now();
            std::thread::sleep(Duration::from_millis(250));
            let outcome = at(netns, door, Protocol::Tcp).ask();
            longest = longest.max(asked.elapsed());
            // A machine that stands still for that long says nothing about it.
            if longest < Duration::from_millis(1500) {
                assert_eq!(outcome.name(), Some(first.as_str()), "{door}: {outcome:?}");
            }
        }
        // Left alone, it is drawn anew: sooner or later another one comes.
        eventually("another endpoint is drawn", LIMIT * 3, || {
            std::thread::sleep(Duration::from_millis(3100));
            match at(netns, door, Protocol::Tcp).ask().name() {
                Some(name) if name != first => Ok(()),
                other => Err(other.map(str::to_owned)),
            }
        });
    }
}
