//! The netfilter family of netlink (`NETLINK_NETFILTER`): a synchronous socket for dumps and small
//! requests, and its attributes.
//!
//! For reading conntrack and other people's rules, and for deleting flows. Transactions on our own
//! nftables tables are not made here.

mod attributes;
mod channel;
mod socket;

pub(crate) use attributes::{Writer, attributes, find, text, u16_be, u32_be};
pub(crate) use channel::{Channel, GENERIC, Received};
pub(crate) use socket::{Netfilter, Reply, Subsystem};
