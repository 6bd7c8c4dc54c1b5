//! Network namespaces, held by file descriptor.
//!
//! A path can come to name another namespace; a descriptor cannot. Entering is done only on
//! threads made for it, or on a thread that this module brings back ([`Netns::enter`]), so that no
//! code ever runs in a namespace by accident. Nothing here knows what a Pod is.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::fstat;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use serde::{Deserialize, Serialize};

use crate::error::{Context, KernelError};

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

/// Which namespace, as long as it lives. Inode numbers are used again after a namespace's end,
/// so a stored identity also needs the [cookie](Netns::cookie).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetnsId {
    /// Device of the namespace file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl NetnsId {
    /// The identity of the namespace behind a descriptor.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<NetnsId, KernelError> {
        let stat = fstat(fd).during("stat", || "a namespace descriptor".to_owned())?;
        Ok(NetnsId {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Netns, KernelError> {
        Netns::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace that a file stands for, for example `/run/netns/x` or `/proc/1/ns/net`.
    pub fn open(path: &Path) -> Result<Netns, KernelError> {
        let file =
            File::open(path).during("open network namespace", || path.display().to_string())?;
        Netns::from_fd(file.into(), || path.display().to_string())
    }

    /// Takes a descriptor that somebody passed, after checking that it is a network namespace.
    pub fn from_fd(fd: OwnedFd, name: impl Fn() -> String) -> Result<Netns, KernelError> {
        let kind = fstatfs(&fd).during("look at", &name)?;
        let not_a_namespace = || std::io::Error::other("this is not a network namespace");
        if kind.filesystem_type() != NSFS_MAGIC || !is_network(fd.as_fd()) {
            return Err(KernelError::new("use", name(), not_a_namespace()));
        }
        Ok(Netns { fd })
    }

    /// The network namespace of a process.
    pub fn of_pid(pid: u32) -> Result<Netns, KernelError> {
        Netns::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// Makes a new, empty namespace.
    pub fn create() -> Result<Netns, KernelError> {
        on_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .during("create network namespace", || "(new)".to_owned())?;
            Netns::current()
        })
    }

    /// Another descriptor of the same namespace.
    pub fn try_clone(&self) -> Result<Netns, KernelError> {
        let fd = self
            .fd
            .try_clone()
            .during("duplicate", || "a namespace descriptor".to_owned())?;
        Ok(Netns { fd })
    }

    /// Runs `work` on a thread of its own inside the namespace. Processes and threads that it
    /// starts are born there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, KernelError> {
        on_new_thread(|| {
            self.switch_here()?;
            Ok(work())
        })
    }

    /// Runs `work` on the calling thread, moved into the namespace for as long as it takes.
    ///
    /// Costs two system calls instead of a thread. Aborts the process if the way back fails,
    /// because a thread in the wrong namespace would change somebody else's network.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> Result<T, KernelError> {
        struct WayBack(Netns);
        impl Drop for WayBack {
            fn drop(&mut self) {
                if setns(&self.0.fd, CloneFlags::CLONE_NEWNET).is_err() {
                    std::process::abort();
                }
            }
        }
        let _way_back = WayBack(Netns::current()?);
        self.switch_here()?;
        Ok(work())
    }

    /// Moves the calling thread into the namespace for good.
    pub fn switch_here(&self) -> Result<(), KernelError> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET).during("enter network namespace", || {
            format!("fd {}", self.fd.as_raw_fd())
        })
    }

    /// Identity of the namespace among those that live now.
    pub fn identity(&self) -> Result<NetnsId, KernelError> {
        NetnsId::of(self.fd.as_fd())
    }

    /// Gives the namespace a name in the file system, as container runtimes do: a file at `path`
    /// that it is bind-mounted on.
    pub fn pin(&self, path: &Path) -> Result<(), KernelError> {
        let name = || path.display().to_string();
        File::create(path).during("create", name)?;
        let source = format!("/proc/thread-self/fd/{}", self.fd.as_raw_fd());
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(
            Some(source.as_str()),
            path,
            None::<&str>,
            flags,
            None::<&str>,
        )
        .during("bind a network namespace to", name)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Takes a name that [`Netns::pin`] gave away again. A name that is gone already is no error.
pub fn unpin(path: &Path) -> Result<(), KernelError> {
    let name = || path.display().to_string();
    match nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(e) => return Err(KernelError::new("unmount", name(), e)),
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(KernelError::new("remove", name(), e))
        }
        _ => Ok(()),
    }
}

fn is_network(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: NS_GET_NSTYPE takes no argument and only reads from a valid descriptor.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE as libc::Ioctl) };
    kind == libc::CLONE_NEWNET
}

fn on_new_thread<T: Send>(
    work: impl FnOnce() -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
