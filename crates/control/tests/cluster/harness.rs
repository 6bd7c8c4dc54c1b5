//! A server, the loops, and a kubelet that only says what a kubelet says.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config as WatchConfig, watcher};
use kube::{Api, Client, Resource};
use seaway_api::{Access, Timing, client_with};
use seaway_apiserver::{Config, Limits, ServerError, TlsFiles, serve};
use seaway_control::{ControlConfig, run};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often a condition is looked at, and for how long at most.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster for one test; everything stops when it is dropped.
pub(crate) struct Cluster {
    directory: PathBuf,
    address: SocketAddr,
    pub(crate) client: Client,
    config: ControlConfig,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<Result<(), ServerError>>>,
    tasks: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
    /// Nodes whose kubelet is alive.
    alive: Arc<Mutex<BTreeSet<String>>>,
}

impl Cluster {
    /// A server, the loops and the kubelet, no nodes.
    pub(crate) async fn start(config: ControlConfig) -> Self {
        let mut cluster = Self::without_loops(config).await;
        cluster.restart_control();
        let kubelet = kubelet(cluster.client.clone(), cluster.alive.clone());
        cluster.tasks.push(tokio::spawn(kubelet));
        let heart = heart(cluster.client.clone(), cluster.alive.clone());
        cluster.tasks.push(tokio::spawn(heart));
        cluster
    }

    /// A server alone.
    pub(crate) async fn without_loops(config: ControlConfig) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("seaway-control-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).expect("a directory");
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a key");
        std::fs::write(directory.join("crt"), made.cert.pem()).expect("written");
        std::fs::write(directory.join("key"), made.signing_key.serialize_pem()).expect("written");
        let token = "s3cret,admin,1,\"system:masters\"\n";
        std::fs::write(directory.join("tokens"), token).expect("written");
        seaway_api::install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let path = directory.join("kubeconfig");
        std::fs::write(&path, kubeconfig(&directory, address)).expect("written");
        let client = client_of(&path);
        let mut cluster = Self {
            directory,
            address,
            client,
            config,
            stop: None,
            server: None,
            tasks: Vec::new(),
            control: None,
            alive: Arc::default(),
        };
        cluster.serve(listener);
        cluster
    }

    /// Where the server is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What reaches the server by way of another address.
    pub(crate) fn kubeconfig_by(&self, address: SocketAddr) -> PathBuf {
        let path = self.directory.join(format!("kubeconfig-{address}"));
        std::fs::write(&path, kubeconfig(&self.directory, address)).expect("written");
        path
    }

    /// What other processes reach the server by.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    fn serve(&mut self, listener: TcpListener) {
        let config = Config {
            listeners: vec![listener],
            tls: TlsFiles {
                cert: self.directory.join("crt"),
                key: self.directory.join("key"),
            },
            tokens: self.directory.join("tokens"),
            service_cidrs: vec!["10.96.0.0/16".parse().expect("a range")],
            node_ports: 30000..=32767,
            advertise: vec!["192.0.2.1:6443".parse().expect("an address")],
            pod_logs: None,
            namespaces: Vec::new(),
            objects: None,
            audit_log: None,
            containers: None,
            limits: Limits::default(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.server = Some(tokio::spawn(serve(config, async {
            let _dropped = stopped.await;
        })));
    }

    /// Stops the server and starts an empty one at the same address.
    pub(crate) async fn restart_server(&mut self) {
        self.stop.take();
        if let Some(server) = self.server.take() {
            server.await.expect("no panic").expect("a clean end");
        }
        self.serve(TcpListener::bind(self.address).expect("the same port"));
    }

    /// Kills the loops, wherever they are, and starts them anew.
    pub(crate) fn restart_control(&mut self) {
        if let Some(control) = self.control.take() {
            control.abort();
        }
        let (client, config) = (self.client.clone(), self.config.clone());
        self.control = Some(tokio::spawn(async move {
            let end = run(client, config, Arc::default(), std::future::pending()).await;
            panic!("the loops ended: {end:?}");
        }));
    }

    /// A node with a living kubelet.
    pub(crate) async fn add_node(&self, name: &str, spec: Value) {
        let node: Node = from(json!({"metadata": {"name": name,
            "labels": {"kubernetes.io/hostname": name}}, "spec": spec}));
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes
            .create(&PostParams::default(), &node)
            .await
            .expect("created");
        self.revive(name).await;
    }

    /// The kubelet of a node says that all is well, and renews the Lease from now on.
    pub(crate) async fn revive(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let status = json!({"status": {
            "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                            "lastTransitionTime": Timestamp::now().to_string()}]}});
        let patch = Patch::Strategic(status);
        nodes
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .expect("written");
        self.alive
            .lock()
            .expect("unpoisoned")
            .insert(name.to_owned());
    }

    /// The kubelet of a node falls silent.
    pub(crate) fn silence(&self, name: &str) {
        self.alive.lock().expect("unpoisoned").remove(name);
    }

    /// Objects of the default namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates an object of the default namespace.
    pub(crate) async fn create<K>(&self, value: Value)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + serde::Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let object: K = from(value);
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .expect("created");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks
            .iter()
            .chain(&self.control)
            .for_each(JoinHandle::abort);
        self.stop.take();
        let _gone = std::fs::remove_dir_all(&self.directory);
    }
}

/// A client with short pauses.
pub(crate) fn client_of(kubeconfig: &std::path::Path) -> Client {
    let timing = Timing {
        pause_last: Duration::from_secs(1),
        ..Timing::default()
    };
    client_with(&Access::file(kubeconfig), &timing).expect("a client")
}

fn kubeconfig(directory: &std::path::Path, address: SocketAddr) -> String {
    let ca = directory.join("crt");
    format!(
        "{{apiVersion: v1, kind: Config, current-context: a,
           clusters: [{{name: a, cluster: {{server: 'https://{address}',
             certificate-authority: '{}'}}}}],
           users: [{{name: a, user: {{token: s3cret}}}}],
           contexts: [{{name: a, context: {{cluster: a, user: a}}}}]}}",
        ca.display()
    )
}

pub(crate) fn from<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

/// Waits until a look succeeds; tells what it saw last if it never does.
pub(crate) async fn eventually<T, E: Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if tokio::time::Instant::now() > end => panic!("{what}: last seen {seen:?}"),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Says of Pods on living nodes that they run, at addresses of their own, and lets go of those that
/// are to go.
async fn kubelet(client: Client, alive: Arc<Mutex<BTreeSet<String>>>) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut seen = std::pin::pin!(
        watcher(pods, WatchConfig::default())
            .default_backoff()
            .applied_objects()
    );
    let mut number = 0_u16;
    while let Some(pod) = seen.next().await {
        let Ok(pod) = pod else { continue };
        number += 1;
        let [high, low] = number.to_be_bytes();
        let addresses = [format!("10.1.{high}.{low}"), format!("fd00:1::{number:x}")];
        let addresses = addresses.map(|address| json!({ "ip": address }));
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let lives = node.is_some_and(|node| alive.lock().expect("unpoisoned").contains(&node));
        let name = pod.metadata.name.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if lives && pod.metadata.deletion_timestamp.is_some() {
            let _gone = api
                .delete(&name, &DeleteParams::default().grace_period(0))
                .await;
        } else if lives && phase != Some("Running") {
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Running",
                "podIP": addresses[0]["ip"], "podIPs": addresses,
                "conditions": [{"type": "Ready", "status": "True",
                                "lastTransitionTime": Timestamp::now().to_string()}]}});
            let patch = Patch::Strategic(patch);
            let _gone = api
                .patch_status(&name, &PatchParams::default(), &patch)
                .await;
        }
    }
}

/// Renews the Leases of living nodes.
async fn heart(client: Client, alive: Arc<Mutex<BTreeSet<String>>>) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    loop {
        let living = alive.lock().expect("unpoisoned").clone();
        for name in living {
            let renewed = json!({"metadata": {"name": name}, "spec": {"holderIdentity": name,
                "renewTime": format!("{:.6}", Timestamp::now())}});
            let patch = Patch::Merge(&renewed);
            if leases
                .patch(&name, &PatchParams::default(), &patch)
                .await
                .is_err()
            {
                let lease: Lease = from(renewed);
                let _exists = leases.create(&PostParams::default(), &lease).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
