//! The loop of EndpointSlices: whom a change concerns, requests, and the memory of requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams, Preconditions};
use seaway_api::{EventRecorder, Failure};
use tokio::time::Instant;

use super::endpoint::is_same;
use super::index::Index;
use super::pace::Pace;
use super::plan::{Scene, Writes, plan};
use super::{Place, ZONE, is_external_name, is_selecting, service_of};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::ledger::{Ledger, Ledgers, Stage};
use crate::meta::{self, Key};
use crate::notes;
use crate::queue::{Queue, random};
use crate::replicasets::encode;
use crate::view::Change;
use crate::work::Controller;

/// The most requests at once for one Service.
const AT_ONCE: usize = 16;

/// The controller of EndpointSlices.
#[derive(Debug)]
pub(crate) struct EndpointSlices {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<Key>,
    ledgers: Ledgers,
    index: Mutex<Index>,
    pace: Mutex<Pace>,
    /// The last version of each slice that we wrote and the watch has not brought yet.
    written: Mutex<BTreeMap<Key, String>>,
}

impl EndpointSlices {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        let client = cluster.client.clone();
        Self {
            recorder: EventRecorder::start(client, "endpoint-slice-controller", None),
            cluster,
            queue: Queue::default(),
            ledgers: Ledgers::default(),
            index: Mutex::default(),
            pace: Mutex::default(),
            written: Mutex::default(),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing in there panics half way, so a poisoned lock still guards good data.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<Key, String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a change is nothing but what we wrote ourselves.
    fn is_echo(&self, key: &Key, change: &Change<EndpointSlice>) -> bool {
        let mut written = self.written();
        let version = |slice: &EndpointSlice| slice.metadata.resource_version.clone();
        let new = change.new.as_ref().and_then(|new| version(new));
        let echo = new.is_some() && written.get(key) == new.as_ref();
        if echo || change.new.is_none() {
            written.remove(key);
        }
        echo
    }

    fn wake(&self, keys: impl IntoIterator<Item = Key>) {
        keys.into_iter().for_each(|key| self.queue.add(key));
    }

    /// Services changed.
    pub(crate) fn hear_services(&self, heard: &Heard<Service>) {
        for change in heard.changes() {
            let Some(service) = change.both().last() else {
                continue;
            };
            let key = Key::of(&**service);
            let new = change.new.as_ref().filter(|new| is_selecting(new));
            let selector = new.and_then(|new| new.spec.as_ref()?.selector.as_ref());
            self.index().service(&key, selector);
            let uid = |service: &Arc<Service>| service.metadata.uid.clone();
            if let Some(old) = &change.old
                && change.new.as_ref().and_then(uid) != uid(old)
            {
                self.ledgers.forget(&old.metadata);
                self.pace().forget(&key);
            }
            if change.new.is_some() && !is_same_service(change) {
                self.queue.add(key);
            }
        }
    }

    /// Pods changed.
    pub(crate) fn hear_pods(&self, heard: &Heard<Pod>) {
        for change in heard.changes() {
            let Some(pod) = change.both().last() else {
                continue;
            };
            let key = Key::of(&**pod);
            let labels = change.new.as_ref().map(|new| meta::labels(&new.metadata));
            let mut index = self.index();
            let moved = index.pod(&key, labels);
            let same = match (&change.old, &change.new) {
                (Some(old), Some(new)) => is_same(old, new),
                _ => false,
            };
            let stayed = if same {
                Vec::new()
            } else {
                index.services_of(&key)
            };
            drop(index);
            self.wake(moved.into_iter().map(|name| Key {
                namespace: key.namespace.clone(),
                name,
            }));
            self.wake(stayed);
        }
    }

    /// Nodes came, went, or changed their zone.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        let changed = heard.changes().iter().filter(|change| {
            let place = |node: &Option<Arc<Node>>| node.as_ref().map(|node| place(node));
            place(&change.old) != place(&change.new)
        });
        let nodes: BTreeSet<String> = changed
            .filter_map(|change| change.both().last()?.metadata.name.clone())
            .collect();
        if nodes.is_empty() {
            return;
        }
        for pod in self.cluster.pods.all() {
            if meta::node_name(&pod).is_some_and(|node| nodes.contains(node)) {
                let services = self.index().services_of(&Key::of(&*pod));
                self.wake(services);
            }
        }
    }

    /// Slices changed.
    pub(crate) fn hear_slices(&self, heard: &Heard<EndpointSlice>) {
        let mut woken = BTreeSet::new();
        for change in heard.changes() {
            let Some(slice) = change.both().last() else {
                continue;
            };
            let key = Key::of(&**slice);
            let now = change.new.as_ref().and_then(|new| service_of(new));
            let before = self.index().slice(&key, now);
            if self.is_echo(&key, change) {
                continue;
            }
            let concerned = before.into_iter().chain(now.map(ToOwned::to_owned));
            woken.extend(concerned.map(|name| Key {
                namespace: key.namespace.clone(),
                name,
            }));
        }
        // After the index: who finds nothing more to wait for finds the slices.
        let listed = self.cluster.slices.listed();
        woken.extend(self.ledgers.hear(heard, listed));
        self.wake(woken);
    }

    /// Asks about slices whose creation was not answered.
    async fn settle_doubts(&self, service: &Service) -> Result<(), Fault> {
        let key = Key::of(service);
        let api = self.cluster.namespaced::<EndpointSlice>(&key.namespace);
        for name in self.ledgers.of(&service.metadata).doubtful() {
            let found = api.get_opt(&name).await;
            let found = found
                .map_err(|error| Fault::new("look for a slice of", "Service", &key, &error))?;
            let stage = found.map(|_| Stage::Answered(self.cluster.slices.begun()));
            self.ledgers
                .remember(&service.metadata, |ledger| ledger.created(&name, stage));
        }
        Ok(())
    }

    fn plan(&self, service: &Service, key: &Key, ledger: &Ledger) -> Writes {
        let (pods, mut slices) = {
            let (index, namespace) = (self.index(), key.namespace.as_str());
            let pods = self.cluster.pods.named(namespace, index.pods_of(key));
            let slices = &self.cluster.slices;
            (pods, slices.named(namespace, index.slices_of(key)))
        };
        slices.retain(|slice| {
            let metadata = &slice.metadata;
            !meta::is_terminating(metadata) && !ledger.is_deleting(meta::uid(metadata))
        });
        let mut writes = plan(&Scene {
            service,
            pods: &pods,
            slices: &slices,
            place: &|node| self.place(node),
        });
        if self.cluster.is_closing(&key.namespace) {
            writes.create.clear();
        }
        writes
    }

    fn place(&self, node: &str) -> Option<Place> {
        let node = self.cluster.nodes.get(&Key {
            namespace: String::new(),
            name: node.to_owned(),
        });
        node.map(|node| place(&node))
    }

    /// Writes. What is to go goes last, when all that replaces it is there.
    async fn perform(&self, service: &Service, writes: Writes) -> Result<(), Fault> {
        let mut create = writes.create.into_iter();
        // One first: what is refused is not tried often.
        if let Some(slice) = create.next() {
            self.create(service, slice).await?;
        }
        let create = stream::iter(create).map(|slice| self.create(service, slice));
        all(create.buffer_unordered(AT_ONCE).collect().await)?;
        let update = stream::iter(writes.update).map(|slice| self.update(slice));
        all(update.buffer_unordered(AT_ONCE).collect().await)?;
        let delete = stream::iter(writes.delete).map(|slice| self.delete(service, slice));
        all(delete.buffer_unordered(AT_ONCE).collect().await)
    }

    async fn create(&self, service: &Service, mut slice: EndpointSlice) -> Result<(), Fault> {
        let key = Key::of(service);
        let name = format!("{}-{}", key.name, encode(random(), 5));
        slice.metadata.name = Some(name.clone());
        let remember = |change: &dyn Fn(&mut Ledger)| {
            self.ledgers.remember(&service.metadata, change);
        };
        remember(&|ledger| ledger.will_create(&name));
        let api = self.cluster.namespaced::<EndpointSlice>(&key.namespace);
        let answer = api.create(&PostParams::default(), &slice).await;
        let Err(error) = answer else {
            let stage = Stage::Answered(self.cluster.slices.begun());
            remember(&|ledger| ledger.created(&name, Some(stage)));
            return Ok(());
        };
        let fault = Fault::new("create a slice of", "Service", &key, &error);
        let doubtful = matches!(fault.failure(), Failure::Passing(_));
        let stage = doubtful.then_some(Stage::Doubtful);
        remember(&|ledger| ledger.created(&name, stage));
        Err(fault)
    }

    async fn update(&self, slice: EndpointSlice) -> Result<(), Fault> {
        let key = Key::of(&slice);
        let api = self.cluster.namespaced::<EndpointSlice>(&key.namespace);
        let answer = api.replace(&key.name, &PostParams::default(), &slice).await;
        let written =
            answer.map_err(|error| Fault::new("update", "EndpointSlice", &key, &error))?;
        let base = slice.metadata.resource_version.as_deref();
        if let Some(version) = written.metadata.resource_version.clone() {
            self.written().insert(key, version);
        }
        self.cluster.slices.learn(base, written);
        Ok(())
    }

    async fn delete(&self, service: &Service, slice: Arc<EndpointSlice>) -> Result<(), Fault> {
        let key = Key::of(&*slice);
        let uid = meta::uid(&slice.metadata);
        self.ledgers
            .remember(&service.metadata, |ledger| ledger.will_delete(uid));
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: slice.metadata.uid.clone(),
            resource_version: None,
        });
        let api = self.cluster.namespaced::<EndpointSlice>(&key.namespace);
        let result = match api.delete(&key.name, &params).await {
            Ok(_) => Ok(()),
            Err(error) => Fault::new("delete", "EndpointSlice", &key, &error).unless_usual(),
        };
        let done = result.is_ok();
        let stage = done.then(|| Stage::Answered(self.cluster.slices.begun()));
        self.ledgers
            .remember(&service.metadata, |ledger| ledger.deleted(uid, stage));
        result
    }

    fn complain(&self, service: &Service, fault: &Fault) {
        if !fault.is_usual() {
            let key = Key::of(service);
            let words = fault.words();
            let message = format!("Error updating Endpoint Slices for Service {key}: {words}");
            let reason = "FailedToUpdateEndpointSlices";
            notes::warning(&self.recorder, service, reason, message);
        }
    }
}

/// The first failure of many requests, one that needs a look before one that belongs to normal life.
fn all(results: Vec<Result<(), Fault>>) -> Result<(), Fault> {
    let faults = results.into_iter().filter_map(Result::err);
    faults.min_by_key(Fault::is_usual).map_or(Ok(()), Err)
}

fn place(node: &Node) -> Place {
    let zone = meta::labels(&node.metadata).get(ZONE);
    Place {
        zone: zone.filter(|zone| !zone.is_empty()).cloned(),
    }
}

/// Whether a Service differs in nothing that slices show.
fn is_same_service(change: &Change<Service>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return false;
    };
    old.spec == new.spec
        && old.metadata.uid == new.metadata.uid
        && old.metadata.labels == new.metadata.labels
}

impl Controller for EndpointSlices {
    type Key = Key;
    const NAME: &'static str = "endpointslices";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        let service = self.cluster.services.get(key);
        let Some(service) = service.filter(|it| is_selecting(it) || is_external_name(it)) else {
            return Ok(None);
        };
        let wait = self.pace().wait(key, Instant::now());
        if wait.is_some() {
            return Ok(wait);
        }
        self.settle_doubts(&service).await?;
        // Before the slices are read: see `hear_slices`.
        let ledger = self.ledgers.of(&service.metadata);
        if ledger.creating() > 0 {
            // The watch wakes us when it shows them.
            return Ok(None);
        }
        let writes = self.plan(&service, key, &ledger);
        if writes.count() == 0 {
            return Ok(None);
        }
        self.pace().wrote(key, Instant::now());
        let done = self.perform(&service, writes).await;
        if let Err(fault) = &done {
            self.complain(&service, fault);
        }
        done.map(|()| None)
    }
}
