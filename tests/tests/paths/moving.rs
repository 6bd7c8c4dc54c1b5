//! A running cluster is moved from transport to transport, node by node, and a drained node from
//! wiring to wiring: no Pod is lost, and of the traffic a moment at most.

use std::time::Duration;

use seaway_model::{Family, Transport, Wiring};
use seaway_testkit::eventually;
use seaway_tests::net::{Net, Shape, set};
use seaway_tests::probe::{Ping, Traffic, assert_talk, wait_for_talk};
use seaway_tests::shell;
use serde_json::json;

use crate::common::{LIMIT, end, for_each};

const PACE: Duration = Duration::from_millis(10);

/// The most pings of a whole move that may be lost, of each direction and family.
const BEARABLE: usize = 50;

/// Gives a node another transport and tells the cluster, as the API's annotation would.
fn move_node(net: &mut Net, number: usize, transport: Transport) {
    let mut shape = net.shape.clone();
    shape.transport = transport;
    let agent = net.agent_mut(number);
    agent.flags = shape.agent_flags();
    agent.restart_agent();
    net.change(|cluster| cluster.members[number - 1].transport = Some(transport));
    net.settle();
}

#[test]
fn a_cluster_changes_its_transport_node_by_node() {
    for_each(&Wiring::ALL, |wiring| {
        let shape = Shape::flat().wiring(*wiring).transport(Transport::Direct);
        let mut net = Net::start(&shape);
        net.change(|cluster| {
            for member in &mut cluster.members {
                member.transport = Some(Transport::Direct);
            }
        });
        net.settle();
        let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
        wait_for_talk("at first", &a, &c);
        let local = Family::ALL.map(|family| Traffic::start(&a, &b, family));
        let streams = Family::ALL.map(|family| Traffic::start(&a, &c, family));
        let mut pings = Vec::new();
        for family in Family::ALL {
            pings.push(Ping::start(end(&a, family), end(&c, family), PACE));
            pings.push(Ping::start(end(&c, family), end(&a, family), PACE));
        }
        let route = [
            Transport::Direct,
            Transport::Vxlan,
            Transport::Auto,
            Transport::L2,
            Transport::Direct,
        ];
        let mut before = Transport::Direct;
        for transport in route {
            for number in [1, 2] {
                let marks: Vec<usize> = pings.iter().map(Ping::mark).collect();
                move_node(&mut net, number, transport);
                wait_for_talk("after a move", &a, &c);
                let losses: Vec<usize> = pings
                    .iter()
                    .zip(marks)
                    .map(|(p, m)| p.settle(m).lost)
                    .collect();
                println!("{wiring}: node {number} {before} -> {transport}: lost {losses:?}");
                if transport == before {
                    assert!(
                        losses.iter().all(|lost| *lost == 0),
                        "a restart loses nothing"
                    );
                }
            }
            before = transport;
        }
        for ping in pings {
            let loss = ping.end();
            assert!(loss.lost < BEARABLE, "{loss:?}");
        }
        // What was connected at first is connected still.
        streams.iter().for_each(Traffic::wait_for_more);
        local.into_iter().for_each(Traffic::assert_nothing_lost);
        for pod in [&a, &b, &c] {
            pod.check().expect("nothing was lost");
        }
    });
}

#[test]
fn ends_of_different_transports_talk() {
    let mut cases = Vec::new();
    for wiring in Wiring::ALL {
        for one in [Transport::Direct, Transport::L2, Transport::Vxlan] {
            for other in [Transport::Vxlan, Transport::Auto] {
                cases.push((wiring, one, other));
            }
        }
    }
    for_each(&cases, |(wiring, one, other)| {
        let shape = Shape::flat().wiring(*wiring).transport(*one);
        let mut net = Net::without_agents(&shape);
        let second = shape.clone().transport(*other);
        net.agent_mut(2).flags = second.agent_flags();
        net.change(|cluster| {
            cluster.members[0].transport = Some(*one);
            cluster.members[1].transport = Some(*other);
        });
        for agent in &mut net.agents {
            agent.spawn_agent(&[]);
        }
        net.settle();
        let (a, c) = (net.pod(1, "a"), net.pod(2, "c"));
        wait_for_talk("different ends", &a, &c);
    });
}

/// What one end sends in VXLAN the other answers direct: to a strict filter that is the wrong way.
#[test]
fn ends_of_different_transports_talk_although_nodes_filter_strictly() {
    for_each(&Wiring::ALL, |wiring| {
        let shape = Shape::flat().wiring(*wiring).transport(Transport::Vxlan);
        let mut net = Net::without_agents(&shape);
        let second = shape.clone().transport(Transport::Direct);
        net.agent_mut(2).flags = second.agent_flags();
        for number in [1, 2] {
            for scope in ["all", "default", "eth0"] {
                let name = format!("net/ipv4/conf/{scope}/rp_filter");
                set(net.node(number), &name, "1");
            }
        }
        for agent in &mut net.agents {
            agent.spawn_agent(&[]);
        }
        net.settle();
        let (a, c) = (net.pod(1, "a"), net.pod(2, "c"));
        wait_for_talk("different ends, strict nodes", &a, &c);
    });
}

#[test]
fn nodes_of_different_wirings_talk() {
    for_each(
        &[Transport::Direct, Transport::Vxlan, Transport::L2],
        |transport| {
            let shape = Shape::flat().transport(*transport);
            let mut net = Net::without_agents(&shape);
            net.agent_mut(2).flags = shape.clone().wiring(Wiring::Bridge).agent_flags();
            for agent in &mut net.agents {
                agent.spawn_agent(&[]);
            }
            net.settle();
            let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
            assert_talk(&a, &b);
            wait_for_talk("different wirings", &a, &c);
        },
    );
}

/// Where the transport cannot do what it is for, it says so, and what to do.
#[test]
fn direct_across_a_router_is_refused_with_the_way_out() {
    for_each(&[Transport::Direct, Transport::L2], |transport| {
        let mut net = Net::without_agents(&Shape::routed().transport(*transport));
        for agent in &mut net.agents {
            agent.start_agent();
        }
        let (a, b) = (net.pod(1, "a"), net.pod(1, "b"));
        assert_talk(&a, &b);
        eventually("it says so", LIMIT, || {
            let findings = net.agent(1).status()["findings"].to_string();
            let said = ["node2", "one link", "auto"]
                .iter()
                .all(|word| findings.contains(word));
            if said { Ok(()) } else { Err(findings) }
        });
    });
}

#[test]
fn a_drained_node_changes_its_wiring_and_a_full_one_says_that_it_does_not() {
    let steps = [
        (Wiring::Routed, Wiring::Bridge),
        (Wiring::Bridge, Wiring::Routed),
    ];
    for_each(&steps, |(from, to)| {
        let mut net = Net::start(&Shape::flat().wiring(*from));
        let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
        let local = Family::ALL.map(|family| Traffic::start(&a, &b, family));
        let flags = net.shape.clone().wiring(*to).agent_flags();
        net.agent_mut(1).flags = flags;
        net.agent_mut(1).restart_agent();
        net.settle();
        eventually(
            "a node with Pods says that it keeps its wiring",
            LIMIT,
            || {
                let status = net.agent(1).status().to_string();
                let said = status.contains("wiring") && status.contains(&to.to_string());
                if said { Ok(()) } else { Err(status) }
            },
        );
        wait_for_talk("kept", &a, &c);
        let late = net.pod(1, "late");
        assert_talk(&a, &late);
        local.into_iter().for_each(Traffic::assert_nothing_lost);
        for pod in [a, b, late] {
            pod.del().expect("DEL");
        }
        let has_bridge = || {
            let text = shell::run(net.node(1), "ip -o link show type bridge");
            !text.trim().is_empty()
        };
        let wanted = *to == Wiring::Bridge;
        eventually("the drained node changes", LIMIT, || {
            let links = net.agent(1).status()["dying"].clone();
            if has_bridge() == wanted && links == json!(0) {
                Ok(())
            } else {
                Err((has_bridge(), links))
            }
        });
        net.settle();
        let (a, b) = (net.pod(1, "a2"), net.pod(1, "b2"));
        assert_talk(&a, &b);
        wait_for_talk("after the change", &a, &c);
        net.settle();
    });
}
