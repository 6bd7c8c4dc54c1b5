//! How messages travel over the agent's Unix stream socket. Each is a length (`u32`, little-endian)
//! and that many bytes of JSON, at most [`MAX_MESSAGE`]. A connection carries one request and one
//! reply; the first bytes of a request may carry one file descriptor.
//!
//! Both ends use [`Connection`], each with a [`Deadline`] over all that it does, so that a peer that
//! hangs or drips cannot hold the other. What the messages mean is said in
//! [`request`](crate::request), not here.

mod connection;
mod error;

pub use connection::{Connection, Deadline};
pub use error::WireError;

/// The largest message, in bytes of JSON.
pub const MAX_MESSAGE: usize = 4 << 20;
