//! Ports of the node that lead to Pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use seaway_kernel::netlink::{Netlink, Request};
use seaway_model::{Family, Protocol, Wiring, loopback_alias};

use crate::rig::{LIMIT, Rig, exchange, ip, node_address, udp};

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// The stand-ins of the loopback addresses, as the realiser puts them on the loopback device.
fn add_alias() {
    const LOOPBACK_INDEX: u32 = 1;
    let mut netlink = Netlink::open().expect("socket");
    let add = |family| {
        let net = Family::host_net(loopback_alias(family));
        Request::add_bare_address(LOOPBACK_INDEX, net)
    };
    netlink.send_all(&Family::ALL.map(add)).expect("added");
}

/// The node's address on the bridge, in the wiring that has it.
fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 244, 0, 1].into(),
        Family::V6 => [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
    }
}

fn host_ports(wiring: Wiring) {
    let mut rig = Rig::with_pods(wiring);
    add_alias();
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let target = SocketAddr::new(rig.pods[0].address(family), 80);
            rig.host_port(protocol, 8080, None, target);
            let (pod, other) = (&rig.pods[0], &rig.pods[1]);
            let node = SocketAddr::new(node_address(family), 8080);
            let seen = exchange(protocol, &rig.out.netns, node, &pod.netns, target);
            assert_eq!(seen, rig.out.address(family), "from outside");
            exchange(protocol, &rig.node, node, &pod.netns, target);
            let seen = exchange(protocol, &other.netns, node, &pod.netns, target);
            assert_eq!(seen, other.address(family), "from another Pod");
            exchange(protocol, &pod.netns, node, &pod.netns, target);
            let looped = SocketAddr::new(loopback(family), 8080);
            let seen = exchange(protocol, &rig.node, looped, &pod.netns, target);
            let own = [node_address(family), gateway(family)];
            assert!(own.contains(&seen), "over loopback, from {seen}");
        }
    }
    // Other ports of the loopback address are as ever.
    for family in Family::ALL {
        let local = SocketAddr::new(loopback(family), 9090);
        assert_eq!(udp(&rig.node, local, &rig.node, local), local.ip());
    }
    assert!(
        rig.drops().values().all(|count| *count == 0),
        "{:?}",
        rig.drops()
    );
}

#[test]
fn ports_lead_to_routed_pods_from_everywhere() {
    host_ports(Wiring::Routed);
}

#[test]
fn ports_lead_to_bridged_pods_from_everywhere() {
    host_ports(Wiring::Bridge);
}

#[test]
fn a_port_of_one_address_is_open_there_only() {
    let mut rig = Rig::with_pods(Wiring::Routed);
    add_alias();
    ip("addr add 192.0.2.7/24 dev up0");
    let target = SocketAddr::new(rig.pods[0].v4.into(), 80);
    let second: IpAddr = [192, 0, 2, 7].into();
    rig.host_port(Protocol::Udp, 8080, Some(second), target);
    rig.host_port(
        Protocol::Udp,
        8081,
        Some(Ipv4Addr::LOCALHOST.into()),
        target,
    );
    let pod = &rig.pods[0].netns;
    udp(&rig.out.netns, SocketAddr::new(second, 8080), pod, target);
    udp(pod, SocketAddr::new(second, 8080), pod, target);
    let first = SocketAddr::new(node_address(Family::V4), 8080);
    assert_eq!(udp(&rig.out.netns, first, &rig.node, first), rig.out.v4);
    let looped = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081));
    udp(&rig.node, looped, pod, target);
    let outer = SocketAddr::new(node_address(Family::V4), 8081);
    assert_eq!(udp(&rig.out.netns, outer, &rig.node, outer), rig.out.v4);
}

/// CVE-2025-67499: what is for others passes, whatever its port.
#[test]
fn a_port_of_the_node_is_not_a_port_of_everybody() {
    let mut rig = Rig::with_pods(Wiring::Routed);
    for family in Family::ALL {
        let target = SocketAddr::new(rig.pods[0].address(family), 80);
        rig.host_port(Protocol::Udp, 53, None, target);
        let (pod, other) = (&rig.pods[0], &rig.pods[1]);
        let server = SocketAddr::new(rig.out.address(family), 53);
        udp(&pod.netns, server, &rig.out.netns, server);
        udp(&rig.node, server, &rig.out.netns, server);
        let inner = SocketAddr::new(other.address(family), 53);
        udp(&rig.out.netns, inner, &other.netns, inner);
    }
}

/// A flow of UDP that goes on asks anew when its port leads elsewhere.
#[test]
fn flows_follow_a_port_that_moves() {
    let mut rig = Rig::with_pods(Wiring::Routed);
    let family = Family::V4;
    let [first, second] = [0, 1].map(|i| SocketAddr::new(rig.pods[i].address(family), 80));
    let bind = |rig: &Rig, i: usize, at: SocketAddr| -> UdpSocket {
        let socket = rig.pods[i]
            .netns
            .enter(|| UdpSocket::bind(at).expect("bound"));
        let socket = socket.expect("namespace");
        socket.set_read_timeout(Some(LIMIT)).expect("set");
        socket
    };
    let (old, new) = (bind(&rig, 0, first), bind(&rig, 1, second));
    let client = rig
        .out
        .netns
        .enter(|| UdpSocket::bind("0.0.0.0:0").expect("bound"));
    let client = client.expect("namespace");
    let to = SocketAddr::new(node_address(family), 8080);
    rig.host_port(Protocol::Udp, 8080, None, first);
    let mut buffer = [0; 8];
    client.send_to(b"1", to).expect("sent");
    old.recv(&mut buffer).expect("the first Pod has it");
    let row = rig.host_port(Protocol::Udp, 8080, None, second);
    client.send_to(b"2", to).expect("sent");
    new.recv(&mut buffer).expect("the second Pod has it");
    // Gone: the node itself gets it.
    rig.planned.host_ports.remove(&row.key);
    rig.converge();
    let node = UdpSocket::bind(to).expect("bound");
    node.set_read_timeout(Some(LIMIT)).expect("set");
    client.send_to(b"3", to).expect("sent");
    node.recv(&mut buffer).expect("the node has it");
    assert_eq!(&buffer[..1], b"3");
}
