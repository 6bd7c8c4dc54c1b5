//! What the scenario tests stand on: a node in namespaces of its own, with the real agent and the
//! real plugin, called as libcni calls it.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "test code fails by panic"
)]

mod agent;
mod binaries;
pub mod lab;
mod leftovers;
mod plugin;
mod pod;
pub mod probe;

pub use agent::Node;
pub use binaries::{binary, kubectl};
pub use leftovers::Leftovers;
pub use plugin::{Answer, Call, PluginError};
pub use pod::Pod;
