//! What can go wrong, for those who run the loops and for the log.

use seaway_api::{Failure, describe};

use crate::meta::Key;
use crate::node_cidrs::PoolError;

/// Why the loops cannot run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A cluster range cannot be cut as configured.
    #[error("cannot allocate node ranges")]
    Pool(#[from] PoolError),
    /// A loop ended by itself; that is a defect.
    #[error(
        "the {0} loop stopped, which is a defect; start the controller again and report what the log says"
    )]
    Stopped(&'static str),
}

/// A request that failed. The loop that made it tries again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation} {kind} {key}: {words}; it is tried again")]
pub(crate) struct Fault {
    operation: &'static str,
    kind: &'static str,
    key: Key,
    words: String,
    failure: Failure,
}

impl Fault {
    /// A failed request for an object.
    pub(crate) fn new(
        operation: &'static str,
        kind: &'static str,
        key: &Key,
        error: &kube::Error,
    ) -> Self {
        Self {
            operation,
            kind,
            key: key.clone(),
            words: describe(error),
            failure: Failure::of(error),
        }
    }

    /// An object that was replaced by another of its name.
    pub(crate) fn overtaken(operation: &'static str, kind: &'static str, key: &Key) -> Self {
        Self {
            operation,
            kind,
            key: key.clone(),
            words: "another one has taken its place".to_owned(),
            failure: Failure::Conflict,
        }
    }

    /// What follows from it.
    pub(crate) fn failure(&self) -> Failure {
        self.failure
    }

    /// What the server or the connection said.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    /// Whether it belongs to normal life: others write too, and things go.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(self.failure, Failure::Conflict | Failure::Absent)
    }

    /// For requests that have nothing left to do when another came first, or the object is gone.
    pub(crate) fn unless_usual(self) -> Result<(), Self> {
        if self.is_usual() { Ok(()) } else { Err(self) }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn only_what_belongs_to_normal_life_is_passed_over() {
        let key = Key {
            namespace: "a".to_owned(),
            name: "b".to_owned(),
        };
        for (code, reason, usual) in [
            (404, "NotFound", true),
            (409, "Conflict", true),
            (409, "AlreadyExists", true),
            (403, "Forbidden", false),
            (500, "InternalError", false),
        ] {
            let status = Status::failure("words", reason).with_code(code);
            let error = kube::Error::Api(status.boxed());
            let passed = Fault::new("evict", "Pod", &key, &error).unless_usual();
            assert_eq!(passed.is_ok(), usual, "{reason}");
        }
    }
}
