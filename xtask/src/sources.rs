//! Finding the source files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file and its text; the path is relative to the root of the repository.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What stands in it.
    pub(crate) text: String,
}

/// Every file below the current folder whose name ends in `.extension`, but what is built or hidden.
pub(crate) fn with_extension(extension: &str) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    visit(Path::new("."), extension, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn visit(dir: &Path, extension: &str, found: &mut Vec<Source>) -> Result<()> {
    let listing = || format!("listing {}", dir.display());
    for entry in fs::read_dir(dir).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        let path = entry.path();
        let is_dir = entry.file_type().with_context(listing)?.is_dir();
        if is_dir && !is_skipped(&path) {
            visit(&path, extension, found)?;
        } else if !is_dir && path.extension().is_some_and(|e| e == extension) {
            found.push(read(&path)?);
        }
    }
    Ok(())
}

fn is_skipped(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    name == "target" || name.starts_with('.')
}

fn read(path: &Path) -> Result<Source> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let path = path.strip_prefix(".").unwrap_or(path).to_owned();
    Ok(Source { path, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_and_hidden_folders_are_skipped() {
        assert!(is_skipped(Path::new("./target")));
        assert!(is_skipped(Path::new("./.git")));
        assert!(!is_skipped(Path::new("./crates")));
    }
}
