//! Row 38 of the scorecard: paths that are narrower than the uplink, fragments, and packets that
//! are odd or wrong.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol, Transport, Wiring};
use seaway_testkit::packet::{Packet, Read, udp};
use seaway_testkit::{Wire, eventually};
use seaway_tests::net::{Net, Shape, outside_address};
use seaway_tests::probe::{Greeting, Sender, carry, carry_through, wait_for_talk};
use seaway_tests::{Pod, shell};
use serde_json::json;

use crate::common::{LIMIT, SOON, for_all_at_once, for_each, gateway};

const FOUR_MIB: usize = 4 << 20;

/// How long the agents may take to find out what a path carries: they ask slowly, lest loss be
/// taken for a black hole.
const FOUND: Duration = Duration::from_secs(90);

/// The way to the outside is narrower than the uplink, behind the node's translation.
#[test]
fn r38_too_big_is_translated_back_to_the_pod() {
    for_each(&Wiring::ALL, |wiring| {
        let net = Net::start(&Shape::flat().wiring(*wiring));
        let mut a = net.bare_pod(1, "a").asking(json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        }));
        a.add().expect("ADD");
        net.fabric.narrow_way_out(1300);
        let outside = &net.fabric.outside;
        for family in Family::ALL {
            let mut wire = Wire::open(a.netns(), "eth0");
            let target = outside_address(family);
            carry(a.netns(), outside, target, FOUR_MIB, LIMIT / 4)
                .unwrap_or_else(|e| panic!("{family} out: {e}"));
            assert_too_big(&mut wire, family, a.address(family));
            // What the kernel learned for the way out must not help the way back.
            shell::run(a.netns(), &flush_learned(family));
            wire.forget();
            let listener = a.netns().run(|| TcpListener::bind(("::", 80)));
            let listener = listener.expect("namespace").expect("bound");
            let door = SocketAddr::new(net.address(1, family), 8080);
            carry_through(
                outside,
                door,
                &listener,
                Sender::Server,
                FOUR_MIB,
                LIMIT / 4,
            )
            .unwrap_or_else(|e| panic!("{family} by the host port: {e}"));
            assert_too_big(&mut wire, family, a.address(family));
        }
    });
}

fn flush_learned(family: Family) -> String {
    match family {
        Family::V4 => "ip -4 route flush cache".to_owned(),
        Family::V6 => "ip -6 route flush cache".to_owned(),
    }
}

/// The Pod was told that something was too big, about a packet of its own.
fn assert_too_big(wire: &mut Wire, family: Family, own: IpAddr) {
    let wanted = match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    };
    let told = wire.wait_for("too big reaches the Pod", LIMIT, |frame| {
        let read = Read::frame(&frame.bytes)?;
        let about = (read.icmp()? == wanted).then(|| read.payload.get(8..))??;
        Some(Read::packet(about)?.source)
    });
    assert_eq!(told, own, "it is about a packet of the Pod's own");
}

/// A router between the nodes is narrower than their uplinks, and says so: to the nodes. Linux does
/// not pass on to Pods of IPv4 what it learns of the way to a VTEP; then it is for the agents to
/// find out.
#[test]
fn r38_a_narrow_router_between_nodes_is_adapted_to() {
    let mut shapes = Vec::new();
    for family in Family::ALL {
        shapes.push(Shape::routed().vxlan_over(family));
    }
    shapes.push(
        Shape::routed()
            .vxlan_over(Family::V6)
            .wiring(Wiring::Bridge),
    );
    for_all_at_once(&shapes, |shape| {
        let mut net = Net::without_agents(shape);
        for number in [1, 2] {
            net.fabric.narrow(number, 1400);
        }
        for agent in &mut net.agents {
            agent.spawn_agent(&[]);
        }
        net.settle();
        let (a, c) = (net.pod(1, "a"), net.pod(2, "c"));
        wait_for_talk("at first", &a, &c);
        for family in Family::ALL {
            for (from, to) in [(&a, &c), (&c, &a)] {
                let target = to.address(family);
                eventually("large packets get through", FOUND, || {
                    carry(from.netns(), to.netns(), target, FOUR_MIB, SOON * 6)
                });
            }
        }
    });
}

/// A path swallows what is large without a word: the agents find out.
#[test]
fn r38_a_black_hole_is_found_and_said() {
    let shapes = [
        Shape::flat().transport(Transport::Direct),
        Shape::flat().vxlan_over(Family::V6).wiring(Wiring::Bridge),
        Shape::flat().transport(Transport::L2),
    ];
    for_all_at_once(&shapes, |shape| {
        let mut net = Net::without_agents(shape);
        // Super-packets would hide how large those on the wire are.
        for number in [1, 2] {
            shell::run(net.node(number), "ip link set eth0 gso_max_segs 1");
        }
        shell::nft(
            &net.fabric.netns,
            "table netdev hole {
                chain from1 {
                    type filter hook ingress device n1 priority 0; policy accept;
                    meta length > 1350 counter drop
                }
                chain from2 {
                    type filter hook ingress device n2 priority 0; policy accept;
                    meta length > 1350 counter drop
                }
            }\n",
        );
        for agent in &mut net.agents {
            agent.spawn_agent(&[]);
        }
        net.settle();
        let (a, c) = (net.pod(1, "a"), net.pod(2, "c"));
        for family in Family::ALL {
            let target = c.address(family);
            eventually("the black hole is found", FOUND, || {
                carry(a.netns(), c.netns(), target, FOUR_MIB / 4, SOON * 2)
            });
        }
        eventually("status says so", LIMIT, || {
            let status = net.agent(1).status().to_string();
            let said = status.contains("node2") && status.contains("1350");
            if said { Ok(()) } else { Err(status) }
        });
    });
}

/// Every way between nodes, for what is not about MTU.
fn ways() -> Vec<Shape> {
    vec![
        Shape::flat().transport(Transport::Direct),
        Shape::flat()
            .transport(Transport::L2)
            .wiring(Wiring::Bridge),
        Shape::routed()
            .vxlan_over(Family::V4)
            .wiring(Wiring::Bridge),
        Shape::routed().vxlan_over(Family::V6),
    ]
}

/// One socket that takes what comes, and a device that sends anything.
struct Ends {
    raw: Wire,
    gateway: seaway_model::MacAddr,
    from: SocketAddr,
    server: UdpSocket,
    to: SocketAddr,
}

impl Ends {
    fn new(from: &Pod, to: &Pod, wiring: Wiring, family: Family) -> Ends {
        let server = to.netns().run(|| UdpSocket::bind((to.address(family), 0)));
        let server = server.expect("namespace").expect("bound");
        server.set_read_timeout(Some(LIMIT)).expect("timeout");
        Ends {
            raw: Wire::open(from.netns(), "eth0"),
            gateway: gateway(from, wiring),
            from: SocketAddr::new(from.address(family), 999),
            to: server.local_addr().expect("bound"),
            server,
        }
    }

    fn datagram(&self, data: &[u8]) -> Packet {
        udp(self.from, self.to, data)
    }

    fn send(&self, packet: &Packet) {
        self.raw.send(&packet.frame(self.raw.mac, self.gateway));
    }

    fn assert_next(&self, what: &str, data: &[u8]) {
        let mut buffer = vec![0; 1 << 16];
        let (length, from) = self
            .server
            .recv_from(&mut buffer)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(buffer[..length] == *data, "{what}: {length} bytes");
        assert_eq!(from, self.from, "{what}");
    }
}

#[test]
fn r38_fragments_and_odd_packets_arrive_and_wrong_ones_do_not() {
    for_each(&ways(), |shape| {
        let net = Net::start(shape);
        let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
        wait_for_talk("at first", &a, &b);
        wait_for_talk("at first", &a, &c);
        for family in Family::ALL {
            for to in [&b, &c] {
                let ends = Ends::new(&a, to, shape.wiring, family);
                let long: Vec<u8> = (0..20_000u32)
                    .flat_map(u32::to_be_bytes)
                    .take(20_000)
                    .collect();
                let client = a.netns().run(|| UdpSocket::bind(ends.from));
                let client = client.expect("namespace").expect("bound");
                client.send_to(&long, ends.to).expect("sent");
                ends.assert_next("a datagram of 20,000 bytes", &long);
                drop(client);
                odd(&ends, family);
                wrong(&ends, family);
            }
        }
        for pod in [&a, &b, &c] {
            pod.check().expect("nobody was harmed");
        }
        net.settle();
    });
}

/// What is unusual and right.
fn odd(ends: &Ends, family: Family) {
    let short: Vec<u8> = (0..64).collect();
    let mut parts = ends.datagram(&short).fragments(7, 8);
    parts.iter().for_each(|part| ends.send(part));
    ends.assert_next("tiny fragments", &short);
    parts = ends.datagram(&short).fragments(8, 24);
    parts.iter().rev().for_each(|part| ends.send(part));
    ends.assert_next("fragments in the wrong order", &short);
    let options: &[u8] = match family {
        // No operation, and room to record a route in.
        Family::V4 => &[1, 7, 7, 4, 0, 0, 0, 0],
        // Padding.
        Family::V6 => &[1, 4, 0, 0, 0, 0],
    };
    ends.send(&ends.datagram(b"options").options(options));
    ends.assert_next("options", b"options");
    ends.send(&ends.datagram(b"").ttl(9));
    ends.assert_next("nothing in it", b"");
}

/// What is wrong, in the middle of what is right.
fn wrong(ends: &Ends, family: Family) {
    ends.send(&ends.datagram(b"wrong sum").bad_checksum());
    if family == Family::V4 {
        ends.send(&ends.datagram(b"wrong header").bad_header_checksum());
    }
    let mut cut = ends
        .datagram(b"cut short")
        .frame(ends.raw.mac, ends.gateway);
    cut.payload.truncate(cut.payload.len() - 4);
    ends.raw.send(&cut);
    cut.payload.truncate(12);
    ends.raw.send(&cut);
    let parts = ends.datagram(&[9; 64]).fragments(9, 16);
    // One is missing, one comes twice, and one overlaps.
    ends.send(&parts[0]);
    ends.send(&parts[0]);
    let mut overlap = parts[2].clone();
    if let Some(part) = &mut overlap.part {
        part.offset -= 8;
    }
    ends.send(&overlap);
    ends.send(&ends.datagram(b"right again"));
    ends.assert_next("right again", b"right again");
}

#[test]
fn r38_a_pod_learns_that_its_packets_lived_too_short() {
    for_each(&ways(), |shape| {
        let net = Net::start(shape);
        let (a, c) = (net.pod(1, "a"), net.pod(2, "c"));
        wait_for_talk("at first", &a, &c);
        for family in Family::ALL {
            let mut ends = Ends::new(&a, &c, shape.wiring, family);
            let wanted = match family {
                Family::V4 => (11, 0),
                Family::V6 => (3, 0),
            };
            // The first hop is the own node, the second the other.
            for (ttl, number) in [(1, 1), (2, 2)] {
                ends.raw.forget();
                ends.send(&ends.datagram(b"short").ttl(ttl));
                let by = ends.raw.wait_for("time exceeded", LIMIT, |frame| {
                    let read = Read::frame(&frame.bytes)?;
                    (read.icmp()? == wanted).then_some(read.source)
                });
                assert!(is_of(net.node(number), by), "{family}: ttl {ttl}: {by}");
            }
        }
    });
}

fn is_of(netns: &Netns, address: IpAddr) -> bool {
    shell::run(netns, "ip -o addr show").contains(&format!(" {address}/"))
}

/// The port of a datagram by a host port is closed in the Pod: who sent it is told.
#[test]
fn r38_port_unreachable_comes_back_through_a_host_port() {
    let net = Net::start(&Shape::flat());
    let mut a = net.bare_pod(1, "a").asking(json!({
        "portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}],
    }));
    a.add().expect("ADD");
    for family in Family::ALL {
        let door = SocketAddr::new(net.address(1, family), 5353);
        let error = Greeting::ask(&net.fabric.outside, door, Protocol::Udp, LIMIT);
        let error = error.expect_err("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
