//! A small Kubernetes-compatible API server for labs and tests.
//!
//! It keeps objects in memory and speaks enough of the Kubernetes API, over HTTP/1.1 and TLS, for
//! kube-rs and the real `kubectl`. Everything that differs from kind to kind is one declarative
//! entry in `kinds`; the rest of the crate is generic machinery over JSON.
//!
//! It is not a Kubernetes control plane: no persistence, no admission webhooks.
//! What it does not do, it refuses with a clear `Status`.

mod alloc;
mod audit;
mod auth;
mod cel;
mod config;
mod crd;
mod decode;
mod discovery;
#[cfg(test)]
mod docs;
mod error;
mod exec;
mod gc;
mod handlers;
mod http;
mod kinds;
mod lifecycle;
mod logs;
mod managed;
mod openapi;
mod patch;
mod protobuf;
mod rbac;
mod reviews;
mod schema;
mod server;
mod status;
mod store;
mod table;
mod views;
mod watch;

pub use config::{Config, Limits, TlsFiles};
pub use error::ServerError;
pub use exec::{ContainerCommand, Containers, ExecEvent, ExecOrder};
pub use server::serve;
