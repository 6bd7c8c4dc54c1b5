//! nftables by its own netlink messages: what tables are made of, how they are told to the kernel
//! in transactions, and how they are read back.
//!
//! It knows the language, not what Seaway says in it: no rule is written here. No other process is
//! started and no text is parsed.
//!
//! A [`Rule`] is a list of [`Expr`]essions, the kernel's instructions. What is dumped is decoded to
//! the same type, so that what is in force can be compared with what was asked for, instruction by
//! instruction. Data are in sets and maps without intervals, which the kernel keeps as hash tables:
//! an element costs the same whatever else is in the set. Maps of verdicts belong to the rules: they
//! are made and compared with them.

mod decode;
mod encode;
mod expr;
mod read;
mod socket;
mod spec;
mod watch;
mod write;

pub(crate) use expr::{
    Base, Checksum, CmpOp, CtKey, Expr, MetaKey, Refusal as Told, Reg, SetOp, Verdict,
};
pub(crate) use read::{Reader, TableState};
pub(crate) use socket::{Answer, Nft, Refusal};
pub(crate) use spec::{
    ChainKind, ChainSpec, Element, Field, Hook, Remembers, Rule, SetSpec, TableSpec,
    VerdictElement, VerdictMap,
};
pub(crate) use watch::TableWatch;
pub(crate) use write::{Item, Message};

/// The family of a table, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TableFamily {
    /// IPv4 and IPv6 together.
    Inet,
    /// ARP.
    Arp,
    /// What passes a bridge.
    Bridge,
}

impl TableFamily {
    /// All families of which we have tables.
    pub(crate) const ALL: [TableFamily; 3] =
        [TableFamily::Inet, TableFamily::Arp, TableFamily::Bridge];

    /// `NFPROTO_*`.
    pub(crate) fn number(self) -> u8 {
        match self {
            TableFamily::Inet => 1,
            TableFamily::Arp => 3,
            TableFamily::Bridge => 7,
        }
    }
}

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;

/// `NFT_MSG_*`.
mod kind {
    pub(super) const NEW_TABLE: u8 = 0;
    pub(super) const GET_TABLE: u8 = 1;
    pub(super) const DEL_TABLE: u8 = 2;
    pub(super) const NEW_CHAIN: u8 = 3;
    pub(super) const GET_CHAIN: u8 = 4;
    pub(super) const DEL_CHAIN: u8 = 5;
    pub(super) const NEW_RULE: u8 = 6;
    pub(super) const GET_RULE: u8 = 7;
    pub(super) const DEL_RULE: u8 = 8;
    pub(super) const NEW_SET: u8 = 9;
    pub(super) const GET_SET: u8 = 10;
    pub(super) const DEL_SET: u8 = 11;
    pub(super) const NEW_ELEMENT: u8 = 12;
    pub(super) const GET_ELEMENT: u8 = 13;
    pub(super) const DEL_ELEMENT: u8 = 14;
    pub(super) const NEW_GENERATION: u8 = 15;
    /// Gone, or never there (since Linux 6.3).
    pub(super) const DESTROY_ELEMENT: u8 = 30;
    pub(super) const NEW_OBJECT: u8 = 18;
    pub(super) const GET_OBJECT: u8 = 19;
}

/// `NFTA_*` of the messages themselves.
mod attr {
    /// The name of a table in messages about tables, the table's name in all others.
    pub(super) const TABLE: u16 = 1;
    pub(super) const TABLE_FLAGS: u16 = 2;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const RULE_USERDATA: u16 = 7;
    pub(super) const SET_NAME: u16 = 2;
    pub(super) const SET_FLAGS: u16 = 3;
    pub(super) const SET_KEY_TYPE: u16 = 4;
    pub(super) const SET_KEY_LEN: u16 = 5;
    pub(super) const SET_DATA_TYPE: u16 = 6;
    pub(super) const SET_DATA_LEN: u16 = 7;
    pub(super) const SET_DESCRIPTION: u16 = 9;
    pub(super) const DESCRIPTION_SIZE: u16 = 1;
    pub(super) const SET_ID: u16 = 10;
    pub(super) const SET_TIMEOUT: u16 = 11;
    pub(super) const ELEMENTS_SET: u16 = 2;
    pub(super) const ELEMENTS: u16 = 3;
    pub(super) const LIST_ELEM: u16 = 1;
    pub(super) const ELEM_KEY: u16 = 1;
    pub(super) const ELEM_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const DATA_VERDICT: u16 = 2;
    pub(super) const OBJ_NAME: u16 = 2;
    pub(super) const OBJ_TYPE: u16 = 3;
    pub(super) const OBJ_DATA: u16 = 4;
    pub(super) const COUNTER_PACKETS: u16 = 2;
}

/// `NFT_OBJECT_COUNTER`.
const OBJECT_COUNTER: u32 = 1;
/// `NFT_SET_MAP`, `NFT_SET_TIMEOUT` and `NFT_SET_EVAL`.
const SET_MAP: u32 = 8;
const SET_TIMED: u32 = 16;
const SET_BY_RULES: u32 = 32;
/// `NFT_DATA_VERDICT`: the type of the values of a map of verdicts.
const TYPE_VERDICT: u32 = 0xffff_ff00;
