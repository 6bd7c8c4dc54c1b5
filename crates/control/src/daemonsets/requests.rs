//! The requests of the loop of DaemonSets.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use seaway_api::Failure;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::driver::DaemonSets;
use super::history::History;
use super::place;
use crate::error::Fault;
use crate::hands::Hands;
use crate::ledger::Stage;
use crate::meta::{self, Key};
use crate::queue::random;
use crate::view::View;
use crate::{notes, replicasets};

const REVISION: &str = "ControllerRevision";

impl DaemonSets {
    /// Asks about Pods and revisions whose creation was not answered.
    pub(super) async fn settle_doubts(&self, set: &DaemonSet) -> Result<(), Fault> {
        let key = Key::of(set);
        let owner = &set.metadata;
        let doubt =
            |error: &kube::Error| Fault::new("look for a part of", "DaemonSet", &key, error);
        let pods = self.cluster.namespaced::<Pod>(&key.namespace);
        for name in self.ledgers.of(owner).doubtful() {
            let found = pods.get_opt(&name).await.map_err(|error| doubt(&error))?;
            let stage = found.map(|_| Stage::Answered(self.cluster.pods.begun()));
            self.ledgers.remember(owner, |l| l.created(&name, stage));
        }
        let revisions = self
            .cluster
            .namespaced::<ControllerRevision>(&key.namespace);
        for name in self.records.of(owner).doubtful() {
            let found = revisions.get_opt(&name).await;
            let found = found.map_err(|error| doubt(&error))?;
            let stage = found.map(|_| Stage::Answered(self.cluster.revisions.begun()));
            self.records.remember(owner, |l| l.created(&name, stage));
        }
        Ok(())
    }

    pub(super) async fn adopt_pod(&self, set: &DaemonSet, pod: &Pod) -> Result<(), Fault> {
        self.adopt(set, pod, "Pod", &self.cluster.pods).await
    }

    pub(super) async fn release_pod(&self, set: &DaemonSet, pod: &Pod) -> Result<(), Fault> {
        self.release(set, pod, "Pod", &self.cluster.pods).await
    }

    pub(super) async fn adopt_revision(
        &self,
        set: &DaemonSet,
        revision: &ControllerRevision,
    ) -> Result<(), Fault> {
        let view = &self.cluster.revisions;
        self.adopt(set, revision, REVISION, view).await
    }

    pub(super) async fn release_revision(
        &self,
        set: &DaemonSet,
        revision: &ControllerRevision,
    ) -> Result<(), Fault> {
        let view = &self.cluster.revisions;
        self.release(set, revision, REVISION, view).await
    }

    async fn adopt<K>(
        &self,
        set: &DaemonSet,
        object: &K,
        kind: &'static str,
        view: &View<K>,
    ) -> Result<(), Fault>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let key = Key::of(set);
        let api = self.cluster.namespaced::<DaemonSet>(&key.namespace);
        // A set that is being deleted must not take with it what was nobody's.
        let live = api.get_opt(&key.name).await;
        let live = live.map_err(|error| Fault::new("read", "DaemonSet", &key, &error))?;
        let alive = live.is_some_and(|live| {
            live.metadata.uid == set.metadata.uid && !meta::is_terminating(&live.metadata)
        });
        if !alive {
            return Ok(());
        }
        let mut owners = object.meta().owner_references.clone().unwrap_or_default();
        owners.push(meta::controller_ref(set));
        let patch = owned(object, &owners);
        self.patch(object, kind, "adopt", patch, view).await
    }

    async fn release<K>(
        &self,
        set: &DaemonSet,
        object: &K,
        kind: &'static str,
        view: &View<K>,
    ) -> Result<(), Fault>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let mut owners = object.meta().owner_references.clone().unwrap_or_default();
        owners.retain(|owner| owner.uid != meta::uid(&set.metadata));
        let patch = owned(object, &owners);
        self.patch(object, kind, "release", patch, view).await
    }

    async fn patch<K>(
        &self,
        object: &K,
        kind: &'static str,
        operation: &'static str,
        patch: Value,
        view: &View<K>,
    ) -> Result<(), Fault>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let key = Key::of(object);
        let api = self.cluster.namespaced::<K>(&key.namespace);
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let changed = answer.map_err(|error| Fault::new(operation, kind, &key, &error))?;
        view.learn(object.meta().resource_version.as_deref(), changed);
        Ok(())
    }

    /// Keeps the present template.
    pub(super) async fn record(
        &self,
        set: &DaemonSet,
        revision: &ControllerRevision,
    ) -> Result<(), Fault> {
        let key = Key::of(revision);
        let owner = &set.metadata;
        let api = self
            .cluster
            .namespaced::<ControllerRevision>(&key.namespace);
        self.records.remember(owner, |l| l.will_create(&key.name));
        let answer = api.create(&PostParams::default(), revision).await;
        let made = match answer.as_ref().map_err(Failure::of) {
            Ok(_) => Some(Stage::Answered(self.cluster.revisions.begun())),
            Err(Failure::Passing(_)) => Some(Stage::Doubtful),
            Err(_) => None,
        };
        self.records.remember(owner, |l| l.created(&key.name, made));
        let Err(error) = answer else {
            return Ok(());
        };
        let fault = Fault::new("create", REVISION, &key, &error);
        match fault.failure() {
            Failure::Conflict => self.resolve_name(set, &key, fault).await,
            _ => Err(fault),
        }
    }

    /// The name is taken: by our own revision, which the watch will show, or by another one, which
    /// costs another name.
    async fn resolve_name(&self, set: &DaemonSet, key: &Key, fault: Fault) -> Result<(), Fault> {
        let api = self
            .cluster
            .namespaced::<ControllerRevision>(&key.namespace);
        let found = api.get_opt(&key.name).await;
        let found = found.map_err(|error| Fault::new("read", REVISION, key, &error))?;
        if found.is_some_and(|found| !History::is_record(set, &found)) {
            let mut status = set.status.clone().unwrap_or_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.tell(set, status).await?;
        }
        Err(fault)
    }

    pub(super) async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> Result<(), Fault> {
        let patch = json!({
            "metadata": {"resourceVersion": revision.metadata.resource_version},
            "revision": number,
        });
        let view = &self.cluster.revisions;
        self.patch(revision, REVISION, "renumber", patch, view)
            .await
    }

    pub(super) async fn forget(&self, revision: &ControllerRevision) -> Result<(), Fault> {
        let key = Key::of(revision);
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: revision.metadata.uid.clone(),
            resource_version: revision.metadata.resource_version.clone(),
        });
        let api = self
            .cluster
            .namespaced::<ControllerRevision>(&key.namespace);
        match api.delete(&key.name, &params).await {
            Ok(_) => Ok(()),
            Err(error) => Fault::new("delete", REVISION, &key, &error).unless_usual(),
        }
    }

    pub(super) async fn create(
        &self,
        set: &DaemonSet,
        node: String,
        hash: String,
    ) -> Result<(), Fault> {
        let name = replicasets::pod_name(&Key::of(set).name, random());
        let pod = place::pod(set, &hash, &node, &name);
        self.hands().create(set, &name, &pod).await
    }

    fn hands(&self) -> Hands<'_> {
        Hands {
            cluster: &self.cluster,
            recorder: &self.recorder,
            ledgers: &self.ledgers,
        }
    }

    /// A Pod has ended and is replaced: that is told, and the next time is waited for longer.
    pub(super) fn note_end(&self, set: &DaemonSet, pod: &Pod, node: &str) {
        let uid = meta::uid(&set.metadata);
        self.patience.note(uid, node, Timestamp::now());
        let key = Key::of(pod);
        if meta::phase(pod) == "Failed" {
            let message =
                format!("Found failed daemon pod {key} on node {node}, will try to kill it");
            notes::warning(&self.recorder, set, "FailedDaemonPod", message);
        } else {
            let message =
                format!("Found succeeded daemon pod {key} on node {node}, will try to delete it");
            notes::normal(&self.recorder, set, "SucceededDaemonPod", message);
        }
    }

    pub(super) async fn delete(&self, set: &DaemonSet, pod: Arc<Pod>) -> Result<(), Fault> {
        self.hands().delete(set, &pod).await
    }

    pub(super) async fn tell(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), Fault> {
        let key = Key::of(set);
        let mut changed = set.clone();
        changed.status = Some(status);
        let api = self.cluster.namespaced::<DaemonSet>(&key.namespace);
        let answer = api
            .replace_status(&key.name, &PostParams::default(), &changed)
            .await;
        let written =
            answer.map_err(|error| Fault::new("write the status of", "DaemonSet", &key, &error))?;
        let base = set.metadata.resource_version.as_deref();
        self.cluster.daemon_sets.learn(base, written);
        Ok(())
    }
}

fn owned<K: Resource>(object: &K, owners: &[OwnerReference]) -> Value {
    json!({"metadata": {
        "uid": object.meta().uid,
        "resourceVersion": object.meta().resource_version,
        "ownerReferences": owners,
    }})
}
