//! The only crate that touches a host, and the only one with `unsafe`: network namespaces,
//! rtnetlink, kernel settings, and the realisers that make planned rows true.
//!
//! Nothing is decided here. What must be in force comes from `seaway-plan` as rows; this crate
//! makes it so in as few system calls as possible and reports what is.

pub mod container;
mod error;
pub mod fault;
pub mod limits;
pub mod netlink;
pub mod netns;
pub mod realise;
pub mod sysctl;
pub mod uplink;

pub use error::KernelError;
