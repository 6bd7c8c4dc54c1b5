//! `cargo xtask lint`: formatting, clippy with warnings denied, and the length of files.

use anyhow::{Result, bail};

use crate::command;
use crate::sources::{self, Source};

/// A source file longer than this holds more than one subject.
const MAX_LINES: usize = 600;

/// Runs every check and fails at the first that finds something.
pub(crate) fn run() -> Result<()> {
    command::run(&mut command::cargo(&["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    command::run(&mut command::cargo(&clippy))?;
    check_lengths(&sources::with_extension("rs")?)
}

fn check_lengths(files: &[Source]) -> Result<()> {
    let long: Vec<String> = files.iter().filter_map(too_long).collect();
    if !long.is_empty() {
        bail!(
            "split these files by subject, {MAX_LINES} lines are the limit:\n{}",
            long.join("\n")
        );
    }
    Ok(())
}

fn too_long(file: &Source) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > MAX_LINES).then(|| format!("  {} has {lines} lines", file.path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, lines: usize) -> Source {
        Source {
            path: name.into(),
            text: "//\n".repeat(lines),
        }
    }

    #[test]
    fn only_files_over_the_limit_are_named() {
        assert!(check_lengths(&[file("short.rs", 600)]).is_ok());
        let error = check_lengths(&[file("short.rs", 600), file("long.rs", 601)])
            .expect_err("one is too long")
            .to_string();
        assert!(error.contains("long.rs has 601 lines"), "{error}");
        assert!(!error.contains("short.rs"), "{error}");
    }
}
