//! What a Pod with raw sockets may try.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use seaway_model::{Family, MacAddr, NodeName, Wiring, vtep_mac};
use seaway_testkit::Wire;
use seaway_testkit::packet::{
    ALL_NODES, Arp, BROADCAST, Frame, Packet, Read, dhcp_discover, echo, ethertype, holds,
    multicast_mac, neighbour_advertisement, neighbour_solicitation, redirect, router_advertisement,
    router_solicitation, tcp_syn, udp, vxlan,
};
use seaway_tests::net::outside_address;

use super::World;

/// Where forged datagrams go to.
pub(crate) const PORT: u16 = 7777;

const VXLAN_PORT: u16 = 4789;
const VNI: u32 = 0x5ea1;

/// Frames of one kind, and what is in each of them and nowhere else.
pub(crate) struct Attack {
    pub(crate) kind: &'static str,
    pub(crate) needle: Vec<u8>,
    pub(crate) frames: Vec<Frame>,
    /// The reason for which they are counted, if it is one.
    reason: Option<&'static str>,
}

impl Attack {
    /// How many of them came in by a device. What is still in its VXLAN header has not arrived.
    pub(crate) fn delivered(&self, wire: &mut Wire) -> usize {
        let wrapped = |frame: &[u8]| {
            let ports = Read::frame(frame).and_then(|read| read.ports());
            ports.is_some_and(|(_, to)| to == VXLAN_PORT)
        };
        let frames = wire.incoming();
        frames
            .filter(|frame| holds(frame, &self.needle) && !wrapped(frame))
            .count()
    }
}

/// Ethernet addresses that nobody has.
pub(crate) fn forged_macs() -> Vec<MacAddr> {
    (1..=4).map(forged_mac).collect()
}

fn forged_mac(number: u8) -> MacAddr {
    MacAddr([0x02, 0xba, 0xdd, 0xba, 0xdd, number])
}

/// All reasons that some attack is to be counted for.
pub(crate) fn reasons(attacks: &[Attack]) -> BTreeSet<&'static str> {
    attacks.iter().filter_map(|attack| attack.reason).collect()
}

/// Everything, in the forms that matter where Pods are wired so.
pub(crate) fn all(world: &World, wiring: Wiring) -> Vec<Attack> {
    let mut attacks = forged_sources(world);
    attacks.extend(forged_arp(world));
    attacks.extend(forged_discovery(world));
    attacks.extend(forged_redirects(world));
    attacks.push(dhcp(world));
    attacks.push(encapsulated(world));
    attacks.push(strange_protocols(world, wiring));
    attacks.push(multicast(world));
    if wiring == Wiring::Bridge {
        attacks.push(forged_ethernet(world));
    }
    attacks
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("{address} is of IPv4"),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => panic!("{address} is of IPv6"),
    }
}

/// Everybody whom the attacker would like to be.
fn others(world: &World, family: Family) -> Vec<IpAddr> {
    let unused = match family {
        Family::V4 => "10.244.1.200",
        Family::V6 => "fd00:10:244:1::200",
    };
    let loopback = match family {
        Family::V4 => "127.0.0.1",
        Family::V6 => "::1",
    };
    vec![
        world.victim.address(family),
        world.net.address(1, family),
        world.net.address(2, family),
        world.other.address(family),
        outside_address(family),
        unused.parse().expect("valid"),
        loopback.parse().expect("valid"),
    ]
}

/// Everybody who may be deceived.
fn targets(world: &World, family: Family) -> Vec<IpAddr> {
    vec![
        world.victim.address(family),
        world.net.address(1, family),
        world.net.address(2, family),
        world.other.address(family),
        outside_address(family),
    ]
}

/// To the gateway, and straight to the neighbour.
fn both_ways(world: &World, packet: &Packet) -> [Frame; 2] {
    [world.gateway, world.victim_mac].map(|to| packet.frame(world.own, to))
}

fn forged_sources(world: &World) -> Vec<Attack> {
    let needle = b"forged source".to_vec();
    let mut frames = Vec::new();
    for family in Family::ALL {
        for source in others(world, family) {
            for target in targets(world, family) {
                if source == target {
                    continue;
                }
                let (from, to) = (SocketAddr::new(source, 999), SocketAddr::new(target, PORT));
                let mut packets = vec![udp(from, to, &needle), echo(source, target, 1, 1, &needle)];
                // Cut into pieces: a filter that looks at ports only would let the second pass.
                let long = udp(from, to, &needle.repeat(8));
                packets.extend(long.fragments(77, 64));
                let mut syn = tcp_syn(from, to);
                syn.payload.extend(&needle);
                packets.push(syn);
                frames.extend(packets.iter().flat_map(|p| both_ways(world, p)));
            }
        }
    }
    vec![Attack {
        kind: "source",
        needle,
        frames,
        reason: Some("pod-source"),
    }]
}

fn forged_ethernet(world: &World) -> Attack {
    let needle = b"forged mac".to_vec();
    let mut frames = Vec::new();
    for family in Family::ALL {
        let source = SocketAddr::new(world.attacker.address(family), 999);
        for target in targets(world, family) {
            let packet = udp(source, SocketAddr::new(target, PORT), &needle);
            for mac in [forged_mac(1), world.victim_mac, world.gateway] {
                frames.push(packet.frame(mac, world.gateway));
                frames.push(packet.frame(mac, BROADCAST));
            }
        }
    }
    Attack {
        kind: "mac",
        needle,
        frames,
        reason: Some("pod-mac"),
    }
}

/// Each claim is a needle of its own: Ethernet address and address, as ARP has them.
fn forged_arp(world: &World) -> Vec<Attack> {
    let own = v4(world.attacker.address(Family::V4));
    let mut claimed: Vec<Ipv4Addr> = others(world, Family::V4).into_iter().map(v4).collect();
    claimed.push(Ipv4Addr::new(169, 254, 1, 1));
    claimed.push(Ipv4Addr::new(10, 244, 1, 1));
    let mut attacks = Vec::new();
    let mut add = |mac: MacAddr, address: Ipv4Addr| {
        let victim = v4(world.victim.address(Family::V4));
        let said = [
            Arp::request(mac, address, victim).frame(BROADCAST),
            Arp::request(mac, address, address).frame(BROADCAST),
            Arp::reply(mac, address, world.victim_mac, victim).frame(world.victim_mac),
            Arp::reply(mac, address, world.gateway, own).frame(world.gateway),
            Arp::gratuitous(mac, address).frame(BROADCAST),
        ];
        let mut needle = mac.0.to_vec();
        needle.extend(address.octets());
        // As its own sender, and with the true one outside.
        let framed = said.into_iter().flat_map(|frame| {
            let outer = frame.clone().from_mac(world.own);
            [frame, outer]
        });
        attacks.push(Attack {
            kind: "arp",
            needle,
            frames: framed.collect(),
            reason: Some("pod-arp"),
        });
    };
    for address in claimed {
        add(world.own, address);
        add(forged_mac(2), address);
    }
    add(forged_mac(2), own);
    attacks
}

fn forged_discovery(world: &World) -> Vec<Attack> {
    let own = v6(world.attacker.address(Family::V6));
    let own_link = world.own.link_local();
    let mac = forged_mac(3);
    let mut claimed: Vec<Ipv6Addr> = others(world, Family::V6).into_iter().map(v6).collect();
    claimed.extend([
        world.victim_mac.link_local(),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 1),
    ]);
    let prefix = Ipv6Addr::new(0xfd00, 0xbad, 0, 0, 0, 0, 0, 0);
    let victim = v6(world.victim.address(Family::V6));
    let mut packets = vec![
        router_advertisement(own_link, prefix, mac),
        router_advertisement(mac.link_local(), prefix, mac),
        router_advertisement(own, prefix, mac),
    ];
    for source in [own, own_link, mac.link_local()] {
        for address in &claimed {
            packets.push(neighbour_advertisement(source, ALL_NODES, *address, mac));
            packets.push(neighbour_advertisement(source, victim, *address, mac));
        }
    }
    for address in claimed {
        packets.push(neighbour_solicitation(address, victim, mac));
        packets.push(router_solicitation(address, mac));
    }
    let mut frames = Vec::new();
    for packet in packets {
        let group = multicast_mac(packet.destination);
        for to in [group, world.gateway, world.victim_mac] {
            frames.push(packet.frame(world.own, to));
        }
    }
    vec![Attack {
        kind: "discovery",
        needle: mac.0.to_vec(),
        frames,
        reason: Some("pod-discovery"),
    }]
}

/// Redirects are taken from the router only, so they pose as it; in IPv6 also from the attacker's
/// own address, which no host may believe.
fn forged_redirects(world: &World) -> Vec<Attack> {
    let mut frames = Vec::new();
    let needle = b"forged redirect".to_vec();
    for family in Family::ALL {
        let (own, victim) = (world.attacker.address(family), world.victim.address(family));
        let target = outside_address(family);
        let about = echo(victim, target, 1, 1, &[0; 8]);
        let router = match family {
            Family::V4 => "169.254.1.1",
            Family::V6 => "fe80::1",
        };
        let router: IpAddr = router.parse().expect("valid");
        let node = world.net.address(1, family);
        for source in [router, node] {
            let mut packet = redirect(source, own, target, &about);
            packet.payload.extend(&needle);
            frames.extend(both_ways(world, &packet));
        }
    }
    vec![Attack {
        kind: "redirect",
        needle,
        frames,
        reason: None,
    }]
}

fn dhcp(world: &World) -> Attack {
    let needle = b"forged dhcp".to_vec();
    Attack {
        kind: "dhcp",
        frames: vec![dhcp_discover(world.own, &needle)],
        needle,
        reason: None,
    }
}

/// Frames in VXLAN from the attacker's own honest address, to every VTEP.
fn encapsulated(world: &World) -> Attack {
    let needle = b"in vxlan".to_vec();
    let mut frames = Vec::new();
    for family in Family::ALL {
        for inner_family in Family::ALL {
            for (number, pod) in [(1, &world.victim), (2, &world.other)] {
                let to = SocketAddr::new(pod.address(inner_family), PORT);
                let source = match number {
                    1 => world.other.address(inner_family),
                    _ => world.victim.address(inner_family),
                };
                let name = NodeName::new(format!("node{number}")).expect("valid");
                let inner = udp(SocketAddr::new(source, 999), to, &needle);
                let inner = inner.frame(forged_mac(4), vtep_mac(&name));
                let vtep = SocketAddr::new(world.net.address(number, family), VXLAN_PORT);
                let own = SocketAddr::new(world.attacker.address(family), 50000);
                let packet = vxlan(own, vtep, VNI, &inner);
                frames.extend(both_ways(world, &packet));
            }
        }
    }
    Attack {
        kind: "vxlan",
        needle,
        frames,
        reason: Some("pod-to-vtep"),
    }
}

/// What is neither IP nor ARP; tagged IP too, which a bridge would carry past an IP filter.
fn strange_protocols(world: &World, wiring: Wiring) -> Attack {
    const LLDP: u16 = 0x88cc;
    const LOOP: u16 = 0x9000;
    let needle = b"strange protocol".to_vec();
    let mut frames = Vec::new();
    for to in [BROADCAST, world.gateway, world.victim_mac] {
        frames.push(Frame::new(world.own, to, LLDP, &needle));
        frames.push(Frame::new(world.own, to, LOOP, &needle));
        let from = SocketAddr::new(world.victim.address(Family::V4), 999);
        let target = SocketAddr::new(world.victim.address(Family::V4), PORT);
        let tagged = udp(from, target, &needle).frame(world.own, to).tagged(7);
        frames.push(Frame::new(
            world.own,
            to,
            ethertype::VLAN,
            &tagged.bytes()[14..],
        ));
        frames.push(tagged);
    }
    Attack {
        kind: "protocol",
        needle,
        frames,
        // Where nothing is bridged, what is not IP ends at the link without a filter.
        reason: (wiring == Wiring::Bridge).then_some("pod-protocol"),
    }
}

/// Forged sources to groups.
fn multicast(world: &World) -> Attack {
    let needle = b"forged group".to_vec();
    let mut frames = Vec::new();
    for (family, group) in [(Family::V4, "224.0.0.251"), (Family::V6, "ff02::fb")] {
        let group: IpAddr = group.parse().expect("valid");
        for source in others(world, family) {
            let (from, to) = (SocketAddr::new(source, 5353), SocketAddr::new(group, 5353));
            let packet = udp(from, to, &needle);
            frames.push(packet.frame(world.own, multicast_mac(group)));
        }
    }
    Attack {
        kind: "multicast",
        needle,
        frames,
        reason: Some("pod-source"),
    }
}
