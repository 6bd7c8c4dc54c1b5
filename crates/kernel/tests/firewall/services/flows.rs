//! What belongs to a flow goes where the flow goes, and what fits none goes nowhere.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use seaway_kernel::netns::Netns;
use seaway_model::{DropReason, Family, Protocol, Wiring};
use seaway_testkit::eventually;
use seaway_testkit::packet::{self, Packet, checksum, protocol};

use super::servers::{Answer, answer, ask_udp, udp_client};
use super::{Balanced, frontend, outside, virtual_ip};
use crate::rig::{LIMIT, Rig, node_address, run};

const NODE_PORT: u16 = 30_080;

/// Nobody is at the backend's port: the client is told so by the address that it sent to.
#[test]
fn s30_clients_are_told_what_backends_say() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        let closed = SocketAddr::new(balanced.rig.pods[0].address(family), 9999);
        balanced.service(at, &[closed]);
        let rig = &balanced.rig;
        for from in [
            &rig.pods[0].netns,
            &rig.pods[1].netns,
            &rig.out.netns,
            &rig.node,
        ] {
            let error = ask_udp(&udp_client(from, at), b"?").expect_err("nobody");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    }
    balanced.nothing_dropped();
}

/// A router on the way to the client says what fits: the backend hears of it.
#[test]
fn s30_backends_are_told_what_fits_on_the_way_to_clients() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(node_address(family), NODE_PORT);
        let targets = balanced.targets(0, family, 1);
        let key = frontend(at, Protocol::Udp);
        balanced.lead(key, &targets, None);
        balanced.lead(outside(key), &targets, None);
        balanced.rig.converge();
        let rig = &balanced.rig;
        let client = udp_client(&rig.out.netns, at);
        let answer = ask_udp(&client, b"?").expect("answered");
        assert_eq!(answer.seen.ip(), rig.out.address(family));
        let too_long = packet::udp(at, answer.seen, &[0; 1400]);
        let told = packet::too_big(rig.out.address(family), 1300, &too_long);
        let frame = told.frame(rig.out.mac, rig.out.gateway);
        rig.out.wire().send(&frame);
        let pod = &rig.pods[0];
        let to = rig.out.address(family).to_string();
        eventually("the Pod knows what fits", LIMIT, || {
            let route = pod.netns.enter(|| run("ip", &["route", "get", &to]));
            let route = route.expect("namespace");
            match route.contains("mtu 1300") {
                true => Ok(()),
                false => Err(route),
            }
        });
    }
    balanced.nothing_dropped();
}

#[test]
fn s33_fragments_go_where_the_first_one_goes() {
    const LENGTH: usize = 3000;
    let mut balanced = Balanced::new(Wiring::Routed, 5);
    for family in Family::ALL {
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        let targets = balanced.targets(0, family, 5);
        balanced.service(at, &targets);
        let rig = &balanced.rig;
        for from in [&rig.pods[1].netns, &rig.out.netns, &rig.node] {
            for _ in 0..5 {
                let answer = ask_udp(&udp_client(from, at), &[7; LENGTH]).expect("answered");
                assert_eq!(answer.length, LENGTH);
            }
        }
        // In any order.
        let pod = &rig.pods[1];
        let client = udp_client(&pod.netns, at);
        let own = client.local_addr().expect("bound");
        let wire = pod.wire();
        for id in 0..5 {
            let whole = packet::udp(
                SocketAddr::new(pod.address(family), own.port()),
                at,
                &[7; LENGTH],
            );
            for part in whole.fragments(0x5ea0 + id, 1000).iter().rev() {
                wire.send(&part.frame(pod.mac, pod.gateway));
            }
            let mut buffer = [0; 256];
            let length = client.recv(&mut buffer).expect("answered");
            let answer = Answer::read(&buffer[..length]).expect("an answer");
            assert_eq!(answer.length, LENGTH);
        }
    }
    balanced.nothing_dropped();
}

/// A segment of TCP.
fn segment(from: SocketAddr, to: SocketAddr, sequence: u32, data: &[u8]) -> Packet {
    const ACK_PUSH: u8 = 0x18;
    let mut bytes = Vec::new();
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(sequence.wrapping_mul(3).to_be_bytes());
    bytes.extend([5 << 4, ACK_PUSH, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(data);
    let check = checksum::transport(from.ip(), to.ip(), protocol::TCP, &bytes);
    bytes[16..18].copy_from_slice(&check.to_be_bytes());
    Packet::new(from.ip(), to.ip(), protocol::TCP, bytes)
}

/// Of two numbers half of all apart one is beyond the window; the other was long ago.
const NUMBERS: [u32; 2] = [0x1111_1111, 0x9111_1111];

struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(from: &Netns, to: SocketAddr, at: &Netns, bound: SocketAddr) -> Connection {
        let listener = at.enter(|| TcpListener::bind(bound).expect("bound"));
        let client = from.enter(|| TcpStream::connect_timeout(&to, LIMIT).expect("connected"));
        let (server, _) = listener.expect("namespace").accept().expect("accepted");
        Connection {
            client: client.expect("namespace"),
            server,
        }
    }

    fn is_alive(&mut self) {
        let (from, to) = (&mut self.client, &mut self.server);
        from.set_read_timeout(Some(LIMIT)).expect("set");
        to.set_read_timeout(Some(LIMIT)).expect("set");
        let mut buffer = [0; 5];
        from.write_all(b"there").expect("sent");
        to.read_exact(&mut buffer).expect("received");
        to.write_all(b"back!").expect("sent");
        from.read_exact(&mut buffer).expect("received");
    }
}

/// One of the numbers at least fits no connection.
fn breaks_none(rig: &mut Rig, act: impl FnOnce(&mut Rig)) {
    let before = rig.drops()[&DropReason::Invalid];
    act(rig);
    eventually("dropped as invalid", LIMIT, || {
        match rig.drops()[&DropReason::Invalid] {
            count if count > before => Ok(()),
            count => Err(count),
        }
    });
}

#[test]
fn s31_what_fits_no_connection_breaks_none() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        let target = SocketAddr::new(balanced.rig.pods[0].address(family), 9100);
        balanced.service(at, &[target]);
        // The backend is led back to a Pod, to somebody outside, and to the node itself.
        for from in 0..3 {
            let rig = &balanced.rig;
            let client = [&rig.pods[1].netns, &rig.out.netns, &rig.node][from];
            let mut connection = Connection::open(client, at, &rig.pods[0].netns, target);
            let peer = connection.server.peer_addr().expect("connected");
            let own = connection.client.local_addr().expect("connected");
            breaks_none(&mut balanced.rig, |rig| {
                let pod = &rig.pods[0];
                for number in NUMBERS {
                    let odd = segment(target, peer, number, b"odd");
                    pod.wire().send(&odd.frame(pod.mac, pod.gateway));
                }
            });
            // And the client's, where it has a wire.
            if from < 2 {
                breaks_none(&mut balanced.rig, |rig| {
                    let station = [&rig.pods[1], &rig.out][from];
                    for number in NUMBERS {
                        let odd = segment(own, at, number, b"odd");
                        station
                            .wire()
                            .send(&odd.frame(station.mac, station.gateway));
                    }
                });
            }
            connection.is_alive();
        }
    }
}

/// A socket of TCP that may share its port with others to other destinations.
fn connect_from(own: SocketAddr, to: SocketAddr) -> TcpStream {
    let family = match own {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let fd = fd.expect("socket");
    socket::setsockopt(&fd, sockopt::ReuseAddr, &true).expect("set");
    use std::os::fd::AsRawFd;
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(own)).expect("bound");
    socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).expect("connected");
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(LIMIT)).expect("set");
    stream
}

#[test]
fn s36_one_port_of_a_client_reaches_one_backend_by_two_services() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let services = [1, 2].map(|i| SocketAddr::new(virtual_ip(family, i), 80));
        let targets = balanced.targets(0, family, 1);
        for at in services {
            balanced.service(at, &targets);
        }
        let rig = &balanced.rig;
        let addresses: [(&Netns, IpAddr); 3] = [
            (&rig.pods[1].netns, rig.pods[1].address(family)),
            (&rig.out.netns, rig.out.address(family)),
            (&rig.node, node_address(family)),
        ];
        for (from, address) in addresses {
            let own = SocketAddr::new(address, 4321);
            let client = from.enter(|| UdpSocket::bind(own).expect("bound"));
            let client = client.expect("namespace");
            client.set_read_timeout(Some(LIMIT)).expect("set");
            for at in services.into_iter().cycle().take(6) {
                client.send_to(b"?", at).expect("sent");
                let mut buffer = [0; 256];
                let (length, peer) = client.recv_from(&mut buffer).expect("answered");
                assert_eq!(peer, at);
                let answer = Answer::read(&buffer[..length]).expect("an answer");
                assert_eq!(answer.backend, targets[0]);
            }
            let streams = from.enter(|| services.map(|at| connect_from(own, at)));
            for mut stream in streams.expect("namespace") {
                let mut text = Vec::new();
                stream.read_to_end(&mut text).expect("answered");
                assert_eq!(Answer::read(&text).expect("an answer").backend, targets[0]);
            }
        }
    }
    balanced.nothing_dropped();
}

/// Connections go on when their backend takes no new ones (S28).
#[test]
fn s28_connections_drain() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    let family = Family::V4;
    let at = SocketAddr::new(virtual_ip(family, 1), 80);
    let target = SocketAddr::new(balanced.rig.pods[0].address(family), 9100);
    balanced.service(at, &[target]);
    let rig = &balanced.rig;
    let mut open = Connection::open(&rig.pods[1].netns, at, &rig.pods[0].netns, target);
    let others = balanced.targets(0, family, 1);
    balanced.service(at, &others);
    open.is_alive();
    let client = &balanced.rig.pods[1].netns;
    assert_eq!(answer(client, Protocol::Tcp, at).backend, others[0]);
    balanced.set(
        frontend(at, Protocol::Tcp),
        seaway_model::FrontendAction::Refuse,
    );
    balanced.rig.converge();
    open.is_alive();
}
