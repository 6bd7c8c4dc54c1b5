//! Reading frames back, as far as tests need it: who, to whom, what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::ethertype;
use super::ip::protocol;

/// The IP packet in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The protocol that it carries, behind a fragment header of IPv6 if there is one.
    pub protocol: u8,
    /// It is a fragment.
    pub fragment: bool,
    /// The whole packet's length by its header.
    pub length: usize,
    /// What it carries.
    pub payload: &'a [u8],
}

impl Read<'_> {
    /// Reads an IP packet from a frame; `None` if there is none.
    pub fn frame(frame: &[u8]) -> Option<Read<'_>> {
        let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
        match kind {
            ethertype::IPV4 | ethertype::IPV6 => Read::packet(frame.get(14..)?),
            _ => None,
        }
    }

    /// Reads an IP packet.
    pub fn packet(bytes: &[u8]) -> Option<Read<'_>> {
        match bytes.first()? >> 4 {
            4 => Read::packet_v4(bytes),
            6 => Read::packet_v6(bytes),
            _ => None,
        }
    }

    fn packet_v4(bytes: &[u8]) -> Option<Read<'_>> {
        let header = usize::from(bytes.first()? & 15) * 4;
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        };
        let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        Some(Read {
            source: address(12)?,
            destination: address(16)?,
            ttl: *bytes.get(8)?,
            protocol: *bytes.get(9)?,
            fragment: word(6)? & 0x3fff != 0,
            length: word(2)?.into(),
            payload: bytes.get(header..)?,
        })
    }

    fn packet_v6(bytes: &[u8]) -> Option<Read<'_>> {
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        };
        let length = u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?);
        let fragment = *bytes.get(6)? == protocol::FRAGMENT;
        let (next, start) = if fragment { (40, 48) } else { (6, 40) };
        Some(Read {
            source: address(8)?,
            destination: address(24)?,
            ttl: *bytes.get(7)?,
            protocol: *bytes.get(next)?,
            fragment,
            length: usize::from(length) + 40,
            payload: bytes.get(start..)?,
        })
    }

    /// The ports, for protocols that have them.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let word = |at: usize| {
            let bytes = self.payload.get(at..at + 2)?;
            Some(u16::from_be_bytes(bytes.try_into().ok()?))
        };
        let has = matches!(
            self.protocol,
            protocol::TCP | protocol::UDP | protocol::SCTP
        ) && !self.fragment;
        has.then(|| Some((word(0)?, word(2)?))).flatten()
    }

    /// Type and code, for ICMP of both families.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        let is = matches!(self.protocol, protocol::ICMP | protocol::ICMPV6);
        is.then(|| Some((*self.payload.first()?, *self.payload.get(1)?)))
            .flatten()
    }
}

/// Whether `mark` occurs in `bytes`.
pub fn holds(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{BROADCAST, echo, udp};

    #[test]
    fn what_was_built_is_read_back() {
        for (a, b) in [("10.0.0.1:7", "10.0.0.2:9"), ("[fd00::1]:7", "[fd00::2]:9")] {
            let (a, b) = (a.parse().expect("valid"), b.parse().expect("valid"));
            let built = udp(a, b, b"data").ttl(3);
            let frame = built.frame(BROADCAST, BROADCAST).bytes();
            let read = Read::frame(&frame).expect("IP");
            assert_eq!((read.source, read.destination), (a.ip(), b.ip()));
            assert_eq!((read.ttl, read.ports()), (3, Some((7, 9))));
            assert!(holds(read.payload, b"data") && !holds(read.payload, b"date"));
            let ping = echo(a.ip(), b.ip(), 1, 1, &[0; 64]);
            let bytes = ping.bytes();
            let kind = Read::packet(&bytes).expect("IP").icmp().expect("ICMP").0;
            assert!([8, 128].contains(&kind));
            let part = ping.fragments(1, 32)[1].bytes();
            let read = Read::packet(&part).expect("IP");
            assert!(read.fragment && read.protocol == ping.protocol);
        }
        assert_eq!(Read::frame(&[0; 10]), None);
    }
}
