//! Row 18: what of a node can be reached that should not be. The loopback address is the node's own,
//! node ports are no way around that, and Pods find no port of the node open that is not known.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, MacAddr, Protocol, dns_address, loopback_alias};
use seaway_testkit::Wire;
use seaway_testkit::packet::{Read, protocol, tcp_syn, udp};
use seaway_tests::services::objects::loopback;
use seaway_tests::services::{Crowd, Server, Stage, at};

use crate::common::{node_door, publish, two_nodes, ways};

/// What an agent opens on its node, beside what Services have: health, and VXLAN's UDP port.
const INVENTORY: [u16; 2] = [10_256, 4789];

/// CVE-2020-8558: a neighbour sends to 127.0.0.1, to the stand-in of the loopback address and to
/// where names are answered, by the node's Ethernet address.
#[test]
fn r18_loopback_is_the_nodes_own() {
    let mut stage = two_nodes();
    let objects = publish(&mut stage, "[{type: NodePort, endpoints: [b1]}]");
    let node = stage.net.node(1);
    // Servers that trust in it.
    let mut addresses = vec![loopback(Family::V4), loopback(Family::V6)];
    for family in Family::ALL {
        let alias = loopback_alias(family);
        if node
            .enter(|| std::net::UdpSocket::bind((alias, 0)))
            .expect("ns")
            .is_ok()
        {
            addresses.push(alias);
        }
    }
    let server = Server::open("secret", node, &addresses, &[7777]);
    let _crowd = Crowd::start(vec![server]);
    let mac = Wire::open(node, "eth0").mac;
    let mut lo = Wire::open(node, "lo");
    let wires = [
        ("node2", Wire::open(stage.net.node(2), "eth0")),
        ("pod1", Wire::open(stage.cast.place("pod1").netns(), "eth0")),
    ];
    for family in Family::ALL {
        for (name, wire) in &wires {
            let own = stage.cast.place(name).address(family);
            let mac = match *name {
                "pod1" => gateway_mac(stage.cast.place(name).netns(), family),
                _ => mac,
            };
            for target in [
                loopback(family),
                loopback_alias(family),
                dns_address(family),
            ] {
                for port in [7777, objects.node_port("s", Protocol::Udp)] {
                    let (from, to) = (SocketAddr::new(own, 4444), SocketAddr::new(target, port));
                    wire.try_send(&udp(from, to, b"trespasser").frame(wire.mac, mac));
                }
            }
        }
        // With the loopback address as its source, too.
        let (from, to) = (
            SocketAddr::new(loopback(family), 4444),
            node_door(&stage, 1, family, 8080),
        );
        wires[0]
            .1
            .try_send(&udp(from, to, b"trespasser").frame(wires[0].1.mac, mac));
    }
    // The node's own way, which is also the end of what was sent before.
    for (family, protocol) in ways() {
        let door = SocketAddr::new(loopback(family), objects.node_port("s", protocol));
        at(node, door, protocol).reaches("the node itself", &["b1"]);
        let door = SocketAddr::new(loopback(family), 7777);
        at(node, door, protocol).reaches("the node itself", &["secret"]);
        for other in ["pod1", "pod2", "outside"] {
            let port = objects.node_port("s", protocol);
            let door = SocketAddr::new(loopback(family), port);
            at(stage.cast.place(other).netns(), door, protocol).finds_nobody(other);
        }
    }
    assert_eq!(lo.count_both_ways(b"trespasser"), 0, "it got to lo");
    for (name, mut wire) in wires {
        let answers = wire
            .incoming()
            .filter(|f| seaway_testkit::packet::holds(f, b"secret"));
        assert_eq!(answers.count(), 0, "{name} was answered");
    }
    for device in ["all", "default", "eth0", "lo"] {
        let path = format!("net/ipv4/conf/{device}/route_localnet");
        assert_eq!(
            seaway_tests::net::get(node, &path),
            "0",
            "{path} is never set"
        );
    }
}

fn gateway_mac(netns: &Netns, family: Family) -> MacAddr {
    let mut netlink = seaway_kernel::netlink::Netlink::open_in(netns).expect("rtnetlink");
    let mut all = netlink.neighbours().expect("dump").into_iter();
    let found = all.find(|n| n.address == seaway_model::gateway(family));
    found.expect("a permanent neighbour").mac
}

/// Every TCP port of an address that somebody answers at, found by the segment that opens a
/// connection: each is answered, well or not.
fn open_ports(wire: &mut Wire, gateway: MacAddr, own: IpAddr, address: IpAddr) -> BTreeSet<u16> {
    let mut left: BTreeSet<u16> = (1..=u16::MAX).collect();
    let mut open = BTreeSet::new();
    for _ in 0..20 {
        for some in left.clone().into_iter().collect::<Vec<u16>>().chunks(200) {
            for port in some {
                let (from, to) = (SocketAddr::new(own, 5555), SocketAddr::new(address, *port));
                wire.send(&tcp_syn(from, to).frame(wire.mac, gateway));
            }
            take_answers(wire, address, &mut left, &mut open);
        }
        std::thread::sleep(Duration::from_millis(20));
        take_answers(wire, address, &mut left, &mut open);
        if left.is_empty() {
            return open;
        }
    }
    panic!("{address}: neither open nor closed: {left:?}");
}

fn take_answers(
    wire: &mut Wire,
    address: IpAddr,
    left: &mut BTreeSet<u16>,
    open: &mut BTreeSet<u16>,
) {
    for read in wire.incoming().filter_map(Read::frame) {
        let (Some((port, 5555)), Some(flags)) = (read.ports(), read.payload.get(13)) else {
            continue;
        };
        if read.source == address && read.protocol == protocol::TCP {
            left.remove(&port);
            // SYN is answered by SYN, or else by RST.
            if flags & 2 != 0 {
                open.insert(port);
            }
        }
    }
    wire.forget();
}

/// The UDP ports that somebody listens at in a namespace, other than at the loopback address.
fn bound_udp_ports(netns: &Netns) -> BTreeSet<u16> {
    let read = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        std::fs::read_to_string(path).expect("a table")
    };
    let text = netns
        .enter(|| read("udp") + &read("udp6"))
        .expect("namespace");
    let port = |line: &str| {
        let (address, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        let is_local = address.ends_with("7F") && address.len() == 8
            || address == "00000000000000000000000001000000";
        (!is_local).then(|| u16::from_str_radix(port, 16).ok())?
    };
    text.lines().filter_map(port).collect()
}

/// A Pod looks at every port of its node, by every address that it has; nothing is open but what is
/// in the inventory, what Services say, and what the test itself serves.
#[test]
fn r18_pods_find_no_unknown_port_of_the_node() {
    let mut stage = two_nodes();
    let objects = publish(
        &mut stage,
        "[{type: NodePort, endpoints: [b1]}, {name: inner, endpoints: [b2]}]",
    );
    let known: BTreeSet<u16> = INVENTORY
        .into_iter()
        .chain([8080, 8081, objects.node_port("s", Protocol::Tcp)])
        .collect();
    let router = Wire::open(&stage.net.fabric.netns, "out").mac;
    let sides = [
        ("pod1", Family::V4),
        ("pod1", Family::V6),
        ("outside", Family::V4),
    ];
    for (from, family) in sides {
        let place = stage.cast.place(from);
        let gateway = match from {
            "outside" => router,
            _ => gateway_mac(place.netns(), family),
        };
        let mut wire = Wire::open(place.netns(), "eth0");
        let (own, address) = (place.address(family), stage.net.address(1, family));
        let open = open_ports(&mut wire, gateway, own, address);
        let unknown: Vec<&u16> = open.difference(&known).collect();
        assert!(unknown.is_empty(), "{from} {family}: {unknown:?} are open");
        assert!(
            open.contains(&8080),
            "{from} {family}: the scan works: {open:?}"
        );
    }
    let bound = bound_udp_ports(stage.net.node(1));
    let unknown: Vec<&u16> = bound.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?} are bound for UDP");
}

/// What is open on a node is open there and nowhere else: a Service's address and port leads nowhere
/// on an address that it was not given.
#[test]
fn r18_ports_of_services_are_not_ports_of_nodes() {
    let mut stage: Stage = two_nodes();
    let objects = publish(&mut stage, "[{ports: [{port: 8123}], endpoints: [b1]}]");
    for (family, protocol) in ways() {
        let cluster = objects.cluster_door("s", protocol, family);
        at(stage.cast.place("pod1").netns(), cluster, protocol).reaches("its own", &["b1"]);
        for number in 1..=2 {
            let door = node_door(&stage, number, family, 8123);
            for from in ["pod1", "node1", "outside"] {
                at(stage.cast.place(from).netns(), door, protocol).finds_nobody("the node");
            }
        }
        let door = SocketAddr::new(stage.cast.place("pod2").address(family), 8123);
        at(stage.cast.place("pod1").netns(), door, protocol).finds_nobody("a Pod");
    }
}
