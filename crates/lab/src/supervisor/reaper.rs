//! The parent of every process of the lab. As the first process of its namespace, the supervisor
//! also inherits orphans; whatever ends is collected here and told to whoever started it.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(Signal),
}

impl Exit {
    pub(crate) fn is_success(self) -> bool {
        self == Exit::Code(0)
    }

    /// As shells have it: 128 and more for a signal.
    pub(crate) fn shell_code(self) -> u8 {
        let code = match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal as i32,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "killed by {signal}"),
        }
    }
}

type OnExit = Box<dyn FnOnce(Pid, Exit) + Send>;

/// Starts, signals and collects processes.
pub(crate) struct Reaper {
    children: Mutex<HashMap<Pid, OnExit>>,
    started: Condvar,
}

impl Reaper {
    /// Starts collecting. There must be only one in a process.
    pub(crate) fn start() -> io::Result<Arc<Reaper>> {
        let reaper = Arc::new(Reaper {
            children: Mutex::default(),
            started: Condvar::new(),
        });
        let collector = reaper.clone();
        thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || collector.collect_for_ever())?;
        Ok(reaper)
    }

    /// Starts a process in the calling thread's namespaces; `on_exit` is told how it ends.
    ///
    /// The lock is held meanwhile: a start that fails has to collect its own child.
    pub(crate) fn spawn(&self, command: &mut Command, on_exit: OnExit) -> io::Result<(Pid, Child)> {
        let mut children = self.lock();
        let child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        children.insert(pid, on_exit);
        self.started.notify_all();
        Ok((pid, child))
    }

    /// Sends a signal, if the process has not been collected yet (its number may be another's then).
    pub(crate) fn signal(&self, pid: Pid, signal: Signal) {
        let children = self.lock();
        if children.contains_key(&pid)
            && let Err(e) = kill(pid, signal)
        {
            tracing::warn!("send {signal} to process {pid}: {e}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, OnExit>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect_for_ever(&self) {
        loop {
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(_) => self.collect(),
                Err(Errno::ECHILD) => self.wait_for_children(),
                Err(_) => {}
            }
        }
    }

    fn wait_for_children(&self) {
        let children = self.lock();
        // Children may come and go while nobody looks; then the next one wakes us.
        drop(
            self.started
                .wait_while(children, |children| children.is_empty()),
        );
    }

    /// Collects all that have ended.
    fn collect(&self) {
        let mut ended = Vec::new();
        let mut children = self.lock();
        while let Some((pid, exit)) = next_ended() {
            ended.extend(children.remove(&pid).map(|on_exit| (on_exit, pid, exit)));
        }
        drop(children);
        ended
            .into_iter()
            .for_each(|(on_exit, pid, exit)| on_exit(pid, exit));
    }
}

fn next_ended() -> Option<(Pid, Exit)> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, code)) => Some((pid, Exit::Code(code))),
        Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid, Exit::Signal(signal))),
        _ => None,
    }
}
