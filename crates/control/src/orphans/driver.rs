//! The loop of orphans: one pass over all Pods when one names a node that is not there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Preconditions};
use tokio::time::Instant;

use super::missing::Missing;
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::queue::Queue;
use crate::work::Controller;

/// The controller of orphans.
#[derive(Debug)]
pub(crate) struct Orphans {
    cluster: Arc<Cluster>,
    queue: Queue<()>,
    start: Instant,
    missing: Mutex<Missing>,
}

impl Orphans {
    pub(crate) fn new(cluster: Arc<Cluster>, quarantine: Duration) -> Self {
        Self {
            cluster,
            queue: Queue::default(),
            start: Instant::now(),
            missing: Mutex::new(Missing::new(quarantine)),
        }
    }

    fn missing(&self) -> MutexGuard<'_, Missing> {
        // Every change is one step, so a poisoned lock still guards good data.
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exists(&self, node: &str) -> bool {
        self.cluster.nodes.get(&key(node)).is_some()
    }

    /// Nodes came or went, or can no longer be seen.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        if matches!(heard, Heard::Broken) {
            self.missing().blind();
            self.queue.add(());
        }
        for change in heard.changes() {
            if let Some(node) = &change.new {
                self.missing().saw(meta::name(&node.metadata));
            }
            if change.old.is_none() || change.new.is_none() {
                self.queue.add(());
            }
        }
    }

    /// Pods of a missing node came or went.
    pub(crate) fn hear_pods(&self, heard: &Heard<Pod>) {
        let concerns = |pod: &Pod| meta::node_name(pod).is_some_and(|node| !self.exists(node));
        let mut pods = heard.changes().iter();
        if pods.any(|change| change.both().any(|pod| concerns(pod))) {
            self.queue.add(());
        }
    }

    /// Asks the API itself whether the node is gone. No answer is no verdict.
    async fn is_gone(&self, node: &str) -> Result<bool, Fault> {
        let answer = self.cluster.everywhere::<Node>().get_opt(node).await;
        let found = answer.map_err(|error| Fault::new("read", "Node", &key(node), &error))?;
        if found.is_some() {
            self.missing().saw(node);
        }
        Ok(found.is_none())
    }

    /// Deletes a Pod at once: nobody is left who could end it and say so.
    async fn delete(&self, pod: &Pod, node: &str) -> Result<(), Fault> {
        let key = Key::of(pod);
        let params = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            });
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        match api.delete(&key.name, &params).await {
            Ok(_) => {
                tracing::warn!(pod = %key, %node, "the Pod's node is gone: the Pod is deleted");
                Ok(())
            }
            Err(error) => Fault::new("delete", "Pod", &key, &error).unless_usual(),
        }
    }
}

/// The key of a node.
fn key(node: &str) -> Key {
    Key {
        namespace: String::new(),
        name: node.to_owned(),
    }
}

/// Whether nothing but finalizers keeps the Pod: another deletion changes nothing.
fn is_deleted(pod: &Pod) -> bool {
    meta::is_terminating(&pod.metadata) && pod.metadata.deletion_grace_period_seconds == Some(0)
}

impl Controller for Orphans {
    type Key = ();
    const NAME: &'static str = "orphans";

    fn queue(&self) -> &Queue<()> {
        &self.queue
    }

    async fn reconcile(&self, (): &()) -> Result<Option<Duration>, Fault> {
        let mut pods = self.cluster.pods.all();
        pods.retain(|pod| !is_deleted(pod));
        let named = |pod: &Arc<Pod>| meta::node_name(pod).map(ToOwned::to_owned);
        let named: BTreeSet<String> = pods.iter().filter_map(named).collect();
        let now = self.start.elapsed();
        let overdue = self.missing().decide(&named, |node| self.exists(node), now);
        for node in &overdue.nodes {
            if !self.is_gone(node).await? {
                continue;
            }
            for pod in pods
                .iter()
                .filter(|pod| meta::node_name(pod) == Some(node.as_str()))
            {
                self.delete(pod, node).await?;
            }
        }
        let now = self.start.elapsed();
        Ok(overdue.next.map(|next| next.saturating_sub(now)))
    }
}
