//! The laws of planning: any order of events gives the rows of a cold start, the changes given on
//! the way lead to the same rows, no row hangs in the air; and examples of every way between Pods.

mod changes;
mod findings;
mod inputs;
mod ipam;
mod order;
mod references;
mod services;
mod transports;
mod wirings;
