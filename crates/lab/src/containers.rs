//! Commands in a lab's containers, for its API server: over a socket on which nothing else can be
//! asked for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use seaway_cni::wire::{Connection, Deadline, WireError};

use crate::error::LabError;
use crate::protocol::{Reply, Request, Screen, ShellRequest, Stream, Told};

/// How long the supervisor may take for an answer that needs no work, and a message to arrive that
/// has begun to.
const QUICK: Duration = Duration::from_secs(5);
/// What a terminal is like before anybody says how large it is.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;
/// What programs on a terminal are told that it is, as other runtimes do.
const TERM: &str = "xterm";

/// The socket of a lab's supervisor.
#[derive(Clone, Debug)]
pub struct ContainersSocket(PathBuf);

/// A command in a container, as the one who asked for it sees it. It is ended when this goes.
#[derive(Debug)]
pub struct Command {
    connection: Connection,
}

/// What happens to a command.
#[derive(Debug)]
pub enum Happened {
    /// It runs; with the outer side of its terminal, if it has one.
    Started(Option<OwnedFd>),
    /// It has ended, or could not be started.
    Ended {
        /// As shells have it.
        code: u8,
        /// What there is to say about it.
        note: Option<String>,
    },
}

impl ContainersSocket {
    /// The socket at a path.
    pub fn at(path: PathBuf) -> ContainersSocket {
        ContainersSocket(path)
    }

    /// Finds a container of a Pod (`NAMESPACE/POD/CONTAINER`) for a command.
    ///
    /// # Errors
    ///
    /// If the container does not run, or nobody answers.
    pub fn find(
        &self,
        target: String,
        command: Vec<String>,
        terminal: bool,
    ) -> Result<Command, LabError> {
        let mut connection = Connection::open(&self.0, Deadline::after(QUICK)).map_err(silent)?;
        let request = Request::Shell(ShellRequest {
            target,
            container: None,
            command,
            screen: terminal.then(|| Screen {
                kind: Some(TERM.to_owned()),
                rows: ROWS,
                columns: COLUMNS,
            }),
        });
        match connection.exchange(&request, None).map_err(silent)? {
            Reply::Ok::<String>(_) => Ok(Command { connection }),
            Reply::Error(reason) => Err(LabError::Supervisor(reason)),
        }
    }
}

impl Command {
    /// Lends it its standard streams (input, output, error) unless it gets a terminal, and has it
    /// started.
    ///
    /// # Errors
    ///
    /// If the supervisor does not answer.
    pub fn join(&mut self, streams: Option<[OwnedFd; 3]>) -> Result<(), LabError> {
        self.connection.set_deadline(Deadline::after(QUICK));
        let Some(fds) = streams else {
            return self.connection.send(&(), None).map_err(silent);
        };
        let names = [Stream::Input, Stream::Output, Stream::Errors];
        for (name, fd) in names.into_iter().zip(fds) {
            let sent = self.connection.send(&name, Some(fd.as_fd()));
            sent.map_err(silent)?;
        }
        Ok(())
    }

    /// What has happened; to be asked once there is something to read.
    ///
    /// # Errors
    ///
    /// If the supervisor does not answer.
    pub fn happened(&mut self) -> Result<Happened, LabError> {
        self.connection.set_deadline(Deadline::after(QUICK));
        let (told, fd) = self.connection.receive::<Told>().map_err(silent)?;
        Ok(match told {
            Told::Started => {
                self.connection.send(&(), None).map_err(silent)?;
                Happened::Started(fd)
            }
            Told::Ended { code, note } => Happened::Ended { code, note },
        })
    }
}

impl AsFd for Command {
    /// To wait until there is something to hear.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn silent(error: WireError) -> LabError {
    LabError::Request(format!("talk to the lab's supervisor: {error}"))
}
