//! All loops against the real embedded API server; nodes are played.

mod daemons;
mod election;
mod endpoints;
mod harness;
mod network;
mod nodes;
mod rollouts;
mod scheduling;
mod slices;
