//! Every backend gets some (S26).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use seaway_model::{Family, Protocol, Wiring};

use super::servers::answer;
use super::{Balanced, PROTOCOLS, set_of, virtual_ip};

/// More than enough for the last of the backends to be drawn.
const MOST: usize = 3000;

fn spreads(balanced: &mut Balanced, family: Family, protocol: Protocol, count: u16) {
    let at = SocketAddr::new(virtual_ip(family, count.to_be_bytes()[1]), 80);
    let targets = balanced.targets(0, family, count);
    balanced.service(at, &targets);
    let client = &balanced.rig.pods[1];
    let (wanted, mut seen) = (set_of(&targets), BTreeSet::new());
    for _ in 0..MOST {
        let answer = answer(&client.netns, protocol, at);
        assert_eq!(answer.seen.ip(), client.address(family));
        seen.insert(answer.backend);
        if seen == wanted {
            return;
        }
    }
    panic!("{protocol} to {at}: only {} of {count}", seen.len());
}

#[test]
fn s26_every_backend_is_drawn() {
    let mut balanced = Balanced::new(Wiring::Routed, 40);
    for family in Family::ALL {
        for count in [1, 2, 3, 5, 40] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                spreads(&mut balanced, family, protocol, count);
            }
        }
        spreads(&mut balanced, family, Protocol::Sctp, 3);
    }
    balanced.nothing_dropped();
}

#[test]
fn s26_bridged_pods_are_led_likewise() {
    let mut balanced = Balanced::new(Wiring::Bridge, 3);
    for family in Family::ALL {
        for protocol in PROTOCOLS {
            spreads(&mut balanced, family, protocol, 3);
        }
    }
    balanced.nothing_dropped();
}

/// What the empty slots of a group would get goes to others evenly enough: nobody is favoured much.
#[test]
fn s26_no_backend_is_favoured() {
    const ASKED: usize = 3000;
    let mut balanced = Balanced::new(Wiring::Routed, 5);
    let family = Family::V4;
    let at = SocketAddr::new(virtual_ip(family, 1), 80);
    let targets = balanced.targets(0, family, 5);
    balanced.service(at, &targets);
    let client = &balanced.rig.pods[1].netns;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..ASKED {
        let backend = answer(client, Protocol::Udp, at).backend;
        *counts.entry(backend).or_insert(0usize) += 1;
    }
    // Ten times the deviation that is to be expected of 600.
    let fair = ASKED / targets.len();
    for (backend, count) in counts {
        assert!(count.abs_diff(fair) < 220, "{backend}: {count} of {ASKED}");
    }
}
