//! Cluster loops: what a controller manager and a scheduler do, as far as a lab needs it.
//!
//! - `scheduler`: a node for each Pod.
//! - `node_cidrs`: ranges of Pod addresses for each node.
//! - `node_life`: nodes that fall silent, and the Pods on them.
//! - `orphans`: Pods of nodes that are gone.
//! - `deployments`, `replicasets`: versions of a workload, and as many Pods of each as wanted.
//! - `daemonsets`: a Pod on each node that fits, and the templates that there were.
//! - `endpoint_slices`: the Pods behind each Service.
//! - `endpoints`: the same in the older form, and slices for what others write in it.
//! - `accounts`: what every namespace has.
//! - `startup_taint`: the taint that nodes have until their network is up.
//! - `unenforced`: NetworkPolicies that nobody enforces.
//!
//! A cluster with a control plane of its own needs `node_cidrs` (perhaps), `startup_taint` and
//! `unenforced` only ([`Extent::Network`]), run by one of several controllers that elect each other
//! (`leader`).
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
mod daemonsets;
mod deployments;
mod endpoint_slices;
mod endpoints;
mod error;
mod hands;
mod leader;
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
mod standing;
mod startup_taint;
mod taints;
mod unenforced;
mod view;
mod web;
mod work;

mod run;

#[cfg(test)]
mod simulation;

pub use config::{ControlConfig, Extent};
pub use error::ControlError;
pub use leader::{Election, Ending, Rhythm, lead};
pub use node_cidrs::{ClusterCidr, PoolError};
pub use run::{run, serve};
pub use standing::Standing;
pub use web::{serve_health, serve_health_at_socket};
