//! The system calls that a container is made of and that no safe library offers: trees of mounts
//! that are restricted before anybody sees them, capabilities, handles of processes, and the last
//! steps of a process before it becomes a program that is not trusted.
//!
//! What a container looks like and what it may do is decided by the caller.

mod capabilities;
mod confinement;
mod mounts;
mod process;

pub use capabilities::{Capability, CapabilitySet};
pub use confinement::{Confinement, run_confined};
pub use mounts::{MountTree, Restriction};
pub use process::{ProcessHandle, die_by};
