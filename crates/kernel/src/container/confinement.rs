//! The last steps of a process before it becomes a program that is not trusted, in the one order
//! that works, each a system call that allocates nothing.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::sys::signal::SigSet;

use super::capabilities::CapabilitySet;
use super::process::check;

/// The first version of the capability calls that knows 64 of them.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Who a program runs as and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// What root may do; other users may do none of it, but programs with file capabilities would be
    /// bounded by it.
    pub capabilities: CapabilitySet,
    /// Whether its standard input is a terminal, which its session is to have as its own: keys that
    /// interrupt then reach it, and it hears when the terminal is gone.
    pub terminal: bool,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Confinement {
    /// Confines the calling process for good; it has to have one thread only.
    ///
    /// 1. Nobody may look into it while it is still on its way: its executable is not the program's yet.
    /// 2. A session of its own, with its terminal if it has one, a mask under which files are not writable for others, and all signals.
    /// 3. What it cannot get back: the bounding set, groups, user, capabilities, no new privileges.
    /// 4. It dies with the thread that started it. A change of user would undo that, so it is last.
    /// 5. It keeps no descriptor but the standard ones.
    pub fn apply(&self) -> io::Result<()> {
        control(libc::PR_SET_DUMPABLE, 0, 0)?;
        new_session()?;
        if self.terminal {
            take_terminal()?;
        }
        // SAFETY: only sets the process's mask.
        unsafe { libc::umask(0o022) };
        SigSet::empty().thread_set_mask()?;
        self.drop_bounding()?;
        self.become_user()?;
        self.set_capabilities()?;
        control(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
            0,
        )?;
        control(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
        control(libc::PR_SET_DUMPABLE, 0, 0)?;
        control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)?;
        close_on_exec()
    }

    fn drop_bounding(&self) -> io::Result<()> {
        for number in 0..64 {
            if self.capabilities.has_number(number) {
                continue;
            }
            match control(libc::PR_CAPBSET_DROP, u64::from(number), 0) {
                // The kernel knows no capability of this number, and so none above it.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
                result => result?,
            }
        }
        Ok(())
    }

    fn become_user(&self) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of a slice. Raw calls, because those of the
        // C library look for other threads to do the same.
        check(unsafe {
            libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr())
        })?;
        let group = self.group;
        // SAFETY: takes three numbers.
        check(unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) })?;
        let user = self.user;
        // SAFETY: takes three numbers.
        check(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) })
    }

    fn set_capabilities(&self) -> io::Result<()> {
        let set = match self.user {
            0 => self.capabilities,
            _ => CapabilitySet::default(),
        };
        let header = Header {
            version: CAPABILITY_VERSION,
            pid: 0,
        };
        let data = set.halves().map(|half| Data {
            effective: half,
            permitted: half,
            inheritable: 0,
        });
        // SAFETY: header and data have the layout of the kernel's third version, and outlive the call.
        check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
    }
}

/// Starts a command that confines itself before it becomes the program. To be called by a process
/// with one thread.
pub fn run_confined(command: &mut Command, confinement: Confinement) -> io::Result<Child> {
    // SAFETY: the closure only makes system calls; it neither allocates nor takes locks.
    unsafe { command.pre_exec(move || confinement.apply()) };
    command.spawn()
}

fn control(option: libc::c_int, first: u64, second: u64) -> io::Result<()> {
    // SAFETY: none of the options used here takes a pointer.
    check(unsafe { libc::prctl(option, first, second, 0u64, 0u64) }.into())
}

/// The leader of a group cannot start a session; it leads one already or nobody minds.
fn new_session() -> io::Result<()> {
    match nix::unistd::setsid() {
        Ok(_) | Err(Errno::EPERM) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Makes standard input the terminal of the session, unless it is another session's.
fn take_terminal() -> io::Result<()> {
    // SAFETY: takes a number, which says that nobody is to be robbed.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }.into())
}

fn close_on_exec() -> io::Result<()> {
    // SAFETY: takes numbers; marks descriptors only, so that nothing in use is closed under anybody.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
}
