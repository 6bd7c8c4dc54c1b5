//! `/proc` and `/sys` of a container: its own processes and its Pod's network, no way to change the
//! kernel, and nothing that tells about the machine's secrets.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::MsFlags;
use seaway_kernel::container::{MountTree, Restriction};

use super::root::mount_new;
use crate::error::LabError;

/// What is for looking at only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What a container has no business with. Files read as empty, folders are empty.
const HIDDEN: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];

/// Mounts both below `root`. Some machines, being containers themselves, refuse `/sys`: it stays empty.
pub(super) fn mount_all(root: &Path) -> Result<(), LabError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_new("proc", &root.join("proc"), flags, None)?;
    let read_only = flags | MsFlags::MS_RDONLY;
    if let Err(e) = mount_new("sysfs", &root.join("sys"), read_only, None) {
        tracing::debug!("{e}");
    }
    Ok(())
}

/// Protects what is dangerous in both; the container's root has to be the root.
pub(super) fn protect() -> Result<(), LabError> {
    let read_only = Restriction {
        read_only: true,
        ..Restriction::default()
    };
    for path in READ_ONLY.map(Path::new) {
        if path.exists() {
            let tree = MountTree::copy_of(path, true)?;
            tree.restrict(read_only)?;
            tree.attach(path)?;
        }
    }
    HIDDEN.iter().try_for_each(|path| hide(Path::new(path)))
}

fn hide(path: &Path) -> Result<(), LabError> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(data) if data.is_dir() => {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let options = Some("mode=555,size=4k,nr_inodes=1");
            mount_new("tmpfs", path, flags | MsFlags::MS_RDONLY, options)
        }
        Ok(_) | Err(_) => Ok(MountTree::copy_of(Path::new("/dev/null"), false)?.attach(path)?),
    }
}
