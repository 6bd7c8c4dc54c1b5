//! What an agent says on its own Node: which transport it uses, as an annotation that the other
//! nodes' agents read, and Events for people.
//!
//! The annotation is written when the Node is seen without it: at the start, after a Node was
//! replaced, and after somebody took it away. Nothing here keeps an agent from its work.

use k8s_openapi::api::core::v1 as core;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use seaway_model::{NodeName, Transport};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::convert::TRANSPORT_ANNOTATION;
use crate::{
    Backoff, Change, EventNote, EventRecorder, EventType, Failure, ObjectKey, Timing, describe,
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
}

impl NodeVoice {
    /// Of somebody who says nothing.
    pub fn silent() -> NodeVoice {
        NodeVoice {
            transport: None,
            notes: mpsc::channel(1).1,
        }
    }
}

/// The own Node as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    uid: String,
    transport: Option<String>,
}

impl Seen {
    fn of(node: &core::Node) -> Seen {
        let annotations = node.metadata.annotations.as_ref();
        let transport = annotations.and_then(|all| all.get(TRANSPORT_ANNOTATION));
        Seen {
            uid: node.metadata.uid.clone().unwrap_or_default(),
            transport: transport.cloned(),
        }
    }

    /// What must be patched so that the Node names this transport.
    fn patch(&self, wanted: Transport) -> Option<Value> {
        let wanted = wanted.to_string();
        (self.transport.as_ref() != Some(&wanted)).then(|| {
            // With the uid, so that a Node that took this one's place is left alone.
            json!({"metadata": {"uid": self.uid, "annotations": {TRANSPORT_ANNOTATION: wanted}}})
        })
    }
}

/// Speaks on the own Node until it is dropped.
pub(crate) struct Speaker {
    own: ObjectKey,
    seen: watch::Sender<Option<Seen>>,
    problem: watch::Receiver<Option<String>>,
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
        let (tell, problem) = watch::channel(None);
        let mut tasks = Vec::new();
        let recorder = EventRecorder::start(client.clone(), "seaway-agent", Some(node.as_str()));
        tasks.push(tokio::spawn(record(
            recorder,
            node.clone(),
            look.clone(),
            voice.notes,
        )));
        if let Some(transport) = voice.transport {
            let writer = Writer {
                api: Api::all(client.clone()),
                node: node.clone(),
                transport,
                problem: tell,
            };
            tasks.push(tokio::spawn(writer.run(look, Backoff::new(timing))));
        }
        Speaker {
            own: ObjectKey::cluster(node.as_str()),
            seen,
            problem,
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
        if self.problem.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Why the Node cannot be written, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

/// Writes the annotation.
struct Writer {
    api: Api<core::Node>,
    node: NodeName,
    transport: Transport,
    problem: watch::Sender<Option<String>>,
}

impl Writer {
    async fn run(self, mut seen: watch::Receiver<Option<Seen>>, mut backoff: Backoff) {
        loop {
            let now = seen.borrow_and_update().clone();
            let patch = now.and_then(|seen| seen.patch(self.transport));
            let outcome = match patch {
                Some(patch) => self.send(&patch).await,
                None => {
                    self.note(None);
                    Ok(())
                }
            };
            match outcome {
                // The watch tells what came of it.
                Ok(()) | Err(Failure::Absent) => {
                    backoff.reset();
                    if seen.changed().await.is_err() {
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
            .patch(
                self.node.as_str(),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await;
        let failure = answer.as_ref().err().map(Failure::of);
        let problem = answer.err().map(|error| {
            let advice = match failure {
                Some(Failure::Refused) => "; give the agent patch on nodes",
                _ => "",
            };
            format!(
                "transport {} cannot be written on the own Node, so that other nodes do not know it: \
                 patch node {}: {}{advice}",
                self.transport,
                self.node,
                describe(&error),
            )
        });
        self.note(problem);
        failure.map_or(Ok(()), Err)
    }

    /// Tells what is wrong, or that nothing is, if that is news.
    fn note(&self, problem: Option<String>) {
        self.problem.send_if_modified(|before| {
            let news = *before != problem;
            *before = problem;
            news
        });
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

    fn seen(transport: Option<&str>) -> Seen {
        let annotations = transport.map(|t| json!({TRANSPORT_ANNOTATION: t, "other": "x"}));
        let node = json!({"metadata": {"name": "n", "uid": "u", "annotations": annotations}});
        Seen::of(&serde_json::from_value(node).expect("a Node"))
    }

    #[test]
    fn only_a_node_that_says_something_else_is_patched() {
        assert_eq!(seen(Some("l2")).patch(Transport::L2), None);
        for other in [None, Some("vxlan"), Some("garbage")] {
            let patch = seen(other).patch(Transport::L2).expect("differs");
            assert_eq!(patch["metadata"]["uid"], "u");
            assert_eq!(
                patch["metadata"]["annotations"],
                json!({TRANSPORT_ANNOTATION: "l2"})
            );
        }
    }
}
