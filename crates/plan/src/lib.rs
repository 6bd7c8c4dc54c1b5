//! Pure planning: cluster state in, table rows out.
//!
//! No clock, no randomness, no IO, no async. The law, tested by property: *any order of events,
//! then the rows = the rows of a cold start from the final objects*.

pub mod check;
pub mod ipam;
mod ledger;
mod planner;
mod rows;
mod table;

pub use planner::{Input, Planner, Uplink};
pub use rows::pod_side_rows;
pub use table::{Change, ChangeSet, RowReport, RowState, Table, Tables, compare};
