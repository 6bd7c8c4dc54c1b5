//! Orphans: Pods of nodes that are gone. Nobody is left to end them, so they are deleted here.
//!
//! `Missing` is pure. It counts by this process' own clock how long a node that Pods name was not to be
//! seen, and only a node that was missing for the whole quarantine is up for a verdict: nodes register
//! anew after the API has lost everything, and that takes them a moment. The driver is `Orphans`. It
//! asks the API about the node before it touches a Pod, so what cannot be read is never taken for gone.

mod driver;
mod missing;

pub(crate) use driver::Orphans;
