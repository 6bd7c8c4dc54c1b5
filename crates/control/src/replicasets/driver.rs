//! The loop of ReplicaSets: requests, and the memory of requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use seaway_api::EventRecorder;
use serde_json::json;

use super::status::Failure as Failed;
use super::{Claim, Step, claim, concerns, from_template, plan, pod_name, replicas, status};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::hands::Hands;
use crate::ledger::{Ledger, Ledgers, Stage};
use crate::meta::{self, Key};
use crate::queue::{Queue, random};
use crate::view::Change;
use crate::work::{Controller, until};

/// The most requests at once for one set.
const AT_ONCE: usize = 16;

/// The controller of ReplicaSets.
#[derive(Debug)]
pub(crate) struct ReplicaSets {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<Key>,
    ledgers: Ledgers,
}

impl ReplicaSets {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            recorder: EventRecorder::start(cluster.client.clone(), "replicaset-controller", None),
            cluster,
            queue: Queue::default(),
            ledgers: Ledgers::default(),
        }
    }

    /// ReplicaSets changed.
    pub(crate) fn hear_sets(&self, heard: &Heard<ReplicaSet>) {
        for change in heard.changes() {
            for set in change.both() {
                self.queue.add(Key::of(&**set));
            }
            if change.new.is_none()
                && let Some(old) = &change.old
            {
                self.ledgers.forget(&old.metadata);
            }
        }
    }

    /// Pods changed.
    pub(crate) fn hear_pods(&self, heard: &Heard<Pod>) {
        for pod in heard.changes().iter().flat_map(Change::both) {
            self.wake_owner(pod);
        }
        let listed = self.cluster.pods.listed();
        for key in self.ledgers.hear(heard, listed) {
            self.queue.add(key);
        }
    }

    fn wake_owner(&self, pod: &Pod) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        match meta::controller_of(&pod.metadata) {
            Some(owner) if owner.kind == "ReplicaSet" => self.queue.add(Key {
                namespace,
                name: owner.name.clone(),
            }),
            Some(_) => {}
            None => {
                let sets = &self.cluster.sets;
                for set in sets.in_namespace(&namespace, |set| concerns(set, pod)) {
                    self.queue.add(Key::of(&*set));
                }
            }
        }
    }

    /// Asks about Pods whose creation was not answered.
    async fn settle_doubts(&self, set: &ReplicaSet) -> Result<(), Fault> {
        let key = Key::of(set);
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        for name in self.ledgers.of(&set.metadata).doubtful() {
            let found = api.get_opt(&name).await;
            let found = found
                .map_err(|error| Fault::new("look for a Pod of", "ReplicaSet", &key, &error))?;
            let stage = found.map(|_| Stage::Answered(self.cluster.pods.begun()));
            self.ledgers
                .remember(&set.metadata, |ledger| ledger.created(&name, stage));
        }
        Ok(())
    }

    /// Does what the plan says. The first failure is told; what can be done is done.
    async fn perform(&self, set: &ReplicaSet, steps: Vec<Step>) -> Option<(Failed, Fault)> {
        let mut doomed = Vec::new();
        let mut failed = None;
        for step in steps {
            let result = match step {
                Step::Adopt(pod) => self.adopt(set, &pod).await,
                Step::Release(pod) => self.release(set, &pod).await,
                Step::Create(count) => self.create_all(set, count).await,
                Step::Delete(pod) => {
                    doomed.push(pod);
                    Ok(())
                }
            };
            if let Err(fault) = result {
                failed.get_or_insert(("FailedCreate", fault));
            }
        }
        let deletions = stream::iter(doomed).map(|pod| self.delete(set, pod));
        let deletions: Vec<_> = deletions.buffer_unordered(AT_ONCE).collect().await;
        for fault in deletions.into_iter().filter_map(Result::err) {
            failed.get_or_insert(("FailedDelete", fault));
        }
        failed.map(|(reason, fault)| {
            let message = fault.words().to_owned();
            (Failed { reason, message }, fault)
        })
    }

    /// Creates Pods, one first, then ever more at once: what cannot be made is not tried often.
    async fn create_all(&self, set: &ReplicaSet, count: usize) -> Result<(), Fault> {
        let mut left = count;
        let mut batch = 1;
        while left > 0 {
            let now = batch.min(left);
            let requests = stream::iter(0..now).map(|_| self.create(set));
            let answers: Vec<_> = requests.buffer_unordered(AT_ONCE).collect().await;
            answers.into_iter().collect::<Result<Vec<()>, Fault>>()?;
            left -= now;
            batch = (batch * 2).min(AT_ONCE);
        }
        Ok(())
    }

    async fn create(&self, set: &ReplicaSet) -> Result<(), Fault> {
        let name = pod_name(&Key::of(set).name, random());
        let pod = from_template(set, &name);
        self.hands().create(set, &name, &pod).await
    }

    async fn delete(&self, set: &ReplicaSet, pod: Arc<Pod>) -> Result<(), Fault> {
        self.hands().delete(set, &pod).await
    }

    fn hands(&self) -> Hands<'_> {
        Hands {
            cluster: &self.cluster,
            recorder: &self.recorder,
            ledgers: &self.ledgers,
        }
    }

    async fn adopt(&self, set: &ReplicaSet, pod: &Pod) -> Result<(), Fault> {
        let key = Key::of(set);
        let api = self.cluster.namespaced::<ReplicaSet>(&key.namespace);
        // A set that is being deleted must not take Pods with it that were nobody's.
        let live = api.get_opt(&key.name).await;
        let live = live.map_err(|error| Fault::new("read", "ReplicaSet", &key, &error))?;
        let alive = live.is_some_and(|live| {
            live.metadata.uid == set.metadata.uid && !meta::is_terminating(&live.metadata)
        });
        if !alive {
            return Ok(());
        }
        let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
        owners.push(meta::controller_ref(set));
        self.own(pod, "adopt", &owners).await
    }

    async fn release(&self, set: &ReplicaSet, pod: &Pod) -> Result<(), Fault> {
        let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
        owners.retain(|owner| owner.uid != meta::uid(&set.metadata));
        self.own(pod, "release", &owners).await
    }

    async fn own<T: serde::Serialize>(
        &self,
        pod: &Pod,
        operation: &'static str,
        owners: &[T],
    ) -> Result<(), Fault> {
        let key = Key::of(pod);
        let patch = json!({"metadata": {
            "uid": pod.metadata.uid,
            "resourceVersion": pod.metadata.resource_version,
            "ownerReferences": owners,
        }});
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let owned = answer.map_err(|error| Fault::new(operation, "Pod", &key, &error))?;
        let base = pod.metadata.resource_version.as_deref();
        self.cluster.pods.learn(base, owned);
        Ok(())
    }

    /// Writes the status if it differs.
    async fn tell(
        &self,
        set: &Arc<ReplicaSet>,
        claim: &Claim,
        ledger: &Ledger,
        failed: Option<&Failed>,
    ) -> Result<Option<Duration>, Fault> {
        let now = Timestamp::now();
        let (told, again) = status(set, claim, ledger, failed, now);
        if set.status.as_ref() != Some(&told) {
            let key = Key::of(&**set);
            let mut changed = (**set).clone();
            changed.status = Some(told);
            let api = self.cluster.namespaced::<ReplicaSet>(&key.namespace);
            let answer = api
                .replace_status(&key.name, &PostParams::default(), &changed)
                .await;
            let written = answer
                .map_err(|error| Fault::new("write the status of", "ReplicaSet", &key, &error))?;
            let base = set.metadata.resource_version.as_deref();
            self.cluster.sets.learn(base, written);
        }
        Ok(again.map(|at| until(at, now)))
    }

    /// How many Pods of the set's family are on each node.
    fn doubled(&self, set: &ReplicaSet) -> BTreeMap<String, usize> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let parent = meta::controller_of(&set.metadata).map(|owner| owner.uid.clone());
        let family: Vec<String> = self
            .cluster
            .sets
            .in_namespace(namespace, |other| {
                other.metadata.uid == set.metadata.uid
                    || parent
                        .as_deref()
                        .is_some_and(|parent| meta::is_controlled_by(&other.metadata, parent))
            })
            .iter()
            .filter_map(|set| set.metadata.uid.clone())
            .collect();
        let related = self.cluster.pods.in_namespace(namespace, |pod| {
            meta::is_active(pod)
                && meta::controller_of(&pod.metadata).is_some_and(|o| family.contains(&o.uid))
        });
        let mut counts = BTreeMap::new();
        for node in related.iter().filter_map(|pod| meta::node_name(pod)) {
            *counts.entry(node.to_owned()).or_default() += 1;
        }
        counts
    }
}

impl Controller for ReplicaSets {
    type Key = Key;
    const NAME: &'static str = "replicasets";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        let Some(set) = self.cluster.sets.get(key) else {
            return Ok(None);
        };
        self.settle_doubts(&set).await?;
        let pods = self
            .cluster
            .pods
            .in_namespace(&key.namespace, |pod| concerns(&set, pod));
        let ledger = self.ledgers.of(&set.metadata);
        let before = claim(&set, &pods, &ledger);
        let surplus = before.active.len() > usize::try_from(replicas(&set)).unwrap_or(0);
        let doubled = if surplus {
            self.doubled(&set)
        } else {
            BTreeMap::new()
        };
        let on_node = |node: &str| doubled.get(node).copied().unwrap_or(0);
        let steps = plan(&set, &before, &ledger, &on_node);
        let failed = self.perform(&set, steps).await;
        // What was just asked to go counts no more.
        let ledger = self.ledgers.of(&set.metadata);
        let after = claim(&set, &pods, &ledger);
        let again = self
            .tell(&set, &after, &ledger, failed.as_ref().map(|(told, _)| told))
            .await?;
        match failed {
            Some((_, fault)) => Err(fault),
            None => Ok(again),
        }
    }
}
