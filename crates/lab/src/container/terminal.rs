//! A terminal of a container's own: made by the container's `/dev/pts`, so that programs inside find
//! it by its name, and nothing of a terminal outside is ever in their hands.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::error::{Context, LabError};

/// Nobody in a container can put another file here.
const MAKER: &str = "/dev/pts/ptmx";

/// The two sides of a terminal.
pub(super) struct Pair {
    /// For whoever types and looks.
    pub(super) outside: OwnedFd,
    /// For programs.
    pub(super) inside: OwnedFd,
}

/// Makes a terminal for `user`; the container's root has to be the root.
pub(super) fn make(rows: u16, columns: u16, user: u32) -> Result<Pair, LabError> {
    let object = || "a terminal of a container".to_owned();
    let outside = open()?;
    unlockpt(&outside).during("unlock", object)?;
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&outside, size).during("set the size of", object)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let inside = ioctl_tiocgptpeer(&outside, flags).during("open", object)?;
    give(&inside, user)?;
    Ok(Pair { outside, inside })
}

fn open() -> Result<OwnedFd, LabError> {
    let path = Path::new(MAKER);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NOFOLLOW)
        .open(path)
        .on("open", path)?;
    let found = fstatfs(&file).on("look at", path)?.filesystem_type();
    match found == DEVPTS_SUPER_MAGIC {
        true => Ok(file.into()),
        false => Err(LabError::Request(format!(
            "{MAKER} of the container makes no terminals"
        ))),
    }
}

/// Makes the user the owner of a terminal or a pipe, who could not open it again by its name in
/// `/proc/self/fd` otherwise.
pub(super) fn give(fd: &OwnedFd, user: u32) -> Result<(), LabError> {
    nix::unistd::fchown(fd, Some(user.into()), None).during("give", || {
        "a standard stream to a container's user".to_owned()
    })
}
