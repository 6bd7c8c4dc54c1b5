//! What an agent says: on its own Node which transport it uses, as an annotation that the other
//! nodes' agents read, that the node's network is there, and Events for people; in a Lease of its
//! own how it is (see [`crate::heartbeat`]).
//!
//! The Node is written when it is seen to say something else: at the start, after it was replaced,
//! and after somebody took away what was written. All of it goes by the status subresource, so that
//! no agent needs a right to change Nodes. That the network is there is not taken back when an agent
//! ends or is not ready for a while: what is in force goes on. Nothing here keeps an agent from its
//! work.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use seaway_model::{NodeName, Transport};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::convert::{NETWORK_CONDITION, TRANSPORT_ANNOTATION};
use crate::heartbeat::Heartbeat;
use crate::{
    AgentSummary, Backoff, Change, EventNote, EventRecorder, EventType, Failure, ObjectKey, Timing,
    describe,
};

/// Something to be told about the own Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNote {
    /// Whether it is trouble.
    pub event_type: EventType,
    /// A word in CamelCase, such as `PathMtuLowered`.
    pub reason: String,
    /// What happened.
    pub message: String,
}

/// What an agent has to say.
#[derive(Debug)]
pub struct NodeVoice {
    /// The transport that it uses, if the other nodes are to know.
    pub transport: Option<Transport>,
    /// What becomes an Event.
    pub notes: mpsc::Receiver<NodeNote>,
    /// How it is, once that is known.
    pub summaries: watch::Receiver<Option<AgentSummary>>,
    /// The namespace of its Lease.
    pub namespace: String,
}

impl NodeVoice {
    /// Of somebody who says nothing.
    pub fn silent() -> NodeVoice {
        NodeVoice {
            transport: None,
            notes: mpsc::channel(1).1,
            summaries: watch::channel(None).1,
            namespace: String::new(),
        }
    }
}

/// The own Node as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) uid: String,
    transport: Option<String>,
    /// Whether its network is not there, in the words of the API.
    unavailable: Option<String>,
}

/// What the Node is to say.
#[derive(Clone, Copy, Debug)]
struct Wish {
    transport: Option<Transport>,
    /// The network is there.
    ready: bool,
}

impl Seen {
    fn of(node: &core::Node) -> Seen {
        let annotations = node.metadata.annotations.as_ref();
        let transport = annotations.and_then(|all| all.get(TRANSPORT_ANNOTATION));
        let status = node.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let mut conditions = conditions.unwrap_or_default().iter();
        let network = conditions.find(|condition| condition.type_ == NETWORK_CONDITION);
        Seen {
            uid: node.metadata.uid.clone().unwrap_or_default(),
            transport: transport.cloned(),
            unavailable: network.map(|condition| condition.status.clone()),
        }
    }

    /// What must be patched so that the Node says what it is to say.
    fn patch(&self, wish: Wish, now: Timestamp) -> Option<Value> {
        // With the uid, so that a Node that took this one's place is left alone.
        let mut patch = json!({"metadata": {"uid": self.uid}});
        let transport = wish.transport.map(|transport| transport.to_string());
        let renamed = transport.is_some() && self.transport != transport;
        if renamed {
            patch["metadata"]["annotations"] = json!({TRANSPORT_ANNOTATION: transport});
        }
        let raised = wish.ready && self.unavailable.as_deref() != Some("False");
        if raised {
            let now = Time(now);
            // Conditions are merged by their type: those of others stay.
            patch["status"]["conditions"] = json!([{
                "type": NETWORK_CONDITION, "status": "False", "reason": "SeawayIsUp",
                "message": "Seaway is up on this node",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }]);
        }
        (renamed || raised).then_some(patch)
    }
}

/// What cannot be written, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trouble {
    node: Option<String>,
    lease: Option<String>,
}

/// Where those who write tell what is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Complaints(watch::Sender<Trouble>);

impl Complaints {
    /// The Lease cannot be written, or can be again.
    pub(crate) fn lease(&self, problem: Option<String>) {
        self.note(|trouble| std::mem::replace(&mut trouble.lease, problem.clone()) != problem);
    }

    fn node(&self, problem: Option<String>) {
        self.note(|trouble| std::mem::replace(&mut trouble.node, problem.clone()) != problem);
    }

    /// Tells if it is news.
    fn note(&self, change: impl FnOnce(&mut Trouble) -> bool) {
        self.0.send_if_modified(change);
    }
}

/// Speaks on the own Node until it is dropped.
pub(crate) struct Speaker {
    own: ObjectKey,
    seen: watch::Sender<Option<Seen>>,
    trouble: watch::Receiver<Trouble>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Speaker {
    /// To be called on a tokio runtime.
    pub(crate) fn start(
        client: &Client,
        node: &NodeName,
        timing: &Timing,
        voice: NodeVoice,
    ) -> Speaker {
        let (seen, look) = watch::channel(None);
        let (tell, trouble) = watch::channel(Trouble::default());
        let complaints = Complaints(tell);
        let NodeVoice {
            transport,
            notes,
            summaries,
            namespace,
        } = voice;
        let recorder = EventRecorder::start(client.clone(), "seaway-agent", Some(node.as_str()));
        let writer = Writer {
            api: Api::all(client.clone()),
            node: node.clone(),
            transport,
            complaints: complaints.clone(),
        };
        let heartbeat = Heartbeat::new(client.clone(), node.clone(), namespace, timing, complaints);
        let tasks = vec![
            tokio::spawn(record(recorder, node.clone(), look.clone(), notes)),
            tokio::spawn(writer.run(look.clone(), summaries.clone(), Backoff::new(timing))),
            tokio::spawn(heartbeat.run(look, summaries)),
        ];
        Speaker {
            own: ObjectKey::cluster(node.as_str()),
            seen,
            trouble,
            tasks,
        }
    }

    /// Takes note of the own Node among changes.
    pub(crate) fn look(&self, changes: &[Change<core::Node>]) {
        for change in changes {
            match change {
                Change::Upsert(key, node) if *key == self.own => {
                    let now = Some(Seen::of(node));
                    self.seen.send_if_modified(|seen| {
                        let news = *seen != now;
                        seen.clone_from(&now);
                        news
                    });
                }
                Change::Delete(key, _) if *key == self.own => drop(self.seen.send_replace(None)),
                _ => {}
            }
        }
    }

    /// Waits until something else is wrong than before.
    pub(crate) async fn problem_changed(&mut self) {
        if self.trouble.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What cannot be written and why, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        let trouble = self.trouble.borrow();
        let all: Vec<&str> = [&trouble.node, &trouble.lease]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Writes the own Node.
struct Writer {
    api: Api<core::Node>,
    node: NodeName,
    transport: Option<Transport>,
    complaints: Complaints,
}

impl Writer {
    async fn run(
        self,
        mut seen: watch::Receiver<Option<Seen>>,
        mut summaries: watch::Receiver<Option<AgentSummary>>,
        mut backoff: Backoff,
    ) {
        loop {
            let wish = Wish {
                transport: self.transport,
                ready: summaries
                    .borrow_and_update()
                    .as_ref()
                    .is_some_and(|s| s.ready),
            };
            let now = seen.borrow_and_update().clone();
            let patch = now.and_then(|seen| seen.patch(wish, Timestamp::now()));
            let outcome = match patch {
                Some(patch) => self.send(&patch).await,
                None => {
                    self.complaints.node(None);
                    Ok(())
                }
            };
            match outcome {
                // The watch tells what came of it.
                Ok(()) | Err(Failure::Absent) => {
                    backoff.reset();
                    if !changed(&mut seen, &mut summaries, wish.ready).await {
                        return;
                    }
                }
                Err(Failure::Passing(at_least)) => sleep(backoff.pause().max(at_least)).await,
                // Another Node took its place, which the watch tells soon; or others wrote this one
                // too often meanwhile, which no watch tells. Somebody may allow it later.
                Err(Failure::Conflict | Failure::Refused | Failure::Expired) => {
                    sleep(backoff.pause()).await;
                }
            }
        }
    }

    async fn send(&self, patch: &Value) -> Result<(), Failure> {
        let answer = self
            .api
            .patch_status(
                self.node.as_str(),
                &PatchParams::default(),
                &Patch::Strategic(patch),
            )
            .await;
        let failure = answer.as_ref().err().map(Failure::of);
        let problem = answer.err().map(|error| {
            let advice = match failure {
                Some(Failure::Refused) => "; give the agent patch on nodes/status",
                _ => "",
            };
            format!(
                "{} cannot be written on the own Node: patch status of node {}: {}{advice}",
                content(patch),
                self.node,
                describe(&error),
            )
        });
        self.complaints.node(problem);
        failure.map_or(Ok(()), Err)
    }
}

/// What a patch says, for people.
fn content(patch: &Value) -> String {
    let transport = patch["metadata"]["annotations"][TRANSPORT_ANNOTATION].as_str();
    let transport = transport.map(|t| format!("transport {t}, which other nodes ask for,"));
    let network = (!patch["status"].is_null()).then(|| "that its network is up".to_owned());
    let all: Vec<String> = transport.into_iter().chain(network).collect();
    all.join(" and ")
}

/// Waits until the Node has changed or the agent is ready otherwise than it was; false when there is
/// nobody to tell any more.
async fn changed(
    seen: &mut watch::Receiver<Option<Seen>>,
    summaries: &mut watch::Receiver<Option<AgentSummary>>,
    ready: bool,
) -> bool {
    let otherwise = |summary: &Option<AgentSummary>| {
        summary.as_ref().is_some_and(|summary| summary.ready) != ready
    };
    let other = async {
        // Who has no more to say has not changed.
        if summaries.wait_for(otherwise).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        news = seen.changed() => news.is_ok(),
        () = other => true,
    }
}

async fn record(
    recorder: EventRecorder,
    node: NodeName,
    mut seen: watch::Receiver<Option<Seen>>,
    mut notes: mpsc::Receiver<NodeNote>,
) {
    while let Some(note) = notes.recv().await {
        let Ok(uid) = seen
            .wait_for(Option::is_some)
            .await
            .map(|seen| seen.as_ref().map(|seen| seen.uid.clone()))
        else {
            return;
        };
        recorder.record(EventNote {
            object: core::ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_string()),
                uid,
                ..core::ObjectReference::default()
            },
            event_type: note.event_type,
            reason: note.reason,
            message: note.message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(transport: Option<&str>, unavailable: Option<&str>) -> Seen {
        let annotations = transport.map(|t| json!({TRANSPORT_ANNOTATION: t, "other": "x"}));
        let conditions: Vec<Value> = [("Ready", Some("True")), (NETWORK_CONDITION, unavailable)]
            .into_iter()
            .filter_map(|(of, status)| Some(json!({"type": of, "status": status?})))
            .collect();
        let node = json!({"metadata": {"name": "n", "uid": "u", "annotations": annotations},
            "status": {"conditions": conditions}});
        Seen::of(&serde_json::from_value(node).expect("a Node"))
    }

    fn patch(seen: &Seen, transport: Option<Transport>, ready: bool) -> Option<Value> {
        seen.patch(Wish { transport, ready }, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn only_a_node_that_names_another_transport_is_patched() {
        let l2 = Some(Transport::L2);
        assert_eq!(patch(&seen(Some("l2"), None), l2, false), None);
        assert_eq!(patch(&seen(None, None), None, false), None);
        for other in [None, Some("vxlan"), Some("garbage")] {
            let patch = patch(&seen(other, None), l2, false).expect("differs");
            let meta = json!({"uid": "u", "annotations": {TRANSPORT_ANNOTATION: "l2"}});
            assert_eq!(patch, json!({"metadata": meta}));
            assert_eq!(content(&patch), "transport l2, which other nodes ask for,");
        }
    }

    #[test]
    fn the_network_is_called_up_when_it_is_and_nobody_has_said_so() {
        let node = |unavailable| seen(Some("l2"), unavailable);
        let l2 = Some(Transport::L2);
        assert_eq!(patch(&node(Some("False")), l2, true), None);
        assert_eq!(
            patch(&node(Some("True")), l2, false),
            None,
            "not taken back, not claimed"
        );
        for other in [None, Some("True"), Some("Unknown")] {
            let patch = patch(&node(other), l2, true).expect("differs");
            let conditions = patch["status"]["conditions"].as_array().expect("a list");
            assert_eq!(conditions.len(), 1, "those of others are not touched");
            assert_eq!(conditions[0]["type"], "NetworkUnavailable");
            assert_eq!(conditions[0]["status"], "False");
            assert_eq!(conditions[0]["reason"], "SeawayIsUp");
            assert_eq!(conditions[0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
            assert_eq!(patch["metadata"], json!({"uid": "u"}));
        }
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let (tell, mut trouble) = watch::channel(Trouble::default());
        let complaints = Complaints(tell);
        complaints.lease(None);
        assert!(!trouble.has_changed().expect("open"));
        complaints.lease(Some("b".to_owned()));
        complaints.node(Some("a".to_owned()));
        let now = trouble.borrow_and_update().clone();
        assert_eq!(
            (now.node.as_deref(), now.lease.as_deref()),
            (Some("a"), Some("b"))
        );
        complaints.node(Some("a".to_owned()));
        assert!(!trouble.has_changed().expect("open"), "no news");
    }
}
