//! Somebody stops a check by a signal: then what it made is deleted, too.

use std::thread;

use nix::sys::signal::{SigSet, Signal};
use seaway_kernel::container::die_by;

use crate::error::{Context, LabError};

const ASKING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// From now on, such a signal clears up and ends this process. To be called before any thread is
/// started: they inherit what it does.
pub(super) fn clear_up_when_asked(
    clear_up: impl FnOnce() -> Result<(), LabError> + Send + 'static,
) -> Result<(), LabError> {
    let asking: SigSet = ASKING.into_iter().collect();
    asking
        .thread_block()
        .during("block", || "the signals that ask for the end".to_owned())?;
    let wait = move || {
        if let Ok(signal) = asking.wait() {
            if let Err(e) = clear_up() {
                tracing::warn!("delete what the check made: {e}");
            }
            die_by(signal);
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
        .during("start", || "the thread that waits for signals".to_owned())
}
