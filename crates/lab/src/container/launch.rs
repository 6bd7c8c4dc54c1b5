//! The supervisor's side: starts containers and sends them signals.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use seaway_kernel::container::ProcessHandle;

use super::log::{self, LogTarget};
use super::spec::ContainerSpec;
use super::wire::{self, Launch, Report};
use crate::error::{Context, LabError};
use crate::namespaces::Namespaces;
use crate::node_files::program;
use crate::supervisor::{Exit, Reaper, search_path};

/// How long a container's way to its program may take on a machine that is busy.
pub(super) const START: Duration = Duration::from_secs(60);

/// A container whose program has been started.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    /// The shim. It ends as the program ends, by the same code or signal.
    pub(crate) pid: Pid,
    /// The program, unless it had ended by the time that it was told of.
    init: Option<Arc<ProcessHandle>>,
    pub(super) init_pid: i32,
    pub(super) spec: Arc<ContainerSpec>,
    pub(super) place: Arc<Namespaces>,
}

impl Started {
    /// Whether the program has ended, or does so before `limit`.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        let Some(init) = &self.init else {
            return true;
        };
        let mut fds = [PollFd::new(init.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        matches!(poll(&mut fds, limit), Ok(1..))
    }
}

/// Starts a container in the namespaces of its Pod and node, and waits until its program runs.
///
/// `on_exit` is called once its outputs have been written to the log, and only if this succeeds; it
/// may be called before this returns. It must not block: other containers' outputs wait for it.
pub(crate) fn start(
    reaper: &Reaper,
    place: &Arc<Namespaces>,
    spec: &ContainerSpec,
    log: LogTarget,
    on_exit: impl FnOnce(Pid, Exit) + Send + 'static,
) -> Result<Started, LabError> {
    spec.check()?;
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let streams = log::follow(log, stdout.into(), stderr.into())?;
    let (ours, theirs) = wire::conversation()?;
    let mut command = stage("run");
    command.stdin(theirs).stdout(stdout_end).stderr(stderr_end);
    let gate = Gate::new(on_exit);
    let told = gate.clone();
    let ended = move |pid, exit| streams.finish(move || told.ended(pid, exit));
    let spawned = place.run(|| reaper.spawn(&mut command, Box::new(ended)))?;
    // With it go this process's copies of what the container writes to.
    drop(command);
    let (pid, _) = spawned.during("start", || "a container's shim".to_owned())?;
    match launch(&ours, pid, place, spec) {
        Ok(started) => {
            gate.open();
            Ok(started)
        }
        Err(error) => {
            reaper.signal(pid, Signal::SIGKILL);
            Err(error)
        }
    }
}

fn launch(
    shim: &UnixStream,
    pid: Pid,
    place: &Arc<Namespaces>,
    spec: &ContainerSpec,
) -> Result<Started, LabError> {
    let tell = || "a container's shim what to do".to_owned();
    shim.set_read_timeout(Some(START)).during("tell", tell)?;
    shim.set_write_timeout(Some(START)).during("tell", tell)?;
    let order = Launch {
        spec: spec.clone(),
        own_ipc: place.ipc.is_none(),
    };
    wire::send(shim, &order).during("tell", tell)?;
    let report = wire::receive(shim).during("wait for", || {
        format!("the start of {}", spec.argv.join(" "))
    })?;
    match report {
        Report::Failed { reason } => Err(LabError::Request(reason)),
        Report::Started { init } => Ok(Started {
            pid,
            init: ProcessHandle::open_child(Pid::from_raw(init), pid)
                .ok()
                .map(Arc::new),
            init_pid: init,
            spec: Arc::new(spec.clone()),
            place: place.clone(),
        }),
    }
}

/// Sends a signal to the container's program. That is the first process of its namespace: it gets
/// no signal that it has not asked for, but `SIGKILL` and `SIGSTOP`.
pub(crate) fn signal(reaper: &Reaper, started: &Started, signal: Signal) {
    match started.init.as_ref().map(|init| init.signal(signal)) {
        Some(Ok(_)) => {}
        // The shim passes on what it can.
        Some(Err(_)) | None => reaper.signal(started.pid, signal),
    }
}

pub(super) fn pipe() -> Result<(PipeReader, PipeWriter), LabError> {
    std::io::pipe().during("make", || "a pipe".to_owned())
}

pub(super) fn stage(name: &str) -> Command {
    let mut command = Command::new(program("seaway"));
    command.args(["lab", "container", name]);
    command.env("PATH", search_path());
    command
}

type OnExit = Box<dyn FnOnce(Pid, Exit) + Send>;

/// Tells of an end only after the start has been told of, and not if that failed.
#[derive(Clone)]
struct Gate(Arc<Mutex<Waiting>>);

struct Waiting {
    open: bool,
    on_exit: Option<OnExit>,
    ended: Option<(Pid, Exit)>,
}

impl Gate {
    fn new(on_exit: impl FnOnce(Pid, Exit) + Send + 'static) -> Gate {
        Gate(Arc::new(Mutex::new(Waiting {
            open: false,
            on_exit: Some(Box::new(on_exit)),
            ended: None,
        })))
    }

    fn open(&self) {
        let mut waiting = self.lock();
        waiting.open = true;
        Gate::pass(waiting);
    }

    fn ended(&self, pid: Pid, exit: Exit) {
        let mut waiting = self.lock();
        waiting.ended = Some((pid, exit));
        Gate::pass(waiting);
    }

    fn pass(mut waiting: MutexGuard<'_, Waiting>) {
        if !waiting.open {
            return;
        }
        if let Some((pid, exit)) = waiting.ended.take()
            && let Some(on_exit) = waiting.on_exit.take()
        {
            drop(waiting);
            on_exit(pid, exit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    const PID: Pid = Pid::from_raw(7);

    fn gate() -> (Gate, Receiver<(Pid, Exit)>) {
        let (tell, told) = mpsc::channel();
        let gate = Gate::new(move |pid, exit| {
            let _ = tell.send((pid, exit));
        });
        (gate, told)
    }

    #[test]
    fn an_end_is_told_once_and_after_the_start() {
        let (early, told) = gate();
        early.ended(PID, Exit::Code(3));
        assert!(told.try_recv().is_err(), "the start is not known yet");
        early.open();
        assert_eq!(told.try_recv(), Ok((PID, Exit::Code(3))));
        early.ended(PID, Exit::Code(4));
        assert!(told.try_recv().is_err());

        let (late, told) = gate();
        late.open();
        late.ended(PID, Exit::Signal(Signal::SIGKILL));
        assert_eq!(told.try_recv(), Ok((PID, Exit::Signal(Signal::SIGKILL))));
    }
}
