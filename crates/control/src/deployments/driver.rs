//! The loop of Deployments: requests only.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use seaway_api::{EventRecorder, Failure};
use serde_json::json;

use super::{Input, Resize, Step, concerns, family, plan, rolling};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::ledger::{Ledgers, Stage};
use crate::meta::{self, Key};
use crate::queue::Queue;
use crate::view::Change;
use crate::work::{Controller, until};
use crate::{notes, replicasets};

/// The controller of Deployments.
#[derive(Debug)]
pub(crate) struct Deployments {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<Key>,
    /// Sets that were made and are not seen yet.
    ledgers: Ledgers,
}

impl Deployments {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            recorder: EventRecorder::start(cluster.client.clone(), "deployment-controller", None),
            cluster,
            queue: Queue::default(),
            ledgers: Ledgers::default(),
        }
    }

    /// Deployments changed.
    pub(crate) fn hear_deployments(&self, heard: &Heard<Deployment>) {
        for change in heard.changes() {
            for deployment in change.both() {
                self.queue.add(Key::of(&**deployment));
            }
            if change.new.is_none()
                && let Some(old) = &change.old
            {
                self.ledgers.forget(&old.metadata);
            }
        }
    }

    /// ReplicaSets changed.
    pub(crate) fn hear_sets(&self, heard: &Heard<ReplicaSet>) {
        for set in heard.changes().iter().flat_map(Change::both) {
            self.wake_owner(set);
        }
        let listed = self.cluster.sets.listed();
        for key in self.ledgers.hear(heard, listed) {
            self.queue.add(key);
        }
    }

    /// Pods changed: those that wait for the last old Pod to go want to know.
    pub(crate) fn hear_pods(&self, heard: &Heard<Pod>) {
        for change in heard.changes() {
            let gone = change.new.as_ref().is_none_or(|pod| meta::is_finished(pod));
            let owner = change.old.as_ref().and_then(|pod| {
                let owner = meta::controller_of(&pod.metadata)?;
                Some(Key {
                    namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                    name: owner.name.clone(),
                })
            });
            if gone && let Some(set) = owner.and_then(|key| self.cluster.sets.get(&key)) {
                self.wake_owner(&set);
            }
        }
    }

    fn wake_owner(&self, set: &ReplicaSet) {
        let namespace = set.metadata.namespace.clone().unwrap_or_default();
        match meta::controller_of(&set.metadata) {
            Some(owner) if owner.kind == "Deployment" => self.queue.add(Key {
                namespace,
                name: owner.name.clone(),
            }),
            Some(_) => {}
            None => {
                let deployments = &self.cluster.deployments;
                for deployment in deployments.in_namespace(&namespace, |d| concerns(d, set)) {
                    self.queue.add(Key::of(&*deployment));
                }
            }
        }
    }

    /// Does one step; answers the Deployment as it is afterwards.
    async fn perform(&self, now: Arc<Deployment>, step: Step) -> Result<Arc<Deployment>, Fault> {
        match step {
            Step::Adopt(set) => self.adopt(&now, &set).await?,
            Step::Release(set) => {
                let mut owners = set.metadata.owner_references.clone().unwrap_or_default();
                owners.retain(|owner| owner.uid != meta::uid(&now.metadata));
                self.own(&set, "release", &owners).await?;
            }
            Step::Create(set) => self.create(&now, &set).await?,
            Step::Resize(resize) => self.resize(&now, &resize).await?,
            Step::Delete(set) => self.delete(&set).await?,
            Step::Revision(revision) => return self.note_revision(&now, &revision).await,
            Step::Status(status) => return self.tell(&now, *status).await,
        }
        Ok(now)
    }

    async fn adopt(&self, deployment: &Deployment, set: &Arc<ReplicaSet>) -> Result<(), Fault> {
        let key = Key::of(deployment);
        let api = self.cluster.namespaced::<Deployment>(&key.namespace);
        let live = api.get_opt(&key.name).await;
        let live = live.map_err(|error| Fault::new("read", "Deployment", &key, &error))?;
        let alive = live.is_some_and(|live| {
            live.metadata.uid == deployment.metadata.uid && !meta::is_terminating(&live.metadata)
        });
        if !alive {
            return Ok(());
        }
        let mut owners = set.metadata.owner_references.clone().unwrap_or_default();
        owners.push(meta::controller_ref(deployment));
        self.own(set, "adopt", &owners).await
    }

    async fn own<T: serde::Serialize>(
        &self,
        set: &ReplicaSet,
        operation: &'static str,
        owners: &[T],
    ) -> Result<(), Fault> {
        let patch = json!({"metadata": {
            "uid": set.metadata.uid,
            "resourceVersion": set.metadata.resource_version,
            "ownerReferences": owners,
        }});
        self.patch_set(set, operation, patch).await
    }

    async fn patch_set(
        &self,
        set: &ReplicaSet,
        operation: &'static str,
        patch: serde_json::Value,
    ) -> Result<(), Fault> {
        let key = Key::of(set);
        let api = self.cluster.namespaced::<ReplicaSet>(&key.namespace);
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let changed = answer.map_err(|error| Fault::new(operation, "ReplicaSet", &key, &error))?;
        let base = set.metadata.resource_version.as_deref();
        self.cluster.sets.learn(base, changed);
        Ok(())
    }

    async fn create(&self, deployment: &Arc<Deployment>, set: &ReplicaSet) -> Result<(), Fault> {
        let key = Key::of(set);
        let api = self.cluster.namespaced::<ReplicaSet>(&key.namespace);
        let owner = &deployment.metadata;
        self.ledgers
            .remember(owner, |ledger| ledger.will_create(&key.name));
        let answer = api.create(&PostParams::default(), set).await;
        let made = match answer.as_ref().map_err(Failure::of) {
            // The name is taken, perhaps by this very set.
            Ok(_) | Err(Failure::Conflict) => Some(Stage::Answered(self.cluster.sets.begun())),
            Err(Failure::Passing(_)) => Some(Stage::Doubtful),
            Err(_) => None,
        };
        self.ledgers
            .remember(owner, |ledger| ledger.created(&key.name, made));
        let Err(error) = answer else {
            self.note_scaled(deployment, set, 0, replicasets::replicas(set));
            return Ok(());
        };
        let fault = Fault::new("create", "ReplicaSet", &key, &error);
        match fault.failure() {
            Failure::Conflict => self.resolve_name(deployment, &key, fault).await,
            Failure::Refused | Failure::Absent | Failure::Expired => {
                let message = format!(
                    "Failed to create new replica set {:?}: {}",
                    key.name,
                    fault.words()
                );
                notes::warning(
                    &self.recorder,
                    &**deployment,
                    "ReplicaSetCreateError",
                    message,
                );
                Err(fault)
            }
            Failure::Passing(_) => Err(fault),
        }
    }

    /// The name is taken: by our own set that the watch has not shown yet, or by a stranger, which
    /// costs another name.
    async fn resolve_name(
        &self,
        deployment: &Arc<Deployment>,
        key: &Key,
        fault: Fault,
    ) -> Result<(), Fault> {
        let api = self.cluster.namespaced::<ReplicaSet>(&key.namespace);
        let found = api.get_opt(&key.name).await;
        let found = found.map_err(|error| Fault::new("read", "ReplicaSet", key, &error))?;
        let own = meta::uid(&deployment.metadata);
        match found {
            Some(set) if meta::is_controlled_by(&set.metadata, own) => Ok(()),
            Some(_) => {
                let owner = &deployment.metadata;
                self.ledgers
                    .remember(owner, |ledger| ledger.created(&key.name, None));
                let mut status = deployment.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                self.tell(deployment, status).await?;
                Err(fault)
            }
            None => {
                let owner = &deployment.metadata;
                self.ledgers
                    .remember(owner, |ledger| ledger.created(&key.name, None));
                Err(fault)
            }
        }
    }

    /// Asks about sets whose creation was not answered.
    async fn settle_doubts(&self, deployment: &Deployment) -> Result<(), Fault> {
        let key = Key::of(deployment);
        let owner = &deployment.metadata;
        let api = self.cluster.namespaced::<ReplicaSet>(&key.namespace);
        for name in self.ledgers.of(owner).doubtful() {
            let found = api.get_opt(&name).await;
            let found = found
                .map_err(|error| Fault::new("look for a set of", "Deployment", &key, &error))?;
            let stage = found.map(|_| Stage::Answered(self.cluster.sets.begun()));
            self.ledgers
                .remember(owner, |ledger| ledger.created(&name, stage));
        }
        Ok(())
    }

    async fn resize(&self, deployment: &Deployment, resize: &Resize) -> Result<(), Fault> {
        let set = &resize.set;
        let mut spec = serde_json::Map::new();
        if let Some(size) = resize.to {
            spec.insert("replicas".into(), size.into());
        }
        if let Some(seconds) = resize.min_ready_seconds {
            spec.insert("minReadySeconds".into(), seconds.into());
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": set.metadata.resource_version,
                "annotations": resize.annotations,
            },
            "spec": spec,
        });
        self.patch_set(set, "resize", patch).await?;
        if let Some(size) = resize.to {
            self.note_scaled(deployment, set, replicasets::replicas(set), size);
        }
        Ok(())
    }

    fn note_scaled(&self, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
        let way = if to >= from { "up" } else { "down" };
        let name = meta::name(&set.metadata);
        let message = format!("Scaled {way} replica set {name} from {from} to {to}");
        notes::normal(&self.recorder, deployment, "ScalingReplicaSet", message);
    }

    async fn delete(&self, set: &ReplicaSet) -> Result<(), Fault> {
        let key = Key::of(set);
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: set.metadata.uid.clone(),
            resource_version: set.metadata.resource_version.clone(),
        });
        let api = self.cluster.namespaced::<ReplicaSet>(&key.namespace);
        match api.delete(&key.name, &params).await {
            Ok(_) => Ok(()),
            Err(error) => match Fault::new("delete", "ReplicaSet", &key, &error) {
                fault if fault.failure() == Failure::Absent => Ok(()),
                fault => Err(fault),
            },
        }
    }

    async fn note_revision(
        &self,
        deployment: &Deployment,
        revision: &str,
    ) -> Result<Arc<Deployment>, Fault> {
        let key = Key::of(deployment);
        let base = deployment.metadata.resource_version.as_deref();
        let patch = json!({"metadata": {
            "resourceVersion": base,
            "annotations": {family::REVISION: revision},
        }});
        let api = self.cluster.namespaced::<Deployment>(&key.namespace);
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let changed = answer
            .map_err(|error| Fault::new("note the revision of", "Deployment", &key, &error))?;
        self.cluster.deployments.learn(base, changed.clone());
        Ok(Arc::new(changed))
    }

    async fn tell(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
    ) -> Result<Arc<Deployment>, Fault> {
        let key = Key::of(deployment);
        let mut changed = deployment.clone();
        changed.status = Some(status);
        let api = self.cluster.namespaced::<Deployment>(&key.namespace);
        let answer = api
            .replace_status(&key.name, &PostParams::default(), &changed)
            .await;
        let written = answer
            .map_err(|error| Fault::new("write the status of", "Deployment", &key, &error))?;
        let base = deployment.metadata.resource_version.as_deref();
        self.cluster.deployments.learn(base, written.clone());
        Ok(Arc::new(written))
    }

    /// Pods of the sets, if the strategy has to know them.
    fn pods(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<Arc<Pod>> {
        if !rolling::is_recreate(deployment) {
            return Vec::new();
        }
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        self.cluster.pods.in_namespace(namespace, |pod| {
            meta::controller_of(&pod.metadata)
                .is_some_and(|owner| sets.iter().any(|set| meta::uid(&set.metadata) == owner.uid))
        })
    }
}

impl Controller for Deployments {
    type Key = Key;
    const NAME: &'static str = "deployments";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        let Some(mut deployment) = self.cluster.deployments.get(key) else {
            return Ok(None);
        };
        self.settle_doubts(&deployment).await?;
        let sets = self
            .cluster
            .sets
            .in_namespace(&key.namespace, |set| concerns(&deployment, set));
        let pods = self.pods(&deployment, &sets);
        let now = Timestamp::now();
        let plan = plan(&Input {
            deployment: &deployment,
            sets: &sets,
            pods: &pods,
            unseen: self.ledgers.of(&deployment.metadata).creating() > 0,
            now,
        });
        for step in plan.steps {
            deployment = self.perform(deployment, step).await?;
        }
        Ok(plan.again.map(|at| until(at, now)))
    }
}
