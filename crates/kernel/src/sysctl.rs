//! Kernel settings below `/proc/sys`, of the calling thread's network namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Context, KernelError};

/// Where settings are, if not at the usual place.
static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Reads and writes settings below another folder from now on: a container's own `/proc/sys` is
/// read-only, and the host's may be mounted elsewhere. Which network namespace they are of still
/// follows from the thread that asks. The first call counts.
///
/// # Errors
///
/// If the folder holds no settings of networks.
pub fn set_root(root: &Path) -> Result<(), KernelError> {
    fs::read_dir(root.join("net/ipv4/conf")).during("look for kernel settings in", || {
        root.join("net/ipv4/conf").display().to_string()
    })?;
    // A second call would be of the same process and its flags.
    let _ = ROOT.set(root.to_owned());
    Ok(())
}

/// Reads a setting, for example `net/ipv4/ip_forward`, without the final line feed.
pub fn read(name: &str) -> Result<String, KernelError> {
    let path = path_of(name);
    let text = fs::read_to_string(&path).during("read", || path.display().to_string())?;
    Ok(text.trim_end().to_owned())
}

/// Writes a setting.
pub fn write(name: &str, value: &str) -> Result<(), KernelError> {
    let path = path_of(name);
    fs::write(&path, value).during("write", || format!("{value} to {}", path.display()))
}

/// Whether netfilter can see what bridges carry from port to port: the module `br_netfilter` is there.
pub fn can_filter_bridged() -> bool {
    path_of("net/bridge").exists()
}

/// Whether there are settings of the device, in the calling thread's network namespace.
pub(crate) fn has_device(name: &str) -> bool {
    path_of("net/ipv4/conf").join(name).exists()
}

fn path_of(name: &str) -> PathBuf {
    let root = ROOT.get().map_or(Path::new("/proc/sys"), PathBuf::as_path);
    root.join(name)
}
