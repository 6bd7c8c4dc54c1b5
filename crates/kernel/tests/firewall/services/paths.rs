//! Who is led where, and with which source.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use seaway_model::{Family, FrontendAction, Protocol, ServiceRules, Wiring, loopback_alias};

use super::servers::{Servers, answer};
use super::{Balanced, PROTOCOLS, firewall, frontend, outside, rules, virtual_ip};
use crate::rig::{exchange, net, node_address};

const NODE_PORT: u16 = 30_080;

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

#[test]
fn s8_a_pod_is_led_to_itself() {
    for wiring in Wiring::ALL {
        let mut balanced = Balanced::new(wiring, 1);
        for family in Family::ALL {
            let at = SocketAddr::new(virtual_ip(family, 1), 80);
            let targets = balanced.targets(0, family, 1);
            balanced.service(at, &targets);
            let pod = &balanced.rig.pods[0];
            for protocol in PROTOCOLS {
                let answer = answer(&pod.netns, protocol, at);
                assert_eq!(answer.backend, targets[0]);
                assert_ne!(answer.seen.ip(), pod.address(family), "{protocol}");
            }
        }
        balanced.nothing_dropped();
    }
}

#[test]
fn s9_pods_keep_their_source_and_others_do_not() {
    for wiring in Wiring::ALL {
        let mut balanced = Balanced::new(wiring, 1);
        for family in Family::ALL {
            let at = SocketAddr::new(virtual_ip(family, 1), 80);
            let targets = balanced.targets(0, family, 1);
            balanced.service(at, &targets);
            let rig = &balanced.rig;
            for protocol in PROTOCOLS {
                let seen = |from| answer(from, protocol, at).seen.ip();
                let other = &rig.pods[1];
                assert_eq!(seen(&other.netns), other.address(family));
                assert_eq!(seen(&rig.out.netns), node_address(family));
                assert_eq!(seen(&rig.node), node_address(family), "S17 {protocol}");
            }
        }
        balanced.nothing_dropped();
    }
}

#[test]
fn s9_not_even_pods_when_all_are_masqueraded() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    let all = ServiceRules {
        masquerade_all: true,
        ..rules()
    };
    let row = firewall(Wiring::Routed, all);
    balanced.rig.planned.firewall.insert(row);
    for family in Family::ALL {
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        let targets = balanced.targets(0, family, 1);
        balanced.service(at, &targets);
        let rig = &balanced.rig;
        let seen = answer(&rig.pods[1].netns, Protocol::Tcp, at).seen.ip();
        assert_eq!(seen, node_address(family));
        // Where no Service leads, Pods keep theirs.
        let direct = SocketAddr::new(rig.pods[0].address(family), 9000);
        let pods = (&rig.pods[1], &rig.pods[0]);
        let seen = exchange(Protocol::Tcp, &pods.0.netns, direct, &pods.1.netns, direct);
        assert_eq!(seen, pods.0.address(family));
    }
}

#[test]
fn s35_backends_outside_see_the_node() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    let out = &balanced.rig.out;
    let servers = Family::ALL.map(|family| SocketAddr::new(out.address(family), 7001));
    let _servers = Servers::at(&out.netns, &servers);
    for (family, server) in Family::ALL.into_iter().zip(servers) {
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        balanced.service(at, &[server]);
        let rig = &balanced.rig;
        for from in [&rig.pods[0].netns, &rig.node, &rig.out.netns] {
            let answer = answer(from, Protocol::Tcp, at);
            assert_eq!(answer.backend, server);
            assert_eq!(answer.seen.ip(), node_address(family));
        }
    }
    balanced.nothing_dropped();
}

/// A backend that is a process of the node itself, as an API server is.
#[test]
fn s17_backends_on_the_node_are_reached() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    let servers = Family::ALL.map(|family| SocketAddr::new(node_address(family), 6443));
    let _servers = Servers::at(&balanced.rig.node, &servers);
    for (family, server) in Family::ALL.into_iter().zip(servers) {
        let at = SocketAddr::new(virtual_ip(family, 1), 443);
        balanced.service(at, &[server]);
        for protocol in PROTOCOLS {
            let alias = SocketAddr::new(loopback_alias(family), NODE_PORT);
            balanced.lead(frontend(alias, protocol), &[server], None);
        }
        balanced.rig.converge();
        let rig = &balanced.rig;
        for protocol in PROTOCOLS {
            let pod = &rig.pods[0];
            let seen = |from, to| {
                let answer = answer(from, protocol, to);
                assert_eq!(answer.backend, server);
                answer.seen.ip()
            };
            assert_eq!(seen(&pod.netns, at), pod.address(family));
            assert_eq!(seen(&rig.out.netns, at), rig.out.address(family));
            assert_eq!(seen(&rig.node, at), node_address(family));
            let looped = SocketAddr::new(loopback(family), NODE_PORT);
            seen(&rig.node, looped);
        }
    }
    balanced.nothing_dropped();
}

/// The ports of a node with a policy: whoever comes from outside is led to this node's backends only
/// and keeps its source; Pods and the node are led to all.
#[test]
fn s10_what_comes_from_outside_stays_here_and_keeps_its_source() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(node_address(family), NODE_PORT);
        let [here, all] = [0, 1].map(|pod| balanced.targets(pod, family, 1));
        for protocol in PROTOCOLS {
            let key = frontend(at, protocol);
            balanced.lead(key, &all, None);
            balanced.lead(outside(key), &here, None);
        }
        balanced.rig.converge();
        let rig = &balanced.rig;
        for protocol in PROTOCOLS {
            let ends = |from| {
                let answer = answer(from, protocol, at);
                (answer.backend, answer.seen.ip())
            };
            let (out, pod) = (&rig.out, &rig.pods[0]);
            assert_eq!(ends(&out.netns), (here[0], out.address(family)));
            assert_eq!(ends(&pod.netns), (all[0], pod.address(family)));
            assert_eq!(ends(&rig.node), (all[0], node_address(family)));
        }
    }
    balanced.nothing_dropped();
}

#[test]
fn s10_without_the_policy_the_node_answers_for_all() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(node_address(family), NODE_PORT);
        let targets = balanced.targets(0, family, 1);
        for protocol in PROTOCOLS {
            balanced.lead(frontend(at, protocol), &targets, None);
        }
        balanced.rig.converge();
        let rig = &balanced.rig;
        for protocol in PROTOCOLS {
            let seen = |from| answer(from, protocol, at).seen.ip();
            assert_eq!(seen(&rig.out.netns), node_address(family));
            assert_eq!(seen(&rig.pods[1].netns), rig.pods[1].address(family));
            assert_eq!(seen(&rig.node), node_address(family));
        }
        // An address that is nobody's frontend has no such port.
        let other = SocketAddr::new(node_address(family), NODE_PORT + 1);
        let refused = super::servers::ask(&rig.out.netns, Protocol::Tcp, other);
        let error = refused.expect_err("nobody is there");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn s16_ports_of_the_loopback_address_lead_to_pods() {
    for wiring in Wiring::ALL {
        let mut balanced = Balanced::new(wiring, 1);
        for family in Family::ALL {
            let alias = SocketAddr::new(loopback_alias(family), NODE_PORT);
            let targets = balanced.targets(0, family, 1);
            for protocol in PROTOCOLS {
                balanced.lead(frontend(alias, protocol), &targets, None);
                let refused = SocketAddr::new(alias.ip(), NODE_PORT + 1);
                balanced.set(frontend(refused, protocol), FrontendAction::Refuse);
            }
            balanced.rig.converge();
            for protocol in PROTOCOLS {
                let looped = SocketAddr::new(loopback(family), NODE_PORT);
                let answer = answer(&balanced.rig.node, protocol, looped);
                assert_eq!(answer.backend, targets[0], "{protocol} to {looped}");
            }
            // Other ports are as ever.
            let local = SocketAddr::new(loopback(family), 9090);
            let node = &balanced.rig.node;
            let seen = exchange(Protocol::Tcp, node, local, node, local);
            assert_eq!(seen, local.ip());
        }
        balanced.nothing_dropped();
        for family in Family::ALL {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let refused = SocketAddr::new(loopback(family), NODE_PORT + 1);
                let error = super::servers::ask(&balanced.rig.node, protocol, refused);
                let kind = error.expect_err("no backend").kind();
                let told = [ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied];
                assert!(told.contains(&kind), "{protocol}: {kind}");
            }
        }
    }
}

/// Without an address that is to be the source, the one of the way out is.
#[test]
fn the_way_out_gives_the_source_where_none_is_said() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    let none = ServiceRules {
        sources: [].into(),
        service_cidrs: [net("10.96.0.0/16")].into(),
        ..rules()
    };
    let row = firewall(Wiring::Routed, none);
    balanced.rig.planned.firewall.insert(row);
    let family = Family::V4;
    let at = SocketAddr::new(virtual_ip(family, 1), 80);
    let targets = balanced.targets(0, family, 1);
    balanced.service(at, &targets);
    let seen = answer(&balanced.rig.out.netns, Protocol::Tcp, at).seen.ip();
    assert_eq!(seen, node_address(family));
}
