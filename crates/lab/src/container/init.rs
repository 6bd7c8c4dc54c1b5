//! `seaway lab container init`: the first process of a container, on its way to become the program.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getpid};

use super::attend::START_FAILED;
use super::wire::{Caller, Launch, Report};
use super::{program, root, unwritable};
use crate::error::{Context, LabError};

/// The first to be killed when memory runs out, as a Pod without requests is.
const KILLED_FIRST: &str = "1000";

/// Becomes a container's program; comes back only if that fails.
pub(super) fn run() -> Result<ExitCode, LabError> {
    let caller = Caller::take()?;
    let Err(error) = become_program(&caller);
    caller.answer(&Report::Failed {
        reason: error.to_string(),
    });
    Ok(START_FAILED.into())
}

fn become_program(caller: &Caller) -> Result<Infallible, LabError> {
    let launch: Launch = caller.request()?;
    let spec = &launch.spec;
    if getpid() != Pid::from_raw(1) {
        let reason = "this command is started by `seaway lab container run` only";
        return Err(LabError::Request(reason.to_owned()));
    }
    let me = || "a container's first process".to_owned();
    set_pdeathsig(Signal::SIGKILL).during("tie", me)?;
    umask(Mode::from_bits_truncate(0o022));
    if let Err(e) = fs::write("/proc/self/oom_score_adj", KILLED_FIRST) {
        tracing::debug!("make a container the first to be killed for memory: {e}");
    }
    let confinement = program::confinement(spec)?;
    if launch.own_ipc {
        unshare(CloneFlags::CLONE_NEWIPC).during("make an IPC namespace for", me)?;
    }
    unwritable::own_mounts()?;
    root::enter(spec)?;
    let mut command = program::command(spec)?;
    confinement.apply().during("confine", me)?;
    if caller.is_gone() {
        return Err(LabError::Request(
            "the container's shim has ended".to_owned(),
        ));
    }
    Err(program::not_started(spec, &command.exec()))
}
