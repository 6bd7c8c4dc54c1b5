//! The crate against a scripted server on loopback, scenario by scenario, and its rules against
//! random histories.

mod cluster;
mod faults;
mod front;
mod heartbeat;
mod mirror;
mod mock;
mod overview;
mod pace;
mod servers;
mod status;
mod watch;
