//! Volumes, and single files like `/etc/hosts`: what a container sees of its node.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use seaway_kernel::container::{MountTree, Restriction};

use super::root::place;
use super::spec::BindMount;
use crate::error::{Context, LabError};

/// Volumes that have been taken from the node and wait to be attached.
pub(super) struct Volumes<'a>(Vec<(MountTree, &'a Path)>);

impl<'a> Volumes<'a> {
    /// Takes them from the node.
    pub(super) fn gather(mounts: &'a [BindMount]) -> Result<Volumes<'a>, LabError> {
        let gathered = mounts
            .iter()
            .map(|mount| Ok((take(mount)?, &*mount.target)));
        gathered.collect::<Result<_, LabError>>().map(Volumes)
    }

    /// Attaches them; the container's root has to be the root.
    pub(super) fn place(&self) -> Result<(), LabError> {
        self.0
            .iter()
            .try_for_each(|(tree, target)| place(tree, target))
    }
}

fn take(mount: &BindMount) -> Result<MountTree, LabError> {
    let tree = match mount.sub_path.as_deref() {
        None => MountTree::copy_of(&mount.source, true)?,
        Some(below) => take_below(&mount.source, below)?,
    };
    tree.restrict(Restriction {
        read_only: mount.read_only,
        no_setuid: true,
        no_devices: true,
        no_programs: false,
    })?;
    Ok(tree)
}

/// Something in a volume. Containers may have put links there: they are followed as if the volume were
/// the root, so that they lead nowhere else.
fn take_below(volume: &Path, below: &Path) -> Result<MountTree, LabError> {
    let folder = open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let folder = folder.on("open the volume", volume)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let found = loop {
        match openat2(&folder, below, how) {
            // Somebody has renamed something meanwhile.
            Err(Errno::EAGAIN) => {}
            found => break found,
        }
    };
    let name = volume.join(below);
    let found = found.on("open the subPath", &name)?;
    Ok(MountTree::copy_at(
        found.as_fd(),
        &name.display().to_string(),
    )?)
}
