//! Trees of mounts held by descriptor: taken, restricted while nobody can see them, and attached.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::process::{check, descriptor};
use crate::error::{Context, KernelError};

/// What shall not be possible through a mount, whatever is there to be used. All false means that
/// nothing changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restriction {
    /// No change, not even of owner or mode.
    pub read_only: bool,
    /// No gain of privileges by starting a program.
    pub no_setuid: bool,
    /// No use of device files.
    pub no_devices: bool,
    /// No start of programs.
    pub no_programs: bool,
}

impl Restriction {
    fn bits(self) -> u64 {
        [
            (self.read_only, libc::MOUNT_ATTR_RDONLY),
            (self.no_setuid, libc::MOUNT_ATTR_NOSUID),
            (self.no_devices, libc::MOUNT_ATTR_NODEV),
            (self.no_programs, libc::MOUNT_ATTR_NOEXEC),
        ]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

/// Mounts that are attached nowhere, unless [`MountTree::attach`] has done it. They go with the
/// value then.
#[derive(Debug)]
pub struct MountTree {
    fd: OwnedFd,
    name: String,
}

impl MountTree {
    /// A copy of the mount at `path`, starting there; with `recursive`, of those below it as well.
    pub fn copy_of(path: &Path, recursive: bool) -> Result<MountTree, KernelError> {
        let name = path.display().to_string();
        open_tree(None, path, recursive)
            .during("copy the mount", || name.clone())
            .map(|fd| MountTree { fd, name })
    }

    /// A copy that starts at an opened file or folder; `name` is for errors.
    pub fn copy_at(at: BorrowedFd<'_>, name: &str) -> Result<MountTree, KernelError> {
        let fd = open_tree(Some(at), Path::new(""), true)
            .during("copy the mount", || name.to_owned())?;
        let name = name.to_owned();
        Ok(MountTree { fd, name })
    }

    /// Restricts all mounts of the tree.
    pub fn restrict(&self, restriction: Restriction) -> Result<(), KernelError> {
        set_attributes(Some(self.fd.as_fd()), Path::new(""), restriction, true)
            .during("restrict the mount", || self.name.clone())
    }

    /// Attaches the tree at `target`, which must be a folder if the tree's root is one.
    pub fn attach(&self, target: &Path) -> Result<(), KernelError> {
        let object = || format!("{} at {}", self.name, target.display());
        let path = c_path(target).during("mount", object)?;
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
        // SAFETY: both paths are zero-terminated strings that outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.fd.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_FDCWD,
                path.as_ptr(),
                flags,
            )
        };
        check(result).during("mount", object)
    }

    /// Whether the tree's root is a folder.
    pub fn is_folder(&self) -> Result<bool, KernelError> {
        let stat =
            nix::sys::stat::fstat(&self.fd).during("look at the mount", || self.name.clone())?;
        Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
    }
}

impl Restriction {
    /// Restricts the mount at `path`; with `recursive`, those below it as well.
    pub fn apply(self, path: &Path, recursive: bool) -> Result<(), KernelError> {
        set_attributes(None, path, self, recursive)
            .during("restrict the mount", || path.display().to_string())
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn open_tree(at: Option<BorrowedFd<'_>>, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    if at.is_some() {
        flags |= libc::AT_EMPTY_PATH as libc::c_uint;
    }
    let at = at.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    // SAFETY: the path is a zero-terminated string that outlives the call; the descriptor is valid.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, at, path.as_ptr(), flags) })
}

fn set_attributes(
    at: Option<BorrowedFd<'_>>,
    path: &Path,
    restriction: Restriction,
    recursive: bool,
) -> io::Result<()> {
    let path = c_path(path)?;
    let mut flags = 0;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    if at.is_some() {
        flags |= libc::AT_EMPTY_PATH;
    }
    let attributes = libc::mount_attr {
        attr_set: restriction.bits(),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let at = at.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    // SAFETY: path and attributes outlive the call, and the size is that of the attributes.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}
