//! The Pod's network namespace, opened from `CNI_NETNS`. A descriptor names the namespace for good;
//! a path may come to name another before the agent looks at it.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstat, fstatfs, stat};
use seaway_cni::spec::{CniError, code};

/// The magic number of the namespace file system (`NSFS_MAGIC`).
const NSFS: u64 = 0x6e73_6673;
const OWN: &str = "/proc/self/ns/net";

/// Opens the namespace for ADD or CHECK.
pub(crate) fn open(path: &str) -> Result<OwnedFd, CniError> {
    look(path).map_err(|problem| {
        let msg = format!("CNI_NETNS {path} must be a network namespace, but {problem}");
        CniError::new(code::INVALID_ENVIRONMENT, msg)
    })
}

/// Opens the namespace for DEL, which does without it when it is gone (K5).
pub(crate) fn open_if_there(path: Option<&str>) -> Option<OwnedFd> {
    path.and_then(|path| look(path).ok())
}

fn look(path: &str) -> Result<OwnedFd, String> {
    // A pipe must not hold us, a terminal not become ours.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| format!("cannot be opened: {error}"))?;
    let system = fstatfs(&fd).map_err(|error| format!("cannot be looked at: {error}"))?;
    if u64::try_from(system.f_type) != Ok(NSFS) {
        return Err("is none: was it deleted or never mounted?".to_owned());
    }
    match is_own(&fd) {
        true => Err("is the node's own".to_owned()),
        false => Ok(fd),
    }
}

/// Whether it is the namespace that we run in: attaching that would break the node.
fn is_own(fd: &OwnedFd) -> bool {
    match (fstat(fd), stat(OWN)) {
        (Ok(theirs), Ok(ours)) => (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino),
        _ => false,
    }
}
