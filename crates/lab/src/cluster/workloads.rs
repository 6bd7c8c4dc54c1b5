//! What `lab check` has the API make beyond single Pods: a Namespace of its own, and in it
//! Deployments, Pods and Services; and how it waits for them. It decides nothing about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Cluster, ReadyPod, fail_if_hopeless, late, ready, refused, watch_failed};
use crate::error::LabError;

/// How long a new Namespace may take to have what Pods need, and how often that is tried.
const ACCOUNT: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(250);

/// Pods of a Namespace by name, as they are now.
type Pods = BTreeMap<String, Pod>;

impl Cluster {
    /// Makes a Namespace.
    pub(crate) fn create_namespace(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), LabError> {
        let metadata = json!({"name": name, "labels": labels});
        let namespace = serde_json::from_value(json!({"metadata": metadata}))
            .map_err(|e| LabError::Api(format!("the Namespace {name}: {e}")))?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        self.wait(api.create(&PostParams::default(), &namespace))
            .map(drop)
            .map_err(|e| refused("create", "Namespace", name, &e))
    }

    /// Asks for the end of a Namespace and of everything in it. One that is not there is gone.
    pub(crate) fn doom_namespace(&self, name: &str) -> Result<(), LabError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match self.wait(api.delete(name, &DeleteParams::default())) {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(e) => Err(refused("delete", "Namespace", name, &e)),
            Ok(_) => Ok(()),
        }
    }

    /// The same, and waits until it is gone.
    pub(crate) fn delete_namespace(&self, name: &str, limit: Duration) -> Result<(), LabError> {
        self.doom_namespace(name)?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        let is_gone = |namespace: Option<&Namespace>| namespace.is_none();
        match self.within(limit, await_condition(api, name, is_gone)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(e)) => Err(LabError::Api(format!("watch the Namespace {name}: {e}"))),
            None => Err(late(&format!("the end of the Namespace {name}"), limit, "")),
        }
    }

    /// Makes an object as a manifest says, and gives what the API made of it.
    pub(crate) fn create<K>(&self, namespace: &str, manifest: Value) -> Result<K, LabError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let kind = K::kind(&());
        let object: K = serde_json::from_value(manifest)
            .map_err(|e| LabError::Api(format!("a {kind} that the lab makes: {e}")))?;
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let made = self.wait(async {
            let end = Instant::now() + ACCOUNT;
            loop {
                match api.create(&PostParams::default(), &object).await {
                    Err(e) if lacks_account(&e) && Instant::now() < end => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    made => return made,
                }
            }
        });
        made.map_err(|e| refused("create", &kind, &object.name_any(), &e))
    }

    /// Asks for the end of a Deployment and of its Pods.
    pub(crate) fn doom_deployment(&self, namespace: &str, name: &str) -> Result<(), LabError> {
        let deleted = self.wait(
            self.deployments(namespace)
                .delete(name, &DeleteParams::background()),
        );
        deleted
            .map(drop)
            .map_err(|e| refused("delete", "Deployment", name, &e))
    }

    /// Has all Pods of a Deployment replaced, as `kubectl rollout restart` does, and waits until the
    /// new ones are in place of all others.
    pub(crate) fn roll(
        &self,
        namespace: &str,
        name: &str,
        limit: Duration,
    ) -> Result<(), LabError> {
        let annotations = json!({"lab.seaway.dev/rolled": std::process::id().to_string()});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        let api = self.deployments(namespace);
        let wanted = self
            .wait(api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)))
            .map_err(|e| refused("patch", "Deployment", name, &e))?
            .metadata
            .generation;
        let is_done = |deployment: Option<&Deployment>| {
            deployment.is_some_and(|deployment| is_rolled_out(deployment, wanted))
        };
        match self.within(limit, await_condition(api, name, is_done)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(e)) => Err(LabError::Api(format!("watch the Deployment {name}: {e}"))),
            None => Err(late(&format!("the roll-out of {name}"), limit, "")),
        }
    }

    /// Waits until so many Pods with a label are ready, and gives them.
    pub(crate) fn await_ready(
        &self,
        namespace: &str,
        selector: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<ReadyPod>, LabError> {
        let mut found = Vec::new();
        let mut hopeless = None;
        let what = format!("{count} ready Pods with {selector}");
        self.watch_pods(namespace, selector, &what, limit, |pods| {
            hopeless = pods.values().find_map(|pod| fail_if_hopeless(pod).err());
            if hopeless.is_some() {
                return Ok(());
            }
            let ready = pods.values().map(ready);
            found = ready.filter_map(Result::ok).collect();
            match found.len() >= count {
                true => Ok(()),
                false => Err(pods.iter().map(why_not_ready).collect()),
            }
        })?;
        hopeless.map_or(Ok(found), Err)
    }

    /// Waits until none of these Pods is left.
    pub(crate) fn await_gone(
        &self,
        namespace: &str,
        names: &BTreeSet<String>,
        limit: Duration,
    ) -> Result<(), LabError> {
        self.watch_pods(namespace, "", "the end of Pods", limit, |pods| {
            let left = pods.keys().filter(|name| names.contains(*name));
            let left: Vec<String> = left.cloned().collect();
            match left.is_empty() {
                true => Ok(()),
                false => Err(left),
            }
        })
    }

    /// Watches the Pods of a Namespace until `done` has nothing to say against an end.
    fn watch_pods(
        &self,
        namespace: &str,
        selector: &str,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&Pods) -> Result<(), Vec<String>>,
    ) -> Result<(), LabError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let config = watcher::Config::default().labels(selector);
        let mut pods = Pods::new();
        let mut open = vec!["none has been seen".to_owned()];
        let watch = async {
            let mut events = pin!(watcher(api, config));
            let mut complete = false;
            loop {
                let event = events.try_next().await;
                let Some(event) = event.map_err(|e| watch_failed("Pods", &e))? else {
                    return Err(LabError::Api("the watch of Pods ended".to_owned()));
                };
                match event {
                    Event::Init => (complete, pods) = (false, Pods::new()),
                    Event::InitDone => complete = true,
                    Event::Apply(pod) | Event::InitApply(pod) => {
                        pods.insert(pod.name_any(), pod);
                    }
                    Event::Delete(pod) => {
                        pods.remove(&pod.name_any());
                    }
                }
                match done(&pods) {
                    Ok(()) if complete => return Ok(()),
                    Ok(()) => {}
                    Err(why) => open = why,
                }
            }
        };
        match self.within(limit, watch) {
            Some(result) => result,
            None => {
                open.truncate(5);
                Err(late(what, limit, &format!("; {}", open.join("; "))))
            }
        }
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Whether a Pod was refused since its Namespace is so new that it lacks its service account.
fn lacks_account(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.code == 403 && status.message.contains("error looking up service account"))
}

fn why_not_ready((name, pod): (&String, &Pod)) -> String {
    match ready(pod) {
        Ok(_) => format!("{name} is ready"),
        Err(why) => format!("{name}: {why}"),
    }
}

/// Whether the newest template is that of all Pods, and all of them are available.
fn is_rolled_out(deployment: &Deployment, wanted: Option<i64>) -> bool {
    let replicas = deployment.spec.replicas;
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation >= wanted
        && status.updated_replicas == replicas
        && status.available_replicas == replicas
        && status.replicas == replicas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_out_is_done_when_all_pods_are_new_and_available() {
        let deployment = |generation: i64, updated: i32, available: i32, all: i32| -> Deployment {
            serde_json::from_value(json!({
                "metadata": {"name": "web", "generation": 2},
                "spec": {"replicas": 3, "selector": {}, "template": {}},
                "status": {"observedGeneration": generation, "updatedReplicas": updated,
                    "availableReplicas": available, "replicas": all},
            }))
            .expect("a Deployment")
        };
        assert!(is_rolled_out(&deployment(2, 3, 3, 3), Some(2)));
        for (generation, updated, available, all) in
            [(1, 3, 3, 3), (2, 2, 3, 3), (2, 3, 2, 3), (2, 3, 3, 4)]
        {
            let deployment = deployment(generation, updated, available, all);
            assert!(!is_rolled_out(&deployment, Some(2)));
        }
    }
}
