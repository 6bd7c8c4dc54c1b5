//! The node lends its address to Pods that leave the cluster, and only to those.

use std::net::{SocketAddr, UdpSocket};

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

/// An answer to that port would be dropped: nobody but VTEPs may send there.
#[test]
fn nobody_is_lent_the_port_of_vxlan() {
    let mut rig = Rig::with_pods(Wiring::Routed);
    for (port, lent) in [(40_000, 1024..=39_999), (30_000, 30_001..=u16::MAX)] {
        let mut row = row(Wiring::Routed);
        row.vxlan.as_mut().expect("on").port = port;
        rig.planned.firewall.insert(row);
        rig.converge();
        for family in Family::ALL {
            // Another one each time: flows of before are remembered.
            let at = SocketAddr::new(rig.out.address(family), port / 10_000 + 7000);
            let bind = |at: SocketAddr| move || UdpSocket::bind(at).expect("bound");
            let heard = rig.out.netns.enter(bind(at)).expect("namespace");
            let pod = &rig.pods[0];
            for _ in 0..64 {
                let any = SocketAddr::new(pod.address(family), 0);
                let client = pod.netns.enter(bind(any)).expect("namespace");
                client.send_to(b"?", at).expect("sent");
                let (_, from) = heard.recv_from(&mut [0; 8]).expect("heard");
                assert_eq!(from.ip(), node_address(family));
                assert!(lent.contains(&from.port()), "{from} of {lent:?}");
            }
        }
    }
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
