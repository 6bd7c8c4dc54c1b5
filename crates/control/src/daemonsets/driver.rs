//! The loop of DaemonSets: what wakes it, and how steps are done. The requests are in `requests`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use seaway_api::EventRecorder;

use super::patience::Patience;
use super::{Input, Step, concerns, plan};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::ledger::Ledgers;
use crate::meta::{self, Key};
use crate::queue::Queue;
use crate::taints;
use crate::view::Change;
use crate::work::{Controller, until};

/// The most requests at once for one set.
const AT_ONCE: usize = 16;
/// The most Pods that one round makes or deletes.
const BURST: usize = 500;

/// The controller of DaemonSets.
#[derive(Debug)]
pub(crate) struct DaemonSets {
    pub(super) cluster: Arc<Cluster>,
    pub(super) recorder: EventRecorder,
    queue: Queue<Key>,
    /// Pods that were asked for and are not seen yet.
    pub(super) ledgers: Ledgers,
    /// Revisions that were made and are not seen yet.
    pub(super) records: Ledgers,
    pub(super) patience: Patience,
}

impl DaemonSets {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            recorder: EventRecorder::start(cluster.client.clone(), "daemonset-controller", None),
            cluster,
            queue: Queue::default(),
            ledgers: Ledgers::default(),
            records: Ledgers::default(),
            patience: Patience::default(),
        }
    }

    /// DaemonSets changed.
    pub(crate) fn hear_daemon_sets(&self, heard: &Heard<DaemonSet>) {
        for change in heard.changes() {
            for set in change.both() {
                self.queue.add(Key::of(&**set));
            }
            if change.new.is_none()
                && let Some(old) = &change.old
            {
                self.ledgers.forget(&old.metadata);
                self.records.forget(&old.metadata);
                self.patience.forget(meta::uid(&old.metadata));
            }
        }
    }

    /// Nodes changed; their heartbeats are of no interest.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        let matters = |change: &Change<Node>| match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                meta::labels(&old.metadata) != meta::labels(&new.metadata)
                    || taints::with_implied(old) != taints::with_implied(new)
            }
            _ => true,
        };
        if heard.changes().iter().any(matters) {
            for set in self.cluster.daemon_sets.all() {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    /// Pods changed.
    pub(crate) fn hear_pods(&self, heard: &Heard<Pod>) {
        self.wake_owners(heard);
        let listed = self.cluster.pods.listed();
        for key in self.ledgers.hear(heard, listed) {
            self.queue.add(key);
        }
    }

    /// Revisions changed.
    pub(crate) fn hear_revisions(&self, heard: &Heard<ControllerRevision>) {
        self.wake_owners(heard);
        let listed = self.cluster.revisions.listed();
        for key in self.records.hear(heard, listed) {
            self.queue.add(key);
        }
    }

    fn wake_owners<K: Resource>(&self, heard: &Heard<K>) {
        for object in heard.changes().iter().flat_map(Change::both) {
            self.wake_owner(&**object);
        }
    }

    fn wake_owner<K: Resource>(&self, object: &K) {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        match meta::controller_of(object.meta()) {
            Some(owner) if owner.kind == "DaemonSet" => self.queue.add(Key {
                namespace,
                name: owner.name.clone(),
            }),
            Some(_) => {}
            None => {
                let sets = &self.cluster.daemon_sets;
                for set in sets.in_namespace(&namespace, |set| concerns(set, object)) {
                    self.queue.add(Key::of(&*set));
                }
            }
        }
    }

    /// Does what the plan says. The first failure is told; what can be done is done.
    async fn perform(&self, set: &Arc<DaemonSet>, steps: Vec<Step>) -> Result<(), Fault> {
        let mut failed = None;
        let mut coming = Vec::new();
        let mut going = Vec::new();
        let mut status = None;
        for step in steps {
            let result = match step {
                Step::Adopt(pod) => self.adopt_pod(set, &pod).await,
                Step::Release(pod) => self.release_pod(set, &pod).await,
                Step::AdoptRevision(revision) => self.adopt_revision(set, &revision).await,
                Step::ReleaseRevision(revision) => self.release_revision(set, &revision).await,
                Step::Record(revision) => self.record(set, &revision).await,
                Step::Renumber(revision, number) => self.renumber(&revision, number).await,
                Step::Forget(revision) => self.forget(&revision).await,
                Step::Create { node, hash } => {
                    coming.push((node, hash));
                    Ok(())
                }
                Step::Delete(pod) => {
                    going.push(pod);
                    Ok(())
                }
                Step::Bury { pod, node } => {
                    self.note_end(set, &pod, &node);
                    going.push(pod);
                    Ok(())
                }
                Step::Status(told) => {
                    status = Some(told);
                    Ok(())
                }
            };
            failed = failed.or(result.err());
        }
        going.truncate(BURST);
        let deletions = stream::iter(going).map(|pod| self.delete(set, pod));
        let deletions: Vec<_> = deletions.buffer_unordered(AT_ONCE).collect().await;
        failed = failed.or(deletions.into_iter().find_map(Result::err));
        coming.truncate(BURST);
        failed = failed.or(self.create_all(set, coming).await.err());
        if let Some(told) = status {
            failed = failed.or(self.tell(set, *told).await.err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Creates Pods, one first, then ever more at once: what cannot be made is not tried often.
    async fn create_all(
        &self,
        set: &DaemonSet,
        mut coming: Vec<(String, String)>,
    ) -> Result<(), Fault> {
        let mut batch = 1;
        while !coming.is_empty() {
            let later = coming.split_off(batch.min(coming.len()));
            let requests = stream::iter(coming).map(|(node, hash)| self.create(set, node, hash));
            let answers: Vec<_> = requests.buffer_unordered(AT_ONCE).collect().await;
            answers.into_iter().collect::<Result<Vec<()>, Fault>>()?;
            coming = later;
            batch = (batch * 2).min(AT_ONCE);
        }
        Ok(())
    }
}

impl Controller for DaemonSets {
    type Key = Key;
    const NAME: &'static str = "daemonsets";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        let Some(set) = self.cluster.daemon_sets.get(key) else {
            return Ok(None);
        };
        self.settle_doubts(&set).await?;
        let pods = &self.cluster.pods;
        let pods = pods.in_namespace(&key.namespace, |pod| concerns(&set, pod));
        let revisions = &self.cluster.revisions;
        let revisions = revisions.in_namespace(&key.namespace, |r| concerns(&set, r));
        let uid = meta::uid(&set.metadata);
        let now = Timestamp::now();
        let plan = plan(&Input {
            set: &set,
            nodes: &self.cluster.nodes.all(),
            pods: &pods,
            revisions: &revisions,
            ledger: &self.ledgers.of(&set.metadata),
            unseen: self.records.of(&set.metadata).creating() > 0,
            retry_at: &|node| self.patience.retry_at(uid, node),
            now,
        });
        self.perform(&set, plan.steps).await?;
        Ok(plan.again.map(|at| until(at, now)))
    }
}
