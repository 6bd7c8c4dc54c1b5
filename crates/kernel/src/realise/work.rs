//! What a change asks of rtnetlink: the requests of one send, each with the row that it is for, so
//! that every answer can be told in terms of rows. Made without IO.

use std::io;
use std::os::fd::BorrowedFd;

use seaway_model::{LinkKind, LinkRow, PodLink, Reachability, RouteRow, Row};

use super::{DYING_GROUP, LIVE_GROUP, RowFailure};
use crate::error::KernelError;
use crate::netlink::{LinkInfo, LinkSet, LinkTarget, Request, RouteSpec, VethPeer, VethSpec};

/// Requests of one send, each with the row that it is for.
#[derive(Default)]
pub(super) struct Work<'a> {
    pub(super) requests: Vec<Request>,
    pub(super) origins: Vec<Origin<'a>>,
}

/// What a request is for.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A deletion: gone already is as good.
    Delete(&'static str, &'a dyn std::fmt::Display),
    /// A link to hand to the reaper.
    DeleteLink(&'a LinkRow),
    /// A new Pod link with the index that was chosen for it.
    NewLink(&'a LinkRow, u32),
    /// What belongs to the creation of a Pod link and fails with it.
    LinkPart(&'a LinkRow),
    /// A row to add.
    Add(&'static str, &'a dyn std::fmt::Display),
    /// A route to add: it may meet one that is there.
    AddRoute(&'a RouteRow),
}

impl<'a> Work<'a> {
    pub(super) fn push(&mut self, request: Request, origin: Origin<'a>) {
        self.requests.push(request);
        self.origins.push(origin);
    }
}

pub(super) fn in_the_way(row: &RouteRow, protocol: u8) -> KernelError {
    let why = format!("a route that is not ours (protocol {protocol}) is in the way; remove it");
    KernelError::new("add route", row.key().to_string(), io::Error::other(why))
}

pub(super) fn create_request(
    row: &LinkRow,
    pod: &PodLink,
    index: u32,
    netns: BorrowedFd<'_>,
) -> Request {
    Request::veth(VethSpec {
        name: pod.name.as_str(),
        index: Some(index),
        mac: row.mac,
        mtu: row.mtu,
        group: Some(LIVE_GROUP),
        up: false,
        peer: VethPeer {
            name: pod.peer_name.as_str(),
            index: None,
            mac: pod.peer_mac,
            mtu: row.mtu,
            netns,
        },
    })
}

/// Brings a link that exists to what is planned, touching only what differs: to set a MAC address
/// again makes the kernel forget the neighbours. A rename is a request of its own, because kernels
/// before 6.2 refuse it while the link is up.
pub(super) fn adjust<'a>(row: &'a LinkRow, found: &LinkInfo, work: &mut Work<'a>) {
    let target = LinkTarget::Index(found.index);
    let mut set = LinkSet {
        up: Some(row.up).filter(|up| *up != found.up),
        mac: row.mac.filter(|mac| Some(*mac) != found.mac),
        mtu: row.mtu.filter(|mtu| *mtu != found.mtu),
        ..LinkSet::default()
    };
    if let LinkKind::Pod(pod) = &row.kind {
        set.group = Some(LIVE_GROUP);
        set.alias = Some(pod.alias.as_str());
        if found.name != pod.name.as_str() {
            let rename = LinkSet {
                name: Some(&pod.name),
                ..LinkSet::default()
            };
            work.push(Request::set_link(target, rename), Origin::LinkPart(row));
        }
    }
    work.push(Request::set_link(target, set), Origin::LinkPart(row));
}

pub(super) fn dying(index: u32) -> Request {
    let set = LinkSet {
        group: Some(DYING_GROUP),
        ..LinkSet::default()
    };
    Request::set_link(LinkTarget::Index(index), set)
}

pub(super) fn bare_route(row: &RouteRow) -> RouteSpec {
    RouteSpec {
        destination: row.destination,
        metric: row.metric,
        index: None,
        gateway: None,
        source: None,
        mtu: None,
        unreachable: row.reach == Reachability::Unreachable,
    }
}

impl RowFailure {
    /// The failure of a row whose device, or what else it needs, does not exist.
    pub(super) fn absent(
        table: &'static str,
        key: &dyn std::fmt::Display,
        what: &str,
    ) -> RowFailure {
        RowFailure {
            table,
            key: key.to_string(),
            error: format!("{what} does not exist"),
            errno: Some(libc::ENODEV),
        }
    }

    /// The failure of one row.
    pub(super) fn of(
        table: &'static str,
        key: &dyn std::fmt::Display,
        error: &KernelError,
    ) -> RowFailure {
        RowFailure {
            table,
            key: key.to_string(),
            error: error.to_string(),
            errno: error.errno(),
        }
    }
}
