//! Why the agent cannot start or go on.

use std::io;
use std::path::PathBuf;

use seaway_kernel::KernelError;
use seaway_model::AliasError;
use thiserror::Error;

/// The agent cannot start or go on.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The kernel refused something that the agent cannot be without.
    #[error("{0}")]
    Kernel(#[from] KernelError),
    /// A file or socket of the agent's own.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Another agent serves this node.
    #[error(
        "another agent holds {}: stop it first, or give this one its own --state-dir",
        .0.display()
    )]
    AlreadyRunning(PathBuf),
    /// A Pod's link was made by a version whose form is not known.
    #[error(
        "link {0}: {1}; nothing has been touched, and what is attached goes on working meanwhile"
    )]
    Later(String, AliasError),
    /// There are Pods that a cleaning up would cut off.
    #[error("{0} Pods are attached: drain the node first, or give --force to cut them off")]
    PodsAttached(usize),
    /// A thread could not be started.
    #[error("start thread {0}: {1}")]
    Thread(&'static str, io::Error),
}

impl AgentError {
    /// Attaches operation and path to an error of the file system.
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> AgentError {
        let path = path.into();
        move |source| AgentError::File {
            operation,
            path,
            source,
        }
    }
}
