//! Expressions: the instructions of a rule, as values. [`super::encode`] tells them to the kernel and
//! [`super::decode`] reads them back.
//!
//! Only what Seaway's rules use. Anything else that is met in a dump is [`Expr::Other`], which is
//! equal to nothing that was asked for.

use seaway_model::Family;

/// A register of 32 bits, counted from 0 to 15. Wider values go on in those that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u8);

impl Reg {
    /// `NFT_REG32_00`.
    const BASE: u32 = 8;

    pub(super) fn number(self) -> u32 {
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
    /// Another chain decides, for good.
    Goto(String),
    /// Another chain may decide; if it does not, the next rule does.
    Jump(String),
}

/// What a rule does to a set by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetOp {
    /// Put the key in with its value, or begin the time of one that is there anew.
    Update = 1,
    /// Take the key out.
    Delete = 2,
}

impl SetOp {
    pub(super) const ALL: [SetOp; 2] = [SetOp::Update, SetOp::Delete];
}

/// What the sender of a refused packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The connection is reset (TCP only).
    Reset,
    /// There is nobody at the port.
    PortUnreachable,
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
        from: Reg,
        to: Reg,
        mask: Vec<u8>,
    },
    /// A number below `below`, each time another.
    Random {
        to: Reg,
        below: u32,
    },
    /// Is the key in the set? In a map, its value goes to `to`.
    Lookup {
        set: String,
        from: Reg,
        to: Option<Reg>,
        invert: bool,
    },
    /// What the key leads to in a map of verdicts is the verdict.
    Dispatch {
        map: String,
        from: Reg,
    },
    /// Changes a map whose elements have a time. The rule ends where it is full.
    Remember {
        op: SetOp,
        set: String,
        key: Reg,
        value: Reg,
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
    /// The port is drawn, from the first to the last of `ports` where they are given.
    Snat {
        family: Family,
        address: Reg,
        ports: Option<[Reg; 2]>,
    },
    Masquerade {
        random: bool,
        ports: Option<[Reg; 2]>,
    },
    Refuse(Refusal),
    Verdict(Verdict),
    /// Something that we never ask for.
    Other(String),
}

impl Expr {
    /// The set or map that it is about.
    pub(crate) fn set(&self) -> Option<&str> {
        match self {
            Expr::Lookup { set, .. } | Expr::Remember { set, .. } => Some(set),
            Expr::Dispatch { map, .. } => Some(map),
            _ => None,
        }
    }
}
