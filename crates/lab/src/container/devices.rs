//! `/dev` of a container: the few devices that every program may use, terminals of its own, shared
//! memory. The devices are mounts of this machine's, read-only: nobody can change who may use them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::MsFlags;
use seaway_kernel::container::{MountTree, Restriction};

use super::root::{mount_new, place};
use crate::error::{Context, LabError};

const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Devices that have been taken and wait to be attached.
pub(super) struct Devices(Vec<(&'static str, MountTree)>);

impl Devices {
    /// Takes the machine's.
    pub(super) fn gather() -> Result<Devices, LabError> {
        let take = |name| {
            let tree = MountTree::copy_of(&Path::new("/dev").join(name), false)?;
            tree.restrict(Restriction {
                read_only: true,
                no_setuid: true,
                no_devices: false,
                no_programs: true,
            })?;
            Ok((name, tree))
        };
        DEVICES
            .into_iter()
            .map(take)
            .collect::<Result<_, LabError>>()
            .map(Devices)
    }

    /// Furnishes `dev`.
    pub(super) fn place(&self, dev: &Path) -> Result<(), LabError> {
        let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount_new("tmpfs", dev, plain, Some("mode=755,size=64k"))?;
        for (name, tree) in &self.0 {
            place(tree, &dev.join(name))?;
        }
        for (name, target) in LINKS {
            let path = dev.join(name);
            symlink(target, &path).on("create", &path)?;
        }
        for name in ["pts", "shm", "mqueue"] {
            let path = dev.join(name);
            fs::create_dir(&path).on("create", &path)?;
        }
        let terminals = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let options = Some("newinstance,ptmxmode=0666,mode=0620");
        mount_new("devpts", &dev.join("pts"), terminals, options)?;
        mount_new("tmpfs", &dev.join("shm"), plain, Some("mode=1777,size=64m"))?;
        // Not every kernel has message queues.
        if let Err(e) = mount_new("mqueue", &dev.join("mqueue"), plain, None) {
            tracing::debug!("{e}");
        }
        Ok(())
    }
}
