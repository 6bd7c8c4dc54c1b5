//! The words in which the rules are written: each adds the instructions of one condition or action.
//!
//! Which rules there are is not said here.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{DropReason, Family, FirewallRow, loopback_alias};

use super::parts::{
    INNER_FRAME, Part, VXLAN_IN_UDP, address_bytes, address_field, destination_offset, load, mask,
    octets, source_offset,
};
use crate::nft::{Base, Checksum, CmpOp, CtKey, Expr, MetaKey, Reg, Rule, Told, Verdict};

pub(super) const REG: Reg = Reg(0);
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// The index of the loopback device in every namespace.
const LOOPBACK: u32 = 1;
/// `IPS_DST_NAT`.
const TRANSLATED: u32 = 1 << 5;
/// `NF_CT_STATE_INVALID_BIT`.
const INVALID: u32 = 1;
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

/// The first and the last port that a source may get in the place of its own.
///
/// Not the port that VXLAN frames come to: to that, answers would be what nobody may send. The larger
/// part is drawn from, below it or above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawn([u16; 2]);

impl Drawn {
    /// Below it the kernel has ports for privileged clients.
    const FIRST: u16 = 1024;

    /// `None`: any that the kernel likes.
    pub(super) fn of(row: &FirewallRow) -> Option<Drawn> {
        let port = row.vxlan.as_ref()?.port;
        Some(Drawn(match port {
            ..Drawn::FIRST => [Drawn::FIRST, u16::MAX],
            _ if port - Drawn::FIRST > u16::MAX - port => [Drawn::FIRST, port - 1],
            _ => [port + 1, u16::MAX],
        }))
    }
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

    pub(super) fn push(mut self, expr: Expr) -> When {
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
                from: REG,
                to: REG,
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

    /// And it fits no flow.
    pub(super) fn invalid(self) -> When {
        self.tracked(CtKey::State, INVALID)
    }

    /// And it goes on with a flow, belongs to one, or is not tracked at all.
    pub(super) fn going_on(self) -> When {
        self.bits(CtKey::State, NEW | INVALID, CmpOp::Eq)
    }

    /// And it was made by the node itself.
    pub(super) fn of_this_node(self) -> When {
        self.meta(MetaKey::Iif, CmpOp::Eq, &[0; 4])
    }

    /// And it came in by some device.
    pub(super) fn came_in(self) -> When {
        self.meta(MetaKey::Iif, CmpOp::Neq, &[0; 4])
    }

    /// And it goes out by loopback.
    pub(super) fn by_loopback(self) -> When {
        self.meta(MetaKey::Oif, CmpOp::Eq, &LOOPBACK.to_ne_bytes())
    }

    /// And it goes out by a device that is not of a group.
    pub(super) fn not_to_group(self, group: u32) -> When {
        self.meta(MetaKey::OifGroup, CmpOp::Neq, &group.to_ne_bytes())
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
        self.bits(key, bits, CmpOp::Neq)
    }

    /// And of the bits some are set (`Neq`), or none (`Eq`).
    fn bits(self, key: CtKey, bits: u32, op: CmpOp) -> When {
        self.push(Expr::Ct { key, to: REG })
            .push(Expr::Mask {
                from: REG,
                to: REG,
                mask: bits.to_ne_bytes().to_vec(),
            })
            .push(Expr::Cmp {
                from: REG,
                op,
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

    fn key(self, parts: &[Part]) -> When {
        self.key_at(REG, parts).0
    }

    /// A key from a register on; gives the first one behind it, too.
    pub(super) fn key_at(mut self, at: Reg, parts: &[Part]) -> (When, Reg) {
        let mut to = at.0;
        for part in parts {
            self.exprs.extend(part.load(Reg(to)));
            to += part.field().words();
        }
        (self, Reg(to))
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

    /// Then it gets an address as its source, and one of these ports.
    pub(super) fn appear_as(self, address: IpAddr, drawn: Option<Drawn>) -> Rule {
        let family = Family::of(address);
        let value = octets(address);
        let (when, ports) = self
            .push(Expr::Value { to: REG, value })
            .drawing(Reg(address_field(family).words()), drawn);
        when.push(Expr::Snat {
            family,
            address: REG,
            ports,
        })
        .exprs
    }

    /// Then it gets an address of the node as its source, and one of these ports.
    pub(super) fn masquerade(self, drawn: Option<Drawn>) -> Rule {
        let (when, ports) = self.drawing(REG, drawn);
        when.push(Expr::Masquerade {
            random: true,
            ports,
        })
        .exprs
    }

    /// Puts the ports into the registers from `first` on.
    fn drawing(self, first: Reg, drawn: Option<Drawn>) -> (When, Option<[Reg; 2]>) {
        let Some(Drawn(ports)) = drawn else {
            return (self, None);
        };
        let registers = [first, Reg(first.0 + 1)];
        let when = registers
            .into_iter()
            .zip(ports)
            .fold(self, |when, (to, port)| {
                when.push(Expr::Value {
                    to,
                    value: port.to_be_bytes().to_vec(),
                })
            });
        (when, Some(registers))
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

    /// Then it is counted, and its sender told that the connection is reset, or that there is nobody.
    pub(super) fn refuse(self, reason: DropReason, told: Told) -> Rule {
        self.push(Expr::Counter {
            name: reason.as_str().to_owned(),
        })
        .push(Expr::Refuse(told))
        .exprs
    }

    /// Then another chain may decide, and after it the next rule.
    pub(super) fn jump(self, chain: &str) -> Rule {
        self.push(Expr::Verdict(Verdict::Jump(chain.to_owned())))
            .exprs
    }

    /// Then that is all.
    pub(super) fn end(self) -> Rule {
        self.exprs
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
