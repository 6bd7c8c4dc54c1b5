//! Row 35 of the scorecard, between nodes: the path is cut, cut one way, or lossy. What is local
//! goes on, and when the path is back so is the traffic, with nobody restarted.

use seaway_model::{Family, Transport, Wiring};
use seaway_testkit::eventually;
use seaway_tests::net::{Net, Shape};
use seaway_tests::probe::{Ping, Traffic, wait_for_talk};
use seaway_tests::shell;

use crate::common::{SOON, end, for_each};

/// What is done to the cable of node 1, by the switch's own filter.
#[derive(Debug)]
struct Fault {
    name: &'static str,
    rules: &'static str,
    /// Nothing at all gets through in both directions, so no ping is answered.
    total: bool,
}

const FAULTS: [Fault; 3] = [
    Fault {
        name: "cut",
        rules: "table netdev fault {
            chain from1 { type filter hook ingress device n1 priority 0; policy drop; }
            chain from2 { type filter hook ingress device n2 priority 0; policy drop; }
        }\n",
        total: true,
    },
    Fault {
        name: "one way",
        rules: "table netdev fault {
            chain from2 { type filter hook ingress device n2 priority 0; policy drop; }
        }\n",
        total: true,
    },
    Fault {
        name: "30 % loss",
        rules: "table netdev fault {
            chain from1 {
                type filter hook ingress device n1 priority 0; policy accept;
                numgen random mod 10 < 3 drop
            }
        }\n",
        total: false,
    },
];

fn r35(shape: &Shape) {
    let net = Net::start(shape);
    let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
    wait_for_talk("at first", &a, &c);
    let local = Family::ALL.map(|family| Traffic::start(&a, &b, family));
    let far = Family::ALL.map(|family| Ping::start(end(&a, family), end(&c, family), SOON / 50));
    for fault in FAULTS {
        let repairs: Vec<_> = net
            .agents
            .iter()
            .map(|a| a.status()["repairs"].clone())
            .collect();
        shell::nft(&net.fabric.netns, fault.rules);
        let marks: Vec<usize> = far.iter().map(Ping::mark).collect();
        local.iter().for_each(Traffic::wait_for_more);
        local.iter().for_each(Traffic::wait_for_more);
        if !fault.total {
            // By chance all of a few get through.
            for (ping, mark) in far.iter().zip(&marks) {
                eventually("a packet is lost", SOON * 20, || match ping.settle(*mark) {
                    loss if loss.lost > 0 => Ok(()),
                    loss => Err(loss),
                });
            }
        }
        let ends: Vec<usize> = far.iter().map(Ping::mark).collect();
        shell::run(&net.fabric.netns, "nft delete table netdev fault");
        for ((ping, mark), end) in far.iter().zip(marks).zip(ends) {
            ping.settle(end);
            let (during, after) = (ping.between(mark, end), ping.since(end));
            println!("{}: {during:?}, after it {after:?}", fault.name);
            assert!(during.lost > 0, "{}: the fault was none", fault.name);
            // The first may have been sent before the rules were there.
            let total = during.lost + 1 >= during.sent;
            assert!(
                !fault.total || total,
                "{}: something got through",
                fault.name
            );
        }
        wait_for_talk(fault.name, &a, &c);
        net.settle();
        let after: Vec<_> = net
            .agents
            .iter()
            .map(|a| a.status()["repairs"].clone())
            .collect();
        assert_eq!(repairs, after, "{}: nothing was ours to repair", fault.name);
    }
    local.into_iter().for_each(Traffic::assert_nothing_lost);
}

#[test]
fn r35_a_partition_between_nodes_harms_nothing_local_and_heals() {
    let shapes = [
        Shape::flat().transport(Transport::Direct),
        Shape::routed()
            .vxlan_over(Family::V6)
            .wiring(Wiring::Bridge),
        Shape::flat().transport(Transport::L2),
    ];
    for_each(&shapes, r35);
}
