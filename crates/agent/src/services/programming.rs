//! How far the node is behind the cluster: what has been told and is not in force yet, and since
//! when. From this follow health (S24) and the metrics that people alert on (S44).
//!
//! Told the time, except where a measure needs two clocks; knows nothing of rows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use seaway_kernel::realise::RowFailure;
use seaway_model::{
    BackendRow, ClusterEvent, ClusterIpRow, FirewallRow, FrontendRow, MemberRow, Row,
    SourceRangeRow,
};

/// After how long without success something that waits makes the node unhealthy.
const STALE: Duration = Duration::from_secs(60);
/// How many trigger times wait for their change to be in force.
const TRIGGERS: usize = 4096;

/// The tables whose rows traffic to Services depends on.
const TABLES: [&str; 6] = [
    FrontendRow::TABLE,
    BackendRow::TABLE,
    MemberRow::TABLE,
    SourceRangeRow::TABLE,
    ClusterIpRow::TABLE,
    FirewallRow::TABLE,
];

/// Numbers of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) services: u64,
    pub(crate) slices: u64,
    all: u64,
}

impl Counts {
    fn of(events: &[ClusterEvent]) -> Counts {
        let mut counts = Counts::default();
        for event in events {
            counts.all += 1;
            match event {
                ClusterEvent::ServiceUpsert(_) | ClusterEvent::ServiceDelete(_) => {
                    counts.services += 1;
                }
                ClusterEvent::SliceUpsert(_) | ClusterEvent::SliceDelete(_) => counts.slices += 1,
                _ => {}
            }
        }
        counts
    }

    fn less(self, done: Counts) -> Counts {
        Counts {
            services: self.services.saturating_sub(done.services),
            slices: self.slices.saturating_sub(done.slices),
            all: self.all.saturating_sub(done.all),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    pending: Counts,
    total: Counts,
    /// Since when something waits, or has failed.
    since: Option<Instant>,
    queued: Option<SystemTime>,
    updated: Option<SystemTime>,
    triggers: Vec<SystemTime>,
}

/// The account, shared by the source that fills it and the keeper that works it off.
#[derive(Debug)]
pub(crate) struct Programming {
    inner: Mutex<Inner>,
    /// How long it takes until a change of the cluster is in force, in seconds.
    pub(crate) network_seconds: Histogram,
    /// How long the kernel's part of it takes, in seconds.
    pub(crate) sync_seconds: Histogram,
    /// How many changes were refused by the kernel.
    pub(crate) failed: Counter,
}

/// What is known of programming at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Changes that wait.
    pub(crate) pending: Counts,
    /// Changes since the start.
    pub(crate) total: Counts,
    /// When something came last.
    pub(crate) queued: Option<SystemTime>,
    /// When something came into force last.
    pub(crate) updated: Option<SystemTime>,
    /// Something has been waiting for too long.
    pub(crate) stale: bool,
}

impl Default for Programming {
    fn default() -> Programming {
        // The buckets of kube-proxy, so that dashboards go on working.
        let seconds = linear_buckets(0.25, 0.25, 2)
            .chain(linear_buckets(1.0, 1.0, 59))
            .chain(linear_buckets(60.0, 5.0, 12))
            .chain(linear_buckets(120.0, 30.0, 7));
        Programming {
            inner: Mutex::default(),
            network_seconds: Histogram::new(
                [0.001, 0.002, 0.005, 0.01, 0.05, 0.1]
                    .into_iter()
                    .chain(seconds),
            ),
            sync_seconds: Histogram::new(exponential_buckets(0.00025, 2.0, 17)),
            failed: Counter::default(),
        }
    }
}

impl Programming {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has been told.
    pub(crate) fn queued(&self, events: &[ClusterEvent]) {
        let counts = Counts::of(events);
        let mut inner = self.lock();
        let inner = &mut *inner;
        for sum in [&mut inner.pending, &mut inner.total] {
            sum.services += counts.services;
            sum.slices += counts.slices;
            sum.all += counts.all;
        }
        inner.queued = Some(SystemTime::now());
        inner.since.get_or_insert_with(Instant::now);
    }

    /// When what is told next had happened.
    pub(crate) fn triggered(&self, mut times: Vec<SystemTime>) {
        let mut inner = self.lock();
        let room = TRIGGERS.saturating_sub(inner.triggers.len());
        times.truncate(room);
        inner.triggers.append(&mut times);
    }

    /// Events are being worked on.
    pub(crate) fn taken(&self, events: &[ClusterEvent]) {
        let mut inner = self.lock();
        inner.pending = inner.pending.less(Counts::of(events));
    }

    /// What was worked on is in force, as far as there are no failures.
    pub(crate) fn done(&self, took: Duration, failures: &[RowFailure]) {
        self.sync_seconds.observe(took.as_secs_f64());
        let ours = |failure: &&RowFailure| {
            TABLES.contains(&failure.table) || failure.key == crate::state::WHOLE
        };
        let mut inner = self.lock();
        if failures.iter().any(|failure| ours(&failure)) {
            self.failed.inc();
            inner.since.get_or_insert_with(Instant::now);
            return;
        }
        let now = SystemTime::now();
        for trigger in inner.triggers.drain(..) {
            // Clocks of two machines: the future is now.
            let took = now.duration_since(trigger).unwrap_or_default();
            self.network_seconds.observe(took.as_secs_f64());
        }
        inner.updated = Some(now);
        inner.since = match inner.pending.all {
            0 => None,
            _ => Some(Instant::now()),
        };
    }

    /// How it stands.
    pub(crate) fn account(&self, now: Instant) -> Account {
        let inner = self.lock();
        let waited = inner
            .since
            .map(|since| now.saturating_duration_since(since));
        Account {
            pending: inner.pending,
            total: inner.total,
            queued: inner.queued,
            updated: inner.updated,
            stale: waited.is_some_and(|waited| waited > STALE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(table: &'static str) -> RowFailure {
        RowFailure {
            table,
            key: "x".to_owned(),
            error: "refused".to_owned(),
            errno: None,
        }
    }

    #[test]
    fn s24_it_is_stale_when_nothing_comes_into_force_for_long() {
        let programming = Programming::default();
        let late = || Instant::now() + STALE + STALE;
        assert!(!programming.account(late()).stale, "nothing to do");
        let event = ClusterEvent::ServiceDelete("default/web".parse().expect("valid"));
        let events = [event, ClusterEvent::Synced];
        programming.queued(&events);
        assert!(!programming.account(Instant::now()).stale);
        let account = programming.account(late());
        assert!(account.stale, "the keeper hangs");
        assert_eq!((account.pending.services, account.pending.slices), (1, 0));
        programming.taken(&events);
        programming.done(Duration::ZERO, &[failure(FrontendRow::TABLE)]);
        assert!(programming.account(late()).stale, "the kernel refuses");
        programming.done(Duration::ZERO, &[failure("routes")]);
        let account = programming.account(late());
        assert!(!account.stale, "somebody else's row");
        assert_eq!((account.total.services, programming.failed.get()), (1, 1));
        assert!(account.updated.is_some());
    }

    #[test]
    fn s44_a_change_is_timed_when_it_is_in_force() {
        let programming = Programming::default();
        let long_ago = SystemTime::now() - Duration::from_secs(3);
        programming.triggered(vec![long_ago, SystemTime::now() + Duration::from_secs(9)]);
        programming.done(Duration::ZERO, &[failure(BackendRow::TABLE)]);
        assert_eq!(programming.network_seconds.count(), 0);
        programming.done(Duration::ZERO, &[]);
        assert_eq!(programming.network_seconds.count(), 2);
        let seconds = programming.network_seconds.sum();
        assert!((3.0..9.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn what_waits_is_bounded() {
        let programming = Programming::default();
        for _ in 0..3 {
            programming.triggered(vec![SystemTime::now(); TRIGGERS / 2 + 1]);
        }
        assert_eq!(programming.lock().triggers.len(), TRIGGERS);
    }
}
