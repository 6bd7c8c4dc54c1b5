//! How the API is reached, and as whom: a kubeconfig or a service account, and the servers.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{Kubeconfig, KubeconfigError};
use thiserror::Error;

use super::ServerUrl;
use super::token::TokenFile;

/// Where a Pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A kubeconfig file; its current context counts.
    File(PathBuf),
    /// A folder with `token` and `ca.crt`, as a Pod has it. A new token counts at once, another
    /// authority within a minute.
    ServiceAccount(PathBuf),
    /// The kubeconfig that `kubectl` would use: the files of `KUBECONFIG`, or else `~/.kube/config`.
    User,
}

/// How to reach the API, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    credentials: Credentials,
    context: Option<String>,
    servers: Vec<ServerUrl>,
    spread: bool,
    memory: Option<PathBuf>,
}

impl Access {
    /// With these credentials, at the server that is written beside them.
    pub fn new(credentials: Credentials) -> Access {
        Access {
            credentials,
            context: None,
            servers: Vec::new(),
            spread: false,
            memory: None,
        }
    }

    /// By a kubeconfig file.
    pub fn file(path: impl Into<PathBuf>) -> Access {
        Access::new(Credentials::File(path.into()))
    }

    /// By the service account of the Pod that this process runs in.
    pub fn in_cluster() -> Access {
        Access::new(Credentials::ServiceAccount(SERVICE_ACCOUNT.into()))
    }

    /// By the kubeconfig that `kubectl` would use.
    pub fn user() -> Access {
        Access::new(Credentials::User)
    }

    /// At these servers in place of the one that is written beside the credentials; the first that
    /// works is asked. None changes nothing.
    #[must_use]
    pub fn with_servers(self, servers: Vec<ServerUrl>) -> Access {
        Access { servers, ..self }
    }

    /// By another context of the kubeconfig than its current one.
    #[must_use]
    pub fn with_context(self, context: Option<String>) -> Access {
        Access { context, ..self }
    }

    /// Asks the servers in an order of its own: daemons of many nodes that have the same list share
    /// the load, and do not all go to the same one when theirs fails.
    #[must_use]
    pub fn spread(self) -> Access {
        Access {
            spread: true,
            ..self
        }
    }

    /// Keeps the servers that the cluster names in this file, for the next start.
    #[must_use]
    pub fn remembering(self, file: impl Into<PathBuf>) -> Access {
        Access {
            memory: Some(file.into()),
            ..self
        }
    }

    pub(super) fn memory(&self) -> Option<PathBuf> {
        self.memory.clone()
    }

    /// The servers that were given, in the order in which this process asks them.
    fn in_order(&self) -> Vec<ServerUrl> {
        let mut servers = Vec::new();
        for server in &self.servers {
            if !servers.contains(server) {
                servers.push(server.clone());
            }
        }
        if self.spread {
            servers.sort_by_cached_key(|_| crate::backoff::random());
        }
        servers
    }

    /// The credentials in a few words.
    pub fn describe(&self) -> String {
        match &self.credentials {
            Credentials::File(path) => path.display().to_string(),
            Credentials::ServiceAccount(folder) => {
                format!("service account {}", folder.display())
            }
            Credentials::User => user_files(),
        }
    }

    /// All that a connection needs, read anew.
    pub(super) fn load(&self) -> Result<Loaded, ConnectError> {
        match &self.credentials {
            Credentials::ServiceAccount(folder) => self.of_service_account(folder),
            Credentials::File(path) => {
                let read = Kubeconfig::read_from(path);
                self.of_kubeconfig(read.map_err(|error| self.refine(error))?)
            }
            Credentials::User => {
                let read = Kubeconfig::read();
                self.of_kubeconfig(read.map_err(|error| self.refine(error))?)
            }
        }
    }

    fn of_kubeconfig(&self, mut kubeconfig: Kubeconfig) -> Result<Loaded, ConnectError> {
        if let Some(context) = &self.context {
            kubeconfig.current_context = Some(context.clone());
        }
        if let Some(cluster) = with_proxy(&kubeconfig) {
            let field = format!("clusters[{cluster}].cluster.proxy-url");
            return Err(self.wrong(&field, "proxies are not supported; remove it"));
        }
        let config = Config::try_from(kubeconfig);
        let mut config = config.map_err(|error| self.refine(error))?;
        // A proxy of the environment is meant for programs that browse.
        config.proxy_url = None;
        let servers = match self.servers.is_empty() {
            false => self.in_order(),
            true => {
                let server = ServerUrl::of_kubeconfig(config.cluster_url.clone());
                let wrong = |e| self.wrong("clusters[].cluster.server", e);
                vec![server.map_err(wrong)?]
            }
        };
        Ok(Loaded {
            servers,
            config,
            token: None,
        })
    }

    fn of_service_account(&self, folder: &Path) -> Result<Loaded, ConnectError> {
        let servers = match self.servers.is_empty() {
            false => self.in_order(),
            true => vec![server_of_environment()?],
        };
        let unread = |path: &Path, source| ConnectError::ServiceAccount {
            path: path.to_owned(),
            source,
        };
        let (authority, token) = (folder.join("ca.crt"), folder.join("token"));
        std::fs::File::open(&authority).map_err(|source| unread(&authority, source))?;
        let token = TokenFile::open(token.clone()).map_err(|source| unread(&token, source))?;
        let mut config = Config::new(servers[0].uri().clone());
        config.root_cert_file = Some(authority);
        // The file counts; without this the machine's own authorities are asked for first, and an
        // image that has none is refused.
        config.root_cert = Some(Vec::new());
        config.proxy_url = None;
        let namespace = std::fs::read_to_string(folder.join("namespace")).unwrap_or_default();
        if !namespace.trim().is_empty() {
            config.default_namespace = namespace.trim().to_owned();
        }
        Ok(Loaded {
            servers,
            config,
            token: Some(token),
        })
    }

    /// Errors of building a client are about credentials or certificates.
    pub(super) fn unusable(&self, error: &kube::Error) -> ConnectError {
        let field = match (error, &self.credentials) {
            (kube::Error::RustlsTls(_), Credentials::ServiceAccount(_)) => "ca.crt",
            (kube::Error::RustlsTls(_), _) => "certificate-authority or client-certificate",
            (_, Credentials::ServiceAccount(_)) => "token",
            _ => "users[].user",
        };
        self.wrong(field, crate::describe(error))
    }

    fn wrong(&self, field: &str, problem: impl ToString) -> ConnectError {
        let source = match &self.credentials {
            Credentials::ServiceAccount(_) => self.describe(),
            _ => format!("kubeconfig {}", self.describe()),
        };
        ConnectError::Field {
            source_name: source,
            field: field.to_owned(),
            problem: problem.to_string(),
        }
    }

    /// Says which field kube's error is about.
    fn refine(&self, error: KubeconfigError) -> ConnectError {
        let field = |field: &str, problem: String| self.wrong(field, problem);
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

/// What credentials and servers say.
pub(super) struct Loaded {
    /// In the order in which they are asked; never none.
    pub(super) servers: Vec<ServerUrl>,
    pub(super) config: Config,
    /// The token, if we read it ourselves.
    pub(super) token: Option<TokenFile>,
}

/// Which files `kubectl` would read.
fn user_files() -> String {
    match std::env::var_os("KUBECONFIG") {
        Some(files) if !files.is_empty() => files.to_string_lossy().into_owned(),
        _ => "~/.kube/config".to_owned(),
    }
}

/// The server as a kubelet tells it to its Pods: the ClusterIP of Service default/kubernetes, which
/// leads somewhere only where somebody balances already.
fn server_of_environment() -> Result<ServerUrl, ConnectError> {
    let read = |name| std::env::var(name).unwrap_or_default();
    let (host, port) = (
        read("KUBERNETES_SERVICE_HOST"),
        read("KUBERNETES_SERVICE_PORT"),
    );
    if host.is_empty() || port.is_empty() {
        return Err(ConnectError::NoServer);
    }
    let text = match host.contains(':') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    };
    text.parse().map_err(|_| ConnectError::NoServer)
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
    /// A file of the service account cannot be read.
    #[error(
        "read service account {}: {source}; a Pod has it unless automountServiceAccountToken is false",
        path.display()
    )]
    ServiceAccount {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// Nothing says where the API servers are.
    #[error(
        "no API server is known: give --api-server, for KUBERNETES_SERVICE_HOST and \
         KUBERNETES_SERVICE_PORT do not name one either"
    )]
    NoServer,
    /// A field of the credentials is missing or wrong.
    #[error("{source_name}: {field}: {problem}")]
    Field {
        /// Whose.
        source_name: String,
        /// Which field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(access: &Access) -> Result<String, ConnectError> {
        Ok(access.load()?.servers[0].to_string())
    }

    fn refused(text: &str) -> String {
        let folder = std::env::temp_dir().join(format!("seaway-api-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let name = text
            .bytes()
            .fold(0u64, |n, b| n.wrapping_mul(31).wrapping_add(b.into()));
        let path = folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, text).expect("written");
        let answer = first(&Access::file(&path));
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
        assert_eq!(refused(&text), "https://192.0.2.1:6443");
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
        let missing = first(&Access::file("/nowhere/kubeconfig"));
        let error = missing.expect_err("missing").to_string();
        assert!(
            error.starts_with("read kubeconfig /nowhere/kubeconfig"),
            "{error}"
        );
    }
}
