//! Messages that steer others: neighbour and router discovery, redirects, "too big".

use std::net::{IpAddr, Ipv6Addr};

use seaway_model::{Family, MacAddr};

use super::carried::icmp;
use super::ip::Packet;

/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;

/// The hop limit that shows that no router has passed the message on (RFC 4861).
const ON_LINK: u8 = 255;

/// The group in which `address` is asked for.
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., g, h] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | g & 0xff, h)
}

/// The Ethernet address of a multicast group.
pub fn multicast_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            MacAddr([0x33, 0x33, a, b, c, d])
        }
    }
}

fn with_mac(mut body: Vec<u8>, kind: u8, mac: MacAddr) -> Vec<u8> {
    body.extend([kind, 1]);
    body.extend(mac.0);
    body
}

fn discovery(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, body: &[u8]) -> Packet {
    icmp(source.into(), destination.into(), kind, 0, body).ttl(ON_LINK)
}

/// Who has `target`? Asked by `source` at `mac`.
pub fn neighbour_solicitation(source: Ipv6Addr, target: Ipv6Addr, mac: MacAddr) -> Packet {
    let mut body = vec![0; 4];
    body.extend(target.octets());
    let body = with_mac(body, SOURCE_MAC, mac);
    discovery(source, solicited_node(target), 135, &body)
}

/// `target` is at `mac`: solicited, and to override what was known.
pub fn neighbour_advertisement(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    mac: MacAddr,
) -> Packet {
    let mut body = vec![0x60, 0, 0, 0];
    body.extend(target.octets());
    let body = with_mac(body, TARGET_MAC, mac);
    discovery(source, destination, 136, &body)
}

/// Which routers are there?
pub fn router_solicitation(source: Ipv6Addr, mac: MacAddr) -> Packet {
    discovery(
        source,
        ALL_ROUTERS,
        133,
        &with_mac(vec![0; 4], SOURCE_MAC, mac),
    )
}

/// `source` is the router for everything, with a network to make addresses in.
pub fn router_advertisement(source: Ipv6Addr, prefix: Ipv6Addr, mac: MacAddr) -> Packet {
    let mut body = vec![64, 0];
    body.extend(1800u16.to_be_bytes());
    body.extend([0; 8]);
    let mut body = with_mac(body, SOURCE_MAC, mac);
    // Prefix information: /64, on-link, autonomous, for an hour.
    body.extend([3, 4, 64, 0xc0]);
    body.extend(3600u32.to_be_bytes());
    body.extend(3600u32.to_be_bytes());
    body.extend([0; 4]);
    body.extend(prefix.octets());
    discovery(source, ALL_NODES, 134, &body)
}

/// `source`, posing as a router, says that `target` is reached by `via`; `about` is the packet
/// that made it say so.
///
/// # Panics
///
/// If the addresses are not of one family.
pub fn redirect(source: IpAddr, via: IpAddr, target: IpAddr, about: &Packet) -> Packet {
    let about_bytes = about.bytes();
    let to = about.source;
    match (via, target) {
        (IpAddr::V4(via), IpAddr::V4(_)) => {
            let mut body = via.octets().to_vec();
            body.extend(&about_bytes[..about_bytes.len().min(28)]);
            icmp(source, to, 5, 1, &body)
        }
        (IpAddr::V6(via), IpAddr::V6(target)) => {
            let mut body = vec![0; 4];
            body.extend(via.octets());
            body.extend(target.octets());
            icmp(source, to, 137, 0, &body).ttl(ON_LINK)
        }
        _ => panic!("{via} and {target} are of one family"),
    }
}

/// `source`, a router, says that `about` was larger than `mtu`.
pub fn too_big(source: IpAddr, mtu: u16, about: &Packet) -> Packet {
    let about_bytes = about.bytes();
    let (kind, code, kept) = match Family::of(source) {
        Family::V4 => (3, 4, 28),
        Family::V6 => (2, 0, 1200),
    };
    let mut body = vec![0, 0];
    body.extend(mtu.to_be_bytes());
    body.extend(&about_bytes[..about_bytes.len().min(kept)]);
    icmp(source, about.source, kind, code, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{checksum, echo, protocol};

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().expect("valid")
    }

    #[test]
    fn groups_have_their_well_known_addresses() {
        let group = solicited_node(v6("fd00::1:2345:6789"));
        assert_eq!(group, v6("ff02::1:ff45:6789"));
        assert_eq!(multicast_mac(group.into()).to_string(), "33:33:ff:45:67:89");
        let mdns = "224.129.0.251".parse().expect("valid");
        assert_eq!(multicast_mac(mdns).to_string(), "01:00:5e:01:00:fb");
    }

    #[test]
    fn discovery_has_lengths_checksums_and_hop_limit() {
        let (a, b) = (v6("fe80::1"), v6("fe80::2"));
        let lengths = [
            (neighbour_solicitation(a, b, MAC), 32),
            (neighbour_advertisement(a, b, a, MAC), 32),
            (router_solicitation(a, MAC), 16),
            (router_advertisement(a, v6("fd00:bad::"), MAC), 56),
        ];
        for (packet, length) in lengths {
            assert_eq!((packet.payload.len(), packet.ttl), (length, 255));
            let Packet {
                source,
                destination,
                ..
            } = packet;
            let sum = checksum::transport(source, destination, protocol::ICMPV6, &packet.payload);
            assert_eq!(sum, 0, "{packet:?}");
        }
    }

    #[test]
    fn errors_carry_the_packet_that_they_are_about() {
        for (router, a, b) in [
            ("10.0.0.254", "10.0.0.1", "10.0.0.2"),
            ("fd00::fe", "fd00::1", "fd00::2"),
        ] {
            let ip = |text: &str| -> IpAddr { text.parse().expect("valid") };
            let about = echo(ip(a), ip(b), 1, 1, &[7; 1400]);
            let error = too_big(ip(router), 1300, &about);
            assert_eq!(error.destination, ip(a));
            assert_eq!(error.payload[6..8], 1300u16.to_be_bytes());
            assert_eq!(error.payload[8..28], about.bytes()[..20]);
            let turned = redirect(ip(router), ip(b), ip(b), &about);
            assert_eq!(turned.destination, ip(a));
        }
    }
}
