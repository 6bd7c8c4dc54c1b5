//! What goes by on the wire between nodes in VXLAN, and what the node's bridge does not do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;

use seaway_model::{Family, Transport, Wiring};
use seaway_testkit::packet::{Read, checksum, protocol};
use seaway_testkit::{Wire, eventually};
use seaway_tests::net::{Net, Shape};
use seaway_tests::probe::carry;
use seaway_tests::{Pod, shell};
use serde_json::Value;

use crate::common::{LIMIT, for_each};

const VXLAN_PORT: u16 = 4789;
/// Bytes of the headers of UDP, and of UDP and VXLAN.
const UDP: usize = 8;
const UDP_AND_VXLAN: usize = 16;
/// Bytes of the header of Ethernet.
const ETHERNET: usize = 14;
const FLOWS: usize = 16;

/// Two nodes whose uplinks sum up nothing: what is on the wire was summed up by the kernel, as
/// real hardware would have to, and not left open as between namespaces.
fn unaided(wiring: Wiring, underlay: Family) -> Net {
    let shape = Shape::flat().wiring(wiring).transport(Transport::Vxlan);
    let net = Net::start(&shape.vxlan_over(underlay));
    for number in [1, 2] {
        shell::run(net.node(number), "ethtool -K eth0 tx off");
    }
    net
}

fn cases() -> Vec<(Wiring, Family)> {
    let over = |wiring| Family::ALL.map(|underlay| (wiring, underlay));
    Wiring::ALL.map(over).concat()
}

/// The outer packets of VXLAN among what came by.
fn outer_packets(wire: &mut Wire) -> Vec<Vec<u8>> {
    let is_vxlan = |frame: &&[u8]| {
        let outer = Read::frame(frame);
        outer
            .is_some_and(|o| o.protocol == protocol::UDP && o.ports().unzip().1 == Some(VXLAN_PORT))
    };
    let packets = wire.incoming().filter(is_vxlan);
    packets.map(|frame| frame[ETHERNET..].to_vec()).collect()
}

#[test]
fn vxlan_frames_bear_right_sums_without_the_help_of_hardware() {
    for_each(&cases(), |(wiring, underlay)| {
        let net = unaided(*wiring, *underlay);
        let (a, b) = (net.pod(1, "a"), net.pod(2, "b"));
        for family in Family::ALL {
            let mut wire = Wire::open(net.node(2), "eth0");
            carry(a.netns(), b.netns(), b.address(family), 1 << 20, LIMIT).expect("carried");
            say(&sockets(&a, family), &ear(&b, family));
            let packets = outer_packets(&mut wire);
            let mut seen = BTreeSet::new();
            for packet in &packets {
                seen.insert(assert_sums(packet, *underlay));
            }
            let both = [protocol::TCP, protocol::UDP].into();
            assert!(seen.is_superset(&both), "{family}: {seen:?}");
        }
    });
}

/// All sums of an outer packet are right; gives the inner protocol.
fn assert_sums(packet: &[u8], underlay: Family) -> u8 {
    let outer = Read::packet(packet).expect("IP");
    assert_eq!(Family::of(outer.source), underlay);
    let sum = checksum::transport(
        outer.source,
        outer.destination,
        outer.protocol,
        outer.payload,
    );
    // Only IPv4 may go without (RFC 768; RFC 8200 section 8.1).
    let none = underlay == Family::V4 && outer.payload[UDP - 2..UDP] == [0, 0];
    assert!(none || sum == 0, "the outer sum is wrong by {sum:#x}");
    let inner_packet = &outer.payload[UDP_AND_VXLAN + ETHERNET..];
    let inner = Read::packet(inner_packet).expect("IP in VXLAN");
    if inner.source.is_ipv4() {
        assert_eq!(checksum::internet(&inner_packet[..20]), 0, "inner header");
    }
    let sum = checksum::transport(
        inner.source,
        inner.destination,
        inner.protocol,
        inner.payload,
    );
    assert_eq!(sum, 0, "the sum of an inner packet of {inner:?}");
    inner.protocol
}

#[test]
fn flows_in_vxlan_differ_in_their_outer_source_port() {
    for_each(&cases(), |(wiring, underlay)| {
        let net = unaided(*wiring, *underlay);
        let (a, b) = (net.pod(1, "a"), net.pod(2, "b"));
        for family in Family::ALL {
            let mut wire = Wire::open(net.node(2), "eth0");
            let (sockets, ear) = (sockets(&a, family), ear(&b, family));
            say(&sockets, &ear);
            say(&sockets, &ear);
            let mut ports: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
            for packet in outer_packets(&mut wire) {
                let outer = Read::packet(&packet).expect("IP");
                let inner = Read::packet(&outer.payload[UDP_AND_VXLAN + ETHERNET..]);
                let inner = inner.expect("IP in VXLAN");
                if inner.protocol == protocol::UDP {
                    let (by, _) = outer.ports().expect("UDP has ports");
                    let (flow, _) = inner.ports().expect("UDP has ports");
                    ports.entry(flow).or_default().insert(by);
                }
            }
            assert_eq!(ports.len(), FLOWS, "{ports:?}");
            assert!(
                ports.values().all(|by| by.len() == 1),
                "one way a flow: {ports:?}"
            );
            let ways: BTreeSet<u16> = ports.values().flatten().copied().collect();
            assert!(ways.len() > FLOWS / 2, "{ways:?}");
        }
    });
}

fn sockets(pod: &Pod, family: Family) -> Vec<UdpSocket> {
    let bind = || UdpSocket::bind((pod.address(family), 0));
    let bound = |_| pod.netns().run(bind).expect("namespace").expect("bound");
    (0..FLOWS).map(bound).collect()
}

fn ear(pod: &Pod, family: Family) -> UdpSocket {
    let bind = || UdpSocket::bind((pod.address(family), 0));
    let ear = pod.netns().run(bind).expect("namespace").expect("bound");
    ear.set_read_timeout(Some(LIMIT)).expect("timeout");
    ear
}

/// Each socket says something, and all of it comes.
fn say(sockets: &[UdpSocket], ear: &UdpSocket) {
    let door = ear.local_addr().expect("bound");
    for socket in sockets {
        socket.send_to(b"hello", door).expect("sent");
        ear.recv(&mut [0; 16]).expect("it comes");
    }
}

/// Its ports are, as Linux has those of every bridge without VLAN filtering.
#[test]
fn the_bridge_is_not_promiscuous_and_its_ports_are_hairpins() {
    let net = Net::start(&Shape::flat().wiring(Wiring::Bridge));
    let (a, b) = (net.pod(1, "a"), net.pod(1, "b"));
    carry(a.netns(), b.netns(), b.address(Family::V4), 1 << 16, LIMIT).expect("carried");
    let concerned = || -> Vec<Value> {
        let text = shell::run(net.node(1), "ip -details -json link show");
        let links: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let of_bridge = |link: &Value| {
            let info = &link["linkinfo"];
            info["info_kind"] == "bridge" || info["info_slave_kind"] == "bridge"
        };
        links.into_iter().filter(of_bridge).collect()
    };
    eventually("a bridge with two ports", LIMIT, || {
        match concerned().len() {
            3 => Ok(()),
            count => Err(format!("{count} links")),
        }
    });
    let (bridges, ports): (Vec<Value>, Vec<Value>) = concerned()
        .into_iter()
        .partition(|link| link["linkinfo"]["info_kind"] == "bridge");
    assert_eq!((bridges.len(), ports.len()), (1, 2));
    assert_eq!(bridges[0]["promiscuity"], 0, "{}", bridges[0]);
    for port in &ports {
        let flags = &port["linkinfo"]["info_slave_data"];
        assert_eq!(flags["hairpin"], true, "{port}");
        assert_eq!(flags["learning"], false, "{port}");
        assert_eq!(flags["flood"], false, "{port}");
    }
}
