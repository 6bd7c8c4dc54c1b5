//! How long to wait before a Pod that ended is replaced: longer each time it ends on the same node.
//!
//! A controller that starts anew begins without patience; that costs one Pod a node.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

#[derive(Debug, Clone, Copy)]
struct Ends {
    last: Timestamp,
    wait: SignedDuration,
}

/// Pods that ended, by the uid of their set and their node.
#[derive(Debug, Default)]
pub(super) struct Patience {
    ends: Mutex<BTreeMap<(String, String), Ends>>,
}

impl Patience {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Ends>> {
        // Every change is one step, so a poisoned lock still guards good data.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a Pod that ended on this node may be replaced.
    pub(super) fn retry_at(&self, set: &str, node: &str) -> Timestamp {
        let ends = self.lock();
        let known = ends.get(&(set.to_owned(), node.to_owned()));
        known
            .and_then(|ends| ends.last.checked_add(ends.wait).ok())
            .unwrap_or(Timestamp::MIN)
    }

    /// One that ended was replaced now. What has been well for long is forgotten.
    pub(super) fn note(&self, set: &str, node: &str, now: Timestamp) {
        let mut ends = self.lock();
        ends.retain(|_, ends| now.duration_since(ends.last) < LONGEST * 2);
        let entry = ends.entry((set.to_owned(), node.to_owned()));
        let wait = |ends: &Ends| (ends.wait * 2).min(LONGEST);
        let next = entry.or_insert(Ends {
            last: now,
            wait: SHORTEST / 2,
        });
        *next = Ends {
            last: now,
            wait: wait(next),
        };
    }

    /// A set is gone.
    pub(super) fn forget(&self, set: &str) {
        self.lock().retain(|(owner, _), _| owner != set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn it_doubles_up_to_a_bound_and_is_forgotten_when_all_was_well() {
        let patience = Patience::default();
        assert_eq!(patience.retry_at("s", "n"), Timestamp::MIN);
        let mut now = 1000;
        let mut waits = Vec::new();
        for _ in 0..12 {
            patience.note("s", "n", at(now));
            let next = patience.retry_at("s", "n").as_second();
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(patience.retry_at("s", "other"), Timestamp::MIN);
        patience.note("s", "n", at(now + 1800));
        assert_eq!(patience.retry_at("s", "n"), at(now + 1801));
        patience.forget("s");
        assert_eq!(patience.retry_at("s", "n"), Timestamp::MIN);
    }
}
