//! What the server has done, as counters that cost nothing, and a snapshot of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::wire::rcode;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; perhaps that the name has no such records.
    NoError,
    /// The question was not understood (FORMERR).
    FormErr,
    /// It could not be answered (SERVFAIL).
    ServFail,
    /// The name does not exist (NXDOMAIN).
    NxDomain,
    /// It was refused (REFUSED).
    Refused,
    /// Anything else.
    Other,
}

impl Outcome {
    /// All of them, in the order of the counters.
    pub const ALL: [Outcome; 6] = [
        Outcome::NoError,
        Outcome::FormErr,
        Outcome::ServFail,
        Outcome::NxDomain,
        Outcome::Refused,
        Outcome::Other,
    ];

    /// Its name as DNS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::NoError => "NOERROR",
            Outcome::FormErr => "FORMERR",
            Outcome::ServFail => "SERVFAIL",
            Outcome::NxDomain => "NXDOMAIN",
            Outcome::Refused => "REFUSED",
            Outcome::Other => "OTHER",
        }
    }

    fn of(code: u8) -> Outcome {
        match code {
            rcode::NO_ERROR => Outcome::NoError,
            rcode::FORMAT => Outcome::FormErr,
            rcode::FAILURE => Outcome::ServFail,
            rcode::NO_NAME => Outcome::NxDomain,
            rcode::REFUSED => Outcome::Refused,
            _ => Outcome::Other,
        }
    }
}

/// Who a question was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// The cluster's zone, or nobody: what is answered at once.
    Cluster,
    /// Servers elsewhere.
    Forward,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    cluster: [AtomicU64; Outcome::ALL.len()],
    forward: [AtomicU64; Outcome::ALL.len()],
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) stale_answers: AtomicU64,
    pub(crate) forward_failures: AtomicU64,
    pub(crate) spoofed: AtomicU64,
    pub(crate) over_limit: AtomicU64,
    pub(crate) ignored: AtomicU64,
}

/// What the server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions answered at once, from the zone or because they could not be understood, by
    /// outcome (in the order of [`Outcome::ALL`]).
    pub cluster: [u64; Outcome::ALL.len()],
    /// Questions for servers elsewhere, by outcome.
    pub forward: [u64; Outcome::ALL.len()],
    /// Questions for others that were answered from the cache.
    pub cache_hits: u64,
    /// Questions for others that had to be asked, or waited for somebody else's asking.
    pub cache_misses: u64,
    /// Answers that were too old, for want of a newer one.
    pub stale_answers: u64,
    /// Attempts to get an answer from an upstream server that failed.
    pub forward_failures: u64,
    /// Messages that were no answer to what had been asked, and were dropped.
    pub spoofed: u64,
    /// Questions refused because too many were waiting.
    pub over_limit: u64,
    /// Messages that were no questions at all.
    pub ignored: u64,
}

impl Counters {
    pub(crate) fn answered(&self, kind: For, code: u8) {
        let counters = match kind {
            For::Cluster => &self.cluster,
            For::Forward => &self.forward,
        };
        let outcome = Outcome::of(code);
        let place = Outcome::ALL.iter().position(|o| *o == outcome);
        if let Some(counter) = place.and_then(|place| counters.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Counts {
        let read = |counters: &[AtomicU64; Outcome::ALL.len()]| {
            let mut values = [0; Outcome::ALL.len()];
            for (value, counter) in values.iter_mut().zip(counters) {
                *value = counter.load(Relaxed);
            }
            values
        };
        Counts {
            cluster: read(&self.cluster),
            forward: read(&self.forward),
            cache_hits: self.cache_hits.load(Relaxed),
            cache_misses: self.cache_misses.load(Relaxed),
            stale_answers: self.stale_answers.load(Relaxed),
            forward_failures: self.forward_failures.load(Relaxed),
            spoofed: self.spoofed.load(Relaxed),
            over_limit: self.over_limit.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
        }
    }
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
