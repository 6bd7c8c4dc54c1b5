//! What was seen to change, in terms of rows.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    AddressRow, AttachmentId, Device, FdbKey, FdbRow, IfName, LinkRow, NeighbourKey, NeighbourRow,
    RouteKey, RouteRow, RuleRow,
};

use crate::netlink::TokenBucket;

/// Something was seen to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A link of ours (a Pod's, its shaper, the bridge, the VXLAN device) is now like this.
    Link(LinkRow),
    /// A link of ours is gone.
    LinkGone(Device),
    /// A live link of ours that is not known here.
    UnknownLink(u32),
    /// The port that a Pod's link is of the bridge changed; whether it is as it must be.
    Port(AttachmentId, bool),
    /// An address of ours, on the bridge or on loopback, appeared.
    Address(AddressRow),
    /// An address of ours is gone.
    AddressGone(AddressRow),
    /// A route of one of our tables is now like this; `None` where it leads to no device of ours.
    Route(RouteKey, Option<RouteRow>),
    /// A route is gone.
    RouteGone(RouteKey),
    /// A rule of ours appeared.
    Rule(RuleRow),
    /// A rule of ours is gone.
    RuleGone(RuleRow),
    /// A neighbour entry of a link of ours is now like this.
    Neighbour(NeighbourRow),
    /// A neighbour entry of a link of ours is gone.
    NeighbourGone(NeighbourKey),
    /// A forwarding entry that counts as ours is now like this.
    Fdb(FdbRow),
    /// A forwarding entry is gone, or is there in a form that does not last.
    FdbGone(FdbKey),
    /// The root queue of a Pod's link or shaper is now this token bucket; `None` when it is
    /// something else. [`is_shaped`](super::is_shaped) compares it with a row.
    Queue(Device, Option<TokenBucket>),
    /// What arrives by a Pod's link is now redirected to this device; `None` when no more, or to
    /// one that is not ours.
    Redirect(Device, Option<Device>),
    /// A setting changed: of a device of ours, or of the whole namespace.
    Setting(Option<Device>),
    /// A link or an address that is not ours changed: the uplink may be concerned.
    Surroundings,
    /// Something changed inside a Pod.
    Pod(AttachmentId, PodSighting),
    /// Sightings were lost.
    Overflow,
}

/// Something was seen to change inside a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodSighting {
    /// An address is gone.
    AddressGone(IpNet),
    /// A route is gone.
    RouteGone(RouteKey),
    /// A neighbour entry is gone.
    NeighbourGone(IpAddr),
    /// A link is now up or down.
    Link(IfName, bool),
}
