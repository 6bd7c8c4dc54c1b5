//! Finding black holes: paths to other nodes that swallow large packets without a word.
//!
//! Every path is asked now and then by an echo request as large as the uplink takes. When only
//! small ones are answered, the largest size that gets there is searched, and the planner lowers
//! the routes to that node. Loss and absence of a node change nothing; when the path carries more
//! again, the routes follow.
//!
//! What is asked is the underlay, from node address to node address; what transports take off is
//! the planner's. A network that drops large echo requests on purpose, and nothing else, looks
//! like a black hole: packets then are smaller than they had to be, and get there. [`trial`],
//! [`path`] and [`prober`] are plain data that is told the time; [`driver`] holds the sockets.

mod driver;
#[cfg(test)]
mod namespaced;
mod path;
mod prober;
#[cfg(test)]
mod simulated;
mod trial;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use seaway_model::NodeName;
use serde::Serialize;

use self::trial::Care;
pub(crate) use driver::run;

/// How fast and how carefully paths are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The time between two packets, whatever the number of paths.
    gap: Duration,
    /// How many packets may go at once after a pause.
    burst: u32,
    /// How long an answer may take.
    timeout: Duration,
    /// How long a path rests between two checks; longer when there are many.
    interval: Duration,
    /// For what changes much if it is wrong.
    thorough: Care,
    /// For what the next check puts right.
    quick: Care,
}

impl Default for Pace {
    /// 40 packets in a second: a round over 5,000 dual-stack nodes takes about eight minutes, and
    /// a new black hole of a small cluster is found in about a minute and a half.
    fn default() -> Self {
        Pace {
            gap: Duration::from_millis(25),
            burst: 10,
            timeout: Duration::from_millis(500),
            interval: Duration::from_secs(60),
            thorough: Care {
                strikes: 8,
                misses: 8,
                spacing: Duration::from_secs(1),
            },
            quick: Care {
                strikes: 6,
                misses: 6,
                spacing: Duration::ZERO,
            },
        }
    }
}

/// What is known of the paths to other nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    paths: usize,
    unasked: usize,
    silent: usize,
    lowered: Vec<Lowered>,
}

#[derive(Clone, Debug)]
struct Lowered {
    peer: NodeName,
    address: IpAddr,
    size: u32,
    since: Instant,
}

/// The paths to other nodes, for people.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PathsReport {
    /// How many there are: one per node and family.
    pub paths: usize,
    /// How many have not been asked yet.
    pub unasked: usize,
    /// How many did not answer the last time; nothing follows from it.
    pub silent: usize,
    /// Those that do not carry what the uplink takes.
    pub lowered: Vec<PathReport>,
}

/// A path that swallows large packets.
#[derive(Clone, Debug, Serialize)]
pub struct PathReport {
    /// The node.
    pub node: NodeName,
    /// Its address.
    pub address: IpAddr,
    /// The largest packet in bytes that gets there.
    pub size: u32,
    /// For how many seconds that has been known.
    pub seconds: u64,
    /// How it is known.
    pub found: String,
}

impl Findings {
    /// As of `now`.
    pub(crate) fn report(&self, now: Instant) -> PathsReport {
        let path = |lowered: &Lowered| PathReport {
            node: lowered.peer.clone(),
            address: lowered.address,
            size: lowered.size,
            seconds: now.saturating_duration_since(lowered.since).as_secs(),
            found: format!(
                "echo requests of more than {} bytes to {} are not answered, smaller ones are; \
                 check the MTU of every link between the nodes, and that ICMP errors get through",
                lowered.size, lowered.address
            ),
        };
        PathsReport {
            paths: self.paths,
            unasked: self.unasked,
            silent: self.silent,
            lowered: self.lowered.iter().map(path).collect(),
        }
    }
}
