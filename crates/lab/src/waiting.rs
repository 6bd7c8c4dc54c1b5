//! Waiting for what no descriptor announces.

use std::time::{Duration, Instant};

/// Waits for something to become true; tells whether it did.
pub(crate) fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    let mut wait = Duration::from_millis(1);
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(50));
    }
    true
}
