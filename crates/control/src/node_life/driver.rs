//! The loop of node life: one pass over all nodes when something changed or a deadline came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use seaway_api::EventRecorder;
use serde_json::json;
use tokio::time::Instant;

use super::evict::Evictions;
use super::pulse::{Pulse, Silence, Stamp};
use super::verdict;
use crate::cluster::{Cluster, Heard, LEASES};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::queue::Queue;
use crate::view::Change;
use crate::work::Controller;
use crate::{notes, taints};

/// An answer that takes longer, or a deadline missed by more, says that we stood still or saw badly.
const STANDSTILL: Duration = Duration::from_secs(5);

/// What is remembered between passes.
#[derive(Debug)]
struct Memory {
    pulse: Pulse,
    evictions: Evictions,
    /// The deadline that the last pass left.
    planned: Option<Duration>,
}

/// The controller of node life.
#[derive(Debug)]
pub(crate) struct NodeLife {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<()>,
    /// How long a Pod stays on a lost node if it says nothing about that.
    stay: Duration,
    start: Instant,
    memory: Mutex<Memory>,
}

impl NodeLife {
    pub(crate) fn new(cluster: Arc<Cluster>, grace: Duration, stay: Duration) -> Self {
        Self {
            recorder: EventRecorder::start(cluster.client.clone(), "node-controller", None),
            cluster,
            queue: Queue::default(),
            stay,
            start: Instant::now(),
            memory: Mutex::new(Memory {
                pulse: Pulse::new(grace),
                evictions: Evictions::default(),
                planned: None,
            }),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is one step, so a poisoned lock still guards good data.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases changed, or can no longer be seen.
    pub(crate) fn hear_leases(&self, heard: &Heard<Lease>) {
        if matches!(heard, Heard::Broken) {
            self.memory().pulse.blind();
            self.queue.add(());
            return;
        }
        for lease in heard
            .changes()
            .iter()
            .filter_map(|change| change.new.as_ref())
        {
            self.note_sign(lease);
        }
    }

    fn note_sign(&self, lease: &Lease) {
        let name = meta::name(&lease.metadata);
        let key = Key {
            namespace: String::new(),
            name: name.to_owned(),
        };
        let Some(node) = self.cluster.nodes.get(&key) else {
            return;
        };
        let stamp = stamp(&node, Some(lease));
        let now = self.now();
        self.memory().pulse.saw(name, stamp, now);
    }

    /// Nodes changed.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        let differs = |change: &Change<Node>| match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                let said = |node: &Node| {
                    ["Ready", "NetworkUnavailable"].map(|kind| {
                        let condition = meta::node_condition(node, kind);
                        condition.map(|condition| condition.status.clone())
                    })
                };
                old.spec != new.spec
                    || said(old) != said(new)
                    || stamp(old, None) != stamp(new, None)
            }
            _ => true,
        };
        if heard.changes().iter().any(differs) {
            self.queue.add(());
        }
    }

    /// Pods changed: one came to a node, or is ready on one that is lost.
    pub(crate) fn hear_pods(&self, heard: &Heard<Pod>) {
        let concerns = |pod: &Arc<Pod>| {
            let node = meta::node_name(pod).map(|name| Key {
                namespace: String::new(),
                name: name.to_owned(),
            });
            let node = node.and_then(|key| self.cluster.nodes.get(&key));
            node.is_some_and(|node| {
                taints::of_node(&node)
                    .iter()
                    .any(|taint| taint.effect == taints::NO_EXECUTE)
                    || taints::implied(&node) == Some(taints::UNREACHABLE)
            })
        };
        let new = heard
            .changes()
            .iter()
            .filter_map(|change| change.new.as_ref());
        if new.into_iter().any(concerns) {
            self.queue.add(());
        }
    }

    /// Takes in what is known of all nodes.
    fn observe(&self, nodes: &[Arc<Node>]) {
        let now = self.now();
        let mut memory = self.memory();
        for node in nodes {
            let name = meta::name(&node.metadata);
            let lease = self.cluster.leases.get(&Key {
                namespace: LEASES.to_owned(),
                name: name.to_owned(),
            });
            memory.pulse.saw(name, stamp(node, lease.as_deref()), now);
        }
        memory.pulse.keep(|name| {
            let mut nodes = nodes.iter();
            nodes.any(|node| meta::name(&node.metadata) == name)
        });
        // Whoever stood still has seen nothing, though much may have happened.
        if memory
            .planned
            .take()
            .is_some_and(|planned| now > planned + STANDSTILL)
        {
            memory.pulse.blind();
        }
    }

    /// Reads all Leases anew. An answer means that we see.
    async fn look(&self, nodes: &[Arc<Node>]) -> Result<(), Fault> {
        let began = self.now();
        let api = self.cluster.namespaced::<Lease>(LEASES);
        let leases = match api.list(&ListParams::default()).await {
            Ok(leases) => leases.items,
            Err(error) => {
                self.memory().pulse.blind();
                let key = Key {
                    namespace: LEASES.to_owned(),
                    name: "all".to_owned(),
                };
                return Err(Fault::new("read", "Lease", &key, &error));
            }
        };
        let now = self.now();
        let mut memory = self.memory();
        if now > began + STANDSTILL {
            memory.pulse.blind();
        }
        memory.pulse.sighted(now);
        for node in nodes {
            let name = meta::name(&node.metadata);
            let lease = leases
                .iter()
                .find(|lease| meta::name(&lease.metadata) == name);
            memory.pulse.saw(name, stamp(node, lease), now);
        }
        memory.pulse.confirm(now);
        Ok(())
    }

    async fn silence(&self, nodes: &[Arc<Node>]) -> Result<Silence, Fault> {
        self.observe(nodes);
        if !self.memory().pulse.sees() {
            self.look(nodes).await?;
        }
        let now = self.now();
        let silence = self.memory().pulse.silence(now);
        if !silence.confirm {
            return Ok(silence);
        }
        self.look(nodes).await?;
        let now = self.now();
        Ok(self.memory().pulse.silence(now))
    }

    /// Makes conditions and taints of a node what they should be.
    async fn judge(&self, node: &Arc<Node>, silent: bool, spare: bool) -> Result<(), Fault> {
        let key = Key::of(&**node);
        let api = self.cluster.everywhere::<Node>();
        let conditions = match silent {
            true => verdict::conditions(node, Timestamp::now()),
            false => Vec::new(),
        };
        let mut base = node.metadata.resource_version.clone();
        if !conditions.is_empty() {
            let patch = json!({
                "metadata": {"uid": node.metadata.uid, "resourceVersion": base},
                "status": {"conditions": conditions},
            });
            let answer = api
                .patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            let changed =
                answer.map_err(|error| Fault::new("write the status of", "Node", &key, &error))?;
            tracing::warn!(node = %key, "the node renews its Lease no more: its state is unknown");
            let message = format!("Node {key} status is now: NodeNotReady");
            notes::normal(&self.recorder, &**node, "NodeNotReady", message);
            self.cluster.nodes.learn(base.as_deref(), changed.clone());
            base = changed.metadata.resource_version;
        }
        let Some(taints) = verdict::wanted_taints(node, silent, spare, Timestamp::now()) else {
            return Ok(());
        };
        let patch = json!({
            "metadata": {"uid": node.metadata.uid, "resourceVersion": base},
            "spec": {"taints": taints},
        });
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let changed = answer.map_err(|error| Fault::new("taint", "Node", &key, &error))?;
        self.cluster.nodes.learn(base.as_deref(), changed);
        Ok(())
    }

    /// Nobody vouches for Pods on a node that is silent.
    async fn unready(&self, pod: &Pod) -> Result<(), Fault> {
        let key = Key::of(pod);
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "Ready",
                "status": "False",
                "reason": "NodeUnreachable",
                "message": "the node that runs this Pod renews its Lease no more",
                "lastTransitionTime": meta::to_time(Timestamp::now()),
            }]},
        });
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        let answer = api
            .patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Fault::new("write the status of", "Pod", &key, &error).unless_usual(),
        }
    }

    async fn evict(&self, pod: &Pod) -> Result<(), Fault> {
        let key = Key::of(pod);
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        });
        let message = format!("Marking for deletion Pod {key}");
        notes::normal(&self.recorder, pod, "TaintManagerEviction", message);
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        match api.delete(&key.name, &params).await {
            Ok(_) => Ok(()),
            Err(error) => Fault::new("evict", "Pod", &key, &error).unless_usual(),
        }
    }

    /// What nodes' states mean for Pods; answers when to look again.
    async fn settle_pods(&self, nodes: &[Arc<Node>]) -> Result<Option<Duration>, Fault> {
        let pods = self.cluster.pods.all();
        let lost = |name: &str| {
            let mut nodes = nodes.iter();
            nodes.any(|node| {
                meta::name(&node.metadata) == name
                    && taints::implied(node) == Some(taints::UNREACHABLE)
            })
        };
        for pod in pods.iter().filter(|pod| meta::is_ready(pod)) {
            if meta::node_name(pod).is_some_and(lost) {
                self.unready(pod).await?;
            }
        }
        let now = self.now();
        let leaving = self.memory().evictions.decide(nodes, &pods, self.stay, now);
        for pod in &leaving.now {
            self.evict(pod).await?;
        }
        Ok(leaving.next)
    }
}

/// What shows that the node lives: the Lease's renewal, and what it says of itself. That its state is
/// unknown it does not say itself.
fn stamp(node: &Node, lease: Option<&Lease>) -> Stamp {
    let renewed = lease
        .and_then(|lease| lease.spec.as_ref())
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| time.0.to_string());
    let ready = meta::node_condition(node, "Ready").filter(|ready| ready.status != "Unknown");
    let said = ready.map(|ready| {
        let times = [&ready.last_heartbeat_time, &ready.last_transition_time];
        let times = times.map(|time| time.as_ref().map(|time| time.0.to_string()));
        format!("{} {times:?}", ready.status)
    });
    Stamp { renewed, said }
}

impl Controller for NodeLife {
    type Key = ();
    const NAME: &'static str = "node-life";

    fn queue(&self) -> &Queue<()> {
        &self.queue
    }

    async fn reconcile(&self, (): &()) -> Result<Option<Duration>, Fault> {
        let nodes = self.cluster.nodes.all();
        let silence = self.silence(&nodes).await?;
        let is_silent = |node: &Arc<Node>| {
            let name = meta::name(&node.metadata);
            silence.silent.iter().any(|silent| silent == name)
        };
        let spare = nodes
            .iter()
            .all(|node| is_silent(node) || taints::implied(node) == Some(taints::UNREACHABLE));
        for node in &nodes {
            self.judge(node, is_silent(node), spare).await?;
        }
        // The judgement is in the copy now.
        let next = self.settle_pods(&self.cluster.nodes.all()).await?;
        let next = [next, silence.next].into_iter().flatten().min();
        self.memory().planned = next;
        let now = self.now();
        Ok(next.map(|next| next.saturating_sub(now)))
    }
}
