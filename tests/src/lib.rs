//! What the scenario tests stand on: nodes in namespaces of their own, with the real agent and the
//! real plugin, called as libcni calls it; alone or as a small cluster.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "test code fails by panic"
)]

mod agent;
mod binaries;
pub mod cri;
pub mod lab;
mod leftovers;
pub mod matrix;
pub mod net;
mod node;
mod plugin;
mod pod;
pub mod privileges;
pub mod probe;
pub mod services;
pub mod shell;

pub use agent::Agent;
pub use binaries::{Build, binary, helm, kubectl};
pub use leftovers::Leftovers;
pub use node::Node;
pub use plugin::{Answer, Call, PluginError};
pub use pod::Pod;
