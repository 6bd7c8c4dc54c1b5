//! The client's side of a lab's control socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use seaway_cni::wire::{Connection, Deadline};
use seaway_kernel::netns::Netns;
use serde::de::DeserializeOwned;

use crate::error::{Context, LabError};
use crate::namespaces::Namespaces;
use crate::protocol::{Door, LabStatus, Reply, Request, ShellRequest, Stream, Told};
use crate::state::StateDir;
use crate::topology::LabName;

/// How long the supervisor may take for an answer that needs no work.
const QUICK: Duration = Duration::from_secs(5);
/// How long it may take for one that does: many Pods that end.
const LONG: Duration = Duration::from_secs(300);

/// A live lab.
#[derive(Clone, Debug)]
pub struct Client {
    state: StateDir,
}

impl Client {
    /// The lab of that name. Fails if there is none, or a dead one.
    pub fn of(name: &LabName) -> Result<Client, LabError> {
        let state = StateDir::of(name);
        match (state.exists(), state.is_alive()) {
            (false, _) => Err(LabError::Unknown(name.clone())),
            (true, false) => Err(LabError::Dead(name.clone())),
            (true, true) => Ok(Client { state }),
        }
    }

    /// Where its files are.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// Everything that there is.
    pub fn status(&self) -> Result<LabStatus, LabError> {
        self.call(&Request::Status, QUICK)
    }

    /// Sends a signal to a daemon or a container, for example 9 to `node1/agent`.
    pub fn kill(&self, process: &str, signal: i32) -> Result<(), LabError> {
        self.call(
            &Request::Kill {
                process: process.to_owned(),
                signal,
            },
            QUICK,
        )
    }

    /// Ends a daemon and keeps it down.
    pub fn stop(&self, process: &str) -> Result<(), LabError> {
        let process = process.to_owned();
        self.call(&Request::Stop { process }, QUICK)
    }

    /// Starts a daemon that was stopped.
    pub fn start(&self, process: &str) -> Result<(), LabError> {
        let process = process.to_owned();
        self.call(&Request::Start { process }, QUICK)
    }

    /// Takes everything down.
    pub fn shutdown(&self) -> Result<(), LabError> {
        self.call(&Request::Shutdown, LONG)
    }

    /// The namespaces of a node or a Pod.
    pub fn enter(&self, target: &str) -> Result<Namespaces, LabError> {
        let mut connection = self.connect(QUICK)?;
        let request = Request::Enter {
            target: target.to_owned(),
        };
        self.exchange::<()>(&mut connection, &request)?;
        let mut open = |door| self.open(&mut connection, door);
        Ok(Namespaces {
            net: Netns::from_fd(open(Door::Net)?, || target.to_owned())?,
            mount: open(Door::Mount)?,
            uts: open(Door::Uts)?,
            ipc: None,
            pid: Some(open(Door::Pid)?),
        })
    }

    /// Has a command started in a container.
    pub(crate) fn shell(&self, request: ShellRequest) -> Result<Shell, LabError> {
        let mut connection = self.connect(QUICK)?;
        let has_terminal = request.screen.is_some();
        let container = self.exchange(&mut connection, &Request::Shell(request))?;
        if has_terminal {
            // With nothing to lend, this keeps the next message from coming along with the answer.
            connection.send(&(), None).map_err(|e| self.broken(&e))?;
        }
        Ok(Shell {
            client: self.clone(),
            connection,
            container,
        })
    }

    /// What a command in a Pod's first container writes when it is given `input`.
    pub(crate) fn output_in_container(
        &self,
        pod: &str,
        command: Vec<String>,
        input: &str,
        limit: Duration,
    ) -> Result<String, LabError> {
        let mut shell = self.shell(ShellRequest {
            target: pod.to_owned(),
            container: None,
            command,
            screen: None,
        })?;
        let pipe = || io::pipe().during("make", || "a pipe".to_owned());
        let (read_by_it, mut to_it) = pipe()?;
        let (mut from_it, written_by_it) = pipe()?;
        let nowhere = File::options().write(true).open("/dev/null");
        let nowhere = nowhere.on("open", Path::new("/dev/null"))?;
        shell.lend(Stream::Input, read_by_it.as_fd())?;
        shell.lend(Stream::Output, written_by_it.as_fd())?;
        shell.lend(Stream::Errors, nowhere.as_fd())?;
        // What is held here would keep the other end from seeing an end.
        drop((read_by_it, written_by_it));
        let output = thread::scope(|scope| {
            // It may end without having read everything.
            scope.spawn(move || drop(to_it.write_all(input.as_bytes())));
            let reader = scope.spawn(move || {
                let mut text = String::new();
                from_it.read_to_string(&mut text).map(|_| text)
            });
            let end = shell.await_end(limit);
            // Without it the command would go on, and its output with it.
            drop(shell);
            let text = reader.join();
            end.map(|()| text)
        })?;
        match output {
            Ok(text) => text.during("read", || format!("the output of a command in {pod}")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn open(&self, connection: &mut Connection, door: Door) -> Result<OwnedFd, LabError> {
        connection.send(&door, None).map_err(|e| self.broken(&e))?;
        let (opened, fd) = connection.receive::<Door>().map_err(|e| self.broken(&e))?;
        let fd = fd.filter(|_| opened == door);
        fd.ok_or_else(|| self.broken(&"it sent no namespace"))
    }

    fn call<T: DeserializeOwned>(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> Result<T, LabError> {
        self.exchange(&mut self.connect(timeout)?, request)
    }

    fn connect(&self, timeout: Duration) -> Result<Connection, LabError> {
        let path = self.state.control_socket();
        Connection::open(&path, Deadline::after(timeout)).map_err(|e| match e.agent_is_down() {
            true => self.broken(&format!("nobody listens on {}", path.display())),
            false => self.broken(&e),
        })
    }

    fn exchange<T: DeserializeOwned>(
        &self,
        connection: &mut Connection,
        request: &Request,
    ) -> Result<T, LabError> {
        match connection
            .exchange(request, None)
            .map_err(|e| self.broken(&e))?
        {
            Reply::Ok(value) => Ok(value),
            Reply::Error(reason) => Err(LabError::Supervisor(reason)),
        }
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> LabError {
        LabError::NoAnswer {
            name: self.state.name().clone(),
            reason: reason.to_string(),
        }
    }
}

/// A command in a container, as the one who asked for it sees it. It is ended when this goes.
pub(crate) struct Shell {
    client: Client,
    connection: Connection,
    /// Where it runs: namespace, Pod and container.
    pub(crate) container: String,
}

impl Shell {
    /// Lends it a standard stream.
    pub(crate) fn lend(&mut self, stream: Stream, fd: BorrowedFd<'_>) -> Result<(), LabError> {
        let sent = self.connection.send(&stream, Some(fd));
        sent.map_err(|e| self.client.broken(&e))
    }

    /// What happens next, and the file descriptor that comes with it; waits up to `limit` for it.
    pub(crate) fn next(&mut self, limit: Duration) -> Result<(Told, Option<OwnedFd>), LabError> {
        self.connection.set_deadline(Deadline::after(limit));
        let told: Result<(Told, _), _> = self.connection.receive().and_then(|(told, fd)| {
            if told == Told::Started {
                self.connection.send(&(), None)?;
            }
            Ok((told, fd))
        });
        told.map_err(|e| self.client.broken(&e))
    }
}

impl Shell {
    /// Waits until it has ended; an error if not well.
    fn await_end(&mut self, limit: Duration) -> Result<(), LabError> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next(left)?.0 {
                Told::Started => {}
                Told::Ended { code: 0, .. } => return Ok(()),
                Told::Ended { code, note } => {
                    let note = note.unwrap_or_else(|| format!("it ended with code {code}"));
                    let container = &self.container;
                    return Err(LabError::Request(format!("{container}: {note}")));
                }
            }
        }
    }
}

impl AsFd for Shell {
    /// To wait until there is something to hear.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
