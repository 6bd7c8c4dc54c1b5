//! What IP packets carry: UDP, the first segment of TCP, echo requests, DHCP, VXLAN.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use seaway_model::{Family, MacAddr};

use super::checksum;
use super::frame::{BROADCAST, Frame};
use super::ip::{Packet, protocol};

/// A UDP datagram.
pub fn udp(source: SocketAddr, destination: SocketAddr, data: &[u8]) -> Packet {
    let length = u16::try_from(8 + data.len()).expect("at most 65527 bytes");
    let mut bytes = Vec::with_capacity(8 + data.len());
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(data);
    let check = checksum::transport(source.ip(), destination.ip(), protocol::UDP, &bytes);
    // Zero would say that there is none.
    let check = if check == 0 { 0xffff } else { check };
    bytes[6..8].copy_from_slice(&check.to_be_bytes());
    Packet::new(source.ip(), destination.ip(), protocol::UDP, bytes)
}

/// The segment that opens a TCP connection.
pub fn tcp_syn(source: SocketAddr, destination: SocketAddr) -> Packet {
    const SYN: u8 = 2;
    let mut bytes = Vec::with_capacity(20);
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes.extend(0x5ea1_5ea1u32.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    let check = checksum::transport(source.ip(), destination.ip(), protocol::TCP, &bytes);
    bytes[16..18].copy_from_slice(&check.to_be_bytes());
    Packet::new(source.ip(), destination.ip(), protocol::TCP, bytes)
}

/// An echo request.
pub fn echo(source: IpAddr, destination: IpAddr, id: u16, number: u16, data: &[u8]) -> Packet {
    let kind = match Family::of(destination) {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    let mut body = Vec::with_capacity(4 + data.len());
    body.extend(id.to_be_bytes());
    body.extend(number.to_be_bytes());
    body.extend(data);
    icmp(source, destination, kind, 0, &body)
}

/// An ICMP message of the addresses' family; `body` is what follows the checksum.
pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, body: &[u8]) -> Packet {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(body);
    let (number, check) = match Family::of(destination) {
        Family::V4 => (protocol::ICMP, checksum::internet(&bytes)),
        Family::V6 => (
            protocol::ICMPV6,
            checksum::transport(source, destination, protocol::ICMPV6, &bytes),
        ),
    };
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    Packet::new(source, destination, number, bytes)
}

/// A DHCP client's first message, to all (RFC 2131).
pub fn dhcp_discover(mac: MacAddr, data: &[u8]) -> Frame {
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend(0x5ea1_0083u32.to_be_bytes());
    bytes.extend([0; 20]);
    bytes.extend(mac.0);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, 1]);
    let length = u8::try_from(data.len()).expect("a short option");
    bytes.extend([60, length]);
    bytes.extend(data);
    bytes.push(255);
    let from = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68));
    let to = SocketAddr::from((Ipv4Addr::BROADCAST, 67));
    udp(from, to, &bytes).frame(mac, BROADCAST)
}

/// A frame in VXLAN (RFC 7348), as the VTEP at `source` would send it.
pub fn vxlan(source: SocketAddr, destination: SocketAddr, vni: u32, inner: &Frame) -> Packet {
    let mut bytes = vec![0x08, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(inner.bytes());
    udp(source, destination, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ethertype;

    fn ends(family: Family) -> (SocketAddr, SocketAddr) {
        let (a, b) = match family {
            Family::V4 => ("10.0.0.1:1000", "10.0.0.2:2000"),
            Family::V6 => ("[fd00::1]:1000", "[fd00::2]:2000"),
        };
        (a.parse().expect("valid"), b.parse().expect("valid"))
    }

    fn checks(packet: &Packet) -> bool {
        let Packet {
            source,
            destination,
            protocol,
            ..
        } = *packet;
        match protocol {
            protocol::ICMP => checksum::internet(&packet.payload) == 0,
            _ => checksum::transport(source, destination, protocol, &packet.payload) == 0,
        }
    }

    #[test]
    fn checksums_are_right_until_they_are_spoiled() {
        for family in Family::ALL {
            let (a, b) = ends(family);
            for packet in [
                udp(a, b, b"data"),
                tcp_syn(a, b),
                echo(a.ip(), b.ip(), 1, 2, b"odd"),
            ] {
                assert!(checks(&packet), "{packet:?}");
                assert!(!checks(&packet.bad_checksum()));
            }
        }
    }

    #[test]
    fn vxlan_holds_the_whole_frame() {
        let (a, b) = ends(Family::V4);
        let inner = udp(a, b, b"inner").frame(BROADCAST, BROADCAST).tagged(3);
        let packet = vxlan(a, b, 0x5ea1, &inner);
        assert_eq!(packet.payload[8..16], [8, 0, 0, 0, 0, 0x5e, 0xa1, 0]);
        assert_eq!(packet.payload[16..], inner.bytes());
    }

    #[test]
    fn dhcp_is_broadcast_with_its_cookie() {
        let frame = dhcp_discover(MacAddr([2, 0, 0, 0, 0, 1]), b"mark");
        assert_eq!(frame.ethertype, ethertype::IPV4);
        assert_eq!(frame.destination, BROADCAST);
        let dhcp = &frame.payload[28..];
        assert_eq!(dhcp[236..243], [99, 130, 83, 99, 53, 1, 1]);
    }
}
