//! Expressions and elements as they are told to the kernel. They are read back by
//! [`super::decode`].

use seaway_model::Family;

use super::OBJECT_COUNTER;
use super::attr::{DATA_VALUE, DATA_VERDICT};
use super::expr::{Base, Checksum, Expr, Refusal, Reg, Verdict};
use crate::netfilter::Writer;

pub(super) const NF_DROP: i32 = 0;
pub(super) const NF_ACCEPT: i32 = 1;
pub(super) const NFT_JUMP: i32 = -3;
pub(super) const NFT_GOTO: i32 = -4;

pub(super) const FIB_ADDRTYPE: u32 = 3;
pub(super) const FIB_OIF: u32 = 1;
pub(super) const FIB_F_DADDR: u32 = 1 << 1;
/// Source, by the device that the packet came from, just whether there is one.
pub(super) const FIB_F_SOURCE: u32 = 1 | 1 << 3 | 1 << 5;

pub(super) const NAT_SNAT: u32 = 0;
pub(super) const NAT_DNAT: u32 = 1;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
pub(super) const RANDOM_FULLY: u32 = 1 << 4;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`.
pub(super) const PORTS_GIVEN: u32 = 1 << 1;

/// `NFT_NG_RANDOM`.
pub(super) const RANDOM: u32 = 1;

/// `NFT_REJECT_TCP_RST` and `NFT_REJECT_ICMPX_UNREACH`.
pub(super) const REJECT_RESET: u32 = 1;
pub(super) const REJECT_ICMPX: u32 = 2;
/// `NFT_REJECT_ICMPX_PORT_UNREACH`.
pub(super) const PORT_UNREACHABLE: u8 = 1;

const CSUM_INET: u32 = 1;
pub(super) const CSUM_PSEUDO: u32 = 1;

pub(super) fn nf_family(family: Family) -> u32 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn put_u32(w: &mut Writer, kind: u16, value: u32) {
    w.put(kind, &value.to_be_bytes());
}

fn put_reg(w: &mut Writer, kind: u16, reg: Reg) {
    put_u32(w, kind, reg.number());
}

fn put_value(w: &mut Writer, kind: u16, value: &[u8]) {
    w.nest(kind, |w| {
        w.put(DATA_VALUE, value);
    });
}

fn number(length: &[u8]) -> u32 {
    u32::try_from(length.len()).expect("a register's value is short")
}

impl Expr {
    /// The name by which the kernel knows this kind of expression.
    fn kind(&self) -> &str {
        match self {
            Expr::Meta { .. } => "meta",
            Expr::Ct { .. } => "ct",
            Expr::Load { .. } | Expr::Store { .. } => "payload",
            Expr::Value { .. } | Expr::Verdict(_) => "immediate",
            Expr::Cmp { .. } => "cmp",
            Expr::Mask { .. } => "bitwise",
            Expr::Random { .. } => "numgen",
            Expr::Lookup { .. } | Expr::Dispatch { .. } => "lookup",
            Expr::Remember { .. } => "dynset",
            Expr::FibDestinationType { .. } | Expr::FibSourceRoute { .. } => "fib",
            Expr::Counter { .. } => "objref",
            Expr::Dnat { .. } | Expr::Snat { .. } => "nat",
            Expr::Masquerade { .. } => "masq",
            Expr::Refuse(_) => "reject",
            Expr::Other(kind) => kind,
        }
    }

    /// Writes the expression with its name.
    pub(super) fn write(&self, w: &mut Writer) {
        w.put_text(1, self.kind()).nest(2, |w| self.write_data(w));
    }

    fn write_data(&self, w: &mut Writer) {
        match self {
            Expr::Meta { key, to } => {
                put_reg(w, 1, *to);
                put_u32(w, 2, *key as u32);
            }
            Expr::Ct { key, to } => {
                put_reg(w, 1, *to);
                put_u32(w, 2, *key as u32);
                if key.directed() {
                    w.put(3, &[0]);
                }
            }
            Expr::Load {
                base,
                offset,
                length,
                to,
            } => {
                put_reg(w, 1, *to);
                write_place(w, *base, *offset, *length);
            }
            Expr::Store {
                base,
                offset,
                length,
                from,
                checksum,
            } => {
                write_place(w, *base, *offset, *length);
                put_reg(w, 5, *from);
                let (kind, at) = checksum.place();
                put_u32(w, 6, kind);
                put_u32(w, 7, at);
                put_u32(w, 8, CSUM_PSEUDO);
            }
            Expr::Value { to, value } => {
                put_reg(w, 1, *to);
                put_value(w, 2, value);
            }
            Expr::Cmp { from, op, value } => {
                put_reg(w, 1, *from);
                put_u32(w, 2, *op as u32);
                put_value(w, 3, value);
            }
            Expr::Random { to, below } => {
                put_reg(w, 1, *to);
                put_u32(w, 2, *below);
                put_u32(w, 3, RANDOM);
                put_u32(w, 4, 0);
            }
            Expr::Mask { from, to, mask } => {
                put_reg(w, 1, *from);
                put_reg(w, 2, *to);
                put_u32(w, 3, number(mask));
                put_value(w, 4, mask);
                put_value(w, 5, &vec![0; mask.len()]);
            }
            Expr::Lookup { .. } | Expr::Dispatch { .. } | Expr::Remember { .. } => {
                self.write_set(w);
            }
            _ => self.write_action(w),
        }
    }

    /// What is asked of sets.
    fn write_set(&self, w: &mut Writer) {
        match self {
            Expr::Lookup {
                set,
                from,
                to,
                invert,
            } => {
                w.put_text(1, set);
                put_reg(w, 2, *from);
                if let Some(to) = to {
                    put_reg(w, 3, *to);
                }
                if *invert {
                    put_u32(w, 5, 1);
                }
            }
            Expr::Dispatch { map, from } => {
                w.put_text(1, map);
                put_reg(w, 2, *from);
                put_u32(w, 3, VERDICT_REGISTER);
            }
            Expr::Remember {
                op,
                set,
                key,
                value,
            } => {
                w.put_text(1, set);
                put_u32(w, 3, *op as u32);
                put_reg(w, 4, *key);
                put_reg(w, 5, *value);
            }
            _ => {}
        }
    }

    /// What is asked of others than registers, sets and the packet.
    fn write_action(&self, w: &mut Writer) {
        match self {
            Expr::FibDestinationType { to } => write_fib(w, *to, FIB_ADDRTYPE, FIB_F_DADDR),
            Expr::FibSourceRoute { to } => write_fib(w, *to, FIB_OIF, FIB_F_SOURCE),
            Expr::Counter { name } => {
                put_u32(w, 1, OBJECT_COUNTER);
                w.put_text(2, name);
            }
            Expr::Dnat {
                family,
                address,
                port,
            } => {
                put_u32(w, 1, NAT_DNAT);
                put_u32(w, 2, nf_family(*family));
                put_reg(w, 3, *address);
                put_reg(w, 5, *port);
            }
            Expr::Snat {
                family,
                address,
                ports,
            } => {
                put_u32(w, 1, NAT_SNAT);
                put_u32(w, 2, nf_family(*family));
                put_reg(w, 3, *address);
                put_ports(w, 5, *ports);
                put_u32(w, 7, RANDOM_FULLY);
            }
            Expr::Refuse(Refusal::Reset) => put_u32(w, 1, REJECT_RESET),
            Expr::Refuse(Refusal::PortUnreachable) => {
                put_u32(w, 1, REJECT_ICMPX);
                w.put(2, &[PORT_UNREACHABLE]);
            }
            Expr::Masquerade { random, ports } => {
                let random = if *random { RANDOM_FULLY } else { 0 };
                let ranged = if ports.is_some() { PORTS_GIVEN } else { 0 };
                if random | ranged != 0 {
                    put_u32(w, 1, random | ranged);
                }
                put_ports(w, 2, *ports);
            }
            Expr::Verdict(verdict) => write_verdict(w, verdict),
            _ => {}
        }
    }
}

fn write_place(w: &mut Writer, base: Base, offset: u32, length: u32) {
    put_u32(w, 2, base as u32);
    put_u32(w, 3, offset);
    put_u32(w, 4, length);
}

/// The first and the last port to draw from.
fn put_ports(w: &mut Writer, kind: u16, ports: Option<[Reg; 2]>) {
    for (kind, reg) in (kind..).zip(ports.into_iter().flatten()) {
        put_reg(w, kind, reg);
    }
}

fn write_fib(w: &mut Writer, to: Reg, result: u32, flags: u32) {
    put_reg(w, 1, to);
    put_u32(w, 2, result);
    put_u32(w, 3, flags);
}

/// The register that holds the verdict.
pub(super) const VERDICT_REGISTER: u32 = 0;

fn write_verdict(w: &mut Writer, verdict: &Verdict) {
    put_u32(w, 1, VERDICT_REGISTER);
    w.nest(2, |w| write_verdict_data(w, verdict));
}

/// A verdict as data: of a rule, or of an element.
pub(super) fn write_verdict_data(w: &mut Writer, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
    };
    w.nest(DATA_VERDICT, |w| {
        w.put(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            w.put_text(2, chain);
        }
    });
}

impl Checksum {
    /// The kind of the header's checksum, and where it is.
    pub(super) fn place(self) -> (u32, u32) {
        match self {
            Checksum::Ipv4 => (CSUM_INET, 10),
            Checksum::Ipv6 => (0, 0),
        }
    }
}
