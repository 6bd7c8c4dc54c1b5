//! Row 15 of the scorecard: a Pod with raw sockets forges nothing that anybody takes.
//!
//! Everything forged carries a needle that no honest frame has. It is looked for on the victims'
//! devices; neighbour tables, routes and addresses of everybody are compared.

mod attacks;
mod surroundings;

use std::collections::BTreeMap;
use std::net::UdpSocket;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, MacAddr, Transport, Wiring};
use seaway_testkit::{Wire, eventually};
use seaway_tests::Pod;
use seaway_tests::net::{Net, Shape, outside_address};
use seaway_tests::probe::{self, Ping};

use crate::common::{LIMIT, SOON, end, for_each, gateway};
use attacks::Attack;
use surroundings::Surroundings;

/// What an attack knows of the world.
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) attacker: Pod,
    pub(crate) victim: Pod,
    pub(crate) other: Pod,
    /// The attacker's Ethernet address, its victim's, and that of their gateway.
    pub(crate) own: MacAddr,
    pub(crate) victim_mac: MacAddr,
    pub(crate) gateway: MacAddr,
}

impl World {
    fn new(wiring: Wiring, transport: Transport) -> World {
        let net = Net::start(&Shape::flat().wiring(wiring).transport(transport));
        let attacker = net.pod(1, "attacker");
        let (victim, other) = (net.pod(1, "victim"), net.pod(2, "other"));
        let world = World {
            own: mac(attacker.netns()),
            victim_mac: mac(victim.netns()),
            gateway: gateway(&attacker, wiring),
            net,
            attacker,
            victim,
            other,
        };
        world.honest();
        world
    }

    /// Honest traffic to everybody goes through.
    fn honest(&self) {
        let from = self.attacker.netns();
        for family in Family::ALL {
            for pod in [&self.victim, &self.other] {
                let seen = probe::reach("a Pod", from, pod.netns(), pod.address(family));
                assert_eq!(seen.ip(), self.attacker.address(family));
            }
            for number in [1, 2] {
                let node = self.net.node(number);
                let seen = probe::reach("a node", from, node, self.net.address(number, family));
                assert_eq!(seen.ip(), self.attacker.address(family));
            }
            let outside = &self.net.fabric.outside;
            probe::reach("the outside", from, outside, outside_address(family));
        }
    }

    /// Where nothing forged may be seen to arrive: the victims, the wire between the nodes in
    /// both directions, and the outside.
    fn watched(&self) -> Vec<(&'static str, Wire)> {
        vec![
            ("victim", Wire::open(self.victim.netns(), "eth0")),
            ("other", Wire::open(self.other.netns(), "eth0")),
            ("wire", Wire::open(&self.net.fabric.netns, "n1")),
            ("wire 2", Wire::open(&self.net.fabric.netns, "n2")),
            ("outside", Wire::open(&self.net.fabric.outside, "eth0")),
        ]
    }

    /// Everybody whose tables must stay as they are.
    fn everybody(&self) -> [(&'static str, &Netns); 6] {
        [
            ("victim", self.victim.netns()),
            ("other", self.other.netns()),
            ("node1", self.net.node(1)),
            ("node2", self.net.node(2)),
            ("fabric", &self.net.fabric.netns),
            ("outside", &self.net.fabric.outside),
        ]
    }
}

fn mac(netns: &Netns) -> MacAddr {
    Wire::open(netns, "eth0").mac
}

/// Sends everything; gives how many frames of each kind went out and how many arrived anywhere.
fn attack(world: &World, attacks: &[Attack]) -> BTreeMap<&'static str, (usize, usize)> {
    let raw = Wire::open(world.attacker.netns(), "eth0");
    let mut watched = world.watched();
    let node_sockets = node_sockets(world);
    for attack in attacks {
        for frame in &attack.frames {
            raw.send(frame);
        }
    }
    // What is sent last arrives last: then everything that was to arrive has.
    world.honest();
    let mut result: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
    for attack in attacks {
        let mut delivered = 0;
        for (place, wire) in &mut watched {
            let count = attack.delivered(wire);
            if count > 0 {
                println!("{} reached {place} {count} times", attack.kind);
            }
            delivered += count;
        }
        let entry = result.entry(attack.kind).or_default();
        *entry = (entry.0 + attack.frames.len(), entry.1 + delivered);
    }
    for socket in node_sockets {
        socket.set_nonblocking(true).expect("set");
        let mut buffer = [0; 256];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            result.insert("taken by a node", (0, 1));
            println!("a node took from {from}: {text}");
        }
    }
    result
}

/// What on a node would take what is forged: a socket of both families.
fn node_sockets(world: &World) -> Vec<UdpSocket> {
    let bind = |number| {
        let node = world.net.node(number);
        let socket = node.run(|| UdpSocket::bind(("::", attacks::PORT)));
        socket.expect("namespace").expect("bound")
    };
    vec![bind(1), bind(2)]
}

fn r15(wiring: Wiring, transport: Transport) {
    let world = World::new(wiring, transport);
    let before = Surroundings::of(&world.everybody());
    let pings: Vec<Ping> = Family::ALL
        .into_iter()
        .map(|family| {
            let (victim, other) = (end(&world.victim, family), end(&world.other, family));
            Ping::start(victim, other, SOON / 100)
        })
        .collect();
    let attacks = attacks::all(&world, wiring);
    let expected: u64 = attacks.iter().map(|a| a.frames.len() as u64).sum();
    let reasons = attacks::reasons(&attacks);
    let counted = |reason: &str| -> u64 {
        let nodes = world.net.agents.iter();
        nodes.map(|agent| agent.drops(reason)).sum()
    };
    let counts: Vec<u64> = reasons.iter().map(|reason| counted(reason)).collect();
    let result = attack(&world, &attacks);
    println!("{wiring} {transport}: (sent, delivered) by kind: {result:?}");
    assert!(result.values().all(|(_, delivered)| *delivered == 0));
    assert!(result.len() >= 8 && expected > 100, "{expected} frames");
    for (reason, before) in reasons.iter().zip(counts) {
        eventually("the drops are counted", LIMIT, || {
            let now = counted(reason);
            if now > before {
                Ok(())
            } else {
                Err((reason, before, now, world.net.agent(1).all_drops()))
            }
        });
    }
    for ping in pings {
        assert_eq!(ping.end().lost, 0, "honest traffic of others");
    }
    world.honest();
    let after = Surroundings::of(&world.everybody());
    before.assert_unchanged(&after, &attacks::forged_macs());
    after.assert_nobody_believes(world.own, &world.attacker);
    world.net.settle();
}

#[test]
fn r15_a_routed_pod_forges_nothing() {
    for_each(&[Transport::Direct, Transport::Vxlan, Transport::L2], |t| {
        r15(Wiring::Routed, *t);
    });
}

#[test]
fn r15_a_bridged_pod_forges_nothing() {
    for_each(&[Transport::Direct, Transport::Vxlan, Transport::L2], |t| {
        r15(Wiring::Bridge, *t);
    });
}
