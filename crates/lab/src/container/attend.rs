//! How a process that stands for another one behaves: passes signals on, and ends as that one ends.

use std::process::{Child, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seaway_kernel::container::die_by;

use crate::error::{Context, LabError};

/// What runtimes end with when there was nothing to run.
pub(super) const START_FAILED: u8 = 128;

/// Signals that are meant for the program. The rest is about this process itself, or about a terminal.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Keeps all signals until [`until_its_end`] looks at them. Must come before the other one is started:
/// none gets lost then.
pub(super) fn block_signals() -> Result<(), LabError> {
    SigSet::all()
        .thread_block()
        .during("block", || "signals".to_owned())
}

pub(super) fn pid(child: &Child) -> Result<Pid, LabError> {
    let number = i32::try_from(child.id()).map_err(std::io::Error::other);
    number
        .map(Pid::from_raw)
        .during("understand", || format!("process number {}", child.id()))
}

/// Waits for the end, and ends the same way.
pub(super) fn until_its_end(child: Pid) -> ExitCode {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return exit_code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => die_by(signal),
            Err(Errno::ECHILD) => return ExitCode::FAILURE,
            _ => {}
        }
        // The end of a child is a signal, too.
        if let Ok(signal) = SigSet::all().wait()
            && PASSED_ON.contains(&signal)
        {
            // It may have ended at this moment; it has not been collected, so the number is its own.
            let _ = kill(child, signal);
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
