//! One controller acts, others stand by: an election by Lease, as Kubernetes' own controllers hold it.
//!
//! - `candidate` (pure): what a Lease means at a time, for one who wants it.
//! - `term`: until when a leader may act, and a client that sends nothing after that.
//! - `seat`: the Lease itself: watch, take, renew, give back.
//! - `lead`: work while the Lease is held.
//!
//! Why two never act at the same time: a leader acts for `renew` (10 s) after it *asked* for what was
//! granted; others take a Lease only after they saw it unchanged for `hold` (15 s) by their own clock,
//! and only in exchange for exactly the version that they saw. Times in the Lease are for people:
//! nobody compares them. The clock is the one that no one sets and that goes on while a machine sleeps;
//! it may go wrong by a quarter. What a process that was stopped had in its hands is caught by `term`:
//! every single request is checked when it is sent.
//!
//! Who deletes the Lease by hand while it is held lets a controller that starts in that moment act
//! beside the holder until the holder's next renewal, two seconds later. Those that saw it wait.

mod candidate;
mod lead;
mod seat;
mod term;

#[cfg(test)]
mod simulation;

use std::time::Duration;

pub use lead::{Ending, lead};

/// For how long a Lease is granted, how long a leader goes on without a renewal, how often it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// For how long others leave an unchanged Lease alone; whole seconds.
    pub hold: Duration,
    /// For how long its holder acts after its last renewal.
    pub renew: Duration,
    /// How often it renews, and how often a failed attempt is made again.
    pub retry: Duration,
}

impl Default for Rhythm {
    /// As Kubernetes' own controllers have it.
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What is contended for, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub lease: String,
    /// Who contends: no two processes may have the same, not even one after the other.
    pub identity: String,
    /// How long things take.
    pub rhythm: Rhythm,
}

impl Election {
    /// Contends for a Lease as one with that name, made unique.
    pub fn new(namespace: &str, lease: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            lease: lease.to_owned(),
            identity: format!("{name}_{}", uuid::Uuid::new_v4()),
            rhythm: Rhythm::default(),
        }
    }
}
