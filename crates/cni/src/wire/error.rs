//! What can go wrong on the agent's socket, told apart by what a caller can do about it.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use super::MAX_MESSAGE;

/// A failure to send or to receive.
#[derive(Debug, Error)]
pub enum WireError {
    /// There is no socket: no agent has started since the machine did, or the path is wrong.
    #[error("there is no socket {}: is the agent running?", .0.display())]
    NoSocket(PathBuf),
    /// There is a socket, but nobody listens: the agent has died.
    #[error("nobody listens at {}: is the agent running?", .0.display())]
    Refused(PathBuf),
    /// The other end went away in the middle of the exchange.
    #[error("the other end closed the connection while {0}")]
    Closed(&'static str),
    /// The deadline passed.
    #[error("the deadline passed while {0}: the other end hangs or has too much to do")]
    TimedOut(&'static str),
    /// A message is larger than the protocol allows.
    #[error("a message of {0} bytes is too large, at most {MAX_MESSAGE} can be sent")]
    TooLarge(usize),
    /// More came than the one message that was announced.
    #[error("{0} bytes came after the message")]
    Excess(usize),
    /// The message could not be written as JSON.
    #[error("the message cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The message is not what was expected.
    #[error("the message cannot be understood")]
    Decode(#[source] serde_json::Error),
    /// A system call failed.
    #[error("{0} failed")]
    Io(&'static str, #[source] io::Error),
}

impl WireError {
    /// Whether the agent is not there, or went away: it may come back.
    pub fn agent_is_down(&self) -> bool {
        matches!(
            self,
            WireError::NoSocket(_) | WireError::Refused(_) | WireError::Closed(_)
        )
    }

    /// Whether the agent may serve the same request later.
    pub fn may_pass(&self) -> bool {
        self.agent_is_down() || matches!(self, WireError::TimedOut(_))
    }

    /// The failure of a system call on a connection that stands.
    pub(super) fn of(doing: &'static str, error: Errno) -> WireError {
        match error {
            Errno::AGAIN => WireError::TimedOut(doing),
            Errno::PIPE | Errno::CONNRESET => WireError::Closed(doing),
            other => WireError::Io(doing, other.into()),
        }
    }
}
