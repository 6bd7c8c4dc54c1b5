//! The only crate that touches a host, and the only one with `unsafe`: network namespaces,
//! rtnetlink, kernel settings, and the realisers that make planned rows true.
//!
//! Nothing is decided here. What must be in force comes from `seaway-plan` as rows; this crate
//! makes it so in as few system calls as possible and reports what is.

pub mod conntrack;
pub mod container;
pub mod echo;
mod error;
pub mod fault;
pub mod foreign;
pub mod limits;
mod netfilter;
pub mod netlink;
pub mod netns;
mod nft;
pub mod packet_socket;
pub mod realise;
pub mod sysctl;
pub mod uplink;

pub use error::KernelError;
