//! When a daemon that has ended is started again. It has no clock: it is told how long the daemon
//! ran, and says how long to wait.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::reaper::Exit;

const AFTER_KILL: Duration = Duration::from_millis(50);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A daemon that ran this long had come up: what ends it now is a new trouble.
const STEADY: Duration = Duration::from_secs(10);

/// The back-off of one daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait before the next start.
    ///
    /// 1. Somebody killed it: start again at once, as often as that happens.
    /// 2. It ran steadily: as if it had never failed.
    /// 3. It fails again and again: wait twice as long each time, up to a limit.
    pub(crate) fn after(&mut self, exit: Exit, ran: Duration) -> Duration {
        if matches!(exit, Exit::Signal(Signal::SIGKILL | Signal::SIGTERM)) {
            self.failures = 0;
            return AFTER_KILL;
        }
        if ran >= STEADY {
            self.failures = 0;
        }
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(3);

    fn waits(exits: &[(Exit, Duration)]) -> Vec<u128> {
        let mut backoff = Backoff::default();
        exits
            .iter()
            .map(|(exit, ran)| backoff.after(*exit, *ran).as_millis())
            .collect()
    }

    #[test]
    fn killed_daemons_come_back_at_once_every_time() {
        assert_eq!(
            waits(&[(Exit::Signal(Signal::SIGKILL), SHORT); 20]),
            [50; 20]
        );
    }

    #[test]
    fn failing_daemons_are_given_ever_more_time_up_to_a_limit() {
        let waits = waits(&[(Exit::Code(1), SHORT); 40]);
        assert_eq!(waits[..7], [100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(waits[39], 5000);
    }

    #[test]
    fn a_crash_counts_as_a_failure_and_a_steady_run_makes_up_for_all() {
        let crash = Exit::Signal(Signal::SIGSEGV);
        assert_eq!(
            waits(&[(crash, SHORT), (crash, SHORT), (crash, STEADY)]),
            [100, 200, 100]
        );
    }
}
