//! How the supervisor cuts itself off from the machine: its own mounts, its own view of processes,
//! no terminal.

use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, chdir, getpid, setsid};

use super::node::mount_new;
use crate::error::{Context, LabError};

/// Signals that ask for an orderly end.
const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Cuts off the calling process. Must come before any thread is started: they inherit what it does.
pub(crate) fn isolate() -> Result<(), LabError> {
    if getpid() != Pid::from_raw(1) {
        let reason =
            "this command is started by `seaway lab up` only, in a process namespace of its own";
        return Err(LabError::Request(reason.to_owned()));
    }
    let me = || "the supervisor".to_owned();
    setsid().during("detach from the terminal", me)?;
    chdir("/").during("change to", || "/".to_owned())?;
    unshare(CloneFlags::CLONE_NEWNS).during("make a mount namespace for", me)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .during("make mounts private for", me)?;
    mount_new("proc", "/proc", None)?;
    ending().thread_block().during("block signals of", me)
}

fn ending() -> SigSet {
    ENDING.into_iter().collect()
}

/// Calls `end` when a signal asks for it.
pub(crate) fn on_signals(end: impl FnOnce() + Send + 'static) -> Result<(), LabError> {
    let wait = move || match ending().wait() {
        Ok(signal) => {
            tracing::info!("{signal}: taking the lab down");
            end();
        }
        Err(e) => tracing::error!("wait for signals: {e}"),
    };
    let started = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait);
    started
        .map(drop)
        .during("start", || "the thread that waits for signals".to_owned())
}
