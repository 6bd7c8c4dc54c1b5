//! Why the server could not start or had to stop; what a client did wrong is a `Status` instead.

use std::path::PathBuf;

/// A failure of the server itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A file of the configuration cannot be read.
    #[error("cannot read {what} {}: check that the file exists and may be read", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of the configuration is not what it should be.
    #[error("{what} {} is not usable: {problem}", path.display())]
    Content {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and key cannot be used together.
    #[error("the certificate and key cannot serve TLS: make a new pair")]
    Tls(#[source] rustls::Error),
    /// A listener cannot be used.
    #[error("cannot listen on the socket {address}: bind it before starting the server")]
    Listener {
        /// The address of the listener.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The configuration contradicts itself.
    #[error("the configuration cannot be used: {0}")]
    Config(String),
}
