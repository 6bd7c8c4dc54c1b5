//! The API server as clients see it: a listening server on loopback, kube-rs and raw HTTP.
//!
//! The real `kubectl` has golden sessions of its own in the workspace's `tests`.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers may panic as the test itself"
)]

mod applying;
mod custom;
mod custom_applied;
mod custom_gone;
mod custom_names;
mod deletion;
mod exec;
mod facts;
mod flood;
mod harness;
mod hostile;
mod life;
mod objects;
mod ranges;
mod rights;
mod services;
mod watching;
