//! A server for one test, and ways to speak to it.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use seaway_apiserver::{Config, Containers, Limits, ServerError, TlsFiles, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A running server; it stops when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) directory: PathBuf,
    containers: Option<Arc<dyn Containers>>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::made(limits, None).await
    }

    /// A server that can run commands in containers.
    pub(crate) async fn with_containers(containers: Arc<dyn Containers>) -> Self {
        Self::made(Limits::default(), Some(containers)).await
    }

    async fn made(limits: Limits, containers: Option<Arc<dyn Containers>>) -> Self {
        let name = format!("seaway-apiserver-{}", uuid::Uuid::new_v4());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(directory.join("crt"), made.cert.pem()).unwrap();
        std::fs::write(directory.join("key"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(
            directory.join("tokens"),
            "s3cret,admin,1,\"system:masters\"\npl4in,plain,2\n",
        )
        .unwrap();
        // Tests of one process may race to be first; all install the same provider.
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            directory,
            containers,
            stop: None,
            task: None,
        };
        server.run(limits).await;
        server
    }

    /// Stops the server and starts an empty one at the same address.
    pub(crate) async fn restart(&mut self) {
        self.stop.take();
        if let Some(task) = self.task.take() {
            task.await.unwrap().unwrap();
        }
        self.run(Limits::default()).await;
    }

    async fn run(&mut self, limits: Limits) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        let config = Config {
            listeners: vec![listener],
            tls: TlsFiles {
                cert: self.directory.join("crt"),
                key: self.directory.join("key"),
            },
            tokens: self.directory.join("tokens"),
            service_cidrs: vec![
                "10.96.0.0/16".parse().unwrap(),
                "fd00:5ea:96::/112".parse().unwrap(),
            ],
            node_ports: 30000..=32767,
            advertise: vec!["192.0.2.1:6443".parse().unwrap()],
            pod_logs: Some(self.directory.join("pods")),
            namespaces: Vec::new(),
            objects: None,
            audit_log: None,
            containers: self.containers.clone(),
            limits,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.task = Some(tokio::spawn(serve(config, async {
            let _dropped = stopped.await;
        })));
    }

    pub(crate) async fn client(&self) -> Client {
        let pem = std::fs::read(self.directory.join("crt")).unwrap();
        let pem = base64::engine::general_purpose::STANDARD.encode(pem);
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: a,
               clusters: [{{name: a, cluster: {{server: 'https://{}',
                 certificate-authority-data: {pem}}}}}],
               users: [{{name: a, user: {{token: s3cret}}}}],
               contexts: [{{name: a, context: {{cluster: a, user: a}}}}]}}",
            self.address
        );
        let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
        Client::try_from(config.await.unwrap()).unwrap()
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let pem = std::fs::read(self.directory.join("crt")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
            .unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
            .await
    }

    /// One request as text, its answer as code, head and body.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, String, String) {
        self.ask_by("s3cret", method, path, headers, body).await
    }

    /// The token of a user without any right of their own.
    pub(crate) fn plain_token(&self) -> &'static str {
        "pl4in"
    }

    /// A request without a body, by whoever has a token; the code and the body of the answer.
    pub(crate) async fn ask_with(&self, token: &str, method: &str, path: &str) -> (u16, String) {
        self.ask_as(token, "", method, path).await
    }

    /// A request without a body and with headers.
    pub(crate) async fn ask_as(
        &self,
        token: &str,
        headers: &str,
        method: &str,
        path: &str,
    ) -> (u16, String) {
        let (code, _, body) = self.ask_by(token, method, path, headers, b"").await;
        (code, body)
    }

    async fn ask_by(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, String, String) {
        let mut stream = self.connect().await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that has seen enough may stop reading; what counts is its answer.
        let _cut = stream.write_all(body).await;
        read_answer(&mut stream).await
    }
}

pub(crate) async fn read_answer(stream: &mut TlsStream<TcpStream>) -> (u16, String, String) {
    let mut bytes = Vec::new();
    // A missing close notification is no matter once the answer is there.
    let _end = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or(0), head.to_owned(), body.to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.directory);
    }
}

/// Waits until `check` gives something.
pub(crate) async fn eventually<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let waiting = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

/// The memory that this process has in use.
pub(crate) fn resident_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The `Status` of a failed call.
pub(crate) fn status<T: std::fmt::Debug>(outcome: kube::Result<T>) -> kube::core::Status {
    match outcome {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not a Status: {other:?}"),
    }
}
