//! What a watch has to complain about, in words for a status page.

use std::fmt;

/// Something that is wrong with a watch. The copy holds meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The server cannot be reached, or refuses.
    Away {
        /// What was tried, such as `list Nodes`.
        operation: String,
        /// What came of it.
        reason: String,
    },
    /// The server does not know objects that it may have lost rather than deleted.
    Kept {
        /// The plural of the kind.
        kind: String,
        /// How many objects are kept.
        count: usize,
        /// The uid of the server's Namespace `kube-system`, or why it is not known.
        identity: Result<String, String>,
    },
    /// An object has a field that cannot be right; its last good version holds.
    Object {
        /// Kind and key.
        object: String,
        /// Which field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An object has a field that cannot be right and is passed over; the rest of it holds.
    Field {
        /// Kind and key.
        object: String,
        /// Which field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Away { operation, reason } => write!(f, "{operation}: {reason}"),
            Problem::Kept {
                kind,
                count,
                identity: Ok(uid),
            } => write!(
                f,
                "the API server came back as another cluster (kube-system uid {uid}): {count} {kind} \
                 that it does not know are kept; restart this process to accept the new cluster"
            ),
            Problem::Kept {
                kind,
                count,
                identity: Err(reason),
            } => write!(
                f,
                "{count} {kind} that the API server no longer lists are kept, for it does not tell \
                 whether it is still the same cluster (get namespace kube-system: {reason}); \
                 allow that, or restart this process"
            ),
            Problem::Object {
                object,
                field,
                reason,
            } => write!(
                f,
                "{object}: {field}: {reason}; its last good version holds"
            ),
            Problem::Field {
                object,
                field,
                reason,
            } => write!(f, "{object}: {field}: {reason}; it is passed over"),
        }
    }
}
