//! The way to the agent: where it listens, how long to wait, how its silence is answered.

use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use seaway_cni::DEFAULT_SOCKET;
use seaway_cni::request::{Call, Reply, Request};
use seaway_cni::spec::{CniError, Verb, code};
use seaway_cni::wire::{Connection, Deadline, WireError};
use serde_json::Value;

/// The agent and the time left for it.
pub(crate) struct Agent {
    socket: PathBuf,
    deadline: Deadline,
}

impl Agent {
    /// The agent that a call is for.
    pub(crate) fn of(call: &Call) -> Agent {
        let socket = call.config.socket.clone();
        let timeout = call.config.timeout.unwrap_or(patience(&call.verb));
        Agent {
            socket: socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)),
            deadline: Deadline::after(timeout),
        }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request with the Pod's namespace. The outer error is the way, the inner the agent's.
    pub(crate) fn ask(
        &self,
        request: &Request,
        netns: Option<&OwnedFd>,
    ) -> Result<Result<Value, CniError>, WireError> {
        let mut connection = Connection::open(&self.socket, self.deadline)?;
        match connection.exchange(request, netns.map(AsFd::as_fd))? {
            Reply::Ok(value) => Ok(Ok(value)),
            Reply::Error(error) => Ok(Err(error)),
        }
    }

    /// The error of a call that the agent did not answer.
    pub(crate) fn silent(&self, error: &WireError, verb: &Verb) -> CniError {
        let socket = self.socket.display();
        let msg = format!(
            "the Seaway agent at {socket} did not answer: {}",
            chain(error)
        );
        let code = match verb {
            Verb::Status => code::PLUGIN_UNAVAILABLE,
            _ if error.may_pass() => code::TRY_AGAIN_LATER,
            _ => code_of(error),
        };
        CniError::new(code, msg)
    }
}

/// How long a hung agent may hold the runtime, unless the configuration says otherwise.
fn patience(verb: &Verb) -> Duration {
    Duration::from_secs(match verb {
        Verb::Add(_) | Verb::Gc => 90,
        Verb::Del(_) | Verb::Check(_) => 60,
        Verb::Status => 10,
    })
}

fn code_of(error: &WireError) -> u32 {
    match error {
        WireError::Io(..) => code::IO_FAILURE,
        _ => code::PROTOCOL,
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
