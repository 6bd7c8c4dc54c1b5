//! IP packets of both families: any source, any hop limit, options, fragments, wrong checksums.

use std::net::IpAddr;

use seaway_model::{Family, MacAddr};

use super::checksum;
use super::frame::{Frame, ethertype};

/// Numbers of protocols (IANA).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// The fragment header of IPv6.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// The destination options of IPv6.
    pub const OPTIONS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// Which part of a packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What all parts of a packet have in common.
    pub id: u32,
    /// Where it begins, in bytes; a multiple of eight.
    pub offset: u16,
    /// Others follow.
    pub more: bool,
}

/// An IP packet. Its family is that of its addresses; they must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who it says it is from.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// What it carries.
    pub protocol: u8,
    /// Options: those of the IPv4 header, or a destination-options header of IPv6; a multiple of
    /// four bytes, or six more than a multiple of eight.
    pub options: Vec<u8>,
    /// Which part of a packet it is; `None` when it is whole.
    pub part: Option<Part>,
    /// Routers must not cut it (IPv4 only; in IPv6 none may).
    pub dont_fragment: bool,
    /// The bytes that it carries.
    pub payload: Vec<u8>,
    /// The header's checksum is to be wrong (IPv4 only).
    pub bad_header_checksum: bool,
}

impl Packet {
    /// A whole packet with a usual hop limit.
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8, payload: Vec<u8>) -> Packet {
        Packet {
            source,
            destination,
            ttl: 64,
            protocol,
            options: Vec::new(),
            part: None,
            dont_fragment: false,
            payload,
            bad_header_checksum: false,
        }
    }

    /// The same with another hop limit.
    pub fn ttl(mut self, ttl: u8) -> Packet {
        self.ttl = ttl;
        self
    }

    /// The same with options.
    pub fn options(mut self, options: &[u8]) -> Packet {
        self.options = options.to_vec();
        self
    }

    /// The same, not to be cut.
    pub fn dont_fragment(mut self) -> Packet {
        self.dont_fragment = true;
        self
    }

    /// The same with a wrong checksum in what it carries (TCP, UDP, ICMP).
    pub fn bad_checksum(mut self) -> Packet {
        let at = match self.protocol {
            protocol::TCP => 16,
            protocol::UDP => 6,
            _ => 2,
        };
        if let Some(byte) = self.payload.get_mut(at) {
            *byte ^= 0x5a;
        }
        self
    }

    /// The same with a wrong checksum of the header.
    pub fn bad_header_checksum(mut self) -> Packet {
        self.bad_header_checksum = true;
        self
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.destination)
    }

    /// The parts of it when at most `room` bytes of payload (a multiple of eight) fit each.
    pub fn fragments(&self, id: u32, room: usize) -> Vec<Packet> {
        let count = self.payload.chunks(room).count();
        let part = |(index, piece): (usize, &[u8])| Packet {
            part: Some(Part {
                id,
                offset: u16::try_from(index * room).unwrap_or(u16::MAX),
                more: index + 1 < count,
            }),
            payload: piece.to_vec(),
            ..self.clone()
        };
        self.payload.chunks(room).enumerate().map(part).collect()
    }

    /// The packet's bytes.
    ///
    /// # Panics
    ///
    /// If its addresses are not of one family, or it is too long.
    pub fn bytes(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.bytes_v4(source.octets(), destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.bytes_v6(source.octets(), destination.octets())
            }
            _ => panic!("{} and {} are of one family", self.source, self.destination),
        }
    }

    fn bytes_v4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = u8::try_from(header / 4).expect("a header of at most 60 bytes");
        let length = u16::try_from(header + self.payload.len()).expect("at most 65535 bytes");
        let part = self.part.unwrap_or(Part {
            id: 0,
            offset: 0,
            more: false,
        });
        let id = u16::try_from(part.id & 0xffff).unwrap_or_default();
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(part.more) << 13;
        let mut bytes = vec![0x40 | words, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.extend((flags | (part.offset / 8)).to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(&self.options);
        let mut check = checksum::internet(&bytes);
        if self.bad_header_checksum {
            check ^= 0x5a5a;
        }
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    fn bytes_v6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut next = self.protocol;
        if !self.options.is_empty() {
            let eights = u8::try_from(self.options.len() / 8).expect("a short header");
            rest.extend([next, eights]);
            rest.extend(&self.options);
            next = protocol::OPTIONS;
        }
        if let Some(part) = self.part {
            let mut header = vec![next, 0];
            header.extend((part.offset | u16::from(part.more)).to_be_bytes());
            header.extend(part.id.to_be_bytes());
            rest.splice(0..0, header);
            next = protocol::FRAGMENT;
        }
        rest.extend(&self.payload);
        let length = u16::try_from(rest.len()).expect("at most 65535 bytes");
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([next, self.ttl]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(rest);
        bytes
    }

    /// In a frame.
    pub fn frame(&self, source: MacAddr, destination: MacAddr) -> Frame {
        let kind = match self.family() {
            Family::V4 => ethertype::IPV4,
            Family::V6 => ethertype::IPV6,
        };
        Frame::new(source, destination, kind, &self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(family: Family) -> Packet {
        let (a, b) = match family {
            Family::V4 => ("10.0.0.1", "10.0.0.2"),
            Family::V6 => ("fd00::1", "fd00::2"),
        };
        let address = |text: &str| text.parse().expect("valid");
        Packet::new(address(a), address(b), protocol::UDP, vec![7; 40])
    }

    #[test]
    fn ipv4_headers_check_unless_they_are_to_be_wrong() {
        let good = packet(Family::V4).options(&[1, 1, 1, 0]);
        let bytes = good.bytes();
        assert_eq!(bytes[0], 0x46);
        assert_eq!(checksum::internet(&bytes[..24]), 0);
        assert_eq!(bytes[2..4], 64u16.to_be_bytes());
        let bad = packet(Family::V4).bad_header_checksum().bytes();
        assert_ne!(checksum::internet(&bad[..20]), 0);
    }

    #[test]
    fn ipv6_headers_are_chained() {
        let bytes = packet(Family::V6).options(&[1, 4, 0, 0, 0, 0]).bytes();
        assert_eq!((bytes[6], bytes[40], bytes[41]), (60, 17, 0));
        assert_eq!(bytes[4..6], 48u16.to_be_bytes());
        let parts = packet(Family::V6).fragments(9, 16);
        let bytes = parts[1].bytes();
        assert_eq!((bytes[6], bytes[40]), (44, 17));
        assert_eq!(bytes[42..44], 17u16.to_be_bytes(), "16 bytes on, and more");
    }

    #[test]
    fn fragments_make_up_the_whole() {
        for family in Family::ALL {
            let whole = packet(family);
            let parts = whole.fragments(3, 16);
            assert_eq!(parts.len(), 3);
            let more: Vec<bool> = parts.iter().map(|p| p.part.expect("a part").more).collect();
            assert_eq!(more, [true, true, false]);
            let joined: Vec<u8> = parts.iter().flat_map(|p| p.payload.clone()).collect();
            assert_eq!(joined, whole.payload);
        }
        let bytes = packet(Family::V4).fragments(3, 16)[2].bytes();
        assert_eq!(bytes[6..8], [0, 4], "32 bytes are four eights");
        assert_eq!(packet(Family::V4).dont_fragment().bytes()[6], 0x40);
    }
}
