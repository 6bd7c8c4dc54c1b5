//! How a server of these ends: when it is asked to. The first process of a process namespace, as a
//! container's program is, does not hear a signal that it does not wait for.

use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

const ASKING: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// Ends this process, well, so long after a signal asks for it. To be called before any thread is
/// started.
pub(super) fn end_when_asked(later: Duration) {
    when_asked(move || {
        // What it has promised to whoever still comes, and no wait for anything.
        thread::sleep(later);
        std::process::exit(0);
    });
}

/// Does something when a signal asks for the end, once. To be called before any thread is started.
pub(super) fn when_asked(end: impl FnOnce() + Send + 'static) {
    let asking: SigSet = ASKING.into_iter().collect();
    // Without it the server runs on until it is killed, which is no reason not to serve.
    if let Err(e) = asking.thread_block() {
        tracing::warn!("block the signals that ask for the end: {e}");
        return;
    }
    thread::spawn(move || {
        if asking.wait().is_ok() {
            end();
        }
    });
}
