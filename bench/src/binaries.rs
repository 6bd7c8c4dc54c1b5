//! Where the programs under test and their peers are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Debian's folder of reference plugins.
pub(crate) const PEERS: &str = "/usr/lib/cni";

/// The folder with the static binaries of this repository.
#[derive(Clone, Debug)]
pub(crate) struct Binaries(PathBuf);

impl Binaries {
    /// From `SEAWAY_BIN_DIR`.
    pub(crate) fn find() -> Result<Binaries> {
        let dir = std::env::var_os("SEAWAY_BIN_DIR")
            .context("SEAWAY_BIN_DIR is not set: run this as `cargo xtask bench NAME`")?;
        Ok(Binaries(dir.into()))
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// One of the programs.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        existing(
            self.0.join(name),
            "run this as `cargo xtask bench NAME`, which builds it",
        )
    }
}

/// One of the reference plugins.
pub(crate) fn peer(name: &str) -> Result<PathBuf> {
    let hint = "install the Debian package containernetworking-plugins";
    existing(Path::new(PEERS).join(name), hint)
}

fn existing(path: PathBuf, hint: &str) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is not there: {hint}", path.display());
    }
    Ok(path)
}
