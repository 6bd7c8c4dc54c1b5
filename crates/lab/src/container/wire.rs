//! What the steps to a container tell each other over standard input: one JSON line down, and for
//! [`Launch`] one JSON line back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use seaway_cni::wire::{Connection, Deadline};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::spec::ContainerSpec;
use crate::error::{Context, LabError};

/// Longer than any Pod's spec can be; a guard against nonsense.
const LONGEST: u64 = 16 << 20;

/// To the shim, and from it to the container's first process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) spec: ContainerSpec,
    /// Whether the container is to have an IPC namespace of its own, as its Pod has none.
    #[serde(default)]
    pub(super) own_ipc: bool,
}

/// What came of a launch.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The container's program runs, as the process of this number.
    Started { init: i32 },
    /// It could not be started.
    Failed { reason: String },
}

/// To the process that runs one more command in a container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The container's program.
    pub(super) init: i32,
    /// Its parent.
    pub(super) shim: i32,
    /// With the command to run, and of the container only what concerns the new process.
    pub(super) spec: ContainerSpec,
    /// How whoever asked for the command is joined to it; if nothing is said, not at all: it writes
    /// to where this process does and reads nothing.
    #[serde(default)]
    pub(super) joined: Option<Joined>,
}

/// What joins a command in a container to somebody outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Joined {
    /// Three pipes. What it reads comes with the answer to [`Step::Ready`].
    Pipes,
    /// A terminal of the container's own, so large. Its other side goes out with [`Step::Ready`].
    Terminal { rows: u16, columns: u16 },
}

/// What a joined command's way into the container tells, framed as on a lab's control socket.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// It is inside, and waits for an answer.
    Ready,
    /// The command runs, and leads the session of this number.
    Started { leader: i32 },
    /// It could not be started.
    Failed { reason: String },
}

/// Writes a message.
pub(super) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads the one message that comes this way.
pub(super) fn receive<T: DeserializeOwned>(from: impl Read) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(from.take(LONGEST)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

/// The end of a conversation that a step finds as its standard input.
pub(super) struct Caller(File);

impl Caller {
    /// Takes standard input away, so that nothing started from now on has it.
    pub(super) fn take() -> Result<Caller, LabError> {
        let object = || "standard input".to_owned();
        let own: OwnedFd = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .during("keep", object)?;
        let null = File::open("/dev/null").during("open", || "/dev/null".to_owned())?;
        nix::unistd::dup2_stdin(null).during("close", object)?;
        Ok(Caller(own.into()))
    }

    /// What it is to do.
    pub(super) fn request<T: DeserializeOwned>(&self) -> Result<T, LabError> {
        receive(&self.0).during("read", || "what to do from standard input".to_owned())
    }

    /// The rest of the conversation with a joined command, once it has been told what to do.
    pub(super) fn into_connection(self, timeout: Duration) -> Connection {
        let stream = UnixStream::from(OwnedFd::from(self.0));
        Connection::accepted(stream, Deadline::after(timeout))
    }

    /// Whether nobody waits for an answer any more.
    pub(super) fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Answers; by words on standard error if standard input is no conversation, as in a test by hand.
    pub(super) fn answer(&self, report: &Report) {
        let told = match getsockopt(&self.0, sockopt::SockType) {
            Ok(_) => send(&self.0, report),
            Err(_) => match report {
                Report::Started { .. } => Ok(()),
                Report::Failed { reason } => {
                    say(reason);
                    Ok(())
                }
            },
        };
        if let Err(e) = told {
            tracing::debug!("nobody hears {report:?}: {e}");
        }
    }
}

/// Says what went wrong where nobody else will.
pub(super) fn say(error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "seaway: {error}");
}

/// A conversation's two ends.
pub(super) fn conversation() -> Result<(UnixStream, OwnedFd), LabError> {
    let (ours, theirs) =
        UnixStream::pair().during("make", || "a conversation with a container".to_owned())?;
    Ok((ours, theirs.into()))
}
