//! The node lends its address to Pods that leave the cluster, and only to those.

use std::net::SocketAddr;

use seaway_model::{ClusterNetRow, Family, FirewallRow, Protocol, Wiring};

use crate::rig::{Rig, exchange, net, node_address, row};

fn way_out(wiring: Wiring) {
    let mut rig = Rig::with_pods(wiring);
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let pod = &rig.pods[0];
            let other = &rig.pods[1];
            let outside = SocketAddr::new(rig.out.address(family), 7000);
            let seen = exchange(protocol, &pod.netns, outside, &rig.out.netns, outside);
            assert_eq!(seen, node_address(family), "leaves the cluster");
            let inside = SocketAddr::new(other.address(family), 7000);
            let seen = exchange(protocol, &pod.netns, inside, &other.netns, inside);
            assert_eq!(seen, pod.address(family), "to another Pod");
            let node = SocketAddr::new(node_address(family), 7000);
            let seen = exchange(protocol, &pod.netns, node, &rig.node, node);
            assert_eq!(seen, pod.address(family), "to the node");
            let seen = exchange(protocol, &rig.out.netns, inside, &other.netns, inside);
            assert_eq!(seen, rig.out.address(family), "from outside");
        }
    }
    // A destination of the cluster, by its network and by its address.
    rig.planned.cluster_nets.insert(ClusterNetRow {
        net: net("192.0.2.0/24"),
    });
    rig.planned.cluster_nets.insert(ClusterNetRow {
        net: net("2001:db8::2/128"),
    });
    rig.converge();
    let keeps = |rig: &Rig, port| {
        for family in Family::ALL {
            let pod = &rig.pods[0];
            let outside = SocketAddr::new(rig.out.address(family), port);
            let seen = exchange(Protocol::Udp, &pod.netns, outside, &rig.out.netns, outside);
            assert_eq!(seen, pod.address(family), "inside the cluster");
        }
    };
    keeps(&rig, 7001);
    rig.planned.cluster_nets = Default::default();
    rig.planned.firewall.insert(FirewallRow {
        masquerade: false,
        ..row(wiring)
    });
    rig.converge();
    keeps(&rig, 7002);
    assert!(
        rig.drops().values().all(|count| *count == 0),
        "{:?}",
        rig.drops()
    );
    let (first, last) = rig.firewall.forwarded().expect("read");
    assert!(first > 0 && first == last, "{first} {last}");
}

#[test]
fn routed_pods_leave_with_the_nodes_address() {
    way_out(Wiring::Routed);
}

#[test]
fn bridged_pods_leave_with_the_nodes_address() {
    way_out(Wiring::Bridge);
}

#[test]
fn what_others_drop_shows_between_the_counters() {
    let mut rig = Rig::with_pods(Wiring::Routed);
    crate::rig::nft(
        "table inet stranger { chain f { type filter hook forward priority 0; policy drop; }; }",
    );
    let (pod, other) = (&rig.pods[0], &rig.pods[1]);
    let to = SocketAddr::new(other.address(Family::V4), 7000);
    let socket = pod
        .netns
        .enter(|| std::net::UdpSocket::bind("0.0.0.0:0").expect("bound"));
    socket.expect("namespace").send_to(b"x", to).expect("sent");
    seaway_testkit::eventually(
        "a flow that somebody dropped",
        crate::rig::LIMIT,
        || match rig.firewall.forwarded().expect("read") {
            (1, 0) => Ok(()),
            other => Err(other),
        },
    );
}
