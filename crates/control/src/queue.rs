//! A queue of keys that need a look: each at most once, never two workers at one, late ones later.
//!
//! `Line` is the state machine (`now` is an argument, jitter too); `Queue` wraps it for async workers.
//! A key that comes back while it is worked on is looked at again afterwards, so nothing is lost; a
//! key that fails comes back after a time that doubles up to a bound.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// First wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait after failures in a row.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The state of a queue.
#[derive(Debug)]
pub(crate) struct Line<K> {
    ready: VecDeque<K>,
    queued: BTreeSet<K>,
    working: BTreeSet<K>,
    /// Keys that came while worked on.
    again: BTreeSet<K>,
    /// Keys with a time, once by key and once by time.
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
}

impl<K> Default for Line<K> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            working: BTreeSet::new(),
            again: BTreeSet::new(),
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Line<K> {
    /// Wants a look at `key` now.
    pub(crate) fn add(&mut self, key: K) {
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Wants a look at `key` at `time`, or earlier if one is planned already.
    pub(crate) fn add_at(&mut self, key: K, time: Instant) {
        match self.due.get(&key) {
            Some(&planned) if planned <= time => return,
            Some(&planned) => {
                self.order.remove(&(planned, key.clone()));
            }
            None => {}
        }
        self.order.insert((time, key.clone()));
        self.due.insert(key, time);
    }

    /// The next key to work on; the caller tells `done` or `failed` afterwards.
    pub(crate) fn next(&mut self, now: Instant) -> Option<K> {
        while let Some((time, key)) = self.order.first().cloned() {
            if time > now {
                break;
            }
            self.order.remove(&(time, key.clone()));
            self.due.remove(&key);
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }

    /// When the next planned look is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(time, _)| *time)
    }

    /// The work on `key` succeeded.
    pub(crate) fn done(&mut self, key: &K) {
        self.failures.remove(key);
        self.release(key);
    }

    /// The work on `key` failed: another try after a wait. `jitter` is within 0 and 1.
    pub(crate) fn failed(&mut self, key: &K, now: Instant, jitter: f64) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = back_off(*failures, jitter);
        *failures = failures.saturating_add(1);
        // A change does not shorten the wait: what fails because the API is away fails again.
        self.again.remove(key);
        self.release(key);
        self.add_at(key.clone(), now + wait);
        wait
    }

    fn release(&mut self, key: &K) {
        self.working.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
        }
    }
}

/// The wait after so many failures before: doubling, bounded, between a half and the whole of it.
pub(crate) fn back_off(failures: u32, jitter: f64) -> Duration {
    let whole = FIRST_WAIT
        .saturating_mul(2u32.saturating_pow(failures.min(16)))
        .min(LONGEST_WAIT);
    whole.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// A number in 0..1 that differs from process to process and from call to call.
pub(crate) fn jitter() -> f64 {
    f64::from((random() >> 32) as u32) / f64::from(u32::MAX)
}

/// An unpredictable number: good for jitter and names, not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(std::thread::current().id())
}

/// The queue that workers share.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    line: Mutex<Line<K>>,
    changed: Notify,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            line: Mutex::new(Line::default()),
            changed: Notify::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    fn line(&self) -> MutexGuard<'_, Line<K>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants a look at `key` now.
    pub(crate) fn add(&self, key: K) {
        self.line().add(key);
        self.changed.notify_one();
    }

    /// Wants a look at `key` after a while.
    pub(crate) fn add_after(&self, key: K, wait: Duration) {
        self.line().add_at(key, Instant::now() + wait);
        self.changed.notify_one();
    }

    /// Waits for the next key.
    pub(crate) async fn next(&self) -> K {
        loop {
            let changed = self.changed.notified();
            let (key, more, due) = {
                let mut line = self.line();
                let key = line.next(Instant::now());
                (key, !line.ready.is_empty(), line.next_due())
            };
            if let Some(key) = key {
                // One permit may stand for many keys: pass it on to the next worker.
                if more {
                    self.changed.notify_one();
                }
                return key;
            }
            match due {
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// The work on `key` succeeded.
    pub(crate) fn done(&self, key: &K) {
        self.line().done(key);
        self.changed.notify_one();
    }

    /// The work on `key` failed; returns how long it waits.
    pub(crate) fn failed(&self, key: &K) -> Duration {
        let wait = self.line().failed(key, Instant::now(), jitter());
        self.changed.notify_one();
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_once_and_comes_again_if_it_changed_meanwhile() {
        let now = Instant::now();
        let mut line = Line::default();
        line.add("a");
        line.add("a");
        assert_eq!(line.next(now), Some("a"));
        assert_eq!(line.next(now), None);
        line.add("a");
        assert_eq!(line.next(now), None, "one worker at a time");
        line.done(&"a");
        assert_eq!(line.next(now), Some("a"));
        line.done(&"a");
        assert_eq!(line.next(now), None);
    }

    #[test]
    fn failures_double_the_wait_and_success_forgets_them() {
        let now = Instant::now();
        let mut line = Line::default();
        line.add("a");
        let mut last = Duration::ZERO;
        let mut at = now;
        for _ in 0..12 {
            assert_eq!(line.next(at), Some("a"));
            let wait = line.failed(&"a", at, 1.0);
            assert!(wait >= last && wait <= LONGEST_WAIT);
            assert_eq!(line.next(at), None);
            last = wait;
            at += wait;
        }
        assert_eq!(last, LONGEST_WAIT);
        assert_eq!(line.next(at), Some("a"));
        line.done(&"a");
        line.add("a");
        assert_eq!(line.next(at), Some("a"));
        assert_eq!(line.failed(&"a", at, 0.0), FIRST_WAIT / 2);
    }

    #[test]
    fn the_earliest_of_planned_looks_wins() {
        let now = Instant::now();
        let mut line = Line::default();
        line.add_at("a", now + Duration::from_secs(9));
        line.add_at("a", now + Duration::from_secs(5));
        line.add_at("a", now + Duration::from_secs(7));
        assert_eq!(line.next_due(), Some(now + Duration::from_secs(5)));
        assert_eq!(line.next(now + Duration::from_secs(4)), None);
        assert_eq!(line.next(now + Duration::from_secs(5)), Some("a"));
        line.done(&"a");
        assert_eq!(line.next_due(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn workers_share_a_queue() {
        let queue = std::sync::Arc::new(Queue::default());
        for key in 0..10 {
            queue.add(key);
        }
        let mut seen = BTreeSet::new();
        for _ in 0..10 {
            let key = queue.next().await;
            seen.insert(key);
            queue.done(&key);
        }
        assert_eq!(seen.len(), 10);
        queue.add_after(11, Duration::from_millis(1));
        assert_eq!(queue.next().await, 11);
    }
}
