//! `lab shell`: a shell or a command inside a container, on this terminal or with these pipes.
//!
//! The container never holds this terminal or these files: it gets a terminal of its own, or pipes,
//! and what goes through them is copied here.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use seaway_kernel::container::die_by;

use super::exec;
use super::raw::Raw;
use super::relay::{Outputs, feed};
use super::{ExecArgs, ShellArgs, complain};
use crate::client::{Client, Shell};
use crate::error::{Context, LabError};
use crate::protocol::{LabStatus, ShellRequest, Stream, Told};
use crate::topology::CONTROL_PLANE;

/// How long a message may take that has begun to arrive.
const MESSAGE: Duration = Duration::from_secs(5);
/// What ends input on a terminal, as it is typed.
const END_OF_INPUT: u8 = 4;

const SIGNALS: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGWINCH,
    Signal::SIGCONT,
];

/// Runs the command and gives its exit code.
pub(super) fn run(args: &ShellArgs) -> Result<ExitCode, LabError> {
    let client = Client::of(&args.name.name)?;
    if is_node(&client, &args.target)? {
        return on_node(args);
    }
    let command = match args.command.is_empty() {
        true => vec!["/bin/sh".to_owned()],
        false => args.command.clone(),
    };
    // As with other remote shells: a command whose output goes elsewhere gets no terminal, which
    // would change what it writes.
    let joined_to_terminal =
        io::stdin().is_terminal() && (args.command.is_empty() || io::stdout().is_terminal());
    let screen = joined_to_terminal.then(Raw::screen).transpose()?;
    // Before there are threads, which would get the signals otherwise.
    let signals = Signals::take()?;
    let mut shell = client.shell(ShellRequest {
        target: args.target.clone(),
        container: args.container.clone(),
        command,
        screen: screen.clone(),
    })?;
    let end = match screen {
        Some(_) => on_terminal(&mut shell, &signals),
        None => with_pipes(&mut shell, &signals),
    }?;
    match end {
        End::Code(code, note) => {
            if let Some(note) = note {
                complain(&format!("{}: {note}", shell.container));
            }
            Ok(code.into())
        }
        // The shell's connection goes with this process, and the command with that.
        End::Signal(signal) => die_by(signal),
    }
}

/// How it ended.
enum End {
    /// The command, with its exit code, and what there is to say about it.
    Code(u8, Option<String>),
    /// This process is to end.
    Signal(Signal),
}

fn is_node(client: &Client, target: &str) -> Result<bool, LabError> {
    let named = |status: LabStatus| status.nodes.iter().any(|n| n.name == target);
    Ok(target == CONTROL_PLANE || (!target.contains('/') && client.status().map(named)?))
}

fn on_node(args: &ShellArgs) -> Result<ExitCode, LabError> {
    if let Some(container) = &args.container {
        return Err(LabError::Request(format!(
            "{} is no Pod and has no container {container}: leave out -c",
            args.target
        )));
    }
    exec::run(&ExecArgs {
        name: args.name.clone(),
        target: args.target.clone(),
        command: args.command.clone(),
    })
}

fn with_pipes(shell: &mut Shell, signals: &Signals) -> Result<End, LabError> {
    let pipe = || io::pipe().during("make", || "a pipe".to_owned());
    let (input, to_command) = pipe()?;
    let (from_command, output) = pipe()?;
    let (errors_from_command, errors) = pipe()?;
    shell.lend(Stream::Input, input.as_fd())?;
    shell.lend(Stream::Output, output.as_fd())?;
    shell.lend(Stream::Errors, errors.as_fd())?;
    // What is held here would keep the other end from seeing an end.
    drop((input, output, errors));
    let outputs = Outputs::new()?;
    outputs.copy(from_command.into(), io::stdout())?;
    outputs.copy(errors_from_command.into(), io::stderr())?;
    feed(io::stdin(), to_command.into(), None)?;
    attend(shell, signals, outputs, |_| Ok(()))
}

fn on_terminal(shell: &mut Shell, signals: &Signals) -> Result<End, LabError> {
    loop {
        match signals.or(shell.as_fd())? {
            Heard::Other => break,
            Heard::Signal(Signal::SIGWINCH | Signal::SIGCONT) => {}
            Heard::Signal(signal) => return Ok(End::Signal(signal)),
        }
    }
    let outside = match shell.next(MESSAGE)? {
        (Told::Started, Some(fd)) => fd,
        (Told::Started, None) => {
            let reason = "the lab's supervisor sent no terminal".to_owned();
            return Err(LabError::Request(reason));
        }
        (Told::Ended { code, note }, _) => return Ok(End::Code(code, note)),
    };
    let copy = |fd: &OwnedFd| {
        fd.try_clone()
            .during("duplicate", || "a terminal".to_owned())
    };
    let raw = Raw::enter()?;
    raw.show_size_to(&outside)?;
    let outputs = Outputs::new()?;
    outputs.copy(copy(&outside)?, io::stdout())?;
    feed(io::stdin(), copy(&outside)?, Some(END_OF_INPUT))?;
    attend(shell, signals, outputs, |signal| {
        if signal == Signal::SIGCONT {
            raw.again()?;
        }
        raw.show_size_to(&outside)
    })
}

/// Waits for the end of the command and of what it has written, or for a signal that ends this
/// process; `on_change` hears of those that do not.
fn attend(
    shell: &mut Shell,
    signals: &Signals,
    mut outputs: Outputs,
    on_change: impl Fn(Signal) -> Result<(), LabError>,
) -> Result<End, LabError> {
    let mut ended = None;
    loop {
        let other = match ended {
            None => shell.as_fd(),
            Some(_) => outputs.as_fd(),
        };
        match signals.or(other)? {
            Heard::Signal(signal @ (Signal::SIGWINCH | Signal::SIGCONT)) => on_change(signal)?,
            Heard::Signal(signal) => return Ok(End::Signal(signal)),
            Heard::Other => {
                if let Some((code, note)) = ended {
                    return Ok(End::Code(code, note));
                }
                if let (Told::Ended { code, note }, _) = shell.next(MESSAGE)? {
                    ended = Some((code, note));
                    outputs.no_more();
                }
            }
        }
    }
}

/// Signals that come as something to read.
struct Signals(SignalFd);

impl Signals {
    fn take() -> Result<Signals, LabError> {
        let object = || "signals".to_owned();
        let set: SigSet = SIGNALS.into_iter().collect();
        set.thread_block().during("block", object)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&set, flags).during("listen to", object)?;
        Ok(Signals(fd))
    }

    /// Waits for a signal, or for `other` to be ready.
    fn or(&self, other: BorrowedFd<'_>) -> Result<Heard, LabError> {
        let object = || "a command or a signal".to_owned();
        loop {
            let mut fds = [self.0.as_fd(), other].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).during("wait for", object),
            }
            let found = self.0.read_signal().during("wait for", object)?;
            let number = found.and_then(|info| i32::try_from(info.ssi_signo).ok());
            if let Some(signal) = number.and_then(|number| Signal::try_from(number).ok()) {
                return Ok(Heard::Signal(signal));
            }
            if fds[1].any() == Some(true) {
                return Ok(Heard::Other);
            }
        }
    }
}

/// What was waited for.
enum Heard {
    Signal(Signal),
    Other,
}
