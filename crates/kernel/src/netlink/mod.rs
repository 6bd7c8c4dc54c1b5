//! rtnetlink: requests, the socket that sends many of them at once, and what it reads back.
//!
//! Messages are made and read with `netlink-packet-route`; the socket is synchronous. What the
//! requests are for is decided elsewhere.

mod arrival;
mod dump;
mod info;
mod link;
mod monitor;
pub(crate) mod quiet;
mod request;
mod socket;
mod strict;
mod tc;

pub(crate) use arrival::Arrivals;
pub use info::{AddressInfo, FdbInfo, NeighbourInfo, RouteInfo, RouteTarget, RuleInfo};
pub use link::{BridgeInfo, LinkInfo, PortInfo, VxlanInfo};
pub use monitor::{Monitor, Notice, NoticeSource};
pub use request::{
    Exclusive, KindSpec, LinkSet, LinkSpec, LinkTarget, Request, RouteSpec, SEAWAY_PROTOCOL,
    VethPeer, VethSpec,
};
pub use socket::{Netlink, NetlinkError};
pub(crate) use socket::{RawMessage, messages};
pub use tc::{QueueInfo, TokenBucket};
