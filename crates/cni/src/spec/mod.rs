//! The types of the Container Network Interface specification, 0.3.1 to 1.1.0: versions, errors,
//! environment, network configuration and results. Pure data and validation, no IO.

mod args;
mod capabilities;
mod config;
mod environment;
pub mod error;
mod object;
mod result;
mod version;

pub use args::PodArgs;
pub use capabilities::CAPABILITIES;
pub use config::{NetworkConfig, decode, version_of};
pub use environment::{Command, Endpoint, Environment, Verb};
pub use error::{CniError, code};
pub use result::{CniResult, Dns, Interface, IpConfig, Route};
pub use version::{CniVersion, UnsupportedVersion};
