//! One question: does a packet of a given size get to a node and back?
//!
//! A single answer says yes. Silence says nothing by itself: packets get lost, nodes go away. Only
//! when small packets are answered again and again while those of the size never are, the size is
//! blocked.

use std::time::Duration;

/// How sure one has to be that a size is blocked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Care {
    /// How often a small packet must be answered just after one of the size was not.
    pub(super) strikes: u8,
    /// How often neither may be answered before nothing can be said.
    pub(super) misses: u8,
    /// How long to rest between two rounds, so that a passing shortage of room is over.
    pub(super) spacing: Duration,
}

/// The answer to the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    Blocked,
    /// Small packets are not answered either.
    Unknown,
}

/// How the asking goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Another packet, after this long.
    Again(Duration),
    Done(Verdict),
}

/// The question while it is asked: rounds of a packet of the size and then, if that is not
/// answered, of a small one.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    size: u32,
    small: u32,
    care: Care,
    strikes: u8,
    misses: u8,
    /// It is the small one's turn.
    control: bool,
}

impl Trial {
    pub(super) fn new(size: u32, small: u32, care: Care) -> Trial {
        Trial {
            size,
            small,
            care,
            strikes: 0,
            misses: 0,
            control: false,
        }
    }

    /// The size of the packet to send now.
    pub(super) fn next_size(&self) -> u32 {
        if self.control { self.small } else { self.size }
    }

    /// A packet of this trial was answered, be it late.
    pub(super) fn answered(&mut self, size: u32) -> Option<Turn> {
        if size >= self.size {
            return Some(Turn::Done(Verdict::Passes));
        }
        if !self.control {
            return None;
        }
        self.strikes += 1;
        Some(self.next_round())
    }

    /// The packet that was sent last was not answered in time.
    pub(super) fn lost(&mut self) -> Turn {
        if self.control {
            self.misses += 1;
            return self.next_round();
        }
        self.control = true;
        Turn::Again(Duration::ZERO)
    }

    fn next_round(&mut self) -> Turn {
        self.control = false;
        if self.strikes >= self.care.strikes {
            Turn::Done(Verdict::Blocked)
        } else if self.misses >= self.care.misses {
            Turn::Done(Verdict::Unknown)
        } else {
            Turn::Again(self.care.spacing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARE: Care = Care {
        strikes: 2,
        misses: 2,
        spacing: Duration::from_secs(1),
    };
    const AT_ONCE: Turn = Turn::Again(Duration::ZERO);
    const SPACED: Turn = Turn::Again(CARE.spacing);

    #[test]
    fn one_answer_is_enough_even_a_late_one() {
        let mut trial = Trial::new(1500, 64, CARE);
        assert_eq!(trial.next_size(), 1500);
        assert_eq!(trial.lost(), AT_ONCE);
        assert_eq!(trial.next_size(), 64);
        assert_eq!(trial.answered(1500), Some(Turn::Done(Verdict::Passes)));
    }

    #[test]
    fn blocked_is_what_small_packets_get_past() {
        let mut trial = Trial::new(1500, 64, CARE);
        assert_eq!(trial.lost(), AT_ONCE);
        assert_eq!(trial.answered(64), Some(SPACED));
        // A second answer to the same round counts for nothing.
        assert_eq!(trial.answered(64), None);
        assert_eq!(trial.lost(), AT_ONCE);
        assert_eq!(trial.answered(64), Some(Turn::Done(Verdict::Blocked)));
    }

    #[test]
    fn silence_about_everything_says_nothing() {
        let mut trial = Trial::new(1500, 64, CARE);
        assert_eq!([trial.lost(), trial.lost()], [AT_ONCE, SPACED]);
        assert_eq!(
            [trial.lost(), trial.lost()],
            [AT_ONCE, Turn::Done(Verdict::Unknown)]
        );
    }
}
