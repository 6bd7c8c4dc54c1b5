//! What no backend takes: refused at once, or dropped, and counted.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use seaway_kernel::netns::Netns;
use seaway_model::{
    ClusterIpRow, DropReason, Family, FrontendAction, FrontendRow, Protocol, SourceRangeRow,
    Wiring, dns_address,
};
use seaway_testkit::packet;

use super::servers::{Servers, answer, ask, send};
use super::{Balanced, PROTOCOLS, frontend, outside, virtual_ip};
use crate::rig::{Rig, ip, net, node_address};

fn refused(from: &Netns, protocol: Protocol, to: SocketAddr) {
    let error = ask(from, protocol, to).expect_err("nobody is there");
    assert_eq!(
        error.kind(),
        ErrorKind::ConnectionRefused,
        "{protocol} {to}"
    );
}

/// The node itself is told when it sends, or by ICMP. That one does not come where the route of the
/// address is by loopback: the kernel takes the address for the node's own and may not send from it.
fn refused_here(rig: &Rig, protocol: Protocol, to: SocketAddr) {
    let kinds = [ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied];
    let kinds = match protocol {
        Protocol::Tcp => &kinds[..1],
        Protocol::Udp => &kinds[..],
        Protocol::Sctp => return send(&rig.node, to),
    };
    let error = ask(&rig.node, protocol, to).expect_err("nobody is there");
    assert!(kinds.contains(&error.kind()), "{protocol} {to}: {error}");
}

fn counted(rig: &mut Rig, reason: DropReason) -> u64 {
    rig.drops()[&reason]
}

#[test]
fn s13_without_backends_everybody_is_told_at_once() {
    for wiring in Wiring::ALL {
        let mut balanced = Balanced::new(wiring, 1);
        for family in Family::ALL {
            let service = SocketAddr::new(virtual_ip(family, 1), 80);
            let node_port = SocketAddr::new(node_address(family), 30_080);
            for protocol in PROTOCOLS {
                for at in [service, node_port] {
                    let key = frontend(at, protocol);
                    balanced.set(key, FrontendAction::Refuse);
                    balanced.set(outside(key), FrontendAction::Refuse);
                }
            }
            let address = service.ip();
            balanced
                .rig
                .planned
                .cluster_ips
                .insert(ClusterIpRow { address });
            balanced.rig.converge();
            for protocol in PROTOCOLS {
                for at in [service, node_port] {
                    let before = counted(&mut balanced.rig, DropReason::ServiceRefused);
                    let rig = &balanced.rig;
                    for from in [&rig.pods[0].netns, &rig.out.netns] {
                        refused(from, protocol, at);
                    }
                    refused_here(rig, protocol, at);
                    let after = counted(&mut balanced.rig, DropReason::ServiceRefused);
                    assert!(after >= before + 2, "{before} {after}");
                }
            }
        }
    }
}

#[test]
fn s10_without_a_backend_here_what_comes_from_outside_is_dropped() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(node_address(family), 30_080);
        let inner = SocketAddr::new(virtual_ip(family, 1), 80);
        let targets = balanced.targets(0, family, 1);
        for protocol in PROTOCOLS {
            let key = frontend(at, protocol);
            balanced.lead(key, &targets, None);
            balanced.set(outside(key), FrontendAction::Drop);
            balanced.set(frontend(inner, protocol), FrontendAction::Drop);
        }
        balanced.rig.converge();
        let reason = DropReason::ServiceNotLocal;
        balanced
            .rig
            .expect_drops(reason, 1, |rig| send(&rig.out.netns, at));
        // S11: nobody is led elsewhere.
        balanced.rig.expect_drops(reason, 3, |rig| {
            for from in [&rig.pods[0].netns, &rig.out.netns, &rig.node] {
                send(from, inner);
            }
        });
        let rig = &balanced.rig;
        for from in [&rig.pods[1].netns, &rig.node] {
            assert_eq!(answer(from, Protocol::Tcp, at).backend, targets[0]);
        }
    }
}

#[test]
fn s14_other_ports_are_refused_and_other_addresses_dropped() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        let targets = balanced.targets(0, family, 1);
        balanced.service(at, &targets);
        let other_port = SocketAddr::new(at.ip(), 81);
        let nobody = SocketAddr::new(virtual_ip(family, 9), 80);
        let rig = &mut balanced.rig;
        for protocol in PROTOCOLS {
            for from in [&rig.pods[1].netns, &rig.out.netns] {
                refused(from, protocol, other_port);
            }
            refused_here(rig, protocol, other_port);
        }
        rig.expect_drops(DropReason::ServiceUnknown, 3, |rig| {
            for from in [&rig.pods[1].netns, &rig.out.netns, &rig.node] {
                send(from, nobody);
            }
        });
        // Nobody answers an echo at an address of a Service, but it goes round no ring (S30).
        for (address, reason) in [
            (at.ip(), DropReason::ServiceRefused),
            (nobody.ip(), DropReason::ServiceUnknown),
        ] {
            rig.expect_drops(reason, 1, |rig| {
                let pod = &rig.pods[1];
                let ping = packet::echo(pod.address(family), address, 1, 1, b"echo");
                pod.wire().send(&ping.frame(pod.mac, pod.gateway));
            });
        }
    }
}

fn balancer_ip(family: Family) -> IpAddr {
    match family {
        Family::V4 => [203, 0, 113, 5].into(),
        Family::V6 => [0x2001, 0xdb8, 5, 0, 0, 0, 0, 5].into(),
    }
}

/// A range lets in who is in it, by any view; the others are dropped before all else.
#[test]
fn s20_only_some_sources_may_use_a_balancer() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    balanced
        .rig
        .out
        .ip("route add 203.0.113.0/24 via 192.0.2.1");
    balanced
        .rig
        .out
        .ip("-6 route add 2001:db8:5::/48 via 2001:db8::1");
    // Without a way the node could not even try.
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("-6 route add 2001:db8:5::/48 via 2001:db8::2");
    let ranges = [
        (Family::V4, "192.0.2.2/32"),
        (Family::V4, "10.244.0.0/24"),
        (Family::V6, "2001:db8::2/128"),
        (Family::V6, "fd00::/64"),
    ];
    for family in Family::ALL {
        let at = SocketAddr::new(balancer_ip(family), 443);
        let nobody = SocketAddr::new(balancer_ip(family), 444);
        let targets = balanced.targets(0, family, 1);
        let key = frontend(at, Protocol::Udp);
        let (group, slots) = balanced.group(&targets);
        let balance = FrontendAction::Balance {
            group,
            slots,
            affinity: None,
        };
        let refuse = frontend(nobody, Protocol::Udp);
        for (key, action) in [
            (key, balance),
            (outside(key), balance),
            (refuse, FrontendAction::Refuse),
        ] {
            balanced.rig.planned.frontends.insert(FrontendRow {
                key,
                action,
                guarded: true,
            });
        }
        balanced.rig.converge();
        let senders = |rig: &Rig| {
            let all = [&rig.pods[1].netns, &rig.out.netns];
            all.map(|netns| {
                netns
                    .enter(|| Netns::current().expect("own"))
                    .expect("namespace")
            })
        };
        for from in senders(&balanced.rig) {
            for to in [at, nobody] {
                let reason = DropReason::ServiceSource;
                balanced.rig.expect_drops(reason, 1, |_| send(&from, to));
            }
        }
        for (_, range) in ranges.iter().filter(|(f, _)| *f == family) {
            for port in [443, 444] {
                balanced.rig.planned.source_ranges.insert(SourceRangeRow {
                    address: at.ip(),
                    protocol: Protocol::Udp,
                    port,
                    net: net(range),
                });
            }
        }
        balanced.rig.converge();
        for from in senders(&balanced.rig) {
            assert_eq!(answer(&from, Protocol::Udp, at).backend, targets[0]);
            refused(&from, Protocol::Udp, nobody);
        }
        // The node is in no range.
        let reason = DropReason::ServiceSource;
        balanced
            .rig
            .expect_drops(reason, 1, |rig| send(&rig.node, at));
    }
}

/// This node's Pods and itself ask for names at an address that nobody else may use.
#[test]
fn s43_names_are_told_to_this_node_only() {
    for wiring in Wiring::ALL {
        let mut balanced = Balanced::new(wiring, 1);
        ip("addr add 169.254.83.53/32 dev lo");
        ip("addr add fd5e:a83::53/128 dev lo nodad");
        let names = Family::ALL.map(|family| SocketAddr::new(dns_address(family), 53));
        let _servers = Servers::at(&balanced.rig.node, &names);
        for (family, names) in Family::ALL.into_iter().zip(names) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let (pod, node) = (&balanced.rig.pods[0], &balanced.rig.node);
                let seen = answer(&pod.netns, protocol, names).seen.ip();
                assert_eq!(seen, pod.address(family));
                answer(node, protocol, names);
            }
            let out = SocketAddr::new(balanced.rig.out.address(family), 5353);
            let node = SocketAddr::new(node_address(family), 5353);
            let forged = SocketAddr::new(names.ip(), 5353);
            for (from, to) in [(out, names), (forged, node)] {
                balanced.rig.expect_drops(DropReason::DnsAddress, 1, |rig| {
                    let datagram = packet::udp(from, to, b"name?");
                    let frame = datagram.frame(rig.out.mac, rig.out.gateway);
                    rig.out.wire().send(&frame);
                });
            }
            if wiring == Wiring::Routed {
                balanced.rig.expect_drops(DropReason::DnsAddress, 1, |rig| {
                    let pod = &rig.pods[0];
                    let datagram = packet::udp(forged, node, b"a name");
                    pod.wire().send(&datagram.frame(pod.mac, pod.gateway));
                });
            }
        }
    }
}
