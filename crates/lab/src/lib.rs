//! A whole cluster in network namespaces on one machine, and the small tools that run in its Pods.
//!
//! The lab does what kubelet, containerd and a few machines would do, without touching the host's
//! own network: nodes with an underlay between them, the real agent on each, and Pods that the
//! real CNI plugin attaches. It decides nothing about the Pod network itself; it only calls and
//! checks what the other crates do.

mod agent_client;
mod check;
pub mod cli;
mod client;
mod cluster;
mod container;
pub mod containers;
mod credentials;
mod error;
mod namespaces;
mod node_files;
mod parallel;
mod protocol;
mod rights;
mod runtime;
mod state;
mod supervisor;
pub mod tool;
mod topology;
mod waiting;

pub use check::{CheckOptions, Checker, Report};
pub use client::Client;
pub use error::LabError;
pub use namespaces::Namespaces;
pub use node_files::{AGENT_SOCKET, BIN_DIR, CNI_CONFIG, NETNS_DIR};
pub use protocol::{LabStatus, MachineStatus, NodeStatus, PodStatus, ProcessStatus};
pub use state::{LabRecord, Life, StateDir};
pub use topology::{Families, LabName, LabNode, Network, Topology, TopologyError, UnderlayKind};
