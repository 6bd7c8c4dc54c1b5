//! What Seaway is in a Kubernetes cluster: the plain manifest and the Helm chart, from one source.
//!
//! [`objects`](objects()) are trees in which a place is either a literal or a *slot* for a value that
//! people choose. Filled with [`Values`] they are the manifest; written with the slots as template
//! expressions they are the chart. [`settings`] is the one table of those values: their names,
//! checks, defaults and descriptions, and the variables by which the programs get them.
//!
//! It is pure: it reads no file and asks no cluster.

mod chart;
mod checks;
mod node;
mod objects;
pub mod rights;
mod rules;
pub mod settings;
mod slots;
mod values;
mod yaml;

pub use chart::chart;
pub use objects::{NAMESPACE, PART_OF, VERSION, manifest, objects};
pub use values::{ValueError, Values};

/// What everybody who installs Seaway is to know, as long as it is so.
pub const POLICY_NOTE: &str = "\
NetworkPolicies are NOT ENFORCED by this version of Seaway: every Pod reaches every other Pod,
whatever policies say. `seaway status` and an Event on each NetworkPolicy say so, too.";
