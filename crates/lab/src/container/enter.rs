//! `seaway lab container enter`: runs one more command in a container. It goes in with all privileges
//! and lets go of them in the process that becomes the command.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout};
use seaway_cni::wire::{Connection, WireError};
use seaway_kernel::container::{Confinement, ProcessHandle, run_confined};

use super::wire::{self, Caller, Entry, Joined, Step};
use super::{attend, program, terminal, unwritable};
use crate::error::{Context, LabError};

/// What shells end with when they find no such program, and when they cannot start it.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

/// How long the supervisor may take for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Runs the command and ends as it ends.
pub(super) fn run() -> Result<ExitCode, LabError> {
    unwritable::ensure()?;
    let caller = Caller::take()?;
    let entry: Entry = caller.request()?;
    let Some(joined) = entry.joined else {
        drop(caller);
        return Ok(match start_alone(&entry) {
            Ok(child) => attend::until_its_end(child),
            Err(error) => {
                wire::say(&error);
                code(&error)
            }
        });
    };
    let mut caller = caller.into_connection(ANSWER);
    Ok(match start_joined(&entry, joined, &mut caller) {
        Ok(child) => {
            let leader = child.as_raw();
            tell(&mut caller, &Step::Started { leader });
            drop(caller);
            attend::until_its_end(child)
        }
        Err(error) => {
            let reason = error.to_string();
            tell(&mut caller, &Step::Failed { reason });
            code(&error)
        }
    })
}

fn code(error: &LabError) -> ExitCode {
    match error {
        LabError::Program { missing: true, .. } => NOT_FOUND.into(),
        _ => NOT_STARTED.into(),
    }
}

fn start_alone(entry: &Entry) -> Result<Pid, LabError> {
    let confinement = go_in(entry)?;
    start(entry, program::command(&entry.spec)?, confinement)
}

fn start_joined(entry: &Entry, joined: Joined, caller: &mut Connection) -> Result<Pid, LabError> {
    let null = File::open("/dev/null").during("open", || "/dev/null".to_owned())?;
    let mut confinement = go_in(entry)?;
    let user = confinement.user;
    let mut command = program::command(&entry.spec)?;
    match joined {
        Joined::Terminal { rows, columns } => {
            let pair = terminal::make(rows, columns, user)?;
            caller
                .send(&Step::Ready, Some(pair.outside.as_fd()))
                .map_err(lost)?;
            caller.receive::<()>().map_err(lost)?;
            let copy = || copy(&pair.inside);
            command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
            confinement.terminal = true;
        }
        Joined::Pipes => {
            caller.send(&Step::Ready, None).map_err(lost)?;
            let (_, input) = caller.receive::<()>().map_err(lost)?;
            let input = input.ok_or_else(|| {
                LabError::Request("no standard input came for the command".to_owned())
            })?;
            let [output, errors] = [copy(&io::stdout())?, copy(&io::stderr())?];
            for stream in [&input, &output, &errors] {
                terminal::give(stream, user)?;
            }
            command.stdin(input).stdout(output).stderr(errors);
        }
    }
    // When the command closes its outputs, whoever reads them shall see it.
    let closed = dup2_stdout(&null).and_then(|()| dup2_stderr(&null));
    closed.during("let go of", || "the outputs of a command".to_owned())?;
    start(entry, command, confinement)
}

fn copy(fd: &impl AsFd) -> Result<OwnedFd, LabError> {
    fd.as_fd()
        .try_clone_to_owned()
        .during("duplicate", || "a standard stream".to_owned())
}

fn lost(error: WireError) -> LabError {
    LabError::Request(format!("talk to the lab's supervisor: {error}"))
}

fn tell(caller: &mut Connection, step: &Step) {
    if let Err(e) = caller.send(step, None) {
        tracing::debug!("nobody hears {step:?}: {e}");
    }
}

/// Moves this process into the container, and says who the command is to be.
fn go_in(entry: &Entry) -> Result<Confinement, LabError> {
    entry.spec.check()?;
    let [init, shim] = [entry.init, entry.shim].map(Pid::from_raw);
    let container = ProcessHandle::open_child(init, shim)?;
    let confinement = program::confinement(&entry.spec)?;
    attend::block_signals()?;
    umask(Mode::from_bits_truncate(0o022));
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    setns(&container, all).during("enter", || "a container".to_owned())?;
    Ok(confinement)
}

fn start(entry: &Entry, mut command: Command, confinement: Confinement) -> Result<Pid, LabError> {
    let child = run_confined(&mut command, confinement)
        .map_err(|e| program::not_started(&entry.spec, &e))?;
    attend::pid(&child)
}
