//! What can go wrong with the host, each error naming the operation and its object.

use std::io;

use thiserror::Error;

/// An operation on the host failed.
#[derive(Debug, Error)]
#[error("{operation} {object}: {}", describe(.source))]
pub struct KernelError {
    /// What was tried, for example `open network namespace`.
    pub operation: &'static str,
    /// On what.
    pub object: String,
    /// What the kernel answered.
    source: io::Error,
}

impl KernelError {
    /// An error of `operation` on `object`.
    pub fn new(
        operation: &'static str,
        object: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> KernelError {
        KernelError {
            operation,
            object: object.into(),
            source: source.into(),
        }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Whether the object did not exist.
    pub fn is_absent(&self) -> bool {
        is_absent(self.errno())
    }

    /// Whether this process may not do that, now or later.
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(libc::EACCES | libc::EPERM))
    }

    /// Whether something of the same identity exists already.
    pub fn already_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// Whether an error number says that the object does not exist.
pub(crate) fn is_absent(errno: Option<i32>) -> bool {
    matches!(
        errno,
        Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENXIO)
    )
}

/// The kernel's words, with the way out where the number alone would leave people guessing.
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            format!(
                "{error}; this needs root, or CAP_NET_ADMIN, CAP_NET_BROADCAST, CAP_NET_RAW and CAP_SYS_ADMIN"
            )
        }
        _ => error.to_string(),
    }
}

/// Attaches operation and object to an error of the operating system.
pub(crate) trait Context<T> {
    fn during(
        self,
        operation: &'static str,
        object: impl FnOnce() -> String,
    ) -> Result<T, KernelError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn during(
        self,
        operation: &'static str,
        object: impl FnOnce() -> String,
    ) -> Result<T, KernelError> {
        self.map_err(|source| KernelError::new(operation, object(), source))
    }
}
