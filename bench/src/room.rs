//! A room: a network namespace and a mount namespace with a `/run` of its own, as a node has.
//!
//! Work runs on threads that move in; what they start is born there. A room is gone with its last
//! descriptor and process, so nothing has to be cleaned up, whichever way this program ends.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use seaway_kernel::netns::Netns;

use crate::wire;

/// The two namespaces.
#[derive(Debug)]
pub(crate) struct Room {
    netns: Netns,
    mounts: File,
}

impl Room {
    /// A new room in which only the loopback device is up.
    pub(crate) fn new() -> Result<Room> {
        let netns = Netns::create()?;
        wire::loopback_up(&netns)?;
        let mounts = netns.run(new_mounts)??;
        Ok(Room { netns, mounts })
    }

    /// Its network namespace.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs work on a thread of its own inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || self.move_in().and_then(|()| work());
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Moves the calling thread inside for good.
    pub(crate) fn move_in(&self) -> Result<()> {
        self.netns.switch_here()?;
        unshare(CloneFlags::CLONE_FS).context("taking a root folder of this thread's own")?;
        enter_mounts(&self.mounts)
    }

    /// Paths under which another process can open the two namespaces while this one lives.
    pub(crate) fn paths(&self) -> [PathBuf; 2] {
        use std::os::fd::AsFd;
        [self.netns.as_fd().as_raw_fd(), self.mounts.as_raw_fd()].map(path_of)
    }
}

/// Moves the calling thread, whose root folder is its own, to a mount namespace.
pub(crate) fn enter_mounts(mounts: &File) -> Result<()> {
    setns(mounts, CloneFlags::CLONE_NEWNS).context("entering a mount namespace")
}

/// The path under which another process can open a descriptor of this one.
pub(crate) fn path_of(fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()))
}

fn new_mounts() -> Result<File> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("making the mounts private")?;
    mount(Some("bench"), "/run", Some("tmpfs"), MsFlags::empty(), none)
        .context("mounting a /run of its own")?;
    File::open("/proc/thread-self/ns/mnt").context("opening the mount namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_has_its_own_network_and_run_folder() {
        let room = Room::new().expect("the tests run as root");
        let mark = "/run/seaway-bench-room-test";
        room.run(|| Ok(std::fs::write(mark, "x")?))
            .expect("/run can be written");
        assert!(
            !std::path::Path::new(mark).exists(),
            "not in the host's /run"
        );
        let found = room.run(|| Ok((std::path::Path::new(mark).exists(), Netns::current()?)));
        let (kept, inside) = found.expect("it still stands");
        assert!(kept, "the room keeps its /run");
        let here = Netns::current()
            .and_then(|n| n.identity())
            .expect("it exists");
        assert_ne!(inside.identity().expect("it exists"), here);
    }
}
