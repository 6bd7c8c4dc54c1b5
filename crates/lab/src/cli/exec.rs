//! `lab exec`: a command on a node or in a Pod, on this terminal.

use std::process::{Command, ExitCode};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::ExecArgs;
use super::terminal::{Terminal, wait};
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
    let terminal = Terminal::of_stdin();
    if terminal.is_some() {
        Terminal::prepare(&mut command);
    }
    leave_signals_to_the_child()?;
    let code = namespaces.run(|| {
        let child = command
            .spawn()
            .during("start", || format!("{program} in {}", args.target))?;
        leave_signals_to_the_child()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        wait(pid, terminal.as_ref()).during("wait for", || program.to_owned())
    })??;
    Ok(ExitCode::from(code))
}

/// What the terminal's keys send goes to the command as well, and the command decides whether to
/// end. The last one would stop this process when it takes the terminal back.
fn leave_signals_to_the_child() -> Result<(), LabError> {
    let keys: SigSet = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTTOU]
        .into_iter()
        .collect();
    keys.thread_block()
        .during("block", || "the terminal's signals".to_owned())
}
