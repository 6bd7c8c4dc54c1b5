//! What this server needs of whoever runs the containers.

use std::os::fd::{AsFd, OwnedFd};

/// Whoever runs the containers. Everything here may block for a moment and is called off the async
/// threads.
pub trait Containers: Send + Sync {
    /// Finds the container that a command is to run in; says why if it cannot be.
    fn find(&self, order: &ExecOrder) -> Result<Box<dyn ContainerCommand>, String>;
}

/// A command that is to run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOrder {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether it is to have a terminal of its own, and not pipes.
    pub terminal: bool,
}

/// A command in a container: not started before it is joined, and ended when this is dropped.
pub trait ContainerCommand: AsFd + Send {
    /// Lends it standard input, output and error, in this order, unless it gets a terminal; has it
    /// started.
    fn join(&mut self, streams: Option<[OwnedFd; 3]>) -> Result<(), String>;

    /// What has happened; to be asked once the file descriptor is readable.
    fn next(&mut self) -> Result<ExecEvent, String>;
}

/// What happens to a command in a container.
#[derive(Debug)]
pub enum ExecEvent {
    /// It runs; with the outer side of its terminal, if it has one.
    Started(Option<OwnedFd>),
    /// It has ended, or could not be started.
    Ended {
        /// Its exit code, as shells have it.
        code: u8,
        /// What there is to say about it.
        note: Option<String>,
    },
}
