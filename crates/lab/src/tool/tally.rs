//! Counts what was asked and what was answered. It has no clock: every call says what time it is,
//! counted from the start of the run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The running count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: u64,
    duplicates: u64,
    open: BTreeMap<u64, Duration>,
    round_trips: Vec<Duration>,
    last_sign_of_life: Option<Duration>,
    longest_gap: Duration,
    last_error: Option<String>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Requests that were sent.
    pub sent: u64,
    /// Requests that were answered.
    pub received: u64,
    /// Requests that were not.
    pub lost: u64,
    /// Answers beyond the first to a request.
    pub duplicates: u64,
    /// The longest time without an answer, from the first request to the end of the run.
    pub longest_gap_ms: u64,
    /// Round trips; absent when nothing was answered.
    pub rtt_us: Option<Rtt>,
    /// The last error that the system reported for a request.
    pub last_error: Option<String>,
}

/// Round-trip times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rtt {
    /// The shortest.
    pub min: u64,
    /// The one in the middle.
    pub median: u64,
    /// The longest.
    pub max: u64,
}

impl Tally {
    /// Request number `seq` goes out.
    pub(super) fn sent(&mut self, seq: u64, now: Duration) {
        self.sent += 1;
        self.open.insert(seq, now);
        self.last_sign_of_life.get_or_insert(now);
    }

    /// The system refused to carry a request, or reports that one got nowhere.
    pub(super) fn refused(&mut self, error: String) {
        self.last_error = Some(error);
    }

    /// An answer to request number `seq` comes in.
    pub(super) fn answered(&mut self, seq: u64, now: Duration) {
        match self.open.remove(&seq) {
            Some(sent) => self.round_trips.push(now.saturating_sub(sent)),
            None => self.duplicates += 1,
        }
        self.close_gap(now);
    }

    /// Whether every request has been answered.
    pub(super) fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// The result. `last_send` is when the run stopped asking: silence after it is no gap.
    pub(super) fn finish(mut self, last_send: Duration) -> Summary {
        if !self.open.is_empty() {
            self.close_gap(last_send);
        }
        let received = self.round_trips.len() as u64;
        Summary {
            sent: self.sent,
            received,
            lost: self.sent - received,
            duplicates: self.duplicates,
            longest_gap_ms: millis(self.longest_gap),
            rtt_us: Rtt::of(self.round_trips),
            last_error: self.last_error,
        }
    }

    fn close_gap(&mut self, now: Duration) {
        let since = self.last_sign_of_life.replace(now).unwrap_or(now);
        self.longest_gap = self.longest_gap.max(now.saturating_sub(since));
    }
}

impl Rtt {
    fn of(mut times: Vec<Duration>) -> Option<Rtt> {
        times.sort_unstable();
        let [min, median, max] =
            [times.first()?, &times[times.len() / 2], times.last()?].map(|t| micros(*t));
        Some(Rtt { min, median, max })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A time in whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            sent,
            received,
            lost,
            longest_gap_ms,
            ..
        } = self;
        write!(
            f,
            "{sent} sent, {received} answered, {lost} lost, longest gap {longest_gap_ms} ms"
        )?;
        if self.duplicates > 0 {
            write!(f, ", {} answered twice", self.duplicates)?;
        }
        if let Some(Rtt { min, median, max }) = self.rtt_us {
            write!(f, "\nround trip min/median/max: {min}/{median}/{max} us")?;
        }
        match &self.last_error {
            Some(error) => write!(f, "\nlast error: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn losses_and_duplicates_are_counted() {
        let mut tally = Tally::default();
        for seq in 0..4 {
            tally.sent(seq, at(seq * 10));
        }
        for (seq, ms) in [(0, 1), (2, 23), (2, 24)] {
            tally.answered(seq, at(ms));
        }
        assert!(!tally.is_complete());
        let summary = tally.finish(at(30));
        assert_eq!(
            (
                summary.sent,
                summary.received,
                summary.lost,
                summary.duplicates
            ),
            (4, 2, 2, 1)
        );
        assert_eq!(
            summary.rtt_us,
            Some(Rtt {
                min: 1000,
                median: 3000,
                max: 3000
            })
        );
    }

    #[test]
    fn the_longest_gap_includes_the_beginning_and_the_end() {
        let gap = |answers: &[(u64, u64)]| {
            let mut tally = Tally::default();
            (0..11).for_each(|seq| tally.sent(seq, at(seq * 10)));
            answers
                .iter()
                .for_each(|(seq, ms)| tally.answered(*seq, at(*ms)));
            tally.finish(at(100)).longest_gap_ms
        };
        assert_eq!(gap(&[]), 100);
        assert_eq!(gap(&[(8, 80), (9, 90), (10, 100)]), 80);
        assert_eq!(gap(&[(0, 0), (1, 10)]), 90);
        assert_eq!(gap(&[(0, 1), (6, 61), (7, 70)]), 60);
    }

    #[test]
    fn silence_after_everything_was_answered_is_no_gap() {
        let mut tally = Tally::default();
        tally.sent(0, at(0));
        tally.answered(0, at(2));
        assert_eq!(tally.finish(at(500)).longest_gap_ms, 2);
    }

    #[test]
    fn the_summary_reads_well() {
        let mut tally = Tally::default();
        tally.sent(0, at(0));
        tally.sent(1, at(10));
        tally.answered(0, at(1));
        tally.refused("Connection refused (os error 111)".into());
        assert_eq!(
            tally.finish(at(20)).to_string(),
            "2 sent, 1 answered, 1 lost, longest gap 19 ms\n\
             round trip min/median/max: 1000/1000/1000 us\n\
             last error: Connection refused (os error 111)"
        );
    }
}
