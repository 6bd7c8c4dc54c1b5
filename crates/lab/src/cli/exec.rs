//! `lab exec`: a command on a node or in a Pod, on this terminal.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use nix::sys::signal::{SigSet, Signal};

use super::ExecArgs;
use crate::client::Client;
use crate::error::{Context, LabError};
use crate::supervisor::search_path;

/// Runs the command and gives its exit code; 128 and more if a signal ended it, as shells do.
pub(super) fn run(args: &ExecArgs) -> Result<ExitCode, LabError> {
    let namespaces = Client::of(&args.name.name)?.enter(&args.target)?;
    let (program, arguments) = match args.command.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("/bin/sh", &[][..]),
    };
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", search_path());
    leave_keys_to_the_child()?;
    let status = namespaces.run(|| {
        let mut child = command
            .spawn()
            .during("start", || format!("{program} in {}", args.target))?;
        leave_keys_to_the_child()?;
        child.wait().during("wait for", || program.to_owned())
    })??;
    Ok(exit_code(status))
}

/// What the terminal's keys send goes to the command as well; it decides whether to end.
fn leave_keys_to_the_child() -> Result<(), LabError> {
    let keys: SigSet = [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    keys.thread_block()
        .during("block", || "the terminal's signals".to_owned())
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (raw, code) in [(0, 0), (3 << 8, 3), (9, 137), (255 << 8, 255)] {
            let expected = format!("{:?}", ExitCode::from(code));
            assert_eq!(
                format!("{:?}", exit_code(ExitStatus::from_raw(raw))),
                expected
            );
        }
    }
}
