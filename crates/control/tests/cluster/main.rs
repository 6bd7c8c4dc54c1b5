//! All loops against the real embedded API server; nodes are played.

mod harness;
mod nodes;
mod rollouts;
mod scheduling;
mod slices;
