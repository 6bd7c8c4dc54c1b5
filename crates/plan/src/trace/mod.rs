//! Where a packet goes, step by step, by the rows of one node: what the filters say of it, which
//! Service it is for, what its addresses become, and by which way it leaves.
//!
//! It walks planned or observed rows, whichever it is given, in the order in which the kernel meets
//! them, and cites each row by table and key. It is for people: what *must* become of a packet is
//! said by the reference evaluator, which knows no rows. It sends nothing, and a flow that the
//! kernel already knows goes on as it began, whatever is said here.

mod cite;
mod entry;
mod onward;
mod service;
#[cfg(test)]
mod tests;
mod translate;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use seaway_model::{DropReason, FrontendRow, Protocol};
use serde::Serialize;

pub use self::cite::Citation;
use crate::planner::Uplink;
use crate::table::Tables;

/// How many backends' ways are told one by one.
pub const MAX_WAYS: usize = 64;

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sends it, as this node sees it.
    pub from: Entry,
    /// Where it is sent to.
    pub to: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
}

/// How a packet comes to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// From a Pod of this node, with this address of its own.
    Pod(IpAddr),
    /// From a process on the node's own network.
    Node,
    /// From elsewhere, with this source.
    Outside(IpAddr),
}

/// What is known of the node beside its rows.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The node's own addresses.
    pub own: &'a [IpAddr],
    /// Its way to the other nodes.
    pub uplink: Option<&'a Uplink>,
    /// Who has an address, in words.
    pub who: &'a dyn Fn(IpAddr) -> Option<String>,
    /// Which Service a frontend is of, in words.
    pub service: &'a dyn Fn(&FrontendRow) -> Option<String>,
}

/// Which rows are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Those that the node should have.
    Planned,
    /// Those that its kernel has.
    Observed,
}

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Whether the sender may send this.
    Source,
    /// The detour of what the node sends to its own loopback address.
    Loopback,
    /// Which frontend, if any.
    Frontend,
    /// Whether this source may use the frontend.
    Guard,
    /// The backends.
    Group,
    /// What the addresses become.
    Nat,
    /// Which route.
    Route,
    /// How that is carried.
    Transport,
    /// How large packets may be.
    Mtu,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Source => "source",
            Stage::Loopback => "loopback",
            Stage::Frontend => "frontend",
            Stage::Guard => "guard",
            Stage::Group => "group",
            Stage::Nat => "nat",
            Stage::Route => "route",
            Stage::Transport => "transport",
            Stage::Mtu => "mtu",
        })
    }
}

/// One step of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is about.
    pub stage: Stage,
    /// What happens, for people.
    pub text: String,
    /// The rows that make it so.
    pub rows: Vec<Citation>,
}

/// What becomes of a packet in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum End {
    /// A Pod of this node gets it.
    Pod {
        /// Its address and port.
        to: SocketAddr,
    },
    /// A process of this node gets it, if one listens.
    Node {
        /// The address and port.
        to: SocketAddr,
    },
    /// Another node gets it, for one of its Pods or itself.
    Peer {
        /// The address that leads to it.
        by: IpAddr,
        /// Who that is, if it is known.
        who: Option<String>,
        /// The address and port that it is for.
        to: SocketAddr,
    },
    /// It goes where the node's own routing leads, which is not Seaway's.
    Beyond {
        /// The address and port that it is for.
        to: SocketAddr,
    },
    /// The sender is told that nobody is there.
    Refused {
        /// Under which name that is counted.
        reason: DropReason,
    },
    /// It is dropped, and counted.
    Dropped {
        /// Why.
        reason: DropReason,
    },
    /// It gets no further for want of a row, or because a route says so.
    Lost {
        /// What is missing.
        why: String,
    },
}

impl End {
    /// Whether somebody gets the packet, as far as this node can tell.
    pub fn is_good(&self) -> bool {
        match self {
            End::Pod { .. } | End::Node { .. } | End::Peer { .. } | End::Beyond { .. } => true,
            End::Refused { .. } | End::Dropped { .. } | End::Lost { .. } => false,
        }
    }
}

/// The way on from where all ways part: one a backend, or the only one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Where the packet is for now.
    pub to: SocketAddr,
    /// Who that is, if anybody known.
    pub who: Option<String>,
    /// The source that it has then, if that is known.
    pub source: Option<IpAddr>,
    /// The steps.
    pub steps: Vec<Step>,
    /// What becomes of it.
    pub end: End,
}

/// A packet's way by one set of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walk {
    /// Which rows.
    pub basis: Basis,
    /// The steps that it makes in any case.
    pub steps: Vec<Step>,
    /// What becomes of it, if it comes to no way.
    pub end: Option<End>,
    /// The ways on, at most [`MAX_WAYS`].
    pub ways: Vec<Way>,
    /// How many more there are.
    pub more: usize,
}

impl Walk {
    /// Whether another walk, of other rows, makes the same steps to the same end.
    pub fn is_like(&self, other: &Walk) -> bool {
        let end = |walk: &Walk| (walk.steps.clone(), walk.end.clone(), walk.more);
        end(self) == end(other) && self.ways == other.ways
    }

    /// Whether every end is a good one.
    pub fn is_good(&self) -> bool {
        self.end.iter().all(End::is_good) && self.ways.iter().all(|way| way.end.is_good())
    }
}

/// Walks the rows that `basis` names; the others tell which of them drift.
pub fn walk(
    planned: &Tables,
    observed: &Tables,
    basis: Basis,
    scene: &Scene<'_>,
    packet: &Packet,
) -> Walk {
    let mut walker = Walker {
        planned,
        observed,
        basis,
        scene,
        packet,
        steps: Vec::new(),
    };
    let course = walker.enter().and_then(|()| walker.choose());
    let steps = std::mem::take(&mut walker.steps);
    match course {
        Err(end) => Walk {
            basis,
            steps,
            end: Some(*end),
            ways: Vec::new(),
            more: 0,
        },
        Ok(course) => {
            let more = course.targets.len().saturating_sub(MAX_WAYS);
            let shown = course.targets.iter().take(MAX_WAYS);
            let ways = shown.map(|target| walker.go(&course, *target)).collect();
            Walk {
                basis,
                steps,
                end: None,
                ways,
                more,
            }
        }
    }
}

/// A packet under way.
struct Walker<'a> {
    planned: &'a Tables,
    observed: &'a Tables,
    basis: Basis,
    scene: &'a Scene<'a>,
    packet: &'a Packet,
    steps: Vec<Step>,
}

/// Either it goes on, or this is the end.
type Onward<T> = Result<T, Box<End>>;

/// What the first look at the rows has decided.
#[derive(Clone, Debug)]
struct Course {
    /// Where it may be for now: backends, or the only place.
    targets: Vec<Target>,
    /// What it was sent to after the detour of the loopback address.
    original: SocketAddr,
    /// Why the destination is another now, if it is.
    by: By,
    /// It came to a loopback address of the node.
    looped: bool,
}

/// A place where a packet may be for.
#[derive(Clone, Copy, Debug)]
struct Target {
    to: SocketAddr,
    /// The backend's slot.
    slot: Option<seaway_model::BackendKey>,
}

/// Why a destination was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// It was not.
    Nobody,
    /// By a frontend.
    Frontend,
    /// By a port of the node.
    HostPort,
}

impl Walker<'_> {
    fn rows(&self) -> &Tables {
        match self.basis {
            Basis::Planned => self.planned,
            Basis::Observed => self.observed,
        }
    }

    fn step(&mut self, stage: Stage, text: impl Into<String>, rows: Vec<Citation>) {
        self.steps.push(Step {
            stage,
            text: text.into(),
            rows,
        });
    }

    fn dropped<T>(reason: DropReason) -> Onward<T> {
        Err(Box::new(End::Dropped { reason }))
    }

    fn refused<T>() -> Onward<T> {
        let reason = DropReason::ServiceRefused;
        Err(Box::new(End::Refused { reason }))
    }

    fn lost<T>(why: impl Into<String>) -> Onward<T> {
        Err(Box::new(End::Lost { why: why.into() }))
    }

    /// An address with who has it, for people.
    fn name(&self, address: IpAddr) -> String {
        match (self.scene.who)(address) {
            Some(who) => format!("{who} ({address})"),
            None => address.to_string(),
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let is_there = |row: &seaway_model::AddressRow| row.net.addr() == address;
        address.is_loopback()
            || self.scene.own.contains(&address)
            || self.rows().addresses.iter().any(is_there)
    }
}
