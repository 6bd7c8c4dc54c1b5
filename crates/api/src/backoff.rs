//! Pauses between attempts: doubling, jittered, bounded.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::Timing;

/// The pauses of somebody who tries again and again.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `timing.pause_first` to `timing.pause_last`.
    pub fn new(timing: &Timing) -> Backoff {
        Backoff {
            first: timing.pause_first,
            last: timing.pause_last,
            next: timing.pause_first,
        }
    }

    /// The next pause: half to one and a half times the current step, which doubles.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.last);
        Backoff::around(step)
    }

    /// Half to one and a half times as long.
    pub(crate) fn around(step: Duration) -> Duration {
        step / 2 + Backoff::within(step)
    }

    /// Anything between nothing and this long.
    pub(crate) fn within(limit: Duration) -> Duration {
        let thousandths = u32::try_from(random() % 1000).unwrap_or_default();
        limit * thousandths / 1000
    }

    /// It worked: the next failure starts from the first pause again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Good enough to spread clients that failed at the same moment; no secret depends on it.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_limit_and_start_again() {
        let timing = Timing::default();
        let mut backoff = Backoff::new(&timing);
        let within = |pause: Duration, step: Duration| pause >= step / 2 && pause <= step * 3 / 2;
        let mut step = timing.pause_first;
        for _ in 0..20 {
            assert!(within(backoff.pause(), step));
            step = (step * 2).min(timing.pause_last);
        }
        assert_eq!(step, timing.pause_last);
        backoff.reset();
        assert!(within(backoff.pause(), timing.pause_first));
    }

    #[test]
    fn two_clients_do_not_pause_alike() {
        let timing = Timing::default();
        let pauses: std::collections::BTreeSet<Duration> =
            (0..50).map(|_| Backoff::new(&timing).pause()).collect();
        assert!(pauses.len() > 10);
    }
}
