//! Pods that are made and deleted for their owners: the request, what is remembered of it until the
//! watch shows it, and what the owner's Events tell. Which Pods is decided elsewhere.

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{DeleteParams, PostParams, Preconditions};
use seaway_api::{EventRecorder, Failure};

use crate::cluster::Cluster;
use crate::error::Fault;
use crate::ledger::{Ledgers, Stage};
use crate::meta::{self, Key};
use crate::notes;

/// What it takes to work on the Pods of one kind of owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hands<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) recorder: &'a EventRecorder,
    pub(crate) ledgers: &'a Ledgers,
}

impl Hands<'_> {
    /// Creates a Pod of that name. A namespace that is going takes nothing new, and nobody is told.
    pub(crate) async fn create<K>(&self, owner: &K, name: &str, pod: &Pod) -> Result<(), Fault>
    where
        K: Resource<DynamicType = ()> + k8s_openapi::Resource,
    {
        let key = Key::of(owner);
        if self.cluster.is_closing(&key.namespace) {
            return Ok(());
        }
        let of = owner.meta();
        self.ledgers.remember(of, |l| l.will_create(name));
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        let Err(error) = api.create(&PostParams::default(), pod).await else {
            let stage = Stage::Answered(self.cluster.pods.begun());
            self.ledgers.remember(of, |l| l.created(name, Some(stage)));
            let message = format!("Created pod: {name}");
            notes::normal(self.recorder, owner, "SuccessfulCreate", message);
            return Ok(());
        };
        let fault = Fault::new("create a Pod of", K::KIND, &key, &error);
        let stage = matches!(fault.failure(), Failure::Passing(_)).then_some(Stage::Doubtful);
        self.ledgers.remember(of, |l| l.created(name, stage));
        let message = format!("Error creating: {}", fault.words());
        notes::warning(self.recorder, owner, "FailedCreate", message);
        Err(fault)
    }

    /// Deletes exactly this Pod; one that is gone or another already is no failure.
    pub(crate) async fn delete<K>(&self, owner: &K, pod: &Pod) -> Result<(), Fault>
    where
        K: Resource<DynamicType = ()>,
    {
        let key = Key::of(pod);
        let uid = meta::uid(&pod.metadata);
        let of = owner.meta();
        self.ledgers.remember(of, |l| l.will_delete(uid));
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        });
        let api = self.cluster.namespaced::<Pod>(&key.namespace);
        let result = match api.delete(&key.name, &params).await {
            Ok(_) => {
                let message = format!("Deleted pod: {}", key.name);
                notes::normal(self.recorder, owner, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => Fault::new("delete", "Pod", &key, &error).unless_usual(),
        };
        let begun = || Stage::Answered(self.cluster.pods.begun());
        let stage = result.is_ok().then(begun);
        self.ledgers.remember(of, |l| l.deleted(uid, stage));
        if let Err(fault) = &result {
            let message = format!("Error deleting: {}", fault.words());
            notes::warning(self.recorder, owner, "FailedDelete", message);
        }
        result
    }
}
