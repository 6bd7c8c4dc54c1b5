//! Commands in a container that runs, beside its program: as its user, with its capabilities, in its
//! namespaces. Here is how one gets there, and the kind whose output is awaited and kept; the kind
//! that somebody is joined to is in [`session`](super::session).

use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::launch::{Started, pipe, stage};
use super::spec::ContainerSpec;
use super::wire::{self, Entry, Joined};
use crate::error::{Context, LabError};
use crate::supervisor::{Exit, Reaper};

/// As much of what a command in a container says as anybody gets to see; kubelet's limit for probes.
const MOST_OUTPUT: usize = 10 * 1024;

/// How a command in a container ended and what it wrote to both outputs, cut at 10 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecOutcome {
    pub(crate) exit: Exit,
    pub(crate) output: Vec<u8>,
}

/// Runs a command in a container and waits for its end; kills it if that takes longer than
/// `timeout`. `env` comes on top of the container's own.
pub(crate) fn exec(
    reaper: &Reaper,
    started: &Started,
    argv: &[String],
    env: &[(String, String)],
    timeout: Duration,
) -> Result<ExecOutcome, LabError> {
    let end = Instant::now() + timeout;
    let (output, output_end) = pipe()?;
    let copy = output_end
        .try_clone()
        .during("duplicate", || "a pipe".to_owned())?;
    let entering = Entering {
        argv,
        env,
        joined: None,
        outputs: [output_end.into(), copy.into()],
    };
    let entered = entering.start(reaper, started, timeout)?;
    match collect(output, &entered.ended, end) {
        Ok(Some(outcome)) => Ok(outcome),
        failed => {
            reaper.signal(entered.pid, Signal::SIGKILL);
            failed.and_then(|_| {
                Err(LabError::Late {
                    what: format!("the end of {} in the container", argv.join(" ")),
                    seconds: timeout.as_secs(),
                    hint: "; it was killed".to_owned(),
                })
            })
        }
    }
}

/// A command that is to go into a container.
pub(super) struct Entering<'a> {
    pub(super) argv: &'a [String],
    /// On top of the container's own.
    pub(super) env: &'a [(String, String)],
    pub(super) joined: Option<Joined>,
    /// Standard output and standard error, unless it is joined to a terminal.
    pub(super) outputs: [Stdio; 2],
}

/// A process that has been told to become a command in a container, or to stand for it outside.
pub(super) struct Entered {
    /// It ends as the command ends, by the same code or signal; when it is killed, so is the command.
    pub(super) pid: Pid,
    pub(super) ended: Ended,
    pub(super) conversation: UnixStream,
}

impl Entering<'_> {
    /// Starts it and tells it what to do.
    pub(super) fn start(
        self,
        reaper: &Reaper,
        started: &Started,
        timeout: Duration,
    ) -> Result<Entered, LabError> {
        let spec = ContainerSpec {
            argv: self.argv.to_vec(),
            env: [&started.spec.env, self.env].concat(),
            mounts: Vec::new(),
            ..(*started.spec).clone()
        };
        spec.check()?;
        let (conversation, theirs) = wire::conversation()?;
        let mut command = stage("enter");
        let [stdout, stderr] = self.outputs;
        command.stdin(theirs).stdout(stdout).stderr(stderr);
        let (ended, on_exit) = Ended::new()?;
        let spawned = started
            .place
            .run(|| reaper.spawn(&mut command, Box::new(on_exit)))?;
        drop(command);
        let (pid, _) = spawned.during("start", || "a command in a container".to_owned())?;
        let entry = Entry {
            init: started.init_pid,
            shim: started.pid.as_raw(),
            spec,
            joined: self.joined,
        };
        let told = conversation
            .set_write_timeout(Some(timeout.max(Duration::from_millis(1))))
            .and_then(|()| wire::send(&conversation, &entry))
            .during("tell", || "a command in a container what to do".to_owned());
        if told.is_err() {
            reaper.signal(pid, Signal::SIGKILL);
        }
        told.map(|()| Entered {
            pid,
            ended,
            conversation,
        })
    }
}

/// Reads what a command says until it ends; `None` if that takes too long. What it has left running
/// in the background may hold its output open: that is not waited for.
fn collect(
    output: PipeReader,
    ended: &Ended,
    end: Instant,
) -> Result<Option<ExecOutcome>, LabError> {
    let object = || "the output of a command in a container".to_owned();
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).during("prepare", object)?;
    let mut kept = Vec::new();
    let mut open = true;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(ended.pipe.as_fd(), PollFlags::POLLIN)];
        if open {
            fds.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, wait) {
            Ok(0) if left.is_zero() => return Ok(None),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e).during("wait for", object),
        }
        // In this order: what was written before the end is read after it.
        let exit = ended.exit.try_recv().ok();
        open = open && drain(&output, &mut kept);
        if let Some(exit) = exit {
            return Ok(Some(ExecOutcome { exit, output: kept }));
        }
    }
}

/// Reads all that is there, keeping no more than is allowed; tells whether more can come.
fn drain(mut output: &PipeReader, kept: &mut Vec<u8>) -> bool {
    let mut part = [0; 4096];
    // A command that writes without end is not followed for ever.
    for _ in 0..64 {
        match output.read(&mut part) {
            Ok(0) => return false,
            Ok(length) => {
                let room = MOST_OUTPUT.saturating_sub(kept.len()).min(length);
                kept.extend_from_slice(&part[..room]);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return e.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// The end of a process, as something that can be polled.
pub(super) struct Ended {
    pub(super) exit: Receiver<Exit>,
    pub(super) pipe: PipeReader,
}

impl Ended {
    pub(super) fn new() -> Result<(Ended, impl FnOnce(Pid, Exit) + Send + 'static), LabError> {
        let (tell, exit) = mpsc::channel();
        let (pipe, write_end) = pipe()?;
        let on_exit = move |_, exit| {
            let _ = tell.send(exit);
            drop::<PipeWriter>(write_end);
        };
        Ok((Ended { exit, pipe }, on_exit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: Pid = Pid::from_raw(7);

    #[test]
    fn what_a_command_says_is_cut_and_its_background_is_not_waited_for() {
        use std::io::Write;
        let (output, mut held_open) = pipe().expect("makes");
        let (ended, on_exit) = Ended::new().expect("makes");
        held_open.write_all(&[b'x'; 20_000]).expect("fits");
        on_exit(PID, Exit::Code(0));
        let end = Instant::now() + Duration::from_secs(600);
        let outcome = collect(output, &ended, end)
            .expect("reads")
            .expect("in time");
        assert_eq!(outcome.exit, Exit::Code(0));
        assert_eq!(outcome.output.len(), MOST_OUTPUT);
    }

    #[test]
    fn a_command_that_does_not_end_is_given_up() {
        let (output, _held_open) = pipe().expect("makes");
        let (ended, _on_exit) = Ended::new().expect("makes");
        let end = Instant::now() + Duration::from_millis(5);
        assert_eq!(collect(output, &ended, end).expect("waits"), None);
    }
}
