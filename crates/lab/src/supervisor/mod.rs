//! The supervisor of a lab: one process, the first of a process namespace of its own, that owns all
//! namespaces and all other processes of the lab. When it ends, however it ends, the kernel ends
//! everything with it; only the lab's folder is left then.
//!
//! It does what it is told over its socket. It makes no plans for the Pod network: that is the
//! agents' work, and it calls them through the CNI plugin only.

mod cluster_file;
mod cni;
mod control;
mod events;
mod ids;
mod isolation;
mod keeper;
mod node;
mod pod;
mod pods;
mod process;
mod reaper;
mod restart;
mod underlay;

pub(crate) use node::NODE_PORTS;
pub(crate) use pod::{CONTAINERS, eventually};
pub(crate) use process::search_path;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_file::ClusterFile;
use events::Events;
use keeper::{Farewell, Keeper};
use node::{Binaries, Node};
use pods::{AT_ONCE, Pods};
use reaper::Reaper;
use underlay::Underlay;

use crate::agent_client;
use crate::error::{Context, Errors, LabError};
use crate::parallel;
use crate::protocol::{LabStatus, NodeStatus, PodStatus};
use crate::state::StateDir;
use crate::topology::{LabName, Topology};

const AGENT_START: Duration = Duration::from_secs(20);
/// An agent that has ended so often while it started will not come up.
const HOPELESS: u32 = 5;

/// Everything that a lab consists of.
pub(crate) struct Lab {
    state: StateDir,
    reaper: Arc<Reaper>,
    keeper: Keeper,
    cluster: ClusterFile,
    nodes: Vec<Arc<Node>>,
    pods: Pods,
    /// Set once everything is to go.
    ending: AtomicBool,
    /// Held by the one that takes everything down; others wait for it.
    taking_down: Mutex<()>,
    /// Held, not used: a namespace that nobody holds goes, and the nodes' uplinks with it.
    _underlay: Underlay,
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
    state.remove_own()?;
    result
}

/// Ends at once. That is clean enough before anybody uses the lab: what the process holds goes with
/// it, and the kernel ends all others.
fn vanish(state: StateDir) -> impl FnOnce() + Send + 'static {
    move || {
        tracing::info!("`lab up` has ended: so does the lab");
        if let Err(e) = state.remove_own() {
            tracing::error!("{e}");
        }
        std::process::exit(1);
    }
}

fn give_up(state: &StateDir, events: &mut Events, error: LabError) -> Result<(), LabError> {
    let removed = state.remove_own();
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
        events.steps(1 + 2 * nodes + pods)?;
        let lab = Arc::new(Lab::with_nodes(state, topology, events)?);
        match lab
            .start_agents(events)
            .and_then(|()| lab.start_pods(topology, events))
        {
            Ok(()) => Ok(lab),
            Err(error) => {
                let _ = lab.take_down();
                Err(error)
            }
        }
    }

    fn with_nodes(
        state: StateDir,
        topology: &Topology,
        events: &mut Events,
    ) -> Result<Lab, LabError> {
        let reaper =
            Reaper::start().during("start", || "the thread that collects processes".to_owned())?;
        let keeper = Keeper::start(reaper.clone()).during("start", || {
            "the thread that keeps processes running".to_owned()
        })?;
        let cluster = ClusterFile::create(state.cluster_file(), topology)?;
        let binaries = Binaries::beside_this()?;
        let underlay = Underlay::create()?;
        events.done("underlay".to_owned())?;
        let mut nodes = Vec::new();
        for plan in &topology.nodes {
            nodes.push(Arc::new(Node::create(plan, &underlay, &state, &binaries)?));
            events.done(format!("{}: namespaces and uplink", plan.name))?;
        }
        Ok(Lab {
            state,
            reaper,
            keeper,
            cluster,
            nodes,
            pods: Pods::default(),
            ending: AtomicBool::new(false),
            taking_down: Mutex::new(()),
            _underlay: underlay,
        })
    }

    fn start_agents(&self, events: &mut Events) -> Result<(), LabError> {
        for node in &self.nodes {
            self.keeper
                .keep(node.daemon("agent"), node.agent(&self.state), Farewell::Ask)?;
            self.keeper.keep(
                node.daemon("serve"),
                node.server(&self.state),
                Farewell::Kill,
            )?;
        }
        for node in &self.nodes {
            self.await_agent(node)?;
            events.done(format!("{}: agent", node.name()))?;
        }
        Ok(())
    }

    fn await_agent(&self, node: &Node) -> Result<(), LabError> {
        let mut last = None;
        eventually(AGENT_START, || {
            last = agent_client::ready(&node.namespaces).err();
            last.is_none() || self.restarts(&node.daemon("agent")) >= HOPELESS
        });
        match last {
            None => Ok(()),
            Some(last) => Err(LabError::Request(format!(
                "{} does not get ready: {last}; the end of its log:\n{}",
                node.daemon("agent"),
                tail(&self.state.log(&node.daemon("agent")), 10)
            ))),
        }
    }

    fn restarts(&self, daemon: &str) -> u32 {
        let all = self.keeper.list();
        all.iter()
            .find(|process| process.name == daemon)
            .map_or(0, |process| process.restarts)
    }

    fn start_pods(&self, topology: &Topology, events: &mut Events) -> Result<(), LabError> {
        let (told, results) = mpsc::channel();
        let failed = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                parallel::map(topology.first_pods(), AT_ONCE, |(node, name)| {
                    if !failed.load(Ordering::Relaxed) {
                        drop(told.send(self.create_pod(node.as_str(), &name)));
                    }
                })
            });
            let tell = |created: Result<PodStatus, LabError>| events.done(describe(&created?));
            let told_all = results.iter().try_for_each(tell);
            failed.store(told_all.is_err(), Ordering::Relaxed);
            told_all
        })
    }

    fn create_pod(&self, node: &str, name: &str) -> Result<PodStatus, LabError> {
        self.pods.create(self, self.node(node)?, name)
    }

    fn node(&self, name: &str) -> Result<&Arc<Node>, LabError> {
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .ok_or_else(|| LabError::Request(format!("there is no node {name} in this lab")))
    }

    /// Takes everything down, in order. Doing it twice does no harm.
    fn take_down(&self) -> Result<(), LabError> {
        self.ending.store(true, Ordering::Relaxed);
        let _alone = self.taking_down.lock();
        let mut errors = Errors::default();
        errors.note(self.pods.close(self));
        let names = self
            .keeper
            .list()
            .into_iter()
            .map(|process| process.name)
            .collect();
        parallel::map(names, AT_ONCE, |name: String| self.keeper.stop(&name));
        errors.result()
    }

    fn status(&self) -> LabStatus {
        let processes = self.keeper.list();
        let node_status = |node: &Arc<Node>| {
            let own = [node.daemon("agent"), node.daemon("serve")];
            NodeStatus {
                name: node.name().to_owned(),
                addresses: node.plan.addresses.clone(),
                pod_cidrs: node.plan.pod_cidrs.clone(),
                processes: processes
                    .iter()
                    .filter(|p| own.contains(&p.name))
                    .cloned()
                    .collect(),
            }
        };
        LabStatus {
            name: self.state.name().to_string(),
            nodes: self.nodes.iter().map(node_status).collect(),
            pods: self.pods.status(self),
        }
    }
}

fn describe(pod: &PodStatus) -> String {
    let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
    format!("{}/{}: {}", pod.node, pod.name, addresses.join(", "))
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
