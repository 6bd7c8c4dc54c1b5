//! `seaway lab container run`: stands between the supervisor and a container. It starts the container's
//! first process in a new process namespace, passes signals on, and ends as the program ends.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode};

use nix::sched::{CloneFlags, unshare};

use super::attend::{self, START_FAILED};
use super::unwritable;
use super::wire::{self, Caller, Launch, Report};
use crate::error::{Context, LabError};

/// Runs one container.
pub(super) fn run() -> Result<ExitCode, LabError> {
    unwritable::ensure()?;
    let caller = Caller::take()?;
    let started = attend::block_signals()
        .and_then(|()| caller.request())
        .and_then(|launch: Launch| start(&launch));
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            caller.answer(&Report::Failed {
                reason: error.to_string(),
            });
            return Ok(START_FAILED.into());
        }
    };
    let init = attend::pid(&child)?;
    caller.answer(&Report::Started {
        init: init.as_raw(),
    });
    drop(caller);
    Ok(attend::until_its_end(init))
}

/// Starts the program; what comes back has become it, or has ended since.
fn start(launch: &Launch) -> Result<Child, LabError> {
    launch.spec.check()?;
    unshare(CloneFlags::CLONE_NEWPID)
        .during("make", || "a process namespace for a container".to_owned())?;
    let (ours, theirs) = wire::conversation()?;
    let mut child = init(theirs)?;
    let object = || "a container's first process".to_owned();
    let answer = wire::send(&ours, launch).and_then(|()| wire::receive(&ours));
    match answer {
        Ok(Report::Failed { reason }) => {
            child.wait().during("wait for", object)?;
            Err(LabError::Request(reason))
        }
        // Its end of the conversation has been closed: by the start of the program.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(child),
        Ok(Report::Started { .. }) => Ok(child),
        Err(e) => {
            child.kill().during("kill", object)?;
            child.wait().during("wait for", object)?;
            Err(e).during("talk to", object)
        }
    }
}

fn init(conversation: OwnedFd) -> Result<Child, LabError> {
    Command::new("/proc/self/exe")
        .args(["lab", "container", "init"])
        .stdin(conversation)
        .spawn()
        .during("start", || "a container's first process".to_owned())
}
