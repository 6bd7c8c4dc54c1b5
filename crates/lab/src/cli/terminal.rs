//! Lends this terminal to a command and takes it back: as a shell does with a job.
//!
//! The command becomes a process group of its own. It could not stay in ours: it lives in another
//! process namespace, where our group has no number, and an interactive shell asks for that.

use std::io::{self, IsTerminal, Stdin};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{Signal, killpg, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The terminal on standard input, held by our process group.
pub(super) struct Terminal {
    stdin: Stdin,
}

impl Terminal {
    /// `None` if standard input is no terminal, or one that others hold.
    pub(super) fn of_stdin() -> Option<Terminal> {
        let stdin = io::stdin();
        let ours = stdin.is_terminal() && tcgetpgrp(&stdin) == Ok(getpgrp());
        ours.then_some(Terminal { stdin })
    }

    /// Makes the command a process group of its own.
    pub(super) fn prepare(command: &mut Command) {
        command.process_group(0);
    }

    /// Lends the terminal to the group. It may have asked for it before and been stopped for that.
    fn lend(&self, group: Pid) -> nix::Result<()> {
        tcsetpgrp(&self.stdin, group)?;
        killpg(group, Signal::SIGCONT)
    }

    fn take_back(&self) -> nix::Result<()> {
        tcsetpgrp(&self.stdin, getpgrp())
    }
}

/// Waits for a command's end and gives its exit code as a shell has it. When it is stopped from the
/// terminal, so is this process, until both are to go on.
pub(super) fn wait(child: Pid, terminal: Option<&Terminal>) -> nix::Result<u8> {
    let Some(terminal) = terminal else {
        return wait_for_end(child);
    };
    // A command that has ended already needs no terminal.
    let _ = terminal.lend(child);
    loop {
        match waitpid(child, Some(WaitPidFlag::WUNTRACED))? {
            WaitStatus::Stopped(..) => {
                terminal.take_back()?;
                // To this thread, so that it does not go on before all stop.
                raise(Signal::SIGSTOP)?;
                terminal.lend(child)?;
            }
            status => {
                if let Some(code) = exit_code(status) {
                    terminal.take_back()?;
                    return Ok(code);
                }
            }
        }
    }
}

fn wait_for_end(child: Pid) -> nix::Result<u8> {
    loop {
        if let Some(code) = exit_code(waitpid(child, None)?) {
            return Ok(code);
        }
    }
}

fn exit_code(status: WaitStatus) -> Option<u8> {
    let code = match status {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        _ => return None,
    };
    Some(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let pid = Pid::from_raw(1);
        assert_eq!(exit_code(WaitStatus::Exited(pid, 3)), Some(3));
        assert_eq!(
            exit_code(WaitStatus::Signaled(pid, Signal::SIGKILL, false)),
            Some(137)
        );
        assert_eq!(exit_code(WaitStatus::Stopped(pid, Signal::SIGTSTP)), None);
    }
}
