//! What the plugin binary `seaway-cni` and the agent share: the types of the CNI specification, the
//! request that one sends to the other, and the framing in which it travels.
//!
//! The plugin checks its input and passes it on; the agent checks it again and is the authority.
//! Nothing here attaches a Pod: there is no netlink, no allocation and no planning in this crate.
//! It is synchronous and starts no threads, for the plugin's start is what every Pod waits for.

pub mod install;
pub mod notes;
pub mod request;
pub mod spec;
pub mod wire;

/// Where the agent listens when a configuration names no other socket.
pub const DEFAULT_SOCKET: &str = "/run/seaway/agent.sock";
