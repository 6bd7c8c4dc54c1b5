//! Node life: who is silent, what that means for the node, and for the Pods on it.
//!
//! `pulse` observes signs of life by this process' own monotonic clock; `verdict` decides conditions
//! and taints of a node; `evict` decides which Pods have to leave tainted nodes and when. All three are
//! pure. The driver is `NodeLife`. Clocks of other machines are never compared with ours: a Lease is a
//! sign of life because it *changed*, whatever time it tells.

mod driver;
mod evict;
mod pulse;
mod verdict;

pub(crate) use driver::NodeLife;

#[cfg(test)]
mod tests;
