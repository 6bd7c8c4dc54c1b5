//! Clients keep their backend for a time (S25).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use seaway_model::{Family, FirewallRow, FrontendAction, GroupId, Protocol, Wiring};
use seaway_testkit::eventually;

use super::servers::{Servers, answer};
use super::{Balanced, KEPT, PROTOCOLS, firewall, frontend, outside, rules, virtual_ip};
use crate::rig::{LIMIT, nft, node_address};

const ASKED: usize = 12;
const LONG: u32 = 10_800;

#[test]
fn s25_clients_keep_their_backend_whatever_the_frontend() {
    let mut balanced = Balanced::new(Wiring::Routed, 5);
    for family in Family::ALL {
        let targets = balanced.targets(0, family, 5);
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        let node_port = SocketAddr::new(node_address(family), 30_080);
        for protocol in PROTOCOLS {
            let group = balanced.lead(frontend(at, protocol), &targets, Some(LONG));
            // The group of the other policy has the same backends and the same memory.
            let local = GroupId(group.0 | 1);
            let slots = balanced.lay(local, &targets);
            let balance = |group| FrontendAction::Balance {
                group,
                slots,
                affinity: Some(LONG),
            };
            let key = frontend(node_port, protocol);
            balanced.set(key, balance(group));
            balanced.set(outside(key), balance(local));
        }
        balanced.rig.converge();
        let rig = &balanced.rig;
        for protocol in PROTOCOLS {
            for from in [&rig.pods[1].netns, &rig.out.netns, &rig.node] {
                let kept = answer(from, protocol, at).backend;
                for to in [at, node_port].into_iter().cycle().take(ASKED) {
                    assert_eq!(answer(from, protocol, to).backend, kept, "{protocol} {to}");
                }
            }
        }
    }
    balanced.nothing_dropped();
}

/// Each client has its own: of many not all have the same.
#[test]
fn s25_each_client_is_remembered_by_itself() {
    let mut balanced = Balanced::new(Wiring::Routed, 5);
    let family = Family::V4;
    let targets = balanced.targets(0, family, 5);
    let at = SocketAddr::new(virtual_ip(family, 1), 80);
    balanced.lead(frontend(at, Protocol::Udp), &targets, Some(LONG));
    balanced.rig.converge();
    let pod = &balanced.rig.pods[1];
    let mut seen = BTreeSet::new();
    seen.insert(answer(&pod.netns, Protocol::Udp, at).backend);
    let out = &balanced.rig.out;
    for i in 50..100u8 {
        out.ip(&format!("addr add 192.0.2.{i}/24 dev eth0"));
        let client = out.netns.enter(|| {
            let client = std::net::UdpSocket::bind((std::net::Ipv4Addr::new(192, 0, 2, i), 0));
            let client = client.expect("bound");
            client.connect(at).expect("connected");
            client.set_read_timeout(Some(LIMIT)).expect("set");
            client
        });
        let client = client.expect("namespace");
        let answered = super::servers::ask_udp(&client, b"who?").expect("answered");
        seen.insert(answered.backend);
    }
    assert!(seen.len() > 1, "{seen:?}");
}

/// A backend that is gone is forgotten, and the next one kept.
#[test]
fn s25_a_backend_that_is_gone_is_forgotten() {
    let mut balanced = Balanced::new(Wiring::Routed, 5);
    for family in Family::ALL {
        let targets = balanced.targets(0, family, 5);
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        for protocol in PROTOCOLS {
            let key = frontend(at, protocol);
            let group = balanced.lead(key, &targets, Some(LONG));
            balanced.rig.converge();
            let mut left = targets.clone();
            for _ in 1..targets.len() {
                let client = &balanced.rig.pods[1].netns;
                let kept = answer(client, protocol, at).backend;
                assert!(left.contains(&kept), "{kept} is there");
                assert_eq!(answer(client, protocol, at).backend, kept);
                left.retain(|target| *target != kept);
                let slots = balanced.lay(group, &left);
                let affinity = Some(LONG);
                let action = FrontendAction::Balance {
                    group,
                    slots,
                    affinity,
                };
                balanced.set(key, action);
                balanced.rig.converge();
            }
        }
    }
}

/// What is left of the time of the only client, in milliseconds; `None` when nobody is remembered.
fn left(seconds: u32, family: Family) -> Option<u64> {
    let name = match family {
        Family::V4 => format!("affinity-{seconds}-v4"),
        Family::V6 => format!("affinity-{seconds}-v6"),
    };
    let text = nft(&format!("list map inet seaway {name}"));
    let (_, behind) = text.split_once("expires ")?;
    let span = behind.split_whitespace().next()?;
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let (mut total, mut number, mut rest) = (0, 0, span);
    while let Some(c) = rest.chars().next() {
        if let Some(digit) = c.to_digit(10) {
            number = number * 10 + u64::from(digit);
            rest = &rest[1..];
            continue;
        }
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * factor;
        number = 0;
        rest = &rest[unit.len()..];
    }
    Some(total)
}

#[test]
fn s25_each_connection_begins_the_time_anew_and_then_it_ends() {
    let mut balanced = Balanced::new(Wiring::Routed, 5);
    for family in Family::ALL {
        let targets = balanced.targets(0, family, 5);
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        balanced.lead(frontend(at, Protocol::Udp), &targets, Some(KEPT));
        balanced.rig.converge();
        let client = &balanced.rig.pods[1].netns;
        answer(client, Protocol::Udp, at);
        let low = eventually("some of the time is over", LIMIT, || {
            let left = left(KEPT, family).expect("remembered");
            match left < u64::from(KEPT) * 1000 - 500 {
                true => Ok(left),
                false => Err(left),
            }
        });
        answer(client, Protocol::Udp, at);
        let again = left(KEPT, family).expect("remembered");
        assert!(again > low, "{again} {low}");
        eventually("the client is forgotten", LIMIT, || {
            match left(KEPT, family) {
                None => Ok(()),
                some => Err(some),
            }
        });
    }
}

/// Backends that are processes of the node are remembered where they are delivered.
#[test]
fn s25_backends_of_the_node_itself_are_kept() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let here = node_address(family);
        let targets: Vec<SocketAddr> = (6000..6005).map(|p| SocketAddr::new(here, p)).collect();
        let _servers = Servers::at(&balanced.rig.node, &targets);
        let at = SocketAddr::new(virtual_ip(family, 1), 443);
        balanced.lead(frontend(at, Protocol::Tcp), &targets, Some(LONG));
        balanced.rig.converge();
        let rig = &balanced.rig;
        for from in [&rig.pods[1].netns, &rig.out.netns, &rig.node] {
            let kept = answer(from, Protocol::Tcp, at).backend;
            for _ in 0..ASKED {
                assert_eq!(answer(from, Protocol::Tcp, at).backend, kept);
            }
        }
    }
}

/// What rules remember outlives the rules, and the process.
#[test]
fn s25_clients_are_remembered_over_new_rules_and_new_agents() {
    let mut balanced = Balanced::new(Wiring::Routed, 5);
    let family = Family::V4;
    let targets = balanced.targets(0, family, 5);
    let at = SocketAddr::new(virtual_ip(family, 1), 80);
    balanced.lead(frontend(at, Protocol::Udp), &targets, Some(LONG));
    balanced.rig.converge();
    let kept = answer(&balanced.rig.pods[1].netns, Protocol::Udp, at).backend;
    let mut services = rules();
    services.affinities.insert(77);
    let row = FirewallRow {
        masquerade: false,
        ..firewall(Wiring::Routed, services)
    };
    balanced.rig.planned.firewall.insert(row);
    balanced.rig.converge();
    balanced.rig.firewall = seaway_kernel::realise::Firewall::default();
    balanced.rig.converge();
    for _ in 0..ASKED {
        let again = answer(&balanced.rig.pods[1].netns, Protocol::Udp, at).backend;
        assert_eq!(again, kept);
    }
    assert!(left(LONG, family).is_some());
    // A time that nobody has is forgotten with all that it held.
    let mut services = rules();
    services.affinities.clear();
    let row = firewall(Wiring::Routed, services);
    balanced.rig.planned.firewall.insert(row);
    balanced.rig.converge();
    assert!(!nft("list sets").contains("affinity"));
    assert!(!nft("list maps").contains("affinity"));
}
