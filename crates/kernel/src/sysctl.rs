//! Kernel settings below `/proc/sys`, of the calling thread's network namespace.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, KernelError};

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

fn path_of(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
