//! Where the files and volumes of a lab's Pods are: in memory, but of limited size, so that a container
//! that writes without end fills its lab and never the machine's `/run`.
//!
//! Mounted for the supervisor alone and for what it starts: it goes with them, however they end.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::node::mount_new;
use crate::error::{Context, LabError};

/// How much of the machine's memory all Pods of a lab may fill.
const LIMIT: &str = "size=10%,mode=700";

/// Makes the folder. Must come before the nodes get mount namespaces of their own.
pub(crate) fn mount(folder: &Path) -> Result<(), LabError> {
    mount_limited(folder, LIMIT)
}

fn mount_limited(folder: &Path, limit: &str) -> Result<(), LabError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.on("create", folder)?;
    mount_new("tmpfs", &folder.display().to_string(), Some(limit))
}

/// Lets go of it, so that the folder can be removed; what is still open stays until it is closed.
pub(crate) fn unmount(folder: &Path) -> Result<(), LabError> {
    match umount2(folder, MntFlags::MNT_DETACH) {
        // It was never mounted.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        other => other.on("unmount", folder),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;

    use seaway_testkit::isolate;

    use super::*;

    #[test]
    fn pods_fill_no_more_than_their_part_and_it_can_be_removed() {
        isolate();
        let lab = std::env::temp_dir().join(format!("seaway-pod-files-{}", std::process::id()));
        let folder = lab.join("pods");
        unmount(&folder).expect("nothing to do");
        mount_limited(&folder, "size=64k,mode=700").expect("mounted");
        let full = fs::write(folder.join("large"), vec![1; 1 << 20]);
        assert_eq!(full.expect_err("full").kind(), ErrorKind::StorageFull);
        let open = fs::File::open(folder.join("large")).expect("opened");
        unmount(&folder).expect("unmounted, though in use");
        unmount(&folder).expect("nothing left to do");
        fs::remove_dir_all(&lab).expect("removed");
        drop(open);
    }
}
