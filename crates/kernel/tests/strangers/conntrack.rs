//! Flows are forgotten when they have to ask again, and no others.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use seaway_kernel::conntrack::{FlowSelector, forget};
use seaway_model::{Family, Protocol};
use seaway_testkit::isolate;

use super::nft;

const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

/// Answers every datagram with its own port number, until the test ends.
fn server(address: IpAddr) -> SocketAddr {
    let socket = UdpSocket::bind((address, 0)).expect("a port");
    let own = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&own.port().to_be_bytes(), from);
        }
    });
    own
}

fn client(to: SocketAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() {
        [0u8; 4].into()
    } else {
        [0u16; 8].into()
    };
    let socket = UdpSocket::bind((any, 0)).expect("a port");
    socket.connect(to).expect("an address");
    let limit = Some(Duration::from_secs(10));
    socket.set_read_timeout(limit).expect("a timeout");
    socket
}

/// The port that answers a client.
fn answers(client: &UdpSocket) -> u16 {
    client.send(b"who").expect("sent");
    let mut buffer = [0; 2];
    client.recv(&mut buffer).expect("an answer");
    u16::from_be_bytes(buffer)
}

fn track() {
    nft(
        "table inet track { chain out { type filter hook output priority 0; ct state new counter; }; }",
    );
}

/// From now on, `from` leads to `to`.
fn translate(from: SocketAddr, to: SocketAddr) {
    let (table, family) = match from {
        SocketAddr::V4(_) => ("v4", "ip"),
        SocketAddr::V6(_) => ("v6", "ip6"),
    };
    nft(&format!(
        "table {family} {table} {{ chain out {{ type nat hook output priority -100; }}; }}
         flush chain {family} {table} out
         add rule {family} {table} out {family} daddr {} udp dport {} dnat to {to}",
        from.ip(),
        from.port()
    ));
}

fn selector(port: SocketAddr) -> FlowSelector {
    FlowSelector {
        family: Family::of(port.ip()),
        protocol: Protocol::Udp,
        destination: Some(port.ip()),
        port: port.port(),
        translated_to: None,
    }
}

#[test]
fn a_flow_that_began_before_its_port_led_elsewhere_asks_again() {
    isolate();
    track();
    for address in LOOPBACK.map(|a| a.parse().expect("valid")) {
        let (node, other, pod) = (server(address), server(address), server(address));
        let (early, untouched) = (client(node), client(other));
        assert_eq!(answers(&early), node.port());
        assert_eq!(answers(&untouched), other.port());
        translate(node, pod);
        assert_eq!(answers(&early), node.port(), "the kernel keeps to the flow");
        assert_eq!(forget(&[selector(node)]).expect("conntrack"), 1);
        assert_eq!(answers(&early), pod.port());
        // The other flow is as it was: a rule that came later is not asked.
        translate(other, pod);
        assert_eq!(answers(&untouched), other.port());
    }
}

#[test]
fn only_flows_to_the_backend_that_is_gone_are_forgotten() {
    isolate();
    track();
    for address in LOOPBACK.map(|a| a.parse().expect("valid")) {
        let (port, old, new) = (server(address), server(address), server(address));
        translate(port, old);
        let (first, second) = (client(port), client(port));
        assert_eq!(
            (answers(&first), answers(&second)),
            (old.port(), old.port())
        );
        translate(port, new);
        let third = client(port);
        assert_eq!((answers(&first), answers(&third)), (old.port(), new.port()));
        let gone = FlowSelector {
            translated_to: Some(old),
            ..selector(port)
        };
        assert_eq!(forget(std::slice::from_ref(&gone)).expect("conntrack"), 2);
        assert_eq!(
            (answers(&first), answers(&second)),
            (new.port(), new.port())
        );
        assert_eq!(forget(&[gone]).expect("conntrack"), 0);
    }
}

#[test]
fn many_flows_are_read_and_only_the_selected_forgotten() {
    isolate();
    track();
    nft("table inet quiet { chain in { type filter hook input priority 0; udp dport 9 drop; }; }");
    let flows: u32 = 5_000;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for i in 1..=flows {
        let [_, a, b, c] = i.to_be_bytes();
        socket
            .send_to(b"x", SocketAddr::from(([127, a, b, c], 9)))
            .expect("sent");
    }
    let to = |address: [u8; 4], port| selector(SocketAddr::from((address, port)));
    assert_eq!(forget(&[to([127, 0, 0, 9], 9)]).expect("conntrack"), 1);
    // Several ports in one reading, and a protocol that has no flows.
    let tcp = FlowSelector {
        protocol: Protocol::Tcp,
        ..to([127, 0, 0, 10], 9)
    };
    let selectors = [to([127, 0, 0, 10], 9), to([127, 0, 0, 11], 10), tcp];
    assert_eq!(forget(&selectors).expect("conntrack"), 1);
    let all = FlowSelector {
        destination: None,
        ..to([127, 0, 0, 1], 9)
    };
    let left = forget(std::slice::from_ref(&all)).expect("conntrack");
    assert_eq!(left, flows as usize - 2);
    assert_eq!(forget(&[all]).expect("conntrack"), 0);
}

#[test]
fn a_namespace_that_tracks_nothing_has_nothing_to_forget() {
    isolate();
    let port = "127.0.0.1:1".parse().expect("valid");
    assert_eq!(forget(&[selector(port)]).expect("conntrack"), 0);
    assert_eq!(forget(&[]).expect("nothing to do"), 0);
}
