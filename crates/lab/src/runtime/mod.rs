//! What kubelet and containerd do for the nodes of a lab: Pods come from the API, become sandboxes
//! and containers, are probed, restarted and ended as their specification says, and are reported.
//!
//! One thread with a runtime of its own talks to the API and keeps all Pods' [`life`]s; what blocks
//! is done on other threads. It attaches nothing by itself, but calls the CNI plugin, and isolates
//! nothing by itself: that is [`container`](crate::container)'s work.
//!
//! - [`life`] decides, from a [`plan`]; pure. [`worker`] tells it what happens and does what it
//!   says, with [`hands`].
//! - [`env`], [`downward`], [`services`], [`files`], [`volumes`], [`containers`]: what a container
//!   finds; pure. [`writer`] writes it below `<state>/pods/`.
//! - [`pods`] follows the API's Pods, [`registrar`] keeps its nodes ([`nodes`]).
//! - Container logs are in `<state>/pod-logs/<namespace>_<pod>_<uid>/<container>/<run>.log`.

mod board;
pub(crate) mod capabilities;
mod containers;
mod downward;
mod env;
mod files;
mod hands;
mod life;
mod machine;
mod nodes;
mod plan;
mod pods;
mod probe;
mod refs;
mod registrar;
mod sandbox;
mod services;
mod sockets;
mod volumes;
mod worker;
mod writer;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;
use seaway_api::Access;
use tokio::sync::oneshot;

pub(crate) use board::{ContainerReport, PodReport};
pub(crate) use life::BackOff;

use crate::container::Started;
use crate::error::{Context, LabError};
use crate::namespaces::Namespaces;
use crate::state::StateDir;
use crate::supervisor::node::Node;
use crate::supervisor::reaper::Reaper;
use board::Board;
use machine::Machine;
use sockets::Sockets;

/// How large the log of one run of a container gets, and how many older files of it are kept. Logs
/// of a lab are in memory; with those of the run before, a container has about 4 MiB at most.
pub(crate) const LOG_BYTES: u64 = 1 << 20;
/// See [`LOG_BYTES`].
pub(crate) const LOG_FILES: u32 = 1;

/// What the runtime works with.
pub(crate) struct RuntimeConfig {
    /// Where the API server is and how to speak to it.
    pub(crate) kubeconfig: PathBuf,
    /// The lab's nodes, in order.
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) reaper: Arc<Reaper>,
    /// The lab's folder, which all nodes see.
    pub(crate) state: StateDir,
    /// The cluster's name servers, if there are any.
    pub(crate) cluster_dns: Vec<IpAddr>,
    pub(crate) back_off: BackOff,
    pub(crate) log_bytes: u64,
    pub(crate) log_files: u32,
}

/// The files and volumes of all Pods below a lab's folder.
pub(crate) fn pod_files(state: &Path) -> PathBuf {
    state.join("pods")
}

/// The logs of all containers below a lab's folder.
pub(crate) fn pod_logs(state: &Path) -> PathBuf {
    state.join("pod-logs")
}

/// The runtime of all nodes of a lab.
pub(crate) struct Runtime {
    board: Arc<Board>,
    reaper: Arc<Reaper>,
    ending: Mutex<Option<Ending>>,
}

struct Ending {
    close: oneshot::Sender<()>,
    thread: JoinHandle<Vec<String>>,
}

impl Runtime {
    /// Starts the runtime. It needs no API server to be there yet: it waits for one.
    ///
    /// # Errors
    ///
    /// The kubeconfig cannot be used, or a thread cannot be started.
    pub(crate) fn start(config: RuntimeConfig) -> Result<Runtime, LabError> {
        let board = Arc::new(Board::default());
        let reaper = config.reaper.clone();
        let sockets = Sockets::start()?;
        let (close, closed) = oneshot::channel();
        let (tell, started) = std::sync::mpsc::channel();
        let shown = board.clone();
        let thread = thread::Builder::new()
            .name("runtime".to_owned())
            .spawn(move || run(config, shown, sockets, &tell, closed))
            .during("start", || "the runtime's thread".to_owned())?;
        match started.recv() {
            Ok(result) => result?,
            Err(_) => {
                return Err(LabError::Request(
                    "the runtime's thread has ended".to_owned(),
                ));
            }
        }
        Ok(Runtime {
            board,
            reaper,
            ending: Mutex::new(Some(Ending { close, thread })),
        })
    }

    /// Ends all Pods at once: kills their containers, detaches them from the network, removes their
    /// files. What the API has of them stays. Returns when nothing is left; doing it twice does no
    /// harm.
    ///
    /// # Errors
    ///
    /// What could not be taken down.
    pub(crate) fn shutdown(&self) -> Result<(), LabError> {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Ending { close, thread }) = ending.take() else {
            return Ok(());
        };
        // If nobody listens, the thread has ended already.
        let _ = close.send(());
        match thread.join() {
            Ok(failures) if failures.is_empty() => Ok(()),
            Ok(failures) => Err(LabError::Several(failures)),
            Err(_) => Err(LabError::Request(
                "the runtime's thread has panicked".to_owned(),
            )),
        }
    }

    /// All Pods on the lab's nodes, by namespace and name.
    pub(crate) fn pods(&self) -> Vec<PodReport> {
        self.board.reports()
    }

    /// The namespaces of a Pod whose sandbox stands; on that node, if one is named.
    pub(crate) fn namespaces(
        &self,
        node: Option<&str>,
        namespace: &str,
        pod: &str,
    ) -> Option<Arc<Namespaces>> {
        self.board.namespaces(node, namespace, pod)
    }

    /// A container that runs, for commands in it.
    pub(crate) fn container(&self, namespace: &str, pod: &str, name: &str) -> Option<Arc<Started>> {
        self.board.started(namespace, pod, name)
    }

    /// Sends a signal to a container, or to the process that holds the sandbox by the name `pause`;
    /// tells whether there was one.
    pub(crate) fn kill(&self, namespace: &str, pod: &str, container: &str, signal: Signal) -> bool {
        self.board
            .signal(&self.reaper, (namespace, pod, container), signal)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Err(e) = self.shutdown() {
            tracing::error!("end the runtime: {e}");
        }
    }
}

/// The runtime's thread. Gives what could not be taken down at the end.
fn run(
    config: RuntimeConfig,
    board: Arc<Board>,
    sockets: Sockets,
    tell: &std::sync::mpsc::Sender<Result<(), LabError>>,
    closed: oneshot::Receiver<()>,
) -> Vec<String> {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("runtime-work")
        .build()
        .during("start", || "the runtime of Pods".to_owned());
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = tell.send(Err(e));
            return Vec::new();
        }
    };
    runtime.block_on(async {
        let client = match seaway_api::client(&Access::file(&config.kubeconfig)) {
            Ok(client) => client,
            Err(e) => {
                let _ = tell.send(Err(LabError::Request(e.to_string())));
                return Vec::new();
            }
        };
        let (machine, referred) = Machine::start(config, client, board, sockets);
        let machine = Arc::new(machine);
        let _ = tell.send(Ok(()));
        let registrar = tokio::spawn(registrar::run(machine.clone()));
        pods::Pods::new(machine.clone()).run(referred, closed).await;
        registrar.abort();
        machine.failures()
    })
}
