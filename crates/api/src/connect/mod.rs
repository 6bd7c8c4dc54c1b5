//! The connection to the API: kubeconfig, TLS, and sockets that notice a server that is gone.
//!
//! Why not kube's own stack: it offers no keep-alive and no limit for unacknowledged data, so a
//! server that is black-holed would hold an open watch for a quarter of an hour, and it repeats
//! requests by itself for minutes. Here every request that is no watch has a deadline, and callers
//! decide what is tried again.

mod deadline;

use std::path::{Path, PathBuf};

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use crate::Timing;
use deadline::Deadline;

/// Where it is written how to reach the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeconfigSource {
    /// A kubeconfig file; its current context counts.
    File(PathBuf),
}

impl KubeconfigSource {
    /// A kubeconfig file.
    pub fn file(path: impl Into<PathBuf>) -> KubeconfigSource {
        KubeconfigSource::File(path.into())
    }
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The file cannot be read.
    #[error("read kubeconfig {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A field of the file is missing or wrong.
    #[error("kubeconfig {}: {field}: {problem}", path.display())]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

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
/// Names the file and the field. Whether the server answers is not tried.
pub fn client(source: &KubeconfigSource) -> Result<Client, ConnectError> {
    client_with(source, &Timing::default())
}

/// A client with these deadlines. To be called on a tokio runtime.
///
/// # Errors
///
/// As [`client`].
pub fn client_with(source: &KubeconfigSource, timing: &Timing) -> Result<Client, ConnectError> {
    install_crypto();
    let KubeconfigSource::File(path) = source;
    let config = load(path)?;
    build(&config, timing).map_err(|error| in_user_or_cluster(path, &error))
}

/// The server's URL as the kubeconfig says it.
///
/// # Errors
///
/// As [`client`].
pub fn server_url(source: &KubeconfigSource) -> Result<String, ConnectError> {
    let KubeconfigSource::File(path) = source;
    Ok(load(path)?.cluster_url.to_string())
}

fn load(path: &Path) -> Result<Config, ConnectError> {
    let wrong = |error: KubeconfigError| refine(path, error);
    let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
    if let Some(cluster) = with_proxy(&kubeconfig) {
        return Err(ConnectError::Field {
            path: path.to_owned(),
            field: format!("clusters[{cluster}].cluster.proxy-url"),
            problem: "proxies are not supported; remove it".to_owned(),
        });
    }
    let mut config = Config::try_from(kubeconfig).map_err(wrong)?;
    // A proxy of the environment is meant for programs that browse.
    config.proxy_url = None;
    let scheme = config.cluster_url.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") || config.cluster_url.host().is_none() {
        return Err(ConnectError::Field {
            path: path.to_owned(),
            field: "clusters[].cluster.server".to_owned(),
            problem: format!(
                "\"{}\" is no URL of a server; want for example https://192.0.2.1:6443",
                config.cluster_url
            ),
        });
    }
    Ok(config)
}

fn with_proxy(kubeconfig: &Kubeconfig) -> Option<&str> {
    let has = |cluster: &kube::config::Cluster| {
        cluster
            .proxy_url
            .as_deref()
            .is_some_and(|url| !url.is_empty())
    };
    let found = kubeconfig
        .clusters
        .iter()
        .find(|named| named.cluster.as_ref().is_some_and(has));
    found.map(|named| named.name.as_str())
}

/// Says which field kube's error is about.
fn refine(path: &Path, error: KubeconfigError) -> ConnectError {
    let field = |field: &str, problem: String| ConnectError::Field {
        path: path.to_owned(),
        field: field.to_owned(),
        problem,
    };
    match error {
        KubeconfigError::ReadConfig(source, path) => ConnectError::Read { path, source },
        KubeconfigError::Parse(error) => field("YAML", error.to_string()),
        KubeconfigError::CurrentContextNotSet => {
            field("current-context", "it is not set".to_owned())
        }
        KubeconfigError::LoadContext(name) => {
            field("current-context", format!("contexts has no \"{name}\""))
        }
        KubeconfigError::LoadClusterOfContext(name) => field(
            "contexts[].context.cluster",
            format!("clusters has no \"{name}\""),
        ),
        KubeconfigError::MissingClusterUrl => {
            field("clusters[].cluster.server", "it is missing".to_owned())
        }
        KubeconfigError::ParseClusterUrl(error) => {
            field("clusters[].cluster.server", error.to_string())
        }
        KubeconfigError::LoadCertificateAuthority(error) => field(
            "clusters[].cluster.certificate-authority",
            error.to_string(),
        ),
        KubeconfigError::ParseCertificates(error) => field(
            "clusters[].cluster.certificate-authority",
            error.to_string(),
        ),
        KubeconfigError::LoadClientCertificate(error) => {
            field("users[].user.client-certificate", error.to_string())
        }
        KubeconfigError::LoadClientKey(error) => {
            field("users[].user.client-key", error.to_string())
        }
        other => field("contents", other.to_string()),
    }
}

/// Errors of building are about credentials or certificates.
fn in_user_or_cluster(path: &Path, error: &kube::Error) -> ConnectError {
    let field = match error {
        kube::Error::RustlsTls(_) => "certificate-authority or client-certificate",
        _ => "users[].user",
    };
    ConnectError::Field {
        path: path.to_owned(),
        field: field.to_owned(),
        problem: crate::describe(error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let folder = std::env::temp_dir().join(format!("seaway-api-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let name = text
            .bytes()
            .fold(0u64, |n, b| n.wrapping_mul(31).wrapping_add(b.into()));
        let path = folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, text).expect("written");
        let answer = server_url(&KubeconfigSource::file(&path));
        std::fs::remove_file(&path).expect("removed");
        match answer {
            Ok(url) => url,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("kubeconfig"), "{text}");
                text
            }
        }
    }

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        )
    }

    #[test]
    fn the_server_is_the_current_contexts() {
        let text = kubeconfig("{server: 'https://192.0.2.1:6443'}", "{token: t}");
        assert_eq!(refused(&text), "https://192.0.2.1:6443/");
    }

    #[test]
    fn errors_name_the_file_and_the_field() {
        for (text, words) in [
            ("\u{0}:", ""),
            ("{}", "current-context: it is not set"),
            ("current-context: x", "contexts has no \"x\""),
            (
                &kubeconfig("{}", "{}"),
                "clusters[].cluster.server: it is missing",
            ),
            (
                &kubeconfig("{server: 'tcp://x'}", "{}"),
                "is no URL of a server",
            ),
            (
                &kubeconfig("{server: '192.0.2.1'}", "{}"),
                "is no URL of a server",
            ),
            (
                &kubeconfig("{server: 'https://x', proxy-url: 'http://y'}", "{}"),
                "clusters[k].cluster.proxy-url",
            ),
            (
                &kubeconfig(
                    "{server: 'https://x', certificate-authority-data: '!'}",
                    "{}",
                ),
                "certificate-authority",
            ),
            (
                &kubeconfig("{server: 'https://x', certificate-authority: /none}", "{}"),
                "/none",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        let missing = server_url(&KubeconfigSource::file("/nowhere/kubeconfig"));
        let error = missing.expect_err("missing").to_string();
        assert!(
            error.starts_with("read kubeconfig /nowhere/kubeconfig"),
            "{error}"
        );
    }
}
