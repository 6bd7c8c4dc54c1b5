//! The root of a container: a small file system in memory that holds this machine's programs and
//! libraries read-only, what they need to run, and nothing else of the machine.
//!
//! Everything that comes from outside is taken first, as mounts that are attached nowhere; it is
//! restricted, and then attached inside. Volumes come last, when the old root is gone: no symbolic
//! link in one can lead out.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};
use seaway_kernel::container::{MountTree, Restriction};

use super::devices::Devices;
use super::spec::ContainerSpec;
use super::unwritable::this_executable;
use super::volumes::Volumes;
use super::{etc, proc};
use crate::error::{Context, LabError};
use crate::node_files::BIN_DIR;

/// Where the container finds `seaway`.
pub(super) const TOOLS: &str = "/seaway/bin";

/// Where the new root is put together; what was there is hidden from then on.
const STAGE: &str = "/run";

/// What programs are made of. On most machines all but the first are links into the first.
const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

const FOLDERS: [(&str, u32); 14] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("seaway/bin", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// What a mount of this machine's own files is restricted to.
pub(super) const SYSTEM_FILES: Restriction = Restriction {
    read_only: true,
    no_setuid: true,
    no_devices: true,
    no_programs: false,
};

/// Moves the calling process into a root made for `spec`. It has a mount namespace of its own already.
pub(super) fn enter(spec: &ContainerSpec) -> Result<(), LabError> {
    let system = Pieces::gather(Path::new("/"), &SYSTEM)?;
    let configuration = Pieces::gather(Path::new("/etc"), &etc::SHARED)?;
    let (tool, tool_at) = tool()?;
    let devices = Devices::gather()?;
    let volumes = Volumes::gather(&spec.mounts)?;

    let root = Path::new(STAGE);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_new(
        "tmpfs",
        root,
        flags,
        Some("mode=755,size=64m,nr_inodes=16k"),
    )?;
    make_folders(root)?;
    system.place(root)?;
    configuration.place(&root.join("etc"))?;
    etc::write(&root.join("etc"))?;
    place(&tool, &root.join(tool_at))?;
    devices.place(&root.join("dev"))?;
    proc::mount_all(root)?;
    if !spec.read_only_root {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount_new(
            "tmpfs",
            &root.join("tmp"),
            flags,
            Some("mode=1777,size=64m"),
        )?;
    }
    pivot(root)?;
    proc::protect()?;
    volumes.place()?;
    if spec.read_only_root {
        let read_only = Restriction {
            read_only: true,
            ..Restriction::default()
        };
        read_only.apply(Path::new("/"), false)?;
    }
    Ok(())
}

fn make_folders(root: &Path) -> Result<(), LabError> {
    for (name, mode) in FOLDERS {
        let path = root.join(name);
        fs::create_dir_all(&path).on("create", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .on("set the mode of", &path)?;
    }
    let run = root.join("var/run");
    symlink("/run", &run).on("create", &run)
}

/// The old root ends up on top of the new one for a moment, and is let go of there.
fn pivot(root: &Path) -> Result<(), LabError> {
    chdir(root).on("change to", root)?;
    let object = || "a container's root".to_owned();
    pivot_root(".", ".").during("switch to", object)?;
    umount2(".", MntFlags::MNT_DETACH).during("leave the machine's root for", object)?;
    chdir("/").during("change to", object)
}

/// Files, folders and links of this machine that are taken over as they are, if they exist.
#[derive(Default)]
struct Pieces {
    trees: Vec<(&'static str, MountTree)>,
    links: Vec<(&'static str, PathBuf)>,
}

impl Pieces {
    fn gather(folder: &Path, names: &[&'static str]) -> Result<Pieces, LabError> {
        let mut pieces = Pieces::default();
        for name in names {
            let path = folder.join(name);
            match fs::read_link(&path) {
                Ok(target) if leads_into_system(folder, &target) => {
                    pieces.links.push((name, target));
                }
                _ if path.exists() => pieces.trees.push((name, system_files(&path)?)),
                _ => {}
            }
        }
        Ok(pieces)
    }

    fn place(&self, folder: &Path) -> Result<(), LabError> {
        for (name, tree) in &self.trees {
            place(tree, &folder.join(name))?;
        }
        for (name, target) in &self.links {
            let path = folder.join(name);
            make_parent(&path)?;
            symlink(target, &path).on("create", &path)?;
        }
        Ok(())
    }
}

/// Whether a link in `folder` leads to something that the container has as well.
fn leads_into_system(folder: &Path, target: &Path) -> bool {
    let depth = folder.components().count() - 1;
    let mut parts = target.components();
    let relative = !target.is_absolute();
    if !relative {
        parts.next();
    } else if parts
        .clone()
        .take(depth)
        .any(|part| part.as_os_str() != "..")
    {
        return false;
    } else {
        parts.by_ref().take(depth).for_each(drop);
    }
    parts.next().is_some_and(|first| first.as_os_str() == "usr")
        && !parts.any(|part| part.as_os_str() == "..")
}

/// This executable, and where it goes. On a node, the folder that it is mounted in is taken with it: of a
/// file that has been replaced since, as by a build, the kernel attaches no copy alone.
fn tool() -> Result<(MountTree, PathBuf), LabError> {
    let path = this_executable()?;
    let place = Path::new(TOOLS.trim_start_matches('/'));
    if path.starts_with(BIN_DIR) {
        return Ok((system_files(Path::new(BIN_DIR))?, place.to_owned()));
    }
    Ok((system_files(&path)?, place.join("seaway")))
}

fn system_files(path: &Path) -> Result<MountTree, LabError> {
    let tree = MountTree::copy_of(path, true)?;
    tree.restrict(SYSTEM_FILES)?;
    Ok(tree)
}

/// Attaches a tree at a path, which is made if it is not there.
pub(super) fn place(tree: &MountTree, target: &Path) -> Result<(), LabError> {
    if tree.is_folder()? {
        fs::create_dir_all(target).on("make a place to mount at,", target)?;
    } else if !target.exists() {
        make_parent(target)?;
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).open(target);
        made.on("make a place to mount at,", target)?;
    }
    Ok(tree.attach(target)?)
}

fn make_parent(path: &Path) -> Result<(), LabError> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).on("make a place to mount at,", parent),
        None => Ok(()),
    }
}

/// Mounts a new file system.
pub(super) fn mount_new(
    kind: &'static str,
    target: &Path,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), LabError> {
    mount(Some(kind), target, Some(kind), flags, data)
        .during("mount", || format!("{kind} on {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_into_what_the_container_has_are_taken_over() {
        let links = [
            ("/", "usr/bin", true),
            ("/", "/usr/lib", true),
            ("/", "opt/lib", false),
            ("/", "usr/../etc", false),
            ("/etc", "/usr/share/zoneinfo/UTC", true),
            ("/etc", "../usr/lib/os-release", true),
            ("/etc", "usr/lib/os-release", false),
            ("/etc", "../run/x", false),
        ];
        for (folder, target, expected) in links {
            let found = leads_into_system(Path::new(folder), Path::new(target));
            assert_eq!(found, expected, "{folder} {target}");
        }
    }
}
