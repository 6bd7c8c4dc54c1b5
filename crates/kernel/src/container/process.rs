//! A process held by descriptor: unlike a number, that never comes to name another one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::unistd::Pid;

use crate::error::{Context, KernelError};

/// A process, alive or not.
#[derive(Debug)]
pub struct ProcessHandle {
    fd: OwnedFd,
}

impl ProcessHandle {
    /// The process that has this number now.
    pub fn open(pid: Pid) -> Result<ProcessHandle, KernelError> {
        // SAFETY: takes two numbers and gives a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let fd = descriptor(fd).during("open process", || pid.to_string())?;
        Ok(ProcessHandle { fd })
    }

    /// The only child of `parent` that has this number. A process that has only ever had one child
    /// gives no number twice, so this is exact.
    pub fn open_child(pid: Pid, parent: Pid) -> Result<ProcessHandle, KernelError> {
        let handle = ProcessHandle::open(pid)?;
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).during("read", || path.clone())?;
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let found = parent_in(&stat).filter(|found| *found == parent.as_raw());
        found.ok_or_else(gone).during("open", || {
            format!("process {pid}, child of process {parent}")
        })?;
        Ok(handle)
    }

    /// Sends a signal. That the process has ended is no error; tells whether it was there.
    pub fn signal(&self, signal: Signal) -> Result<bool, KernelError> {
        let none: *const libc::siginfo_t = std::ptr::null();
        // SAFETY: the descriptor is valid as long as `self` is; no information is passed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal as libc::c_int,
                none,
                0,
            )
        };
        match check(result) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            result => result
                .map(|()| true)
                .during("send", || format!("{signal} to a process")),
        }
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Ends this process by a signal, as another one has ended, so that whoever waits cannot tell the
/// difference; without leaving a core file.
pub fn die_by(signal: Signal) -> ! {
    let _ = nix::sys::prctl::set_dumpable(false);
    // SAFETY: sets no handler but the default one, which a process always has at hand.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    let _ = nix::sys::signal::raise(signal);
    let _ = SigSet::all().thread_unblock();
    // A signal that does not end processes by default.
    std::process::exit(128 + signal as i32)
}

/// The parent's number. The command's name, in parentheses, may contain anything.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The outcome of a raw system call.
pub(super) fn check(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The descriptor that a raw system call made.
pub(super) fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    check(result)?;
    let fd = libc::c_int::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for this caller alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn pid(number: u32) -> Pid {
        Pid::from_raw(i32::try_from(number).expect("small"))
    }

    #[test]
    fn a_child_is_found_signalled_and_not_taken_for_another() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("starts");
        let me = pid(std::process::id());
        let handle = ProcessHandle::open_child(pid(child.id()), me).expect("is there");
        assert!(ProcessHandle::open_child(pid(child.id()), Pid::from_raw(1)).is_err());
        assert!(handle.signal(Signal::SIGKILL).expect("is sent"));
        let status = child.wait().expect("ends");
        assert!(!status.success());
        assert!(!handle.signal(Signal::SIGKILL).expect("no error"));
    }

    #[test]
    fn a_parent_is_read_past_any_name() {
        assert_eq!(parent_in("7 (a) b) c) S 5 7 7"), Some(5));
        assert_eq!(parent_in("7"), None);
    }
}
