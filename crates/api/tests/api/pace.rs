//! How long things take at most in these tests.

use std::time::Duration;

use seaway_api::Timing;

/// How long a test waits for anything before it fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Deadlines short enough for tests.
pub(crate) fn timing() -> Timing {
    Timing {
        response: Duration::from_millis(400),
        silence: Duration::from_millis(400),
        pause_first: Duration::from_millis(5),
        pause_last: Duration::from_millis(40),
        renewal: Duration::from_millis(200),
        ..Timing::default()
    }
}
