//! What Pods with raw sockets may not say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use seaway_model::{DropReason, Family, MacAddr, Wiring, loopback_alias};
use seaway_testkit::packet::{self, ALL_NODES, Arp, BROADCAST, Frame, Packet, multicast_mac};

use crate::rig::{Rig, Station, VXLAN_PORT, ip, node_address, udp};
use seaway_model::host_link_name;

fn datagram(source: IpAddr, to: SocketAddr) -> Packet {
    packet::udp(SocketAddr::new(source, 1111), to, b"forged")
}

/// What a Pod sends to somebody on its link, as the first of the two Pods.
fn frames(pod: &Station, other: &Station, reason: DropReason) -> Vec<Frame> {
    let (mac, gateway) = (pod.mac, pod.gateway);
    let framed = |packet: Packet| packet.frame(mac, gateway);
    let to = |family| SocketAddr::new(node_address(family), 9);
    match reason {
        DropReason::PodSource => vec![
            framed(datagram(other.v4.into(), to(Family::V4))),
            framed(datagram([203, 0, 113, 7].into(), to(Family::V4))),
            framed(datagram(other.v6.into(), to(Family::V6))),
            framed(datagram(other.mac.link_local().into(), to(Family::V6))),
            packet::dhcp_discover(mac, b"forged"),
        ],
        DropReason::PodMac => vec![
            framed(datagram(pod.v4.into(), to(Family::V4))).from_mac(other.mac),
            Arp::request(other.mac, pod.v4, other.v4)
                .frame(BROADCAST)
                .from_mac(other.mac),
        ],
        DropReason::PodArp => vec![
            Arp::request(mac, other.v4, Ipv4Addr::new(10, 244, 0, 1)).frame(BROADCAST),
            Arp::reply(mac, other.v4, gateway, Ipv4Addr::new(10, 244, 0, 1)).frame(gateway),
            Arp::gratuitous(mac, Ipv4Addr::new(10, 244, 0, 1)).frame(BROADCAST),
            Arp::request(other.mac, pod.v4, other.v4)
                .frame(BROADCAST)
                .from_mac(mac),
        ],
        DropReason::PodDiscovery => {
            let own = mac.link_local();
            let all = multicast_mac(ALL_NODES.into());
            vec![
                packet::router_advertisement(own, Ipv6Addr::UNSPECIFIED, mac).frame(mac, all),
                packet::redirect(
                    own.into(),
                    own.into(),
                    pod.v6.into(),
                    &datagram(pod.v6.into(), to(Family::V6)),
                )
                .frame(mac, gateway),
                packet::neighbour_solicitation(other.v6, pod.v6, mac).frame(mac, gateway),
            ]
        }
        _ => vec![],
    }
}

fn forgeries(wiring: Wiring, reasons: &[DropReason]) -> Rig {
    let mut rig = Rig::with_pods(wiring);
    let wire = rig.pods[0].wire();
    for reason in reasons {
        let frames = frames(&rig.pods[0], &rig.pods[1], *reason);
        for frame in frames {
            rig.expect_drops(*reason, 1, |_| wire.send(&frame));
        }
    }
    rig
}

/// The honest still talk after all that.
fn talk(rig: &Rig) {
    for family in Family::ALL {
        let (pod, other) = (&rig.pods[0], &rig.pods[1]);
        let to = SocketAddr::new(other.address(family), 7000);
        assert_eq!(udp(&pod.netns, to, &other.netns, to), pod.address(family));
        let node = SocketAddr::new(node_address(family), 7000);
        assert_eq!(udp(&pod.netns, node, &rig.node, node), pod.address(family));
    }
}

#[test]
fn a_routed_pod_forges_nothing() {
    let reasons = [
        DropReason::PodSource,
        DropReason::PodArp,
        DropReason::PodDiscovery,
    ];
    let rig = forgeries(Wiring::Routed, &reasons);
    talk(&rig);
}

#[test]
fn a_bridged_pod_forges_nothing() {
    let reasons = [
        DropReason::PodSource,
        DropReason::PodMac,
        DropReason::PodArp,
        DropReason::PodDiscovery,
    ];
    let mut rig = forgeries(Wiring::Bridge, &reasons);
    let wire = rig.pods[0].wire();
    let (mac, v4) = (rig.pods[0].mac, rig.pods[0].v4);
    let forged = {
        let (pod, other) = (&rig.pods[0], &rig.pods[1]);
        [pod.v6, pod.mac.link_local()].map(|source| {
            packet::neighbour_advertisement(source, other.v6, other.v6, mac).frame(mac, other.mac)
        })
    };
    for frame in forged {
        rig.expect_drops(DropReason::PodDiscovery, 1, |_| wire.send(&frame));
    }
    let honest = datagram(v4.into(), SocketAddr::new(rig.pods[1].v4.into(), 9));
    let honest = honest.frame(mac, rig.pods[1].mac);
    let odd = Frame::new(mac, rig.pods[1].mac, 0x88b5, &[0; 64]);
    for frame in [honest.tagged(5), odd] {
        rig.expect_drops(DropReason::PodProtocol, 1, |_| wire.send(&frame));
    }
    // What the bridge does not take in passes its filters by.
    let reserved = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    let probe = Arp::request(mac, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 244, 0, 1));
    rig.expect_drops(DropReason::PodArp, 1, |_| wire.send(&probe.frame(reserved)));
    let aside = datagram(v4.into(), SocketAddr::new(node_address(Family::V4), 9));
    let aside = aside.frame(mac, reserved);
    rig.expect_drops(DropReason::PodSource, 1, |_| wire.send(&aside));
    // Nobody takes an address from a Pod.
    for (family, port) in [(Family::V4, 68), (Family::V6, 546)] {
        let (pod, other) = (&rig.pods[0], &rig.pods[1]);
        let offer = datagram(
            pod.address(family),
            SocketAddr::new(other.address(family), port),
        );
        let offer = offer.frame(mac, other.mac);
        rig.expect_drops(DropReason::PodDiscovery, 1, |_| wire.send(&offer));
    }
    talk(&rig);
    // A port without guards, whoever put the link there.
    let name = host_link_name(&rig.pods[0].id);
    let guarded = std::mem::take(&mut rig.planned.port_guards);
    rig.converge();
    let frame = datagram(v4.into(), SocketAddr::new(node_address(Family::V4), 9));
    let frame = frame.frame(mac, rig.pods[0].gateway);
    rig.expect_drops(DropReason::PodMac, 1, |_| wire.send(&frame));
    // A link that is not at the bridge any more.
    ip(&format!("link set {name} nomaster"));
    rig.expect_drops(DropReason::PodSource, 1, |rig| {
        let host = mac_of_host(rig, name.as_str());
        wire.send(
            &datagram(v4.into(), SocketAddr::new(node_address(Family::V4), 9)).frame(mac, host),
        );
    });
    rig.planned.port_guards = guarded;
    rig.converge();
}

fn mac_of_host(rig: &Rig, name: &str) -> MacAddr {
    seaway_testkit::Wire::open(&rig.node, name).mac
}

#[test]
fn a_pod_does_not_reach_the_vtep_of_its_node() {
    for wiring in Wiring::ALL {
        let mut rig = Rig::with_pods(wiring);
        for family in Family::ALL {
            let pod = &rig.pods[0];
            let to = SocketAddr::new(node_address(family), VXLAN_PORT);
            let frame = datagram(pod.address(family), to).frame(pod.mac, pod.gateway);
            let wire = pod.wire();
            rig.expect_drops(DropReason::PodToVtep, 1, |_| wire.send(&frame));
            // The same port of others is nobody's business.
            let other = SocketAddr::new(rig.pods[1].address(family), VXLAN_PORT);
            udp(&rig.pods[0].netns, other, &rig.pods[1].netns, other);
        }
    }
}

/// Another node would take it for a frame of this node's VTEP: it has this node's address.
#[test]
fn a_pod_is_not_lent_the_address_of_the_vtep() {
    for wiring in Wiring::ALL {
        let mut rig = Rig::with_pods(wiring);
        for family in Family::ALL {
            let pod = &rig.pods[0];
            let to = SocketAddr::new(rig.out.address(family), VXLAN_PORT);
            let frame = datagram(pod.address(family), to).frame(pod.mac, pod.gateway);
            let wire = pod.wire();
            rig.expect_drops(DropReason::PodToVtep, 1, |_| wire.send(&frame));
        }
    }
}

#[test]
fn nobody_on_the_wire_has_the_address_of_loopback() {
    let mut rig = Rig::with_pods(Wiring::Routed);
    let wire = rig.out.wire();
    for family in Family::ALL {
        let alias = loopback_alias(family);
        let out = &rig.out;
        let from = datagram(alias, SocketAddr::new(node_address(family), 9));
        let to = datagram(out.address(family), SocketAddr::new(alias, 9));
        for packet in [from, to] {
            let frame = packet.frame(rig.out.mac, rig.out.gateway);
            rig.expect_drops(DropReason::LoopbackAlias, 1, |_| wire.send(&frame));
        }
    }
}
