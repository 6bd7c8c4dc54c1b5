//! When a client that runs "until told" has to stop: at the end of its standard input.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A flag that somebody else raises.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that rises when standard input ends, or never when `watch` is false.
    pub(super) fn when_stdin_closes(watch: bool) -> Stop {
        let stop = Stop::default();
        if watch {
            stop.raise_when_stdin_closes();
        }
        stop
    }

    /// Raises the flag when standard input ends, too.
    pub(super) fn raise_when_stdin_closes(&self) {
        let raised = self.clone();
        thread::spawn(move || {
            // An unreadable standard input has ended as well.
            let _ = drain(io::stdin().lock());
            raised.raise();
        });
    }

    /// Raises the flag.
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag has been raised.
    pub(super) fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn drain(mut input: impl Read) -> io::Result<()> {
    let mut part = [0; 512];
    while input.read(&mut part)? > 0 {}
    Ok(())
}
