//! When an agent writes its Lease: at the latest when it is due, sooner when there is news, and never
//! so often that many agents together would be a burden. Pure: the time comes from outside.

use std::time::Duration;

use tokio::time::Instant;

use super::AgentSummary;

/// So many pieces of news may be told one after the other, and one more each half renewal.
const QUICK: u32 = 3;

/// What was written last, and what that allows.
#[derive(Debug)]
pub(super) struct Pace {
    /// How often the Lease is renewed. Up to a tenth sooner, so that agents that started together do
    /// not write together.
    renewal: Duration,
    written: Option<Written>,
    quick: u32,
    refilled: Instant,
}

#[derive(Debug)]
struct Written {
    uid: String,
    summary: AgentSummary,
    renew_at: Instant,
}

/// What a write has to contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything: it is the first one, or the Node is another.
    Whole,
    /// The time and the summary.
    Summary,
    /// Only the time.
    Time,
}

impl Pace {
    pub(super) fn new(renewal: Duration, now: Instant) -> Pace {
        Pace {
            renewal,
            written: None,
            quick: QUICK,
            refilled: now,
        }
    }

    /// When this is to be written, and how much of it.
    pub(super) fn next(
        &mut self,
        now: Instant,
        uid: &str,
        summary: &AgentSummary,
    ) -> (Instant, Extent) {
        self.refill(now);
        let Some(written) = self.written.as_ref().filter(|written| written.uid == uid) else {
            return (self.soonest(now), Extent::Whole);
        };
        let extent = match written.summary == *summary {
            true => Extent::Time,
            false => Extent::Summary,
        };
        if summary.is_news_after(&written.summary) {
            return (self.soonest(now).min(written.renew_at), extent);
        }
        (written.renew_at, extent)
    }

    fn soonest(&self, now: Instant) -> Instant {
        match self.quick {
            0 => self.refilled + self.renewal / 2,
            _ => now,
        }
    }

    fn refill(&mut self, now: Instant) {
        while self.quick < QUICK && self.refilled + self.renewal / 2 <= now {
            self.refilled += self.renewal / 2;
            self.quick += 1;
        }
        if self.quick == QUICK {
            self.refilled = now;
        }
    }

    /// It was written. `chance` is between 0 and 1.
    pub(super) fn wrote(&mut self, now: Instant, uid: String, summary: AgentSummary, chance: f64) {
        let due = |written: &Written| written.renew_at <= now;
        if !self.written.as_ref().is_some_and(due) {
            self.quick = self.quick.saturating_sub(1);
        }
        self.written = Some(Written {
            uid,
            summary,
            renew_at: now + self.renewal - self.renewal.mul_f64(chance / 10.0),
        });
    }

    /// What is written is not there any more.
    pub(super) fn lost(&mut self) {
        self.written = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENEWAL: Duration = Duration::from_secs(10);

    fn summary(ready: bool, pods: usize) -> AgentSummary {
        AgentSummary {
            ready,
            pods,
            ..AgentSummary::default()
        }
    }

    /// How often is written in a minute by somebody who has something else to say each 100 ms.
    fn writes(minutes: u32, mut say: impl FnMut(u32) -> AgentSummary) -> u32 {
        let start = Instant::now();
        let mut pace = Pace::new(RENEWAL, start);
        let mut count = 0;
        for step in 0..minutes * 600 {
            let now = start + Duration::from_millis(100) * step;
            let summary = say(step);
            if pace.next(now, "u", &summary).0 <= now {
                count += 1;
                pace.wrote(now, "u".to_owned(), summary, 0.5);
            }
        }
        count
    }

    #[test]
    fn a_calm_node_writes_as_often_as_a_kubelet() {
        let count = writes(10, |_| summary(true, 3));
        assert!((60..=64).contains(&count), "{count} in 10 minutes");
    }

    #[test]
    fn figures_wait_for_the_renewal() {
        let count = writes(10, |step| summary(true, step as usize));
        assert!((60..=64).contains(&count), "{count} in 10 minutes");
    }

    #[test]
    fn news_all_the_time_is_told_now_and_then() {
        let count = writes(10, |step| summary(step % 2 == 0, 0));
        assert!((100..=124).contains(&count), "{count} in 10 minutes");
    }

    #[test]
    fn news_is_told_at_once() {
        let now = Instant::now();
        let mut pace = Pace::new(RENEWAL, now);
        assert_eq!(
            pace.next(now, "u", &summary(false, 0)),
            (now, Extent::Whole)
        );
        pace.wrote(now, "u".to_owned(), summary(false, 0), 1.0);
        let (at, extent) = pace.next(now, "u", &summary(false, 0));
        assert_eq!((at, extent), (now + RENEWAL - RENEWAL / 10, Extent::Time));
        let (at, extent) = pace.next(now, "u", &summary(true, 0));
        assert_eq!((at, extent), (now, Extent::Summary));
        let (at, extent) = pace.next(now, "another", &summary(false, 0));
        assert_eq!((at, extent), (now, Extent::Whole));
        pace.lost();
        assert_eq!(pace.next(now, "u", &summary(false, 0)).1, Extent::Whole);
    }
}
