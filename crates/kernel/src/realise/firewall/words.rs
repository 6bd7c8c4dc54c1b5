//! The words in which the rules are written: each adds the instructions of one condition or action.
//!
//! Which rules there are is not said here.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{DropReason, Family, loopback_alias};

use crate::nft::{Base, Checksum, CmpOp, CtKey, Expr, Field, MetaKey, Reg, Rule, Verdict};

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

const REG: Reg = Reg(0);
/// `ETH_HLEN`, and the sizes of the headers of UDP and VXLAN.
const ETHERNET: u32 = 14;
const VXLAN_IN_UDP: u32 = 8;
const INNER_FRAME: u32 = VXLAN_IN_UDP + 8;
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// The index of the loopback device in every namespace.
const LOOPBACK: u32 = 1;
/// `IPS_DST_NAT`.
const TRANSLATED: u32 = 1 << 5;
/// `NF_CT_STATE_BIT(IP_CT_NEW)` and `NF_CT_STATE_UNTRACKED_BIT`.
const NEW: u32 = 1 << 3;
const UNTRACKED: u32 = 1 << 6;

/// `NFPROTO_*` of a family.
fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

pub(super) fn address_field(family: Family) -> Field {
    match family {
        Family::V4 => Field::V4,
        Family::V6 => Field::V6,
    }
}

fn address_bytes(family: Family) -> u32 {
    u32::from(family.host_prefix()) / 8
}

/// Where source and destination are in the IP header.
fn source_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

fn destination_offset(family: Family) -> u32 {
    source_offset(family) + address_bytes(family)
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The bits of a prefix length, as many bytes as an address has.
fn mask(family: Family, length: u8) -> Vec<u8> {
    let bits = |i: u32| u32::from(length).saturating_sub(8 * i).min(8);
    (0..address_bytes(family))
        .map(|i| !(0xffu16 >> bits(i)).to_le_bytes()[0])
        .collect()
}

fn load(base: Base, offset: u32, length: u32, to: Reg) -> Expr {
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
            | Part::InnerSourceNet(f, _)
            | Part::Alias(f)
            | Part::OriginalDestination(f) => address_field(f),
            Part::ArpSenderAddress => Field::V4,
            Part::DiscoveryTarget => Field::V6,
            Part::Protocol => Field::Protocol,
            Part::Port | Part::OriginalPort => Field::Port,
            Part::Length(_) => Field::Length,
        }
    }

    /// The instructions that bring it to a register.
    fn load(self, to: Reg) -> Vec<Expr> {
        let net = |base, offset, family, length| {
            let whole = load(base, offset, address_bytes(family), to);
            let mask = mask(family, length);
            vec![whole, Expr::Mask { reg: to, mask }]
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

/// A type of ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub(super) struct IcmpType(pub(super) u8);

impl IcmpType {
    pub(super) const LISTENER_QUERY: IcmpType = IcmpType(130);
    pub(super) const LISTENER_REPORT: IcmpType = IcmpType(131);
    pub(super) const LISTENER_DONE: IcmpType = IcmpType(132);
    pub(super) const ROUTER_SOLICITATION: IcmpType = IcmpType(133);
    pub(super) const ROUTER_ADVERTISEMENT: IcmpType = IcmpType(134);
    pub(super) const NEIGHBOUR_SOLICITATION: IcmpType = IcmpType(135);
    pub(super) const NEIGHBOUR_ADVERTISEMENT: IcmpType = IcmpType(136);
    pub(super) const REDIRECT: IcmpType = IcmpType(137);
    pub(super) const LISTENER_REPORT_V2: IcmpType = IcmpType(143);
}

/// A rule that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct When {
    exprs: Rule,
}

impl When {
    /// A rule that is true of every packet.
    pub(super) fn always() -> When {
        When::default()
    }

    /// A rule for packets that came in by a device of a group.
    pub(super) fn from_group(group: u32) -> When {
        When::always().meta(MetaKey::IifGroup, CmpOp::Eq, &group.to_ne_bytes())
    }

    /// A rule for packets that came in by a device that is not of a group.
    pub(super) fn not_from_group(group: u32) -> When {
        When::always().meta(MetaKey::IifGroup, CmpOp::Neq, &group.to_ne_bytes())
    }

    /// A rule for packets that go out by a device of a group.
    pub(super) fn to_group(group: u32) -> When {
        When::always().meta(MetaKey::OifGroup, CmpOp::Eq, &group.to_ne_bytes())
    }

    /// A rule for packets that go out by the loopback device.
    pub(super) fn to_loopback() -> When {
        When::always().meta(MetaKey::Oif, CmpOp::Eq, &LOOPBACK.to_ne_bytes())
    }

    /// A rule for packets that go out by any device but loopback.
    pub(super) fn to_wire() -> When {
        When::always().meta(MetaKey::Oif, CmpOp::Neq, &LOOPBACK.to_ne_bytes())
    }

    /// A rule for packets that came in by loopback.
    pub(super) fn from_loopback() -> When {
        When::always().meta(MetaKey::Iif, CmpOp::Eq, &LOOPBACK.to_ne_bytes())
    }

    /// A rule for packets of an IP family.
    pub(super) fn of_family(family: Family) -> When {
        When::always().family(family)
    }

    /// A rule for frames of an EtherType, that of a VLAN tag included.
    pub(super) fn ether_type(kind: u16) -> When {
        let value = &kind.to_be_bytes();
        When::always().compare(load(Base::Link, 12, 2, REG), CmpOp::Eq, value)
    }

    fn push(mut self, expr: Expr) -> When {
        self.exprs.push(expr);
        self
    }

    fn compare(self, load: Expr, op: CmpOp, value: &[u8]) -> When {
        self.push(load).push(Expr::Cmp {
            from: REG,
            op,
            value: value.to_vec(),
        })
    }

    fn meta(self, key: MetaKey, op: CmpOp, value: &[u8]) -> When {
        self.compare(Expr::Meta { key, to: REG }, op, value)
    }

    /// And it is of an IP family.
    pub(super) fn family(self, family: Family) -> When {
        self.meta(MetaKey::NfProto, CmpOp::Eq, &[number(family)])
    }

    /// And its transport protocol has a number.
    pub(super) fn protocol(self, number: u8) -> When {
        self.meta(MetaKey::L4Proto, CmpOp::Eq, &[number])
    }

    /// And it is UDP to a port.
    pub(super) fn udp_to(self, port: u16) -> When {
        let value = &port.to_be_bytes();
        self.protocol(17)
            .compare(load(Base::Transport, 2, 2, REG), CmpOp::Eq, value)
    }

    /// And it is ICMPv6 of a type.
    pub(super) fn icmp6(self, kind: IcmpType) -> When {
        self.protocol(58)
            .compare(load(Base::Transport, 0, 1, REG), CmpOp::Eq, &[kind.0])
    }

    /// And it was sent by an address.
    pub(super) fn source(self, address: IpAddr) -> When {
        self.address(source_offset(Family::of(address)), address)
    }

    /// And it is for an address.
    pub(super) fn destination(self, address: IpAddr) -> When {
        self.address(destination_offset(Family::of(address)), address)
    }

    fn address(self, offset: u32, address: IpAddr) -> When {
        let bytes = address_bytes(Family::of(address));
        let load = load(Base::Network, offset, bytes, REG);
        self.compare(load, CmpOp::Eq, &octets(address))
    }

    /// And it was sent from a network.
    pub(super) fn source_in(self, net: &IpNet) -> When {
        self.inside(source_offset(Family::of_net(net)), net)
    }

    /// And it is for a network.
    pub(super) fn destination_in(self, net: &IpNet) -> When {
        self.inside(destination_offset(Family::of_net(net)), net)
    }

    fn inside(self, offset: u32, net: &IpNet) -> When {
        let family = Family::of_net(net);
        self.push(load(Base::Network, offset, address_bytes(family), REG))
            .push(Expr::Mask {
                reg: REG,
                mask: mask(family, net.prefix_len()),
            })
            .push(Expr::Cmp {
                from: REG,
                op: CmpOp::Eq,
                value: octets(net.network()),
            })
    }

    /// And its destination is an address of the node.
    pub(super) fn for_node(self) -> When {
        self.compare(
            Expr::FibDestinationType { to: REG },
            CmpOp::Eq,
            &LOCAL.to_ne_bytes(),
        )
    }

    /// And there is no route back to its source by the device that it came from.
    pub(super) fn not_routed_back(self) -> When {
        self.compare(Expr::FibSourceRoute { to: REG }, CmpOp::Eq, &[0; 4])
    }

    /// And the flow was translated to another destination.
    pub(super) fn translated(self) -> When {
        self.tracked(CtKey::Status, TRANSLATED)
    }

    /// And it is the first of its flow, or belongs to none.
    pub(super) fn beginning(self) -> When {
        self.tracked(CtKey::State, NEW | UNTRACKED)
    }

    fn tracked(self, key: CtKey, bits: u32) -> When {
        self.push(Expr::Ct { key, to: REG })
            .push(Expr::Mask {
                reg: REG,
                mask: bits.to_ne_bytes().to_vec(),
            })
            .push(Expr::Cmp {
                from: REG,
                op: CmpOp::Neq,
                value: vec![0; 4],
            })
    }

    /// And bytes of the ARP message are, or are not, these.
    pub(super) fn arp(self, offset: u32, op: CmpOp, value: &[u8]) -> When {
        let length = u32::try_from(value.len()).expect("a field of ARP is short");
        self.compare(load(Base::Network, offset, length, REG), op, value)
    }

    /// And it is a VXLAN frame of another network.
    pub(super) fn vni_is_not(self, vni: u32) -> When {
        let [_, number @ ..] = vni.to_be_bytes();
        let load = load(Base::Transport, VXLAN_IN_UDP + 4, 3, REG);
        self.compare(load, CmpOp::Neq, &number)
    }

    /// And it is a VXLAN frame with an inner frame of an EtherType.
    pub(super) fn inner_type(self, kind: u16) -> When {
        let load = load(Base::Transport, INNER_FRAME + 12, 2, REG);
        self.compare(load, CmpOp::Eq, &kind.to_be_bytes())
    }

    fn key(mut self, parts: &[Part]) -> When {
        let mut to = 0;
        for part in parts {
            self.exprs.extend(part.load(Reg(to)));
            to += part.field().words();
        }
        self
    }

    /// And a key is in a set.
    pub(super) fn known_in(self, set: &str, parts: &[Part]) -> When {
        self.lookup(set, parts, None, false)
    }

    /// And a key is not in a set.
    pub(super) fn unknown_in(self, set: &str, parts: &[Part]) -> When {
        self.lookup(set, parts, None, true)
    }

    /// And a key is in a map; what it leads to is at hand for [`When::translate`].
    pub(super) fn leads(self, map: &str, parts: &[Part]) -> When {
        self.lookup(map, parts, Some(REG), false)
    }

    fn lookup(self, set: &str, parts: &[Part], to: Option<Reg>, invert: bool) -> When {
        self.key(parts).push(Expr::Lookup {
            set: set.to_owned(),
            from: REG,
            to,
            invert,
        })
    }

    /// Then its source and destination become an address.
    pub(super) fn rewrite_ends(self, address: IpAddr) -> Rule {
        let family = Family::of(address);
        let store = |offset| Expr::Store {
            base: Base::Network,
            offset,
            length: address_bytes(family),
            from: REG,
            checksum: match family {
                Family::V4 => Checksum::Ipv4,
                Family::V6 => Checksum::Ipv6,
            },
        };
        self.push(Expr::Value {
            to: REG,
            value: octets(address),
        })
        .push(store(source_offset(family)))
        .push(store(destination_offset(family)))
        .exprs
    }

    /// Then its destination becomes what [`When::leads`] found.
    pub(super) fn translate(self, family: Family) -> Rule {
        let address = REG;
        let port = Reg(address_field(family).words());
        self.push(Expr::Dnat {
            family,
            address,
            port,
        })
        .exprs
    }

    /// Then it gets an address of the node as its source.
    pub(super) fn masquerade(self) -> Rule {
        self.push(Expr::Masquerade { random: true }).exprs
    }

    /// Then it is counted.
    pub(super) fn count(self, name: &str) -> Rule {
        self.push(Expr::Counter {
            name: name.to_owned(),
        })
        .exprs
    }

    /// Then it is counted and dropped.
    pub(super) fn drop(self, reason: DropReason) -> Rule {
        self.push(Expr::Counter {
            name: reason.as_str().to_owned(),
        })
        .push(Expr::Verdict(Verdict::Drop))
        .exprs
    }

    /// Then it is dropped and not counted: nobody did wrong.
    pub(super) fn drop_silently(self) -> Rule {
        self.push(Expr::Verdict(Verdict::Drop)).exprs
    }

    /// Then it may pass this chain.
    pub(super) fn accept(self) -> Rule {
        self.push(Expr::Verdict(Verdict::Accept)).exprs
    }

    /// Then another chain decides.
    pub(super) fn go(self, chain: &str) -> Rule {
        self.push(Expr::Verdict(Verdict::Goto(chain.to_owned())))
            .exprs
    }
}

/// The address of the node that stands for its loopback address.
pub(super) fn alias(family: Family) -> IpAddr {
    loopback_alias(family)
}

/// The loopback address itself.
pub(super) fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
        Family::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

/// All addresses that are valid on one link only.
pub(super) fn link_local() -> IpNet {
    let address = IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 0u16]);
    IpNet::new(address, 10).expect("a length within the family's")
}

/// The IPv4 addresses of senders that have none yet.
pub(super) fn unspecified() -> IpNet {
    IpNet::new(IpAddr::from([0, 0, 0, 0]), 8).expect("a length within the family's")
}

/// All multicast addresses.
pub(super) fn multicast(family: Family) -> IpNet {
    let (address, length): (IpAddr, u8) = match family {
        Family::V4 => ([224, 0, 0, 0].into(), 4),
        Family::V6 => ([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8),
    };
    IpNet::new(address, length).expect("a length within the family's")
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
