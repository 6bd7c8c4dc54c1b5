//! What the supervisor tells `lab up` while it starts.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Context, LabError};
use crate::protocol::Event;

/// The way to `lab up`. When that is gone, so is the reason to go on.
pub(crate) struct Events {
    output: io::Stdout,
    ready: Arc<AtomicBool>,
}

impl Events {
    pub(crate) fn to_stdout() -> Events {
        Events {
            output: io::stdout(),
            ready: Arc::default(),
        }
    }

    /// Calls `give_up` if `lab up` ends before everything is up.
    pub(crate) fn watch(&self, give_up: impl FnOnce() + Send + 'static) -> Result<(), LabError> {
        let ready = self.ready.clone();
        let watch = move || {
            // A pipe that nobody reads any more is in error; nothing else ends the wait.
            let stdout = io::stdout();
            while poll(
                &mut [PollFd::new(stdout.as_fd(), PollFlags::empty())],
                PollTimeout::NONE,
            )
            .is_err()
            {}
            if !ready.load(Ordering::SeqCst) {
                give_up();
            }
        };
        let started = thread::Builder::new()
            .name("lab-up".to_owned())
            .spawn(watch);
        started
            .map(drop)
            .during("start", || "the thread that watches `lab up`".to_owned())
    }

    /// How many steps there will be.
    pub(crate) fn steps(&mut self, total: usize) -> Result<(), LabError> {
        self.tell(&Event::Steps {
            total: total as u64,
        })
    }

    /// A step is done.
    pub(crate) fn done(&mut self, text: String) -> Result<(), LabError> {
        self.tell(&Event::Done { text })
    }

    /// Everything is up; nothing is told after this.
    pub(crate) fn ready(&mut self) -> Result<(), LabError> {
        self.ready.store(true, Ordering::SeqCst);
        self.tell(&Event::Ready)?;
        let null = File::create("/dev/null").during("open", || "/dev/null".to_owned())?;
        nix::unistd::dup2_stdout(null).during("close", || "the way to `lab up`".to_owned())
    }

    /// It failed. Nobody may be there to hear it.
    pub(crate) fn failed(&mut self, error: &LabError) {
        let _ = self.tell(&Event::Failed {
            reason: error.to_string(),
        });
    }

    fn tell(&mut self, event: &Event) -> Result<(), LabError> {
        let mut line = serde_json::to_vec(event).expect("numbers and strings are always JSON");
        line.push(b'\n');
        self.output
            .write_all(&line)
            .and_then(|()| self.output.flush())
            .during("tell", || "`lab up`, which must have ended,".to_owned())
    }
}
