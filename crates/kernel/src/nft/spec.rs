//! What a table is to be: chains with rules, sets, counters. Plain data.

use std::borrow::Cow;

use super::expr::{Expr, Verdict};
use super::{SET_BY_RULES, SET_MAP, SET_TIMED, TableFamily};

/// A table as it is to be.
#[derive(Clone, Debug)]
pub(crate) struct TableSpec {
    pub(crate) family: TableFamily,
    pub(crate) chains: Vec<ChainSpec>,
    pub(crate) sets: Vec<SetSpec>,
    pub(crate) verdicts: Vec<VerdictMap>,
    /// The names of the counters.
    pub(crate) counters: Vec<&'static str>,
}

/// A chain as it is to be, or as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainSpec {
    pub(crate) name: String,
    /// Where packets enter it; `None` if only by way of other chains.
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// Where a base chain is in the way of packets. Its policy is to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) kind: ChainKind,
    /// `NF_INET_*` or `NF_ARP_*`.
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainKind {
    Filter,
    Nat,
}

impl ChainKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        }
    }
}

/// The expressions of a rule in order.
pub(crate) type Rule = Vec<Expr>;

/// One part of a key or of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    InterfaceName,
    Mac,
    V4,
    V6,
    Protocol,
    Port,
    /// A number of this machine, shown by tools as a mark: a prefix length, for one.
    Number,
}

impl Field {
    /// How many registers it takes.
    pub(crate) fn words(self) -> u8 {
        match self {
            Field::InterfaceName | Field::V6 => 4,
            Field::Mac => 2,
            Field::V4 | Field::Protocol | Field::Port | Field::Number => 1,
        }
    }

    /// The number by which `nft` knows the type: only for people who list our tables.
    fn type_number(self) -> u32 {
        match self {
            Field::V4 => 7,
            Field::V6 => 8,
            Field::Mac => 9,
            Field::Protocol => 12,
            Field::Port => 13,
            Field::Number => 19,
            Field::InterfaceName => 41,
        }
    }
}

/// Bytes of fields one behind the other.
pub(super) fn bytes_of(fields: &[Field]) -> u32 {
    fields.iter().map(|f| u32::from(f.words()) * 4).sum()
}

/// The number by which `nft` knows the concatenated type.
pub(super) fn type_of(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |all, f| all << 6 | f.type_number())
}

/// A set, or a map when it has values, as it is to be.
#[derive(Clone, Debug)]
pub(crate) struct SetSpec {
    pub(crate) name: Cow<'static, str>,
    pub(crate) key: Vec<Field>,
    pub(crate) value: Vec<Field>,
    /// Rules put elements in; nobody else does.
    pub(crate) remembers: Option<Remembers>,
}

/// How rules put elements in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembers {
    /// Elements go when this many seconds have passed.
    pub(crate) seconds: u32,
    /// No more than this many.
    pub(crate) size: u32,
}

impl SetSpec {
    pub(super) fn flags(&self) -> u32 {
        let map = if self.value.is_empty() { 0 } else { SET_MAP };
        map | self.remembers.map_or(0, |_| SET_TIMED | SET_BY_RULES)
    }

    /// Milliseconds until elements go.
    pub(super) fn timeout(&self) -> Option<u64> {
        self.remembers.map(|r| u64::from(r.seconds) * 1000)
    }

    pub(super) fn shape(&self) -> SetShape {
        SetShape {
            flags: self.flags(),
            key: bytes_of(&self.key),
            value: bytes_of(&self.value),
            timeout: self.timeout(),
            size: self.remembers.map(|r| r.size),
        }
    }
}

/// What of a set matters to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetShape {
    pub(super) flags: u32,
    pub(super) key: u32,
    pub(super) value: u32,
    pub(super) timeout: Option<u64>,
    pub(super) size: Option<u32>,
}

/// Key and verdict of an element.
pub(crate) type VerdictElement = (Vec<u8>, Verdict);

/// A map that leads from numbers to verdicts: part of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerdictMap {
    pub(crate) name: String,
    pub(crate) elements: Vec<VerdictElement>,
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Element {
    pub(crate) family: TableFamily,
    pub(crate) set: &'static str,
    pub(crate) key: Vec<u8>,
    /// What the key leads to, in a map.
    pub(crate) value: Vec<u8>,
}
