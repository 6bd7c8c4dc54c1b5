//! Ethernet frames, and those that carry no IP: ARP, and whatever ethertype one likes.

use std::net::Ipv4Addr;

use seaway_model::MacAddr;

/// Ethertypes.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// An 802.1Q tag follows.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// The broadcast address.
pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

/// An Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// To whom.
    pub destination: MacAddr,
    /// Who it says it is from.
    pub source: MacAddr,
    /// An 802.1Q tag, if it has one.
    pub vlan: Option<u16>,
    /// What it carries.
    pub ethertype: u16,
    /// The bytes that it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame without a tag.
    pub fn new(source: MacAddr, destination: MacAddr, ethertype: u16, payload: &[u8]) -> Frame {
        Frame {
            destination,
            source,
            vlan: None,
            ethertype,
            payload: payload.to_vec(),
        }
    }

    /// The same frame with an 802.1Q tag.
    pub fn tagged(mut self, vlan: u16) -> Frame {
        self.vlan = Some(vlan);
        self
    }

    /// The same frame from another Ethernet address.
    pub fn from_mac(mut self, source: MacAddr) -> Frame {
        self.source = source;
        self
    }

    /// The bytes on the wire, without padding and check sequence.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(18 + self.payload.len());
        bytes.extend(self.destination.0);
        bytes.extend(self.source.0);
        if let Some(tag) = self.vlan {
            bytes.extend(ethertype::VLAN.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        bytes.extend(self.ethertype.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// What an ARP message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// It answers; otherwise it asks.
    pub reply: bool,
    /// The Ethernet address that the sender claims.
    pub sender_mac: MacAddr,
    /// The address that the sender claims.
    pub sender: Ipv4Addr,
    /// The Ethernet address of the target, zero in requests.
    pub target_mac: MacAddr,
    /// The address that it is about.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Who has `target`?
    pub fn request(sender_mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Arp {
        Arp {
            reply: false,
            sender_mac,
            sender,
            target_mac: MacAddr([0; 6]),
            target,
        }
    }

    /// `sender` is at `sender_mac`, said to `target`.
    pub fn reply(
        sender_mac: MacAddr,
        sender: Ipv4Addr,
        target_mac: MacAddr,
        target: Ipv4Addr,
    ) -> Arp {
        Arp {
            reply: true,
            sender_mac,
            sender,
            target_mac,
            target,
        }
    }

    /// `address` is at `mac`, said to all.
    pub fn gratuitous(mac: MacAddr, address: Ipv4Addr) -> Arp {
        Arp::reply(mac, address, BROADCAST, address)
    }

    /// The message's bytes (RFC 826).
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, if self.reply { 2 } else { 1 }];
        bytes.extend(self.sender_mac.0);
        bytes.extend(self.sender.octets());
        bytes.extend(self.target_mac.0);
        bytes.extend(self.target.octets());
        bytes
    }

    /// In a frame from the Ethernet address that it claims.
    pub fn frame(&self, destination: MacAddr) -> Frame {
        Frame::new(self.sender_mac, destination, ethertype::ARP, &self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn frames_are_laid_out_as_ethernet_has_it() {
        let frame = Frame::new(A, B, ethertype::IPV4, b"xy");
        let plain = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, b'x', b'y'];
        assert_eq!(frame.bytes(), plain);
        let tagged = frame.tagged(5).bytes();
        assert_eq!(tagged[12..18], [0x81, 0, 0, 5, 8, 0]);
    }

    #[test]
    fn arp_is_laid_out_as_rfc_826_has_it() {
        let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let bytes = Arp::request(A, one, two).bytes();
        assert_eq!(bytes.len(), 28);
        assert_eq!(bytes[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(bytes[14..18], [10, 0, 0, 1]);
        assert_eq!(bytes[24..], [10, 0, 0, 2]);
        let said = Arp::gratuitous(A, one);
        assert_eq!((said.sender, said.reply), (said.target, true));
    }
}
