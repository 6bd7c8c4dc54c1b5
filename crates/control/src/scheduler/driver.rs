//! The loop of the scheduler: one pass over all waiting Pods whenever something may have changed for
//! them.
//!
//! What was bound here and is not seen yet counts as bound (`assumed`), so that a burst spreads though
//! the watch is late. A binding that fails is taken back, and the next pass decides anew. Nothing in the
//! API keeps a Pod from being bound to a node that is no more, so each node that a pass chose is looked up
//! first: the copy of the nodes may be older than that of the Pods, above all when a server came back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use seaway_api::EventRecorder;
use serde_json::json;

use super::{Decision, Fleet, is_waiting, schedule};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::notes;
use crate::queue::Queue;
use crate::view::Change;
use crate::work::Controller;

/// The most bindings at once.
const AT_ONCE: usize = 16;

/// The scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<()>,
    /// Node by uid of Pods that were bound here and are not seen so.
    assumed: Mutex<BTreeMap<String, String>>,
}

impl Scheduler {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            recorder: EventRecorder::start(cluster.client.clone(), super::NAME, None),
            cluster,
            queue: Queue::default(),
            assumed: Mutex::default(),
        }
    }

    /// Pods changed: one waits, or one made room.
    pub(crate) fn hear_pods(&self, heard: &Heard<Pod>) {
        if heard.changes().iter().any(matters) {
            self.queue.add(());
        }
    }

    /// Nodes changed; their heartbeats are of no interest.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        let differs = |change: &Change<Node>| match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                let ready = |node| meta::node_condition(node, "Ready").map(|c| c.status.clone());
                let room = |node: &Node| node.status.as_ref().and_then(|s| s.allocatable.clone());
                old.spec != new.spec
                    || meta::labels(&old.metadata) != meta::labels(&new.metadata)
                    || ready(old) != ready(new)
                    || room(old) != room(new)
            }
            _ => true,
        };
        if heard.changes().iter().any(differs) {
            self.queue.add(());
        }
    }

    fn assumed(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // Every change is one step, so a poisoned lock still guards good data.
        self.assumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fleet with all Pods on it, and who waits.
    fn survey(&self) -> (Fleet, Vec<Arc<Pod>>) {
        let nodes = self.cluster.nodes.all();
        let mut fleet = Fleet::new(nodes.iter().map(|node| &**node));
        let mut waiting = Vec::new();
        let mut unbound = BTreeSet::new();
        let mut assumed = self.assumed();
        for pod in self.cluster.pods.all() {
            let uid = meta::uid(&pod.metadata);
            if let Some(node) = meta::node_name(&pod) {
                fleet.place(&pod, node);
            } else if let Some(node) = assumed.get(uid) {
                fleet.place(&pod, node);
                unbound.insert(uid.to_owned());
            } else if is_waiting(&pod) {
                waiting.push(pod);
            }
        }
        assumed.retain(|uid, _| unbound.contains(uid));
        (fleet, waiting)
    }

    /// Whether the node that was chosen is there, and is the one that the copy shows.
    async fn check(&self, name: &str) -> Result<(), Fault> {
        let key = Key {
            namespace: String::new(),
            name: name.to_owned(),
        };
        let live = self.cluster.everywhere::<Node>().get_metadata(name).await;
        let live = live.map_err(|error| Fault::new("look up", "Node", &key, &error))?;
        let known = self.cluster.nodes.get(&key);
        match known.is_some_and(|known| known.metadata.uid == live.metadata.uid) {
            true => Ok(()),
            false => Err(Fault::overtaken("look up", "Node", &key)),
        }
    }

    /// Checks each node that was chosen. One that cannot be looked up holds back its own Pods alone.
    async fn check_all(&self, decisions: &[Decision]) -> BTreeMap<String, Result<(), Fault>> {
        let chosen = decisions.iter().filter_map(|d| d.node.clone().ok());
        let chosen: BTreeSet<String> = chosen.collect();
        let checks = stream::iter(chosen).map(|node| async move {
            let checked = self.check(&node).await;
            (node, checked)
        });
        checks.buffer_unordered(AT_ONCE).collect().await
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), Fault> {
        let key = Key::of(pod);
        let uid = meta::uid(&pod.metadata);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        self.assumed().insert(uid.to_owned(), node.to_owned());
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        let answer: Result<Status, kube::Error> = api
            .create_subresource("binding", &key.name, &PostParams::default(), &binding)
            .await;
        if let Err(error) = answer {
            self.assumed().remove(uid);
            return Err(Fault::new("bind", "Pod", &key, &error));
        }
        let message = format!("Successfully assigned {key} to {node}");
        notes::normal(&self.recorder, pod, "Scheduled", message);
        Ok(())
    }

    /// Tells why there is no node, unless that is told already.
    async fn explain(&self, pod: &Pod, message: &str) -> Result<(), Fault> {
        let told = meta::pod_condition(pod, "PodScheduled");
        if told.is_some_and(|told| told.message.as_deref() == Some(message)) {
            return Ok(());
        }
        notes::warning(&self.recorder, pod, "FailedScheduling", message.to_owned());
        let since = told.filter(|told| told.status == "False");
        let since = since.and_then(|told| told.last_transition_time.clone());
        let condition = PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: Some("Unschedulable".into()),
            message: Some(message.to_owned()),
            last_transition_time: since.or_else(|| Some(meta::to_time(Timestamp::now()))),
            ..PodCondition::default()
        };
        let key = Key::of(pod);
        // The uid keeps the words away from another Pod of the same name.
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [condition]},
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
}

/// Whether a change can matter to Pods that wait.
fn matters(change: &Change<Pod>) -> bool {
    let waits = change.new.as_ref().is_some_and(|pod| is_waiting(pod));
    let occupied = |pod: &Arc<Pod>| meta::node_name(pod).is_some() && !meta::is_finished(pod);
    let before = change.old.as_ref().is_some_and(occupied);
    let after = change.new.as_ref().is_some_and(occupied);
    waits || (before && !after)
}

impl Controller for Scheduler {
    type Key = ();
    const NAME: &'static str = "scheduler";

    fn queue(&self) -> &Queue<()> {
        &self.queue
    }

    async fn reconcile(&self, (): &()) -> Result<Option<Duration>, Fault> {
        let (mut fleet, waiting) = self.survey();
        let decisions = schedule(&mut fleet, waiting);
        let checked = &self.check_all(&decisions).await;
        let requests = stream::iter(decisions).map(|decision| async move {
            match &decision.node {
                Ok(node) => match checked.get(node) {
                    Some(Err(fault)) => Err(fault.clone()),
                    _ => self.bind(&decision.pod, node).await,
                },
                Err(message) => self.explain(&decision.pod, message).await,
            }
        });
        let answers: Vec<_> = requests.buffer_unordered(AT_ONCE).collect().await;
        answers.into_iter().collect::<Result<Vec<()>, Fault>>()?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use kube::Client;
    use kube::runtime::watcher::Event;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A server that has but one node, and takes bindings.
    async fn server() -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        seaway_api::install_crypto();
        let url = format!("http://{address}").parse().expect("an address");
        Client::try_from(kube::Config::new(url)).expect("a client")
    }

    /// Answers one request.
    async fn answer(stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            if stream.read_line(&mut head).await.is_ok_and(|n| n == 0) {
                return;
            }
            let line = head[start..].to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        let (status, body) = if head.starts_with("GET /api/v1/nodes/there") {
            let node = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": "there", "uid": "there"}});
            ("200 OK", node)
        } else if head.starts_with("GET") {
            let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "Forbidden", "message": "no", "code": 403});
            ("403 Forbidden", failure)
        } else {
            let success = json!({"kind": "Status", "apiVersion": "v1", "status": "Success"});
            ("201 Created", success)
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // Who does not want the answer is gone.
        let _ = stream.write_all((head + &body).as_bytes()).await;
    }

    #[tokio::test]
    async fn a_node_that_cannot_be_looked_up_holds_back_its_own_pods_alone() {
        let cluster = Arc::new(Cluster::new(server().await));
        for name in ["hidden", "there"] {
            let node = json!({"metadata": {"name": name, "uid": name}, "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}});
            let node = serde_json::from_value(node).expect("a Node");
            cluster.nodes.apply(Event::Apply(node));
        }
        for name in ["a", "b", "c", "d"] {
            let pod = json!({"metadata": {"name": name, "namespace": "default", "uid": name},
                "spec": {"containers": []}});
            let pod = serde_json::from_value(pod).expect("a Pod");
            cluster.pods.apply(Event::Apply(pod));
        }
        let scheduler = Scheduler::new(cluster);
        let fault = scheduler.reconcile(&()).await.expect_err("a fault");
        assert!(fault.to_string().contains("look up Node"), "{fault}");
        let bound: Vec<String> = scheduler.assumed().values().cloned().collect();
        assert_eq!(bound, ["there", "there"]);
    }
}
