//! The client's side of a lab's control socket.

use std::os::fd::OwnedFd;
use std::time::Duration;

use seaway_cni::wire::{Connection, Deadline};
use seaway_kernel::netns::Netns;
use serde::de::DeserializeOwned;

use crate::error::LabError;
use crate::namespaces::Namespaces;
use crate::protocol::{Door, LabStatus, PodStatus, Reply, Request};
use crate::state::StateDir;
use crate::topology::LabName;

/// How long the supervisor may take for an answer that needs no work.
const QUICK: Duration = Duration::from_secs(5);
/// How long it may take for one that does: an ADD that is tried again and again, many DELs.
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

    /// Makes a Pod and waits until it serves.
    pub fn create_pod(&self, node: &str, name: &str) -> Result<PodStatus, LabError> {
        self.call(
            &Request::CreatePod {
                node: node.to_owned(),
                name: name.to_owned(),
            },
            LONG,
        )
    }

    /// Deletes a Pod.
    pub fn delete_pod(&self, name: &str) -> Result<(), LabError> {
        self.call(
            &Request::DeletePod {
                name: name.to_owned(),
            },
            LONG,
        )
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
            pid: Some(open(Door::Pid)?),
        })
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
