//! What single packets of translated flows must survive: errors on the way (S30), packets that fit
//! no flow (S31), fragments in any order (S33), two flows that look the same to an endpoint (S36),
//! and what filters of others see (S38).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol, gateway};
use seaway_testkit::packet::{Packet, echo, protocol, udp};
use seaway_testkit::{Wire, eventually};
use seaway_tests::net::Shape;
use seaway_tests::probe::Greeting;
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::{Server, Stage, at};
use seaway_tests::shell;

use crate::common::{LIMIT, node_door, publish, two_nodes};

const SOON: Duration = Duration::from_secs(3);

fn any(family: Family) -> &'static str {
    match family {
        Family::V4 => "0.0.0.0",
        Family::V6 => "::",
    }
}

/// An endpoint whose port is closed says so, and the client hears it as from the Service.
#[test]
fn s30_unreachable_is_translated_back() {
    let mut stage = two_nodes();
    // Nobody listens at port 9999.
    let objects = publish(
        &mut stage,
        "[{type: NodePort, ports: [{target: 9999}], endpoints: [b2]}]",
    );
    for family in Family::ALL {
        let cluster = objects.cluster_door("s", Protocol::Udp, family);
        let port = objects.node_port("s", Protocol::Udp);
        let node = node_door(&stage, 1, family, port);
        for (from, door) in [("pod1", cluster), ("node1", cluster), ("outside", node)] {
            let netns = stage.cast.place(from).netns();
            // A connected socket hears only what is about the address that it knows.
            at(netns, door, Protocol::Udp).is_refused(&format!("{from}: port unreachable"));
        }
    }
}

/// A way to the endpoint that is narrower than the client's: what says so gets to the client, and
/// the transfer is complete.
#[test]
fn s30_too_big_is_translated_back() {
    let mut stage = Stage::set(
        Shape::routed().transport(seaway_model::Transport::Vxlan),
        &TableSettings::default(),
    );
    let objects = publish(
        &mut stage,
        "[{type: NodePort, ports: [{target: 7000}], endpoints: [{at: outside, anonymous: true}]}]",
    );
    stage.net.fabric.narrow_way_out(1280);
    for family in Family::ALL {
        let address = seaway_tests::net::outside_address(family);
        let listener = stage
            .net
            .fabric
            .outside
            .enter(|| TcpListener::bind((address, 7000)));
        let listener = listener.expect("namespace").expect("bound");
        let door = objects.cluster_door("s", Protocol::Tcp, family);
        for from in ["pod1", "node1"] {
            carry(stage.cast.place(from).netns(), door, &listener)
                .unwrap_or_else(|e| panic!("{from} {family}: {e}"));
        }
    }
}

fn carry(from: &Netns, door: SocketAddr, listener: &TcpListener) -> std::io::Result<()> {
    use seaway_tests::probe::{Sender, carry_through};
    let bytes = 1 << 20;
    carry_through(from, door, listener, Sender::Client, bytes, SOON * 4).map(drop)
}

/// Nobody promises an answer to echo requests; they must not go round in circles.
#[test]
fn s30_echo_to_a_cluster_address_does_not_loop() {
    let mut stage = two_nodes();
    let objects = publish(&mut stage, "[{type: NodePort, endpoints: [b1, b2]}]");
    let mut cable = Wire::open(&stage.net.fabric.netns, "n1");
    let out = Wire::open(&stage.net.fabric.outside, "eth0");
    let router = Wire::open(&stage.net.fabric.netns, "out").mac;
    for family in Family::ALL {
        let door = objects.cluster_door("s", Protocol::Tcp, family);
        let ((netns, addresses), wire) = pod_wire(&stage, "pod1");
        let own = addresses[usize::from(family == Family::V6)];
        let ping = echo(own, door.ip(), 7, 1, b"by-a-pod");
        wire.send(&ping.frame(wire.mac, gateway_mac(netns, family)));
        let own = seaway_tests::net::outside_address(family);
        let ping = echo(own, door.ip(), 7, 1, b"from-outside");
        out.send(&ping.frame(out.mac, router));
        // What comes after it has overtaken nothing.
        at(netns, door, Protocol::Tcp).reaches("a flow", &["b1", "b2"]);
        at(&stage.net.fabric.outside, door, Protocol::Tcp).reaches("a flow", &["b1", "b2"]);
    }
    assert_eq!(cable.count_both_ways(b"by-a-pod"), 0, "it left the node");
    // An error about it may come back, and holds it too.
    let asks = |frame: &&[u8]| {
        let icmp = seaway_testkit::packet::Read::frame(frame).and_then(|ip| ip.icmp());
        let holds = seaway_testkit::packet::holds(frame, b"from-outside");
        holds && icmp.is_some_and(|(kind, _)| [8, 128].contains(&kind))
    };
    let asked = cable.both_ways().filter(asks).count();
    assert_eq!(asked, 2, "it came once a family, and went no further");
}

/// Its namespace and addresses, IPv4 first.
type PodAt<'a> = (&'a Netns, [std::net::IpAddr; 2]);

fn pod_wire<'a>(stage: &'a Stage, name: &str) -> (PodAt<'a>, Wire) {
    let place = stage.cast.place(name);
    let addresses = Family::ALL.map(|family| place.address(family));
    (
        (place.netns(), addresses),
        Wire::open(place.netns(), "eth0"),
    )
}

/// The Ethernet address that a Pod sends to what is not its own (`routed` wiring).
fn gateway_mac(netns: &Netns, family: Family) -> seaway_model::MacAddr {
    let mut netlink = seaway_kernel::netlink::Netlink::open_in(netns).expect("rtnetlink");
    let mut all = netlink.neighbours().expect("dump").into_iter();
    let found = all.find(|n| n.address == gateway(family));
    found.expect("a permanent neighbour").mac
}

/// A segment far outside the window does not end a connection: without care the endpoint's answer
/// would go to the client untranslated, who would reset it.
///
/// e2e: "KubeProxy should resolve connection reset issue #74839", "Conntrack should drop INVALID
/// conntrack entries".
#[test]
fn s31_packets_outside_the_window_break_nothing() {
    let mut stage = two_nodes();
    let objects = publish(&mut stage, "[{ports: [{target: 7000}], endpoints: [b2]}]");
    for family in Family::ALL {
        let door = objects.cluster_door("s", Protocol::Tcp, family);
        let place = stage.cast.place("b2");
        let listener = place
            .netns()
            .enter(|| TcpListener::bind((place.address(family), 7000)));
        let listener = listener.expect("namespace").expect("bound");
        let ((netns, addresses), mut wire) = pod_wire(&stage, "b2");
        let client = stage.cast.place("pod1").netns();
        let mut client = client
            .enter(|| TcpStream::connect(door))
            .expect("ns")
            .expect("connected");
        let (mut server, peer) = listener.accept().expect("accepted");
        client.set_read_timeout(Some(SOON)).expect("set");
        let begun = wire.wait_for("the endpoint's SYN and ACK", SOON, |frame| {
            frame.outgoing.then(|| numbers(&frame.bytes)).flatten()
        });
        let source = SocketAddr::new(addresses[usize::from(family == Family::V6)], 7000);
        let forged = out_of_window(source, peer, begun);
        let counted = stage.net.agent(2).drops("invalid");
        wire.forget();
        wire.send(&forged.frame(wire.mac, gateway_mac(netns, family)));
        for _ in 0..5 {
            client.write_all(b"still there").expect("sent");
            let mut buffer = [0; 11];
            server.read_exact(&mut buffer).expect("received");
            server.write_all(&buffer).expect("sent back");
            client
                .read_exact(&mut buffer)
                .expect("the connection lives");
        }
        let mut reset = wire.incoming().filter(|frame| is_reset(frame));
        assert!(reset.next().is_none(), "{family}: the client reset it");
        let counted = stage.net.agent(2).drops("invalid") - counted;
        assert_eq!(counted, 1, "{family}: counted as invalid");
    }
}

/// What a SYN with ACK begins with: its sequence number, and the one that it awaits.
fn numbers(frame: &[u8]) -> Option<(u32, u32)> {
    let read = seaway_testkit::packet::Read::frame(frame)?;
    let is_answer = read.protocol == protocol::TCP && read.payload.get(13)? & 0x12 == 0x12;
    let number = |at: usize| Some(u32::from_be_bytes(*read.payload.get(at..)?.first_chunk()?));
    is_answer.then_some(())?;
    Some((number(4)?, number(8)?))
}

/// A segment of the endpoint that acknowledges what was never sent. Only that makes a packet
/// invalid for certain: the kernel lets one pass that lies *before* the window, for it may be late.
fn out_of_window(from: SocketAddr, to: SocketAddr, begun: (u32, u32)) -> Packet {
    let mut packet = seaway_testkit::packet::tcp_syn(from, to);
    let sequence = begun.0.wrapping_add(1);
    let acknowledged = begun.1.wrapping_add(1 << 30);
    packet.payload[4..8].copy_from_slice(&sequence.to_be_bytes());
    packet.payload[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    packet.payload[13] = 0x10;
    packet.payload[16..18].fill(0);
    let sum = seaway_testkit::packet::checksum::transport(
        from.ip(),
        to.ip(),
        protocol::TCP,
        &packet.payload,
    );
    packet.payload[16..18].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn is_reset(frame: &[u8]) -> bool {
    let read = seaway_testkit::packet::Read::frame(frame);
    read.is_some_and(|ip| {
        ip.protocol == protocol::TCP && ip.payload.get(13).is_some_and(|flags| flags & 4 != 0)
    })
}

/// Every part of a datagram gets to the endpoint that the first part is led to, in any order.
#[test]
fn s33_fragments_stay_together_in_any_order() {
    let mut stage = two_nodes();
    let objects = publish(&mut stage, "[{endpoints: [b1, c1, b2]}]");
    for family in Family::ALL {
        let door = objects.cluster_door("s", Protocol::Udp, family);
        let ((netns, addresses), mut wire) = pod_wire(&stage, "pod1");
        let gateway = gateway_mac(netns, family);
        for round in 0u16..12 {
            let own = SocketAddr::new(addresses[usize::from(family == Family::V6)], 20_000 + round);
            let mark = format!("round {round} of {family}!");
            let mut data = vec![0x33; 3900];
            data.extend(mark.as_bytes());
            let mut parts = udp(own, door, &data).fragments(u32::from(round) + 7, 1200);
            match round % 3 {
                0 => {}
                1 => parts.reverse(),
                _ => parts.swap(0, 2),
            }
            // The socket keeps the kernel from refusing the answer.
            let _socket = netns
                .enter(|| UdpSocket::bind(own))
                .expect("namespace")
                .expect("bound");
            for part in &parts {
                wire.send(&part.frame(wire.mac, gateway));
            }
            // The endpoint echoes all of it, again in parts.
            wire.wait_for(
                &format!("{family}: an answer in round {round}"),
                SOON,
                |frame| {
                    let echoed = seaway_testkit::packet::holds(&frame.bytes, mark.as_bytes());
                    (echoed && !frame.outgoing).then_some(())
                },
            );
        }
    }
}

/// One client, one port, one endpoint, two cluster addresses: both flows live.
#[test]
fn s36_one_endpoint_behind_two_addresses_and_one_client_port() {
    let mut stage = two_nodes();
    let objects = publish(
        &mut stage,
        "[{name: one, type: NodePort, endpoints: [b2]}, {name: two, type: NodePort, endpoints: [b2]}]",
    );
    for family in Family::ALL {
        for (from, by_node) in [("pod1", false), ("node1", false), ("outside", true)] {
            let netns = stage.cast.place(from).netns();
            let door = |name: &str, protocol| match by_node {
                false => objects.cluster_door(name, protocol, family),
                true => node_door(&stage, 1, family, objects.node_port(name, protocol)),
            };
            let what = format!("{from} {family}");
            same_port_by_udp(
                netns,
                family,
                [door("one", Protocol::Udp), door("two", Protocol::Udp)],
                &what,
            );
            same_port_by_tcp(
                netns,
                family,
                [door("one", Protocol::Tcp), door("two", Protocol::Tcp)],
                &what,
            );
        }
    }
}

fn same_port_by_udp(netns: &Netns, family: Family, doors: [SocketAddr; 2], what: &str) {
    let socket = netns
        .enter(|| UdpSocket::bind((any(family), 0)))
        .expect("ns")
        .expect("bound");
    socket.set_read_timeout(Some(SOON)).expect("set");
    for round in 0..4 {
        for door in doors {
            socket.send_to(b"who?", door).expect("sent");
            let mut buffer = [0; 256];
            let (length, from) = socket
                .recv_from(&mut buffer)
                .unwrap_or_else(|e| panic!("{what} {door}: {e}"));
            assert_eq!(
                from, door,
                "{what}, round {round}: answered from where it was asked"
            );
            assert!(buffer[..length].starts_with(b"b2 "), "{what}");
        }
    }
}

fn same_port_by_tcp(netns: &Netns, family: Family, doors: [SocketAddr; 2], what: &str) {
    // Two connections from one port need a socket that says so; the first one's port is taken over.
    let connect = |local: SocketAddr, door: SocketAddr| {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket,
        };
        let domain = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let open = || {
            let fd = socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            setsockopt(&fd, sockopt::ReusePort, &true)?;
            use std::os::fd::AsRawFd;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
            connect(fd.as_raw_fd(), &SockaddrStorage::from(door))?;
            Ok::<_, nix::Error>(TcpStream::from(fd))
        };
        let stream = netns.enter(open).expect("namespace");
        stream.unwrap_or_else(|e| panic!("{what} {door}: {e}"))
    };
    let any: std::net::IpAddr = any(family).parse().expect("valid");
    let first = connect(SocketAddr::new(any, 0), doors[0]);
    let port = first.local_addr().expect("bound").port();
    let second = connect(SocketAddr::new(any, port), doors[1]);
    for (mut stream, door) in [(first, doors[0]), (second, doors[1])] {
        stream.set_read_timeout(Some(SOON)).expect("set");
        let mut buffer = [0; 256];
        let length = stream
            .read(&mut buffer)
            .unwrap_or_else(|e| panic!("{what} {door}: {e}"));
        let line = buffer[..length].split(|byte| *byte == b'\n').next();
        let greeting = Greeting::read(line.unwrap_or_default()).expect("a greeting");
        assert_eq!(greeting.name, "b2", "{what}");
        stream.write_all(b"and on").expect("sent");
        stream
            .read_exact(&mut buffer[..6])
            .expect("both live at once");
    }
}

/// Before translation filters of others see the Service, after it the endpoint.
#[test]
fn s38_filters_of_others_see_both_sides() {
    let mut stage = two_nodes();
    let objects = publish(&mut stage, "[{endpoints: [b2]}]");
    let door = objects.cluster_door("s", Protocol::Tcp, Family::V4);
    let endpoint = stage.cast.place("b2").address(Family::V4);
    let node = stage.net.node(1);
    shell::nft(
        node,
        &format!(
            "table ip theirs {{
               chain early {{ type filter hook prerouting priority -150; ip daddr {} counter comment \"early\"; }}
               chain late {{ type filter hook forward priority 0; ip daddr {endpoint} counter comment \"late\"; ip daddr {} counter comment \"never\"; }}
             }}\n",
            door.ip(),
            door.ip()
        ),
    );
    at(stage.cast.place("pod1").netns(), door, Protocol::Tcp).reaches("it works", &["b2"]);
    let text = shell::run(node, "nft list table ip theirs");
    let packets = |comment: &str| -> u64 {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("\"{comment}\"")))
            .expect("a rule");
        let mut words = line.split_whitespace();
        words.find(|word| *word == "packets").expect("a counter");
        words.next().expect("a number").parse().expect("a number")
    };
    assert!(packets("early") > 0 && packets("late") > 0, "{text}");
    assert_eq!(packets("never"), 0, "{text}");
}

/// Node ports are open on the addresses that were chosen, and on no others (S15).
#[test]
fn s15_only_the_chosen_addresses_answer() {
    let chosen = TableSettings {
        node_port_addresses: ["192.168.77.0/24", "fd00:77::/64"]
            .map(|text| text.parse().expect("a network"))
            .to_vec(),
        ..TableSettings::default()
    };
    for (settings, by_primary) in [(TableSettings::default(), true), (chosen, false)] {
        let work = || {
            let mut stage = Stage::set(Shape::flat(), &settings);
            let objects = publish(&mut stage, "[{type: NodePort, endpoints: [b2]}]");
            let lines =
                "addr add 192.168.77.1/24 dev eth0\naddr add fd00:77::1/64 dev eth0 nodad\n";
            shell::ip(stage.net.node(1), lines);
            let way = "route add 192.168.77.0/24 dev eth0\nroute add fd00:77::/64 dev eth0\n";
            shell::ip(stage.net.node(2), way);
            second_addresses(&stage, &objects, by_primary);
        };
        std::thread::scope(|scope| scope.spawn(work).join()).expect("each in its own cluster");
    }
}

fn second_addresses(stage: &Stage, objects: &seaway_tests::services::Objects, by_primary: bool) {
    for (family, second) in Family::ALL.into_iter().zip(["192.168.77.1", "fd00:77::1"]) {
        for protocol in Protocol::ALL {
            let port = objects.node_port("s", protocol);
            let second = SocketAddr::new(second.parse().expect("valid"), port);
            let primary = node_door(stage, 1, family, port);
            let (open, closed) = match by_primary {
                true => (primary, second),
                false => (second, primary),
            };
            for from in ["node1", "node2"] {
                let netns = stage.cast.place(from).netns();
                eventually("it is open", LIMIT, || {
                    match at(netns, open, protocol).ask() {
                        outcome if outcome.name() == Some("b2") => Ok(()),
                        other => Err((from, open, other)),
                    }
                });
                at(netns, closed, protocol).finds_nobody("not chosen");
            }
            let local = SocketAddr::new(seaway_tests::services::objects::loopback(family), port);
            at(stage.net.node(1), local, protocol).reaches("loopback always", &["b2"]);
        }
    }
}

/// A server of the node itself at the number of a node port is not heard while the Service is there.
#[test]
fn s15_a_listener_at_a_node_port_is_behind_it() {
    let mut stage = two_nodes();
    let objects = publish(&mut stage, "[{type: NodePort, endpoints: [b2]}]");
    let port = objects.node_port("s", Protocol::Tcp);
    let node = stage.cast.place("node1");
    let _own = Server::open("own", node.netns(), &node.addresses, &[port]);
    for family in Family::ALL {
        let door = node_door(&stage, 1, family, port);
        for from in ["outside", "pod1", "node1"] {
            let netns = stage.cast.place(from).netns();
            at(netns, door, Protocol::Tcp).reaches("the Service's", &["b2"]);
        }
    }
}
