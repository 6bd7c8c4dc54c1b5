//! K9 of the CNI summary: ports of the node that lead to a Pod, in both families, from everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol, Transport, Wiring};
use seaway_testkit::eventually;
use seaway_tests::net::{Net, Shape, outside_address};
use seaway_tests::probe::{Greeter, Greeting};
use seaway_tests::{Pod, shell};
use serde_json::{Value, json};

use crate::common::{LIMIT, SOON, for_each};

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn mapping(host_port: u16, container_port: u16, host_ip: Option<IpAddr>) -> Vec<Value> {
    let one = |protocol: Protocol| {
        let mut one = json!({
            "hostPort": host_port,
            "containerPort": container_port,
            "protocol": protocol.to_string(),
        });
        if let Some(address) = host_ip {
            one["hostIP"] = json!(address.to_string());
        }
        one
    };
    PROTOCOLS.map(one).to_vec()
}

/// A Pod with these mappings.
fn served(net: &Net, container: &str, mappings: Vec<Value>) -> Pod {
    let mut pod = net
        .bare_pod(1, container)
        .asking(json!({ "portMappings": mappings }));
    pod.add().expect("ADD");
    pod
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Waits for an answer by both protocols; gives whom the server saw.
fn assert_answers(what: &str, from: &Netns, door: SocketAddr, name: &str) -> Vec<IpAddr> {
    let ask = |protocol| {
        let greeting = eventually(what, LIMIT, || {
            Greeting::ask(from, door, protocol, SOON).map_err(|e| (door, protocol, e))
        });
        assert_eq!(greeting.name, name, "{what}: {door} {protocol}");
        greeting.seen.ip()
    };
    PROTOCOLS.map(ask).to_vec()
}

/// Nobody answers, by either protocol.
fn assert_silent(what: &str, from: &Netns, door: SocketAddr) {
    for protocol in PROTOCOLS {
        let answer = Greeting::ask(from, door, protocol, Duration::from_millis(150));
        assert!(answer.is_err(), "{what}: {door} {protocol}: {answer:?}");
    }
}

fn shapes() -> Vec<Shape> {
    vec![
        Shape::flat().transport(Transport::Direct),
        Shape::flat().wiring(Wiring::Bridge).vxlan_over(Family::V4),
        Shape::routed().vxlan_over(Family::V6),
        Shape::flat()
            .wiring(Wiring::Bridge)
            .transport(Transport::L2),
    ]
}

#[test]
fn k9_a_host_port_is_reached_from_everywhere() {
    for_each(&shapes(), |shape| {
        let net = Net::start(shape);
        let a = served(&net, "a", mapping(8080, 80, None));
        let (b, c) = (net.pod(1, "b"), net.pod(2, "c"));
        let _server = Greeter::start(a.netns(), 80, "a");
        for family in Family::ALL {
            let door = SocketAddr::new(net.address(1, family), 8080);
            let outside = &net.fabric.outside;
            let seen = assert_answers("another node", net.node(2), door, "a");
            assert!(
                seen.iter().all(|ip| *ip == net.address(2, family)),
                "{seen:?}"
            );
            let seen = assert_answers("outside", outside, door, "a");
            assert!(
                seen.iter().all(|ip| *ip == outside_address(family)),
                "{seen:?}"
            );
            assert_answers("the node itself", net.node(1), door, "a");
            let seen = assert_answers("a Pod beside it", b.netns(), door, "a");
            assert!(seen.iter().all(|ip| *ip == b.address(family)), "{seen:?}");
            let seen = assert_answers("a Pod elsewhere", c.netns(), door, "a");
            assert!(seen.iter().all(|ip| *ip == c.address(family)), "{seen:?}");
            assert_answers("the Pod itself", a.netns(), door, "a");
            let local = SocketAddr::new(loopback(family), 8080);
            assert_answers("loopback", net.node(1), local, "a");
            // Loopback is the node's own: the same in a Pod or on another node is not it.
            assert_silent("loopback of a Pod", b.netns(), local);
            assert_silent("loopback elsewhere", net.node(2), local);
        }
        net.settle();
    });
}

#[test]
fn k9_a_host_address_is_the_only_one() {
    let net = Net::start(&Shape::flat());
    for family in Family::ALL {
        let own = net.address(1, family);
        let a = served(&net, "a", mapping(8080, 80, Some(own)));
        let b = served(&net, "b", mapping(8080, 80, Some(loopback(family))));
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let c = served(&net, "c", mapping(9090, 80, Some(any)));
        let _servers = [(&a, "a"), (&b, "b"), (&c, "c")]
            .map(|(pod, name)| Greeter::start(pod.netns(), 80, name));
        let (node, peer) = (net.node(1), net.node(2));
        assert_answers("its address", peer, SocketAddr::new(own, 8080), "a");
        assert_answers("its address", node, SocketAddr::new(own, 8080), "a");
        assert_answers(
            "loopback",
            node,
            SocketAddr::new(loopback(family), 8080),
            "b",
        );
        assert_answers("any address", peer, SocketAddr::new(own, 9090), "c");
        let other = match family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        let door = SocketAddr::new(net.address(1, other), 8080);
        assert_silent("the other family", peer, door);
        let door = SocketAddr::new(net.address(1, other), 9090);
        assert_silent("the other family", peer, door);
        for pod in [a, b, c] {
            pod.del().expect("DEL");
        }
    }
}

/// CVE-2025-67499: only what is sent to the node itself matches.
#[test]
fn k9_what_is_for_others_is_left_alone() {
    for_each(&shapes(), |shape| {
        let net = Net::start(shape);
        let a = served(&net, "a", mapping(8080, 80, None));
        let (b, c) = (net.pod(1, "b"), net.pod(2, "c"));
        let outside = &net.fabric.outside;
        let _servers = [
            Greeter::start(a.netns(), 80, "a"),
            Greeter::start(outside, 8080, "outside"),
            Greeter::start(c.netns(), 8080, "c"),
            Greeter::start(net.node(2), 8080, "node2"),
        ];
        for family in Family::ALL {
            for from in [b.netns(), a.netns(), net.node(1)] {
                let door = SocketAddr::new(outside_address(family), 8080);
                assert_answers("outside", from, door, "outside");
                let door = SocketAddr::new(c.address(family), 8080);
                assert_answers("a Pod's own port", from, door, "c");
                let door = SocketAddr::new(net.address(2, family), 8080);
                assert_answers("another node's own port", from, door, "node2");
            }
        }
    });
}

#[test]
fn k9_host_ports_come_back_and_go_with_their_pod() {
    for_each(&shapes()[..2], |shape| {
        let net = Net::start(shape);
        let a = served(&net, "a", mapping(8080, 80, None));
        let _server = Greeter::start(a.netns(), 80, "a");
        let doors = Family::ALL.map(|f| SocketAddr::new(net.address(1, f), 8080));
        for door in doors {
            assert_answers("at first", net.node(2), door, "a");
        }
        shell::run(net.node(1), "nft flush ruleset");
        for door in doors {
            assert_answers("after a flush", net.node(2), door, "a");
        }
        let mut late = net
            .bare_pod(1, "late")
            .asking(json!({ "portMappings": mapping(8080, 81, None) }));
        let error = late.add().expect_err("the port is taken");
        let said = format!("{} {}", error.msg, error.details);
        assert!(said.contains("8080") && said.contains('a'), "{error:?}");
        late.del().expect("DEL of what was refused");
        for door in doors {
            assert_answers("the first keeps it", net.node(2), door, "a");
        }
        a.del().expect("DEL");
        for door in doors {
            assert_silent("freed", net.node(2), door);
        }
        let ruleset = shell::run(net.node(1), "nft list ruleset");
        assert!(!ruleset.contains("8080"), "{ruleset}");
        late.add().expect("the port is free");
        let _server = Greeter::start(late.netns(), 81, "late");
        for door in doors {
            assert_answers("the next one's", net.node(2), door, "late");
        }
        net.settle();
    });
}

/// A client that never pauses and keeps its port is led to the new Pod, not to the old one's
/// address for as long as conntrack remembers.
#[test]
fn k9_udp_clients_follow_when_a_pod_is_replaced() {
    let net = Net::start(&Shape::flat());
    for family in Family::ALL {
        let door = SocketAddr::new(net.address(1, family), 5353);
        let any = match family {
            Family::V4 => "0.0.0.0:0",
            Family::V6 => "[::]:0",
        };
        let client = net.node(2).run(|| UdpSocket::bind(any));
        let client = client.expect("namespace").expect("bound");
        let pause = Duration::from_millis(20);
        client.set_read_timeout(Some(pause)).expect("timeout");
        let ask = || -> std::io::Result<String> {
            client.send_to(b"who?", door)?;
            let mut buffer = [0; 256];
            let length = client.recv(&mut buffer)?;
            Ok(Greeting::read(&buffer[..length])?.name)
        };
        for name in ["first", "second", "third"] {
            let pod = served(&net, name, mapping(5353, 53, None));
            let server = Greeter::start(pod.netns(), 53, name);
            let mut lost = 0;
            eventually("the client is led to the new one", LIMIT, || match ask() {
                Ok(who) if who == name => Ok(()),
                other => {
                    lost += 1;
                    Err(format!("{name}: {other:?}"))
                }
            });
            println!("{family}: {name} answers after {lost} unanswered");
            pod.del().expect("DEL");
            // Nobody is there: what is sent now must not be remembered.
            for _ in 0..5 {
                let _ = ask();
            }
            drop(server);
        }
    }
}
