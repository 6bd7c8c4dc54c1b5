//! Protects this executable from containers. A program in a container can come to hold the executable
//! of a process that was on its way into it, and would try to write to that from inside. It must not
//! work, so everything on that way runs from a read-only mount.
//!
//! A lab's nodes have such a mount; elsewhere one is made here.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use seaway_kernel::container::{MountTree, Restriction};

use crate::error::{Context, LabError};

/// Set in the second try, so that there is no third.
const TRIED: &str = "SEAWAY_FROM_READ_ONLY";

/// Sees to it that this process runs from a read-only mount; starts it again from one if not.
pub(super) fn ensure() -> Result<(), LabError> {
    let started_from = statvfs("/proc/self/exe");
    let flags = started_from
        .during("look at", || "this executable".to_owned())?
        .flags();
    if flags.contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    if std::env::var_os(TRIED).is_some() {
        return Err(LabError::Request(
            "this executable cannot be protected from containers: a read-only mount of it is writable"
                .to_owned(),
        ));
    }
    let path = this_executable()?;
    own_mounts()?;
    let protected = MountTree::copy_of(&path, false)?;
    protected.restrict(Restriction {
        read_only: true,
        no_setuid: true,
        no_devices: true,
        no_programs: false,
    })?;
    protected.attach(&path)?;
    let error = Command::new(&path)
        .args(std::env::args_os().skip(1))
        .env(TRIED, "1")
        .exec();
    Err(error).on("start again", &path)
}

/// By its path: `/proc/self/exe` leads to a mount of the namespace that it was started in.
pub(super) fn this_executable() -> Result<PathBuf, LabError> {
    std::env::current_exe().during("find", || "this executable".to_owned())
}

/// Mounts that are this process's own.
pub(super) fn own_mounts() -> Result<(), LabError> {
    let object = || "a container".to_owned();
    unshare(CloneFlags::CLONE_NEWNS).during("make a mount namespace for", object)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .during("make mounts private for", object)
}
