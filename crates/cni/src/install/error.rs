//! What goes wrong with the files of a node, and what can be done about it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A file or folder of the runtime could not be read or changed.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {source}{}", path.display(), advice(source.kind()))]
pub struct InstallError {
    /// What was tried.
    pub doing: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

impl InstallError {
    /// Whether a file was gone that had been there.
    pub(super) fn is_vanished(&self) -> bool {
        self.source.kind() == ErrorKind::NotFound
    }
}

fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ReadOnlyFilesystem => {
            "; mount it writable, or name another folder with --cni-bin-dir or --cni-conf-dir"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room on that file system: what was there before is still in place"
        }
        ErrorKind::PermissionDenied => "; run this as root",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "; there is a file where a folder is needed: move it away"
        }
        _ => "",
    }
}

/// Names operation and path of a failure.
pub(super) fn during<T>(
    doing: &'static str,
    path: &Path,
    result: io::Result<T>,
) -> Result<T, InstallError> {
    result.map_err(|source| InstallError {
        doing,
        path: path.to_owned(),
        source,
    })
}
