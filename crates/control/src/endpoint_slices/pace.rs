//! How often the slices of one Service are written.
//!
//! The first changes are written at once. A Service that goes on changing without a rest is written
//! at intervals, each write with all that came meanwhile. Pure: `now` is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::meta::Key;

/// Rounds in a row that are free.
const FREE: u32 = 8;
/// The time between rounds after those.
const INTERVAL: Duration = Duration::from_millis(20);
/// A rest after which all is free again.
const REST: Duration = Duration::from_millis(500);
/// The number of Services from which on those at rest are forgotten.
const MANY: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Row {
    last: Instant,
    rounds: u32,
}

/// The rounds of all Services that were written lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rows: BTreeMap<Key, Row>,
}

impl Pace {
    /// How long the next round of a Service must wait, if it must.
    pub(super) fn wait(&self, key: &Key, now: Instant) -> Option<Duration> {
        let row = self.rows.get(key)?;
        let past = now.duration_since(row.last);
        let pressed = row.rounds >= FREE && past < REST;
        INTERVAL
            .checked_sub(past)
            .filter(|wait| pressed && !wait.is_zero())
    }

    /// A round was written.
    pub(super) fn wrote(&mut self, key: &Key, now: Instant) {
        if self.rows.len() >= MANY && !self.rows.contains_key(key) {
            let awake = |row: &Row| now.duration_since(row.last) < REST;
            self.rows.retain(|_, row| awake(row));
        }
        let row = self.rows.entry(key.clone());
        let row = row.or_insert(Row {
            last: now,
            rounds: 0,
        });
        if now.duration_since(row.last) >= REST {
            row.rounds = 0;
        }
        row.rounds = row.rounds.saturating_add(1);
        row.last = now;
    }

    /// A Service is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.rows.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            namespace: "a".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn single_changes_never_wait_and_bursts_do() {
        let (mut pace, web) = (Pace::default(), key("web"));
        let mut now = Instant::now();
        for _ in 0..FREE {
            assert_eq!(pace.wait(&web, now), None);
            pace.wrote(&web, now);
        }
        assert_eq!(pace.wait(&web, now), Some(INTERVAL));
        assert_eq!(pace.wait(&key("other"), now), None);
        now += INTERVAL;
        assert_eq!(pace.wait(&web, now), None);
        pace.wrote(&web, now);
        assert_eq!(pace.wait(&web, now), Some(INTERVAL));
        now += REST;
        assert_eq!(pace.wait(&web, now), None);
        pace.wrote(&web, now);
        assert_eq!(pace.wait(&web, now), None, "all is free again");
    }

    #[test]
    fn services_at_rest_are_forgotten() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for number in 0..MANY {
            pace.wrote(&key(&number.to_string()), now);
        }
        pace.wrote(&key("web"), now + REST);
        assert_eq!(pace.rows.len(), 1);
    }
}
