//! How long tasks of this machine had to wait for a CPU, from `/proc/pressure/cpu` (PSI).
//!
//! It tells whether somebody else was working during a round; where the file is missing nothing is
//! known, and every round counts.

use std::time::Instant;

const FILE: &str = "/proc/pressure/cpu";

/// A reading, the start of an interval.
#[derive(Debug)]
pub(crate) struct Reading {
    at: Instant,
    waited: Option<u64>,
}

impl Reading {
    /// Starts an interval.
    pub(crate) fn now() -> Reading {
        let text = std::fs::read_to_string(FILE);
        let waited = text.ok().and_then(|text| total_of(&text));
        Reading {
            at: Instant::now(),
            waited,
        }
    }

    /// The share of the time since this reading in which some task waited for a CPU.
    pub(crate) fn share_until_now(&self) -> Option<f64> {
        let now = Reading::now();
        let waited = now.waited?.saturating_sub(self.waited?);
        let elapsed = now.at.duration_since(self.at).as_secs_f64();
        (elapsed > 0.0).then(|| waited as f64 / 1e6 / elapsed)
    }
}

/// Whether this kernel tells.
pub(crate) fn is_known() -> bool {
    Reading::now().waited.is_some()
}

/// The microseconds of the `some` line.
fn total_of(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.split("total=").nth(1)?;
    total.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_some_line_counts() {
        let text = "some avg10=0.12 avg60=0.25 avg300=0.25 total=5108304\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(total_of(text), Some(5_108_304));
        assert_eq!(total_of("full total=7\n"), None);
        assert_eq!(total_of(""), None);
    }

    #[test]
    fn without_a_reading_there_is_no_share() {
        let blind = Reading {
            at: Instant::now(),
            waited: None,
        };
        assert_eq!(blind.share_until_now(), None);
    }
}
