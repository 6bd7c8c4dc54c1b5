//! What the server is started with: listeners, files and limits.
//!
//! It reads nothing from the environment and has no defaults for addresses: the binary decides.

use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::exec::Containers;

/// Everything that [`serve`](crate::serve) needs.
pub struct Config {
    /// Bound sockets; born where the caller wants them (for example in a namespace of its own).
    pub listeners: Vec<TcpListener>,
    /// The server's certificate chain and key.
    pub tls: TlsFiles,
    /// Bearer tokens, one a line: `token,user,uid,"group1,group2"`.
    pub tokens: PathBuf,
    /// Where ClusterIPs come from, at most one range of each family; the first is the default family.
    pub service_cidrs: Vec<IpNet>,
    /// Where node ports come from.
    pub node_ports: RangeInclusive<u16>,
    /// The addresses that Service `default/kubernetes` leads to.
    pub advertise: Vec<SocketAddr>,
    /// Where containers write their logs:
    /// `<dir>/<namespace>_<pod>_<uid>/<container>/<restart>.log`, rotated files `<restart>.log.<k>`
    /// where a greater `k` is older.
    pub pod_logs: Option<PathBuf>,
    /// Who runs the containers, for `pods/exec`; without it there is no such thing.
    pub containers: Option<Arc<dyn Containers>>,
    /// Namespaces that are there from the start, besides Kubernetes' own.
    pub namespaces: Vec<String>,
    /// Objects that are there from the start: a `List` as JSON or YAML, Namespaces before what is in them.
    pub objects: Option<PathBuf>,
    /// Where requests for objects are told of, a line of JSON each; nowhere when `None`.
    pub audit_log: Option<PathBuf>,
    /// What clients may cost.
    pub limits: Limits,
}

/// Paths of PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// Bounds on what clients can make the server spend.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once. Beyond it the one that has been idle longest makes room; if all are busy
    /// with requests or watches, new ones wait in the listeners' backlogs.
    pub connections: usize,
    /// Requests at once, without watches and log streams; more are told to come back (429).
    pub requests: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Bytes of one object.
    pub object_bytes: usize,
    /// Bytes of all objects together; beyond it creates and growing updates are refused.
    pub stored_bytes: usize,
    /// Changes of one kind that are remembered for watchers.
    pub log_events: usize,
    /// Bytes of the changes of one kind that are remembered for watchers.
    pub log_bytes: usize,
    /// Objects of kind Event; the oldest go first.
    pub events: usize,
    /// How long an Event lives after its last change.
    pub event_ttl: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may sit without a whole request head.
    pub idle_timeout: Duration,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// How long a client may refuse to read before it is cut off.
    pub write_timeout: Duration,
    /// The time between two bookmarks of a watch.
    pub bookmark_interval: Duration,
    /// How long a watch lasts if its client does not say.
    pub watch_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests: 64,
            body_bytes: 3 << 20,
            object_bytes: 3 << 19,
            stored_bytes: 1 << 30,
            log_events: 20_000,
            log_bytes: 32 << 20,
            events: 5_000,
            event_ttl: Duration::from_secs(3600),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            bookmark_interval: Duration::from_secs(30),
            watch_timeout: Duration::from_secs(450),
        }
    }
}
