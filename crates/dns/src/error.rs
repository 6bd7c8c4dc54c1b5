//! Why names cannot be served.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// Names cannot be served.
#[derive(Debug, Error)]
pub enum DnsError {
    /// The runtime of the server's thread.
    #[error("start the runtime of the name server: {0}")]
    Runtime(#[source] io::Error),
    /// An address that questions are to come to.
    #[error("listen for names on {address} ({protocol}): {source}; is another server there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// By which protocol.
        protocol: &'static str,
        /// What the system answered.
        source: io::Error,
    },
}
