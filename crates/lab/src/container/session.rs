//! Commands in a container that somebody outside is joined to, by pipes or by a terminal, for as long
//! as both last. When that one is gone, the command is hung up on and then killed, with all of its
//! session; what it has put into a session of its own stays, as with any login.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use seaway_cni::wire::{Connection, Deadline};
use seaway_kernel::container::ProcessHandle;

use super::exec::{Entered, Entering};
use super::launch::{START, Started};
use super::wire::{Joined, Step};
use crate::error::{Context, LabError};
use crate::supervisor::{Exit, Reaper};

/// How long a command may take to end once nobody is joined to it any more.
const FAREWELL: Duration = Duration::from_secs(3);
/// A session whose members multiply faster than they are killed is given up after so many rounds.
const ROUNDS: u32 = 1000;
/// How long after a command that was killed its container's end may show, if that was the reason.
const SAME_END: Duration = Duration::from_millis(500);

/// What a command is joined to.
#[derive(Debug)]
pub(crate) enum Lent {
    /// Standard input, output and error.
    Pipes([OwnedFd; 3]),
    /// A new terminal in the container.
    Terminal { rows: u16, columns: u16 },
}

/// A command that runs in a container.
pub(crate) struct Session {
    entered: Entered,
    leader: Pid,
    started: Arc<Started>,
    /// The outer side of its terminal, to be handed out.
    terminal: Option<OwnedFd>,
}

/// How a command that somebody was joined to ended, or why it did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionEnd {
    /// As shells have it.
    pub(crate) code: u8,
    /// What there is to say about it.
    pub(crate) note: Option<String>,
}

impl Session {
    /// Starts a command. What keeps it from starting has an exit code as well.
    pub(crate) fn start(
        reaper: &Reaper,
        started: &Arc<Started>,
        argv: &[String],
        env: &[(String, String)],
        lent: Lent,
    ) -> Result<Result<Session, SessionEnd>, LabError> {
        let (joined, outputs, input) = match lent {
            Lent::Pipes([input, output, errors]) => {
                (Joined::Pipes, [output.into(), errors.into()], Some(input))
            }
            Lent::Terminal { rows, columns } => {
                let outputs = [Stdio::null(), Stdio::inherit()];
                (Joined::Terminal { rows, columns }, outputs, None)
            }
        };
        let entering = Entering {
            argv,
            env,
            joined: Some(joined),
            outputs,
        };
        let mut entered = entering.start(reaper, started, START)?;
        match accompany(&mut entered, input) {
            Ok(Ok((leader, terminal))) => Ok(Ok(Session {
                entered,
                leader,
                started: started.clone(),
                terminal,
            })),
            Ok(Err(reason)) => Ok(Err(not_started(&entered, started, reason))),
            Err(error) => {
                reaper.signal(entered.pid, Signal::SIGKILL);
                match started.ends_within(SAME_END) {
                    true => Ok(Err(not_started(&entered, started, error.to_string()))),
                    false => Err(error),
                }
            }
        }
    }

    /// The outer side of the command's terminal, once.
    pub(crate) fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits for the command's end; ends it if `client` hangs up or sends anything, which gives `None`.
    pub(crate) fn attend(
        self,
        reaper: &Reaper,
        client: BorrowedFd<'_>,
    ) -> Result<Option<SessionEnd>, LabError> {
        loop {
            let ended = self.entered.ended.pipe.as_fd();
            let mut fds = [ended, client].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => {
                    self.end(reaper);
                    return Err(e).during("wait for", || "a command in a container".to_owned());
                }
            }
            if let Ok(exit) = self.entered.ended.exit.try_recv() {
                return Ok(Some(self.farewell(exit)));
            }
            if fds[1].any() == Some(true) {
                self.end(reaper);
                return Ok(None);
            }
        }
    }

    fn farewell(&self, exit: Exit) -> SessionEnd {
        let with_the_container =
            exit == Exit::Signal(Signal::SIGKILL) && self.started.ends_within(SAME_END);
        SessionEnd {
            code: exit.shell_code(),
            note: with_the_container.then(|| GONE.to_owned()),
        }
    }

    /// Hangs up on the command, and kills what does not take the hint.
    pub(crate) fn end(&self, reaper: &Reaper) {
        for signal in [Signal::SIGHUP, Signal::SIGCONT] {
            send_to_session(self.leader, signal);
        }
        if self.entered.ended.exit.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            reaper.signal(self.entered.pid, Signal::SIGKILL);
        }
        let mut rounds = 0..ROUNDS;
        while send_to_session(self.leader, Signal::SIGKILL) && rounds.next().is_some() {
            std::thread::yield_now();
        }
    }
}

const GONE: &str = "the container has ended, and the command with it";

fn not_started(entered: &Entered, started: &Started, reason: String) -> SessionEnd {
    let exit = entered.ended.exit.recv_timeout(START);
    let gone = started.ends_within(Duration::ZERO);
    SessionEnd {
        code: exit.map_or(u8::MAX, Exit::shell_code),
        note: Some(if gone { GONE.to_owned() } else { reason }),
    }
}

/// The way of a command from the door of its container to its start: gives the session's number and
/// the terminal, or what it said why it did not start.
type Accompanied = Result<(Pid, Option<OwnedFd>), String>;

fn accompany(entered: &mut Entered, input: Option<OwnedFd>) -> Result<Accompanied, LabError> {
    let object = || "a command in a container".to_owned();
    let stream = entered.conversation.try_clone().during("talk to", object)?;
    let mut inside = Connection::accepted(stream, Deadline::after(START));
    let mut terminal = None;
    loop {
        let (step, fd) = inside.receive::<Step>().map_err(lost)?;
        match step {
            Step::Ready => {
                terminal = fd;
                let input = input.as_ref().map(AsFd::as_fd);
                inside.send(&(), input).map_err(lost)?;
            }
            Step::Started { leader } => return Ok(Ok((Pid::from_raw(leader), terminal))),
            Step::Failed { reason } => return Ok(Err(reason)),
        }
    }
}

fn lost(error: seaway_cni::wire::WireError) -> LabError {
    LabError::Request(format!("talk to a command in a container: {error}"))
}

/// Sends a signal to all processes of a session; tells whether there were any. As long as one is
/// left, no other session can get its number.
fn send_to_session(leader: Pid, signal: Signal) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut any = false;
    for pid in numbers.map(Pid::from_raw) {
        if session_of(pid) != Some(leader) {
            continue;
        }
        // Opened first and looked at again: it is the one that is signalled.
        if let Ok(process) = ProcessHandle::open(pid)
            && session_of(pid) == Some(leader)
        {
            any = true;
            if let Err(e) = process.signal(signal) {
                tracing::warn!("{e}");
            }
        }
    }
    any
}

/// The session of a process that has not ended.
fn session_of(pid: Pid) -> Option<Pid> {
    session_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name, in parentheses, may contain anything.
fn session_in(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(2)?.parse().ok().map(Pid::from_raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_past_any_name_and_the_dead_have_none() {
        assert_eq!(session_in("7 (a) b) S 5 6 4 0"), Some(Pid::from_raw(4)));
        assert_eq!(session_in("7 (a) Z 5 6 4 0"), None);
        assert_eq!(session_in("7"), None);
    }

    #[test]
    fn a_whole_session_gets_a_signal_and_no_other() {
        use std::io::Read;
        use std::process::Command;
        let mut child = Command::new("setsid")
            .args(["sh", "-c", "sleep 1000 & sleep 1000 & echo go; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut output = child.stdout.take().expect("a pipe");
        let mut word = [0; 3];
        output.read_exact(&mut word).expect("says that it runs");
        let leader = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        assert!(send_to_session(leader, Signal::SIGKILL));
        child.wait().expect("ends");
        // All of them had it open.
        assert_eq!(output.read(&mut word).expect("reads"), 0);
        // Whoever is killed closes its files before it counts as dead.
        let gone = || match send_to_session(leader, Signal::SIGKILL) {
            true => Err("somebody is left"),
            false => Ok(()),
        };
        seaway_testkit::eventually("the session is over", Duration::from_secs(10), gone);
    }
}
