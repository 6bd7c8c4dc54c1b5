//! What can go wrong with a lab, in words that say what to do about it.

use std::io;
use std::path::Path;

use seaway_kernel::KernelError;
use thiserror::Error;

use crate::topology::{LabName, TopologyError};

/// An operation on a lab failed.
#[derive(Debug, Error)]
pub enum LabError {
    /// The system refused something.
    #[error("{operation} {object}: {cause}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The kernel refused something that concerns the network.
    #[error("{0}")]
    Kernel(KernelError),
    /// The lab cannot have this shape or name.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A lab of this name is there already.
    #[error(
        "the lab \"{0}\" is up already; take it down with `seaway lab down --name {0}`, or choose another name with --name"
    )]
    Exists(LabName),
    /// What is left of a lab is in the way.
    #[error(
        "something is left of a lab \"{0}\" that has died; remove it with `seaway lab down --name {0}`"
    )]
    Dead(LabName),
    /// There is no such lab.
    #[error(
        "there is no lab \"{0}\"; `seaway lab list` shows those that are, `seaway lab up --name {0}` makes it"
    )]
    Unknown(LabName),
    /// Something that a lab needs is not there.
    #[error("a lab cannot run here:\n{}", bullets(.0))]
    Missing(Vec<String>),
    /// A program in a container could not be started.
    #[error("exec: \"{name}\": {reason}")]
    Program {
        /// As it was asked for.
        name: String,
        /// Why not, and what there is instead.
        reason: String,
        /// Whether there is none of that name.
        missing: bool,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s{hint}")]
    Late {
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
        /// Where to look.
        hint: String,
    },
    /// The CNI plugin refused.
    #[error("CNI {command} for {pod}: {reason}")]
    Cni {
        /// The command.
        command: &'static str,
        /// The Pod.
        pod: String,
        /// What the plugin said.
        reason: String,
    },
    /// The lab's API server refused something, or did not answer.
    #[error("{0}")]
    Api(String),
    /// The lab's supervisor does not answer.
    #[error(
        "the supervisor of the lab \"{name}\" does not answer: it is starting or ending, or hangs ({reason}); `seaway lab down --name {name}` ends it in any case"
    )]
    NoAnswer {
        /// The lab.
        name: LabName,
        /// What was tried and failed.
        reason: String,
    },
    /// The lab's supervisor answered with an error.
    #[error("{0}")]
    Supervisor(String),
    /// The request makes no sense for this lab.
    #[error("{0}")]
    Request(String),
    /// Several things failed on the way down; all of it was tried.
    #[error("{}", .0.join("; "))]
    Several(Vec<String>),
}

fn bullets(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("  - {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

impl From<KernelError> for LabError {
    fn from(error: KernelError) -> LabError {
        LabError::Kernel(error)
    }
}

/// Attaches operation and object to an error of the operating system.
pub(crate) trait Context<T> {
    fn during(
        self,
        operation: &'static str,
        object: impl FnOnce() -> String,
    ) -> Result<T, LabError>;

    fn on(self, operation: &'static str, path: &Path) -> Result<T, LabError>
    where
        Self: Sized,
    {
        self.during(operation, || path.display().to_string())
    }
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn during(
        self,
        operation: &'static str,
        object: impl FnOnce() -> String,
    ) -> Result<T, LabError> {
        self.map_err(|e| LabError::System {
            operation,
            object: object(),
            cause: e.into(),
        })
    }
}

/// Runs every step of a way down, and fails with all of what failed.
#[derive(Default)]
pub(crate) struct Errors(Vec<String>);

impl Errors {
    pub(crate) fn note<T>(&mut self, result: Result<T, LabError>) {
        if let Err(e) = result {
            self.0.push(e.to_string());
        }
    }

    pub(crate) fn result(self) -> Result<(), LabError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(LabError::Several(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_listed() {
        let error = LabError::Missing(vec!["not root".into(), "no veth".into()]);
        assert_eq!(
            error.to_string(),
            "a lab cannot run here:\n  - not root\n  - no veth"
        );
    }

    #[test]
    fn all_failed_steps_are_told() {
        let mut errors = Errors::default();
        errors.note(Ok::<(), _>(()));
        assert!(Errors::default().result().is_ok());
        for object in ["a", "b"] {
            let failed: Result<(), io::Error> = Err(io::ErrorKind::NotFound.into());
            errors.note(failed.during("remove", || object.to_owned()));
        }
        let text = errors.result().expect_err("failed").to_string();
        assert_eq!(
            text,
            "remove a: entity not found; remove b: entity not found"
        );
    }
}
