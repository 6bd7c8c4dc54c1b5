//! How many Events may be written: some at once, then some a second, however many policies there are.

use std::time::Duration;

/// A bucket of permits that fills up with time.
#[derive(Debug)]
pub(super) struct Pace {
    burst: u32,
    every: Duration,
    /// When the bucket would be full if nothing were taken any more.
    full_at: Duration,
}

impl Pace {
    /// So many at once, and one more each `every`.
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst,
            every,
            full_at: Duration::ZERO,
        }
    }

    /// Takes a permit; answers how long to wait until it holds.
    pub(super) fn take(&mut self, now: Duration) -> Duration {
        self.full_at = self.full_at.max(now) + self.every;
        self.full_at.saturating_sub(now + self.every * self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_rest_waits_its_turn() {
        let every = Duration::from_millis(100);
        let mut pace = Pace::new(3, every);
        let now = Duration::from_secs(9);
        let mut waits = || pace.take(now);
        assert_eq!([waits(), waits(), waits()], [Duration::ZERO; 3]);
        assert_eq!([waits(), waits()], [every, every * 2]);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.take(later), Duration::ZERO, "full again");
        let taken: Vec<_> = (0..3).map(|_| pace.take(later)).collect();
        assert_eq!(taken, [Duration::ZERO, Duration::ZERO, every]);
    }
}
