//! The connection to the API: credentials, TLS, sockets that notice a server that is gone, and
//! another server in its place.
//!
//! Why not kube's own stack: it knows one server; it offers no keep-alive and no limit for
//! unacknowledged data, so a server that is black-holed would hold an open watch for a quarter of an
//! hour; and it repeats requests by itself for minutes. Here every request that is no watch has a
//! deadline, and callers decide what is tried again.

mod access;
mod deadline;
mod failover;
mod learned;
mod names;
mod server_url;
mod servers;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tokio::sync::watch;

use crate::Timing;
use deadline::{Deadline, Prompt};
use failover::{Failover, Shared};
use learned::Learned;
use names::Names;

use access::Loaded;
pub use access::{Access, ConnectError, Credentials};
pub(crate) use failover::Together;
pub use server_url::{BadServerUrl, ServerUrl};

/// Makes aws-lc-rs the process's cryptography for TLS. To be called before the first connection;
/// calling it again does nothing.
pub fn install_crypto() {
    // An error says that a provider is installed already, by an earlier call.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A client with the usual deadlines. To be called on a tokio runtime.
///
/// # Errors
///
/// Names the file and the field. Whether a server answers is not tried.
pub fn client(access: &Access) -> Result<Client, ConnectError> {
    client_with(access, &Timing::default())
}

/// A client with these deadlines. To be called on a tokio runtime.
///
/// # Errors
///
/// As [`client`].
pub fn client_with(access: &Access, timing: &Timing) -> Result<Client, ConnectError> {
    Ok(connect(access, timing)?.0)
}

/// The URL of the server that is asked first.
///
/// # Errors
///
/// As [`client`].
pub fn server_url(access: &Access) -> Result<String, ConnectError> {
    Ok(access.load()?.servers[0].to_string())
}

/// A client, and the servers behind it.
pub(crate) fn connect(
    access: &Access,
    timing: &Timing,
) -> Result<(Client, ApiServers), ConnectError> {
    install_crypto();
    let Loaded {
        servers: given,
        mut config,
        token,
    } = access.load()?;
    config.cluster_url = given[0].uri().clone();
    let secure = given.iter().all(ServerUrl::is_secure);
    let learned = Learned::open(access.memory().filter(|_| secure));
    let shared = Arc::new(Shared::new(given, token, timing));
    if secure {
        shared.lock().learn(learned.remembered());
    }
    let client = build(&config, &shared, timing).map_err(|error| access.unusable(&error))?;
    let servers = ApiServers {
        in_use: shared.in_use(),
        shared,
        learned: secure.then(|| Arc::new(Mutex::new(learned))),
    };
    Ok((client, servers))
}

/// The servers behind a client.
#[derive(Clone)]
pub(crate) struct ApiServers {
    shared: Arc<Shared>,
    in_use: watch::Receiver<ServerUrl>,
    /// Nothing is learned where no certificate would prove it.
    learned: Option<Arc<Mutex<Learned>>>,
}

impl ApiServers {
    /// The one that answered last, or the one to be asked first.
    pub(crate) fn in_use(&mut self) -> String {
        self.in_use.borrow_and_update().to_string()
    }

    /// Waits until another one is in use.
    pub(crate) async fn changed(&mut self) {
        // The sender is in what this holds.
        let _ = self.in_use.changed().await;
    }

    /// Learns from a slice, if it is one of the API's own.
    pub(crate) fn learn(&self, slice: &EndpointSlice) {
        let Some(learned) = &self.learned else { return };
        let mut learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut servers) = learned.take(slice) {
            // Other nodes learn the same.
            servers.sort_by_cached_key(|_| crate::backoff::random());
            self.shared.lock().learn(&servers);
        }
    }
}

fn build(config: &Config, shared: &Arc<Shared>, timing: &Timing) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timing.connect));
    tcp.set_keepalive(Some(timing.probe_after));
    tcp.set_keepalive_interval(Some(timing.probe_after / 2));
    tcp.set_keepalive_retries(Some(3));
    tcp.set_tcp_user_timeout(Some(timing.unacknowledged));
    let tls = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http()
        .with_server_name_resolver(Names::new(config.tls_server_name.clone(), shared.clone()))
        .enable_http1()
        .wrap_connector(tcp);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(Prompt::new(tls, timing.connect));
    let service = Failover::new(Deadline::new(http, timing.response), shared.clone());
    let builder = ClientBuilder::new(service, config.default_namespace.clone())
        .with_layer(&config.extra_headers_layer()?);
    Ok(match config.auth_layer()? {
        Some(auth) => builder.with_layer(&auth).build(),
        None => builder.build(),
    })
}
