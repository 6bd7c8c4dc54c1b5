//! The way out: Pods that leave the cluster get their node's address; nobody else's is touched.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Transport, Wiring};
use seaway_tests::net::{Net, Shape, outside_address};
use seaway_tests::probe::{self, bind_any, carry, reach, wait_for_talk};
use seaway_tests::{Pod, shell};

use crate::common::{LIMIT, SOON, for_each};

fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for wiring in Wiring::ALL {
        shapes.push(Shape::flat().wiring(wiring).transport(Transport::Direct));
        shapes.push(Shape::routed().wiring(wiring).vxlan_over(Family::V4));
        shapes.push(Shape::flat().wiring(wiring).transport(Transport::L2));
    }
    shapes
}

#[test]
fn pods_leave_the_cluster_by_their_nodes_address_and_only_there() {
    for_each(&shapes(), |shape| {
        let net = Net::start(shape);
        let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
        wait_for_talk("Pods of one node", &a, &b);
        wait_for_talk("Pods of two nodes", &a, &c);
        let outside = &net.fabric.outside;
        for family in Family::ALL {
            let own = a.address(family);
            let seen = reach("outside", a.netns(), outside, outside_address(family));
            assert_eq!(seen.ip(), net.address(1, family), "outside sees the node");
            let seen = carry(
                a.netns(),
                outside,
                outside_address(family),
                1 << 18,
                LIMIT / 4,
            );
            assert_eq!(seen.expect("carried").ip(), net.address(1, family));
            for number in [1, 2] {
                let (node, target) = (net.node(number), net.address(number, family));
                let seen = reach("a node", a.netns(), node, target);
                assert_eq!(seen.ip(), own, "node {number} sees the Pod");
                let seen = reach("from a node", node, a.netns(), own);
                let known = seen.ip() == target || is_gateway(&net, number, seen.ip());
                assert!(known, "{seen} is not node {number}");
            }
        }
    });
}

/// In bridge wiring a node may speak to its own Pods from the bridge's address.
fn is_gateway(net: &Net, number: usize, address: IpAddr) -> bool {
    let text = shell::run(net.node(number), "ip -o addr show");
    text.contains(&format!(" {address}/"))
}

/// The source ports that the outside sees for those that a Pod chose in a row.
fn ports(pod: &Pod, outside: &Netns, family: Family) -> Vec<(u16, u16)> {
    let target = outside_address(family);
    let server = outside.run(|| UdpSocket::bind((target, 0)));
    let server = server.expect("namespace").expect("bound");
    let door = server.local_addr().expect("bound");
    let seen = |port: u16| {
        let client = pod
            .netns()
            .run(|| UdpSocket::bind((pod.address(family), port)));
        let client = client.expect("namespace").expect("bound");
        client.send_to(b"probe", door).expect("sent");
        server.set_read_timeout(Some(SOON * 4)).expect("timeout");
        let (_, from) = server.recv_from(&mut [0; 16]).expect("arrived");
        (port, from.port())
    };
    (40_000..40_032).map(seen).collect()
}

#[test]
fn source_ports_of_the_way_out_cannot_be_guessed() {
    let net = Net::start(&Shape::flat());
    let a = net.pod(1, "a");
    for family in Family::ALL {
        reach(
            "outside",
            a.netns(),
            &net.fabric.outside,
            outside_address(family),
        );
        let ports = ports(&a, &net.fabric.outside, family);
        let kept = ports.iter().filter(|(own, seen)| own == seen).count();
        assert!(kept <= 1, "{ports:?}");
        let steps: BTreeSet<i32> = ports
            .windows(2)
            .map(|pair| i32::from(pair[1].1) - i32::from(pair[0].1))
            .collect();
        assert!(steps.len() > 24, "the ports follow each other: {ports:?}");
    }
}

#[test]
fn listed_destinations_see_the_pod_and_without_masquerade_all_do() {
    let cases: [&[&str]; 2] = [
        &[
            "--keep-source-to",
            "203.0.113.0/24",
            "--keep-source-to",
            "2001:db8:9::/64",
        ],
        &["--no-masquerade"],
    ];
    for_each(&cases, |flags| {
        let net = Net::start(&Shape::flat().flags(flags));
        let a = net.pod(1, "a");
        // The world learns the way to the Pods, as it must where nothing is translated.
        let routes = "route add 10.244.1.0/24 via 192.168.7.1\n\
                      route add fd00:10:244:1::/64 via fd00:7::1\n";
        shell::ip(&net.fabric.netns, routes);
        let routes = "route add 10.244.0.0/16 via 203.0.113.1\n\
                      route add fd00:10:244::/48 via 2001:db8:9::1\n";
        shell::ip(&net.fabric.outside, routes);
        for family in Family::ALL {
            let outside = &net.fabric.outside;
            let seen = reach("outside", a.netns(), outside, outside_address(family));
            assert_eq!(seen.ip(), a.address(family));
        }
    });
}

/// Answers to what came in from outside go back as they must: by the connection's own addresses.
#[test]
fn what_a_node_serves_itself_is_not_translated() {
    let net = Net::start(&Shape::flat());
    for family in Family::ALL {
        let (outside, node) = (&net.fabric.outside, net.node(1));
        let target = net.address(1, family);
        let server = node.run(|| UdpSocket::bind((target, 0)));
        let server = server.expect("namespace").expect("bound");
        let door = server.local_addr().expect("bound");
        let seen = probe::send_to(outside, &server, door, LIMIT).expect("delivered");
        assert_eq!(seen.ip(), outside_address(family));
        let client = bind_any(node, family).expect("bound");
        let there = outside.run(|| UdpSocket::bind((outside_address(family), 0)));
        let there = there.expect("namespace").expect("bound");
        let own = client.local_addr().expect("bound").port();
        client
            .send_to(b"probe", there.local_addr().expect("bound"))
            .expect("sent");
        there.set_read_timeout(Some(LIMIT)).expect("timeout");
        let (_, from) = there.recv_from(&mut [0; 16]).expect("arrived");
        assert_eq!(from, SocketAddr::new(target, own), "its own port, too");
    }
}
