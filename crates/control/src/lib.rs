//! Cluster loops: what a controller manager and a scheduler do, as far as a lab needs it.
//!
//! - `scheduler`: a node for each Pod.
//! - `node_cidrs`: ranges of Pod addresses for each node.
//! - `node_life`: nodes that fall silent, and the Pods on them.
//! - `orphans`: Pods of nodes that are gone.
//! - `deployments`, `replicasets`: versions of a workload, and as many Pods of each as wanted.
//! - `endpoint_slices`: the Pods behind each Service.
//! - `accounts`: what every namespace has.
//!
//! Written against the API alone, so it runs against any Kubernetes. Every loop has a pure decision
//! function (what is known in, what to do out; `now` is an argument) and a thin driver that performs.
//! All state is in the API: a loop that starts anew at any moment adopts what it finds. What a loop
//! remembers beyond that are its own requests that the watch has not shown yet.
//!
//! It collects no garbage and empties no namespaces: that is the API server's work here, and that of
//! Kubernetes' own controllers elsewhere.

mod accounts;
mod cluster;
mod config;
mod deployments;
mod endpoint_slices;
mod error;
mod ledger;
mod meta;
mod natural;
mod node_cidrs;
mod node_life;
mod notes;
mod orphans;
mod queue;
mod replicasets;
mod scheduler;
mod taints;
mod view;
mod work;

mod run;

#[cfg(test)]
mod simulation;

pub use config::ControlConfig;
pub use error::ControlError;
pub use node_cidrs::{ClusterCidr, PoolError};
pub use run::run;
