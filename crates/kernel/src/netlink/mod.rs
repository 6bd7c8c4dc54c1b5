//! rtnetlink: requests, the socket that sends many of them at once, and what it reads back.
//!
//! Messages are made and read with `netlink-packet-route`; the socket is synchronous. What the
//! requests are for is decided elsewhere.

mod arrival;
mod dump;
mod info;
mod monitor;
mod request;
mod socket;

pub(crate) use arrival::Arrivals;
pub use info::{AddressInfo, LinkInfo, NeighbourInfo, RouteInfo, RouteTarget};
pub use monitor::{Monitor, Notice, NoticeSource};
pub use request::{
    Exclusive, LinkSet, LinkTarget, Request, RouteSpec, SEAWAY_PROTOCOL, VethPeer, VethSpec,
};
pub use socket::{Netlink, NetlinkError};
