//! The supervisor of a lab: one process, the first of a process namespace of its own, that owns all
//! namespaces and all other processes of the lab. When it ends, however it ends, the kernel ends
//! everything with it; only the lab's folder is left then.
//!
//! It starts the control plane and the agents, and hands the Pods of all nodes to the sandbox
//! runtime. It makes no plans for the Pod network: that is the agents' work.

pub(crate) mod cni;
mod control;
mod control_plane;
mod events;
pub(crate) mod ids;
mod isolation;
mod keeper;
pub(crate) mod node;
mod pod_files;
mod port;
pub(crate) mod process;
pub(crate) mod reaper;
mod restart;
mod shell;
pub(crate) mod underlay;

pub(crate) use node::NODE_PORTS;
pub(crate) use process::search_path;
pub(crate) use reaper::{Exit, Reaper};

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use control_plane::{API_SERVER, CONTROLLER, ControlPlane};
use events::Events;
use keeper::{Farewell, Keeper};
use node::{Binaries, Node, SERVER, daemon_name, server_of};
use underlay::Underlay;

use crate::agent_client;
use crate::cluster::{CHECK_LABEL, Cluster, ReadyPod, SERVES};
use crate::credentials::Caller;
use crate::error::{Context, Errors, LabError};
use crate::parallel;
use crate::protocol::{LabStatus, MachineStatus, NodeStatus, PodStatus, ProcessStatus, target};
use crate::runtime::{self, BackOff, ContainerReport, PodReport, Runtime, RuntimeConfig};
use crate::state::StateDir;
use crate::topology::{CONTROL_PLANE, LabName, Network, OUTSIDE, Topology};
use crate::waiting::eventually;

/// How many daemons are asked to end at once.
const AT_ONCE: usize = 8;
const API_START: Duration = Duration::from_secs(20);
const AGENT_START: Duration = Duration::from_secs(30);
/// Many Pods on a busy machine take their time.
const PODS_START: Duration = Duration::from_secs(120);
/// An agent that has ended so often while it started will not come up.
const HOPELESS: u32 = 5;

/// Everything that a lab consists of.
pub(crate) struct Lab {
    state: StateDir,
    network: Network,
    reaper: Arc<Reaper>,
    keeper: Keeper,
    control_plane: ControlPlane,
    nodes: Vec<Arc<Node>>,
    /// There once the control plane answers.
    runtime: OnceLock<Runtime>,
    /// Held by the one that takes everything down; others wait for it.
    taking_down: Mutex<()>,
    /// A namespace that nobody holds goes, and the nodes' uplinks with it.
    underlay: Underlay,
}

/// Runs a lab until somebody ends it. `lab up` starts this in a new process namespace, with the
/// lab's lock as standard input, and reads what happens from standard output.
pub(crate) fn supervise(name: &LabName, topology: &Topology) -> Result<(), LabError> {
    let state = StateDir::of(name);
    let mut events = Events::to_stdout();
    let started = isolation::isolate()
        .and_then(|()| events.watch(vanish(state.clone())))
        .and_then(|()| Lab::start(state.clone(), topology, &mut events));
    let lab = match started {
        Ok(lab) => lab,
        Err(e) => return give_up(&state, &mut events, e),
    };
    let (end, ended) = mpsc::channel();
    let served = control::serve(&lab, end.clone())
        .and_then(|()| {
            isolation::on_signals(move || {
                let _ = end.send(());
            })
        })
        .and_then(|()| events.ready());
    if let Err(e) = served {
        let _ = lab.take_down();
        return give_up(&state, &mut events, e);
    }
    // An error would mean that no thread is left that could end the lab: then it ends now.
    let _ = ended.recv();
    let result = lab.take_down();
    remove(&state)?;
    result
}

/// Ends at once. That is clean enough before anybody uses the lab: what the process holds goes with
/// it, and the kernel ends all others.
fn vanish(state: StateDir) -> impl FnOnce() + Send + 'static {
    move || {
        tracing::info!("`lab up` has ended: so does the lab");
        if let Err(e) = remove(&state) {
            tracing::error!("{e}");
        }
        std::process::exit(1);
    }
}

/// Removes the lab's folder.
fn remove(state: &StateDir) -> Result<(), LabError> {
    pod_files::unmount(&runtime::pod_files(&state.path()))?;
    state.remove_own()
}

fn give_up(state: &StateDir, events: &mut Events, error: LabError) -> Result<(), LabError> {
    let removed = remove(state);
    events.failed(&error);
    removed.and(Err(error))
}

impl Lab {
    /// Brings everything up; takes down again what there is when something fails.
    fn start(
        state: StateDir,
        topology: &Topology,
        events: &mut Events,
    ) -> Result<Arc<Lab>, LabError> {
        let (nodes, pods) = (topology.nodes.len(), topology.first_pods().len());
        events.steps(3 + 2 * nodes + pods)?;
        let lab = Arc::new(Lab::with_machines(state, topology, events)?);
        match lab.start_all(topology, events) {
            Ok(()) => Ok(lab),
            Err(error) => {
                let _ = lab.take_down();
                Err(error)
            }
        }
    }

    fn with_machines(
        state: StateDir,
        topology: &Topology,
        events: &mut Events,
    ) -> Result<Lab, LabError> {
        let reaper =
            Reaper::start().during("start", || "the thread that collects processes".to_owned())?;
        let keeper = Keeper::start(reaper.clone()).during("start", || {
            "the thread that keeps processes running".to_owned()
        })?;
        let binaries = Binaries::beside_this()?;
        pod_files::mount(&runtime::pod_files(&state.path()))?;
        let network = &topology.network;
        let underlay = Underlay::create(network, &state, &binaries)?;
        let control_plane = ControlPlane::create(network, &underlay, &state, &binaries)?;
        events.done("underlay and control plane: namespaces".to_owned())?;
        let mut nodes = Vec::new();
        for plan in &topology.nodes {
            let node = Node::create(plan, network, &underlay, &state, &binaries)?;
            nodes.push(Arc::new(node));
            events.done(format!("{}: namespaces and uplink", plan.name))?;
        }
        Ok(Lab {
            state,
            network: *network,
            reaper,
            keeper,
            control_plane,
            nodes,
            runtime: OnceLock::new(),
            taking_down: Mutex::new(()),
            underlay,
        })
    }

    fn start_all(&self, topology: &Topology, events: &mut Events) -> Result<(), LabError> {
        let cluster = self.start_control_plane(events)?;
        let runtime = Runtime::start(RuntimeConfig {
            kubeconfig: self.control_plane.credentials.kubeconfig(Caller::Runtime),
            nodes: self.nodes.clone(),
            reaper: self.reaper.clone(),
            state: self.state.clone(),
            cluster_dns: self.network.name_servers(),
            back_off: BackOff::LAB,
            log_bytes: runtime::LOG_BYTES,
            log_files: runtime::LOG_FILES,
        })?;
        let _ = self.runtime.set(runtime);
        events.done("sandbox runtime".to_owned())?;
        self.start_agents(events)?;
        let nodes = self.nodes.iter().map(|node| node.name().to_owned());
        cluster.await_nodes(&nodes.collect(), AGENT_START)?;
        start_pods(&cluster, topology, events)
    }

    fn start_control_plane(&self, events: &mut Events) -> Result<Cluster, LabError> {
        let plane = &self.control_plane;
        control_plane::make_pod_logs(&self.state.pod_logs())?;
        for (name, program) in [
            (API_SERVER, plane.api_server(&self.state)),
            (CONTROLLER, plane.controller(&self.state)),
        ] {
            let name = daemon_name(CONTROL_PLANE, name);
            self.keeper.keep(name, program, Farewell::Ask)?;
        }
        let server = server_of(OUTSIDE, self.underlay.outside(), &self.state);
        self.keeper
            .keep(daemon_name(OUTSIDE, SERVER), server, Farewell::Kill)?;
        let cluster = Cluster::open(&plane.credentials.kubeconfig(Caller::Admin))?;
        cluster
            .await_server(API_START)
            .map_err(|e| self.with_log(e, &daemon_name(CONTROL_PLANE, API_SERVER)))?;
        events.done("API server and controllers".to_owned())?;
        Ok(cluster)
    }

    fn with_log(&self, error: LabError, daemon: &str) -> LabError {
        let log = tail(&self.state.log(daemon), 10);
        LabError::Request(format!("{error}; the end of the log of {daemon}:\n{log}"))
    }

    fn start_agents(&self, events: &mut Events) -> Result<(), LabError> {
        let kubeconfig = self.control_plane.credentials.kubeconfig(Caller::Agent);
        for node in &self.nodes {
            let agent = node.agent(&self.state, &kubeconfig);
            self.keeper
                .keep(node.daemon("agent"), agent, Farewell::Ask)?;
            let server = node.server(&self.state);
            self.keeper
                .keep(node.daemon(SERVER), server, Farewell::Kill)?;
        }
        for node in &self.nodes {
            self.await_agent(node)?;
            events.done(format!("{}: agent", node.name()))?;
        }
        Ok(())
    }

    fn await_agent(&self, node: &Node) -> Result<(), LabError> {
        let daemon = node.daemon("agent");
        let mut last = None;
        eventually(AGENT_START, || {
            last = agent_client::ready(&node.namespaces).err();
            last.is_none() || self.restarts(&daemon) >= HOPELESS
        });
        match last {
            None => Ok(()),
            Some(last) => {
                let late = LabError::Request(format!("{daemon} does not get ready: {last}"));
                Err(self.with_log(late, &daemon))
            }
        }
    }

    fn restarts(&self, daemon: &str) -> u32 {
        let all = self.keeper.list();
        all.iter()
            .find(|process| process.name == daemon)
            .map_or(0, |process| process.restarts)
    }

    fn node(&self, name: &str) -> Result<&Arc<Node>, LabError> {
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .ok_or_else(|| LabError::Request(format!("there is no node {name} in this lab")))
    }

    /// Takes everything down, in order. Doing it twice does no harm.
    fn take_down(&self) -> Result<(), LabError> {
        let _alone = self.taking_down.lock();
        let mut errors = Errors::default();
        if let Some(runtime) = self.runtime.get() {
            errors.note(runtime.shutdown());
        }
        let names = self
            .keeper
            .list()
            .into_iter()
            .map(|process| process.name)
            .collect();
        parallel::map(names, AT_ONCE, |name: String| self.keeper.stop(&name));
        errors.result()
    }

    fn pods(&self) -> Vec<PodStatus> {
        let reports = self.runtime.get().map(Runtime::pods).unwrap_or_default();
        reports.into_iter().map(pod_status).collect()
    }

    fn status(&self) -> LabStatus {
        let all = self.keeper.list();
        let processes = |machine: &str| {
            let prefix = daemon_name(machine, "");
            let own = all.iter().filter(|p| p.name.starts_with(&prefix));
            own.cloned().collect::<Vec<_>>()
        };
        let node_status = |node: &Arc<Node>| NodeStatus {
            name: node.name().to_owned(),
            addresses: node.plan.addresses.clone(),
            processes: processes(node.name()),
        };
        LabStatus {
            name: self.state.name().to_string(),
            network: self.network,
            outside: MachineStatus {
                addresses: self.network.outside_addresses(),
                processes: processes(OUTSIDE),
            },
            control_plane: processes(CONTROL_PLANE),
            nodes: self.nodes.iter().map(node_status).collect(),
            pods: self.pods(),
        }
    }
}

/// Makes the lab's first Pods and waits until each of them is ready.
fn start_pods(cluster: &Cluster, topology: &Topology, events: &mut Events) -> Result<(), LabError> {
    let mut names = BTreeSet::new();
    for (node, name) in topology.first_pods() {
        cluster.create_pod(node.as_str(), &name, None)?;
        names.insert(name);
    }
    cluster.await_pods(&names, PODS_START, |pod| events.done(describe(&pod)))
}

fn describe(pod: &ReadyPod) -> String {
    let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
    format!("{}/{}: {}", pod.node, pod.name, addresses.join(", "))
}

fn pod_status(pod: PodReport) -> PodStatus {
    let target = target(&pod.namespace, &pod.name);
    let process = |container: ContainerReport| ProcessStatus {
        name: format!("{target}/{}", container.name),
        pid: container.pid,
        restarts: container.restarts,
    };
    PodStatus {
        processes: pod.containers.into_iter().map(process).collect(),
        namespace: pod.namespace,
        name: pod.name,
        phase: pod.phase,
        ready: pod.ready,
        host_network: pod.host_network,
        checked: pod.labels.get(CHECK_LABEL).is_some_and(|v| v == SERVES),
        node: pod.node,
        addresses: pod.addresses,
        container_id: pod.sandbox.unwrap_or_default(),
        netns: pod.netns.unwrap_or_default(),
        result: pod.result,
    }
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
