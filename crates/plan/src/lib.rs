//! Pure planning: cluster state in, table rows out.
//!
//! No clock, no randomness, no IO, no async. The law, tested by property: *any order of events,
//! then the rows = the rows of a cold start from the final objects*.

pub mod check;
mod context;
pub mod eval;
pub mod ipam;
mod ledger;
mod planner;
mod rows;
mod services;
mod store;
mod table;
mod totals;
pub mod trace;

pub use context::Method;
pub use planner::{Input, Planner, PodAddress, Uplink};
pub use services::{FlowTruth, HealthCheck, Programming, ServiceView};
pub use table::{
    Change, ChangeSet, RowReport, RowState, Table, Tables, Wanted, compare, compare_some,
};
