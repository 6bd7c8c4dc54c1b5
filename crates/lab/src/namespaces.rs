//! Sets of namespaces and the way into them, for code and for the processes that it starts.
//!
//! Code enters on threads of its own only: a thread that has been inside ends there.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;
use seaway_kernel::netns::Netns;

use crate::error::{Context, LabError};

/// What a process of a node or a Pod sees of the world.
#[derive(Debug)]
pub struct Namespaces {
    /// Links, addresses, routes.
    pub net: Netns,
    /// Files.
    pub mount: OwnedFd,
    /// The host name.
    pub uts: OwnedFd,
    /// System V shared memory and message queues; `None` keeps those of the caller.
    pub ipc: Option<OwnedFd>,
    /// Process ids of children; `None` keeps those of the caller.
    pub pid: Option<OwnedFd>,
}

impl Namespaces {
    /// Runs `work` inside, on a thread of its own. Processes that it starts are born inside; it can
    /// start no threads if there is a process namespace to join.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        on_new_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    fn enter(&self) -> Result<(), LabError> {
        self.net.switch_here()?;
        unshare(CloneFlags::CLONE_FS).during("unshare", || "the working directory".to_owned())?;
        join(&self.mount, CloneFlags::CLONE_NEWNS, "mount")?;
        join(&self.uts, CloneFlags::CLONE_NEWUTS, "host name")?;
        if let Some(ipc) = &self.ipc {
            join(ipc, CloneFlags::CLONE_NEWIPC, "IPC")?;
        }
        if let Some(pid) = &self.pid {
            join(pid, CloneFlags::CLONE_NEWPID, "process")?;
        }
        unblock_signals()
    }
}

fn join(fd: &OwnedFd, kind: CloneFlags, name: &'static str) -> Result<(), LabError> {
    setns(fd, kind).during("enter", || format!("a {name} namespace"))
}

/// Children inherit the mask of the thread that starts them, and want to be told to end.
fn unblock_signals() -> Result<(), LabError> {
    SigSet::empty()
        .thread_set_mask()
        .during("unblock", || "signals".to_owned())
}

/// The calling thread's own namespace of a kind, for example `mnt`.
pub(crate) fn own(kind: &str) -> Result<OwnedFd, LabError> {
    let path = format!("/proc/thread-self/ns/{kind}");
    File::open(&path).map(OwnedFd::from).during("open", || path)
}

/// Runs `work` on a thread that ends with it.
pub(crate) fn on_new_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
