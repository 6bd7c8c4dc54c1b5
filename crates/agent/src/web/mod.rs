//! What the agent answers by HTTP: its health, the health checks of load balancers, and metrics.
//!
//! One thread with a runtime of its own, born in the agent's network namespace, as are its
//! listeners: [`listeners`] says which there are, [`connection`] serves one and keeps slow clients
//! from holding anything, [`answers`] and [`metrics`] say what is answered.

mod answers;
mod connection;
mod listeners;
mod metrics;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

pub(crate) use self::metrics::HealthAsked;
use crate::error::AgentError;
use crate::shared::Shared;

/// The port of `/healthz` and `/livez`, as kube-proxy has it.
pub const HEALTH_PORT: u16 = 10256;
/// The port of `/metrics`, as kube-proxy has it.
pub const METRICS_PORT: u16 = 10249;

/// Where the agent answers by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Where `/healthz` and `/livez` are; nowhere when `None`.
    pub health: Option<SocketAddr>,
    /// Where `/metrics` is; nowhere when `None`.
    pub metrics: Option<SocketAddr>,
}

impl WebConfig {
    /// Of an agent that answers nothing but health checks of Services.
    pub const NOWHERE: WebConfig = WebConfig {
        health: None,
        metrics: None,
    };
}

impl Default for WebConfig {
    /// Health on all addresses, for those who look from elsewhere; metrics on the loopback address.
    fn default() -> WebConfig {
        let everywhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        WebConfig {
            health: Some(SocketAddr::new(everywhere, HEALTH_PORT)),
            metrics: Some(SocketAddr::new(here, METRICS_PORT)),
        }
    }
}

/// The runtime that [`run`] needs.
pub(crate) fn runtime() -> Result<Runtime, AgentError> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| AgentError::Thread("web", error))
}

/// Answers for ever, in the calling thread's network namespace.
pub(crate) fn run(runtime: &Runtime, shared: &Arc<Shared>, config: WebConfig) {
    runtime.block_on(listeners::keep(shared, config));
}
