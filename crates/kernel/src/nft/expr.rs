//! Expressions: the instructions of a rule, and how they are told to the kernel. They are read back
//! by [`super::decode`].
//!
//! Only what Seaway's rules use. Anything else that is met in a dump is [`Expr::Other`], which is
//! equal to nothing that was asked for.

use seaway_model::Family;

use super::OBJECT_COUNTER;
use super::attr::{DATA_VALUE, DATA_VERDICT};
use crate::netfilter::Writer;

/// A register of 32 bits, counted from 0 to 15. Wider values go on in those that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u8);

impl Reg {
    /// `NFT_REG32_00`.
    const BASE: u32 = 8;

    fn number(self) -> u32 {
        Reg::BASE + u32::from(self.0)
    }

    /// The kernel names a register of 128 bits by 1 to 4 where it can.
    pub(super) fn of_number(number: u32) -> Option<Reg> {
        let word = match number {
            1..=4 => (number - 1) * 4,
            8..=23 => number - Reg::BASE,
            _ => return None,
        };
        u8::try_from(word).ok().map(Reg)
    }
}

/// `NFT_META_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaKey {
    Iif = 4,
    Oif = 5,
    IifName = 6,
    NfProto = 15,
    L4Proto = 16,
    IifGroup = 21,
    OifGroup = 22,
}

impl MetaKey {
    pub(super) const ALL: [MetaKey; 7] = [
        MetaKey::Iif,
        MetaKey::Oif,
        MetaKey::IifName,
        MetaKey::NfProto,
        MetaKey::L4Proto,
        MetaKey::IifGroup,
        MetaKey::OifGroup,
    ];
}

/// `NFT_CT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CtKey {
    State = 0,
    Status = 2,
    PortDestination = 12,
    Destination4 = 20,
    Destination6 = 22,
}

impl CtKey {
    pub(super) const ALL: [CtKey; 5] = [
        CtKey::State,
        CtKey::Status,
        CtKey::PortDestination,
        CtKey::Destination4,
        CtKey::Destination6,
    ];

    /// Whether the question is asked about a direction; it is always the original one.
    pub(super) fn directed(self) -> bool {
        !matches!(self, CtKey::State | CtKey::Status)
    }
}

/// Where offsets into a packet are counted from (`NFT_PAYLOAD_*_HEADER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

impl Base {
    pub(super) const ALL: [Base; 3] = [Base::Link, Base::Network, Base::Transport];
}

/// Which checksums follow a change of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// The IPv4 header's, and the transport's pseudo-header.
    Ipv4,
    /// The transport's pseudo-header.
    Ipv6,
}

/// `NFT_CMP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CmpOp {
    Eq = 0,
    Neq = 1,
    Gt = 4,
}

impl CmpOp {
    pub(super) const ALL: [CmpOp; 3] = [CmpOp::Eq, CmpOp::Neq, CmpOp::Gt];
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Goto(String),
}

/// One instruction. Each loads, compares or acts; a comparison that fails ends the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    Meta {
        key: MetaKey,
        to: Reg,
    },
    Ct {
        key: CtKey,
        to: Reg,
    },
    Load {
        base: Base,
        offset: u32,
        length: u32,
        to: Reg,
    },
    Store {
        base: Base,
        offset: u32,
        length: u32,
        from: Reg,
        checksum: Checksum,
    },
    Value {
        to: Reg,
        value: Vec<u8>,
    },
    Cmp {
        from: Reg,
        op: CmpOp,
        value: Vec<u8>,
    },
    Mask {
        reg: Reg,
        mask: Vec<u8>,
    },
    /// Is the key in the set? In a map, its value goes to `to`.
    Lookup {
        set: String,
        from: Reg,
        to: Option<Reg>,
        invert: bool,
    },
    /// Type of the destination address (`RTN_*`).
    FibDestinationType {
        to: Reg,
    },
    /// Whether there is a route back to the source by the device that the packet came from.
    FibSourceRoute {
        to: Reg,
    },
    Counter {
        name: String,
    },
    Dnat {
        family: Family,
        address: Reg,
        port: Reg,
    },
    Masquerade {
        random: bool,
    },
    Verdict(Verdict),
    /// Something that we never ask for.
    Other(String),
}

pub(super) const NF_DROP: i32 = 0;
pub(super) const NF_ACCEPT: i32 = 1;
pub(super) const NFT_GOTO: i32 = -4;

pub(super) const FIB_ADDRTYPE: u32 = 3;
pub(super) const FIB_OIF: u32 = 1;
pub(super) const FIB_F_DADDR: u32 = 1 << 1;
/// Source, by the device that the packet came from, just whether there is one.
pub(super) const FIB_F_SOURCE: u32 = 1 | 1 << 3 | 1 << 5;

pub(super) const NAT_DNAT: u32 = 1;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
pub(super) const RANDOM_FULLY: u32 = 1 << 4;

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
            Expr::Lookup { .. } => "lookup",
            Expr::FibDestinationType { .. } | Expr::FibSourceRoute { .. } => "fib",
            Expr::Counter { .. } => "objref",
            Expr::Dnat { .. } => "nat",
            Expr::Masquerade { .. } => "masq",
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
            Expr::Mask { reg, mask } => {
                put_reg(w, 1, *reg);
                put_reg(w, 2, *reg);
                put_u32(w, 3, number(mask));
                put_value(w, 4, mask);
                put_value(w, 5, &vec![0; mask.len()]);
            }
            _ => self.write_action(w),
        }
    }

    /// What is asked of others than registers and the packet.
    fn write_action(&self, w: &mut Writer) {
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
            Expr::Masquerade { random: true } => put_u32(w, 1, RANDOM_FULLY),
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

fn write_fib(w: &mut Writer, to: Reg, result: u32, flags: u32) {
    put_reg(w, 1, to);
    put_u32(w, 2, result);
    put_u32(w, 3, flags);
}

fn write_verdict(w: &mut Writer, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
    };
    // Register 0 is the verdict.
    put_u32(w, 1, 0);
    w.nest(2, |w| {
        w.nest(DATA_VERDICT, |w| {
            w.put(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                w.put_text(2, chain);
            }
        });
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
