//! Running other programs: shown before they run, their failure an error that names them.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

/// A cargo command, with the cargo that runs this program.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// A command and its arguments.
pub(crate) fn program(name: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args);
    command
}

/// Shows the command, runs it, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = text_of(command);
    match status(command)? {
        status if status.success() => Ok(()),
        status => bail!("`{text}` failed: {status}"),
    }
}

/// Shows the command, runs it, and tells how it ended.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    let text = text_of(command);
    eprintln!("$ {text}");
    command
        .status()
        .with_context(|| format!("running `{text}`"))
}

/// Runs the command without showing it and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = text_of(command);
    let output = command
        .output()
        .with_context(|| format!("running `{text}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{text}` failed: {}\n{}", output.status, stderr.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading what `{text}` printed"))
}

/// Whether the command runs and succeeds; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Whether a program of this name is in the search path.
pub(crate) fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn text_of(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(&mut program("sh", &["-c", "echo broken >&2; exit 3"]))
            .expect_err("it exits with 3")
            .to_string();
        assert!(error.contains("sh -c"), "{error}");
        assert!(error.contains("broken"), "{error}");
        let error = run(&mut program("/nonexistent/tool", &["x"])).expect_err("no such program");
        assert!(format!("{error:#}").contains("tool x"), "{error:#}");
    }

    #[test]
    fn programs_are_found_in_the_path_only() {
        assert!(in_path("sh"));
        assert!(!in_path("no-such-program-of-ours"));
    }
}
