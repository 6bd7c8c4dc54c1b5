//! The connection to the API: kubeconfig, TLS, and sockets that notice a server that is gone.
//!
//! Why not kube's own stack: it offers no keep-alive and no limit for unacknowledged data, so a
//! server that is black-holed would hold an open watch for a quarter of an hour, and it repeats
//! requests by itself for minutes. Here every request that is no watch has a deadline, and callers
//! decide what is tried again.

mod access;
mod deadline;
mod server_url;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};

use crate::Timing;
use deadline::Deadline;

pub use access::{Access, ConnectError, Credentials};
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
    install_crypto();
    let (servers, mut config) = access.load()?;
    config.cluster_url = servers[0].uri().clone();
    build(&config, timing).map_err(|error| access.unusable(&error))
}

/// The URL of the server that is asked first.
///
/// # Errors
///
/// As [`client`].
pub fn server_url(access: &Access) -> Result<String, ConnectError> {
    Ok(access.load()?.0[0].to_string())
}

fn build(config: &Config, timing: &Timing) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timing.connect));
    tcp.set_keepalive(Some(timing.probe_after));
    tcp.set_keepalive_interval(Some(timing.probe_after / 2));
    tcp.set_keepalive_retries(Some(3));
    tcp.set_tcp_user_timeout(Some(timing.unacknowledged));
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(config.rustls_https_connector_with_connector(tcp)?);
    let service = Deadline::new(http, timing.response);
    let builder = ClientBuilder::new(service, config.default_namespace.clone())
        .with_layer(&config.extra_headers_layer()?);
    // The last layer is the outermost; the base URL is to be there before the rest looks.
    Ok(match config.auth_layer()? {
        Some(auth) => builder
            .with_layer(&auth)
            .with_layer(&config.base_uri_layer())
            .build(),
        None => builder.with_layer(&config.base_uri_layer()).build(),
    })
}
