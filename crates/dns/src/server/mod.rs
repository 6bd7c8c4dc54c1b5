//! The server: sockets on the node's addresses for names, and who gets which answer.
//!
//! It lives on one thread. What the zone or the cache knows is answered where it was read; what has
//! to be asked waits in a task of its own, bounded in all and for each client, so that neither a slow
//! server elsewhere nor a greedy Pod is in the way of anybody else's question.

mod admission;
mod front;
mod sockets;
mod tcp;
mod udp;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seaway_model::{Family, dns_address};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::admission::Admission;
use self::front::Front;
use crate::error::DnsError;
use crate::forward::{ForwardLimits, Forwarder, Upstreams};
use crate::names::Names;

/// The port of names.
const PORT: u16 = 53;
/// The pauses between attempts to listen.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// How the server is to be.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where questions come to, by UDP and TCP. The addresses may appear later.
    pub listen: Vec<SocketAddr>,
    /// Whom to ask for names that are not the cluster's.
    pub upstreams: Upstreams,
    /// The bounds of asking and keeping.
    pub forward: ForwardLimits,
    /// The bounds of serving.
    pub limits: ServerLimits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let listen = Family::ALL.map(|family| SocketAddr::new(dns_address(family), PORT));
        ServerConfig {
            listen: listen.into(),
            upstreams: Upstreams::File(PathBuf::from("/etc/resolv.conf")),
            forward: ForwardLimits::default(),
            limits: ServerLimits::default(),
        }
    }
}

/// The bounds of serving.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// How many questions may wait for servers elsewhere.
    pub waiting: usize,
    /// How many of them may be one client's.
    pub waiting_each: usize,
    /// How many TCP connections there may be.
    pub connections: usize,
    /// How many of them may be one client's.
    pub connections_each: usize,
    /// How long a connection may say nothing.
    pub idle: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            waiting: 2048,
            waiting_each: 256,
            connections: 256,
            connections_each: 32,
            idle: Duration::from_secs(10),
        }
    }
}

/// Serves names in the calling thread and its network namespace; returns only if it cannot begin.
///
/// # Errors
///
/// Names what the system refused. That addresses cannot be listened on is none: it is said, and
/// tried again.
pub fn serve(names: Names, config: &ServerConfig) -> Result<(), DnsError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DnsError::Runtime)?;
    runtime.block_on(run(names, config));
    Ok(())
}

async fn run(names: Names, config: &ServerConfig) {
    let own = config.listen.clone();
    let forwarder = Arc::new(Forwarder::new(&config.forward, names.clone(), own));
    let limits = &config.limits;
    let front = Arc::new(Front::new(names, forwarder.clone()));
    let waiting = Admission::new(limits.waiting, limits.waiting_each);
    let connections = Admission::new(limits.connections, limits.connections_each);
    let mut tasks = JoinSet::new();
    tasks.spawn(forwarder.follow(config.upstreams.clone()));
    for address in &config.listen {
        let address = *address;
        let (one, permits) = (front.clone(), waiting.clone());
        tasks.spawn(keep("UDP", address, move || {
            udp::serve(address, one.clone(), permits.clone())
        }));
        let (one, permits, idle) = (front.clone(), connections.clone(), limits.idle);
        tasks.spawn(keep("TCP", address, move || {
            tcp::serve(address, one.clone(), permits.clone(), idle)
        }));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the name server has failed; restart the agent");
        }
    }
    std::future::pending::<()>().await;
}

/// Serves, again after a pause when that ends: it ends with an error only.
async fn keep<F>(protocol: &'static str, address: SocketAddr, serve: impl Fn() -> F)
where
    F: Future<Output = io::Error>,
{
    let mut pause = PAUSES[0];
    let mut last = String::new();
    loop {
        let began = tokio::time::Instant::now();
        let source = serve().await;
        if began.elapsed() > PAUSES[1] {
            pause = PAUSES[0];
        }
        let error = DnsError::Listen {
            address,
            protocol,
            source,
        };
        let text = error.to_string();
        if text != last {
            tracing::warn!("{text}");
            last = text;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}
