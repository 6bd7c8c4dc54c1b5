//! What of a packet goes into a key, and where it is in the packet.

use std::net::IpAddr;

use seaway_model::Family;

use super::words::alias;
use crate::nft::{Base, CtKey, Expr, Field, MetaKey, Reg};

/// Something of a packet that a key is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    InterfaceName,
    LinkSource,
    Source(Family),
    Destination(Family),
    Protocol,
    Port,
    /// A prefix length; always the same.
    Length(u8),
    /// The destination with all bits behind the prefix length cleared.
    DestinationNet(Family, u8),
    /// The source likewise.
    SourceNet(Family, u8),
    /// The source inside a VXLAN frame likewise.
    InnerSourceNet(Family, u8),
    ArpSenderMac,
    ArpSenderAddress,
    /// The address that neighbour discovery is about.
    DiscoveryTarget,
    /// The address that stands for the loopback address; always the same.
    Alias(Family),
    /// The port to which the first packet of the flow was sent.
    OriginalPort,
    /// The address to which the first packet of the flow was sent.
    OriginalDestination(Family),
}

/// `ETH_HLEN`, and the sizes of the headers of UDP and VXLAN.
const ETHERNET: u32 = 14;
pub(super) const VXLAN_IN_UDP: u32 = 8;
pub(super) const INNER_FRAME: u32 = VXLAN_IN_UDP + 8;

pub(super) fn address_field(family: Family) -> Field {
    match family {
        Family::V4 => Field::V4,
        Family::V6 => Field::V6,
    }
}

pub(super) fn address_bytes(family: Family) -> u32 {
    u32::from(family.host_prefix()) / 8
}

/// Where source and destination are in the IP header.
pub(super) fn source_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

pub(super) fn destination_offset(family: Family) -> u32 {
    source_offset(family) + address_bytes(family)
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The bits of a prefix length, as many bytes as an address has.
pub(super) fn mask(family: Family, length: u8) -> Vec<u8> {
    let bits = |i: u32| u32::from(length).saturating_sub(8 * i).min(8);
    (0..address_bytes(family))
        .map(|i| !(0xffu16 >> bits(i)).to_le_bytes()[0])
        .collect()
}

pub(super) fn load(base: Base, offset: u32, length: u32, to: Reg) -> Expr {
    Expr::Load {
        base,
        offset,
        length,
        to,
    }
}

impl Part {
    pub(super) fn field(self) -> Field {
        match self {
            Part::InterfaceName => Field::InterfaceName,
            Part::LinkSource | Part::ArpSenderMac => Field::Mac,
            Part::Source(f)
            | Part::Destination(f)
            | Part::DestinationNet(f, _)
            | Part::SourceNet(f, _)
            | Part::InnerSourceNet(f, _)
            | Part::Alias(f)
            | Part::OriginalDestination(f) => address_field(f),
            Part::ArpSenderAddress => Field::V4,
            Part::DiscoveryTarget => Field::V6,
            Part::Protocol => Field::Protocol,
            Part::Port | Part::OriginalPort => Field::Port,
            Part::Length(_) => Field::Number,
        }
    }

    /// The instructions that bring it to a register.
    pub(super) fn load(self, to: Reg) -> Vec<Expr> {
        let net = |base, offset, family, length| {
            let whole = load(base, offset, address_bytes(family), to);
            let mask = mask(family, length);
            vec![whole, Expr::Mask { from: to, to, mask }]
        };
        let one = match self {
            Part::InterfaceName => Expr::Meta {
                key: MetaKey::IifName,
                to,
            },
            Part::LinkSource => load(Base::Link, 6, 6, to),
            Part::Source(f) => load(Base::Network, source_offset(f), address_bytes(f), to),
            Part::Destination(f) => {
                load(Base::Network, destination_offset(f), address_bytes(f), to)
            }
            Part::DestinationNet(f, length) => {
                return net(Base::Network, destination_offset(f), f, length);
            }
            Part::SourceNet(f, length) => {
                return net(Base::Network, source_offset(f), f, length);
            }
            Part::InnerSourceNet(f, length) => {
                let offset = INNER_FRAME + ETHERNET + source_offset(f);
                return net(Base::Transport, offset, f, length);
            }
            Part::Protocol => Expr::Meta {
                key: MetaKey::L4Proto,
                to,
            },
            Part::Port => load(Base::Transport, 2, 2, to),
            Part::Length(length) => Expr::Value {
                to,
                value: u32::from(length).to_ne_bytes().to_vec(),
            },
            Part::Alias(f) => Expr::Value {
                to,
                value: octets(alias(f)),
            },
            Part::ArpSenderMac => load(Base::Network, 8, 6, to),
            Part::ArpSenderAddress => load(Base::Network, 14, 4, to),
            Part::DiscoveryTarget => load(Base::Transport, 8, 16, to),
            Part::OriginalPort => Expr::Ct {
                key: CtKey::PortDestination,
                to,
            },
            Part::OriginalDestination(Family::V4) => Expr::Ct {
                key: CtKey::Destination4,
                to,
            },
            Part::OriginalDestination(Family::V6) => Expr::Ct {
                key: CtKey::Destination6,
                to,
            },
        };
        vec![one]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_clear_what_is_behind_the_prefix() {
        assert_eq!(mask(Family::V4, 0), [0, 0, 0, 0]);
        assert_eq!(mask(Family::V4, 20), [255, 255, 240, 0]);
        assert_eq!(mask(Family::V4, 32), [255; 4]);
        assert_eq!(mask(Family::V6, 65)[7..9], [255, 128]);
    }
}
