//! Names, answered on the node: those of the cluster from what the agent is told of it, all others by
//! asking the node's own servers and keeping what they say.
//!
//! [`Zone`] is pure and knows the cluster. [`Names`] is the handle to a zone that is in service:
//! events go in, counts come out. [`serve`] is the server; it is at home on a thread of its own and
//! answers for the cluster without waiting for anybody. It is no recursive resolver, does not
//! validate (DNSSEC), and is not to be reached from outside the node.

mod counts;
mod dice;
mod error;
mod forward;
mod message;
mod names;
mod server;
mod wire;
pub mod zone;

pub use counts::{Counts, Outcome};
pub use error::DnsError;
pub use forward::{ForwardLimits, Upstreams};
pub use names::Names;
pub use server::{ServerConfig, ServerLimits, serve};
pub use zone::{CLUSTER_DOMAIN, Zone, ZoneConfig};
