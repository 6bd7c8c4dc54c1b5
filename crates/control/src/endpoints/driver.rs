//! The loop of Endpoints: whom a change concerns, and requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams, Preconditions};
use seaway_api::EventRecorder;

use super::made::{is_made, made};
use super::mirror::{Writes, plan};
use super::{MAX_ADDRESSES, MIRRORER};
use crate::cluster::{Cluster, Heard};
use crate::endpoint_slices::{MANAGED_BY, MANAGER, SERVICE_NAME, is_external_name, is_selecting};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::notes;
use crate::queue::Queue;
use crate::work::Controller;

/// What was heard and is in no copy.
#[derive(Debug, Default)]
struct Known {
    /// The slices of each Service that somebody here manages, and the other way round.
    slices: BTreeMap<Key, BTreeSet<String>>,
    service_of: BTreeMap<Key, Key>,
    /// Services that went lately: their Endpoints go with them, whoever made these.
    gone: BTreeSet<Key>,
}

/// The controller of Endpoints.
#[derive(Debug)]
pub(crate) struct EndpointsWriter {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<Key>,
    known: Mutex<Known>,
}

/// The Service of a slice that is managed by one of our loops.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = meta::labels(&slice.metadata);
    let by = labels.get(MANAGED_BY)?;
    (by == MANAGER || by == MIRRORER).then_some(())?;
    Some(Key {
        namespace: slice.metadata.namespace.clone().unwrap_or_default(),
        name: labels.get(SERVICE_NAME)?.clone(),
    })
}

fn is_mirror(slice: &EndpointSlice) -> bool {
    let by = meta::labels(&slice.metadata).get(MANAGED_BY);
    by.is_some_and(|by| by == MIRRORER)
}

impl EndpointsWriter {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        let client = cluster.client.clone();
        Self {
            recorder: EventRecorder::start(client, "endpoint-slice-mirroring-controller", None),
            cluster,
            queue: Queue::default(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in there panics half way, so a poisoned lock still guards good data.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Services changed.
    pub(crate) fn hear_services(&self, heard: &Heard<Service>) {
        for change in heard.changes() {
            let Some(service) = change.both().last() else {
                continue;
            };
            let key = Key::of(&**service);
            if change.new.is_some() {
                self.known().gone.remove(&key);
            } else {
                self.known().gone.insert(key.clone());
            }
            self.queue.add(key);
        }
    }

    /// Endpoints changed.
    pub(crate) fn hear_endpoints(&self, heard: &Heard<Endpoints>) {
        for change in heard.changes() {
            if let Some(endpoints) = change.both().last() {
                self.queue.add(Key::of(&**endpoints));
            }
        }
    }

    /// Slices changed.
    pub(crate) fn hear_slices(&self, heard: &Heard<EndpointSlice>) {
        for change in heard.changes() {
            let Some(slice) = change.both().last() else {
                continue;
            };
            let key = Key::of(&**slice);
            let now = change.new.as_ref().and_then(|new| service_of(new));
            let before = self.known().slice(&key, now.clone());
            for concerned in before.into_iter().chain(now) {
                self.queue.add(concerned);
            }
        }
    }

    /// The slices of a Service: those of its Pods, and those that mirror its Endpoints.
    fn slices(&self, key: &Key) -> (Vec<Arc<EndpointSlice>>, Vec<Arc<EndpointSlice>>) {
        let known = self.known();
        let names = known.slices.get(key).into_iter().flatten();
        let names = names.map(String::as_str);
        let mut slices = self.cluster.slices.named(&key.namespace, names);
        slices.retain(|slice| !meta::is_terminating(&slice.metadata));
        slices.into_iter().partition(|slice| !is_mirror(slice))
    }

    /// Makes the Endpoints of a Service with a selector say what its slices say.
    async fn make(
        &self,
        key: &Key,
        service: &Service,
        slices: &[Arc<EndpointSlice>],
        now: Option<&Endpoints>,
    ) -> Result<(), Fault> {
        // Without a slice nobody looked at the Service yet.
        if slices.is_empty() || meta::is_terminating(&service.metadata) {
            return Ok(());
        }
        let Some(wanted) = made(service, slices, now) else {
            return Ok(());
        };
        let api = self.cluster.namespaced::<Endpoints>(&key.namespace);
        let params = PostParams::default();
        let Some(now) = now else {
            if self.cluster.is_closing(&key.namespace) {
                return Ok(());
            }
            let answer = api.create(&params, &wanted).await;
            let answer = answer.map_err(|error| Fault::new("create", "Endpoints", key, &error));
            // If they are there by now, the watch brings them.
            return answer.map_or_else(Fault::unless_usual, |_| Ok(()));
        };
        let base = now.metadata.resource_version.as_deref();
        let answer = api.replace(&key.name, &params, &wanted).await;
        let written = answer.map_err(|error| Fault::new("update", "Endpoints", key, &error))?;
        self.cluster.endpoints.learn(base, written);
        Ok(())
    }

    async fn drop_endpoints(&self, key: &Key, endpoints: &Endpoints) -> Result<(), Fault> {
        let params = by_uid(endpoints.metadata.uid.clone());
        let api = self.cluster.namespaced::<Endpoints>(&key.namespace);
        match api.delete(&key.name, &params).await {
            Ok(_) => Ok(()),
            Err(error) => Fault::new("delete", "Endpoints", key, &error).unless_usual(),
        }
    }

    /// Writes. What is to go goes last, when all that replaces it is there.
    async fn perform(&self, key: &Key, writes: Writes) -> Result<(), Fault> {
        let api = self.cluster.namespaced::<EndpointSlice>(&key.namespace);
        let params = PostParams::default();
        for slice in writes.create {
            if let Err(error) = api.create(&params, &slice).await {
                Fault::new("mirror", "Endpoints", key, &error).unless_usual()?;
            }
        }
        for slice in writes.update {
            let base = slice.metadata.resource_version.clone();
            let name = meta::name(&slice.metadata);
            let answer = api.replace(name, &params, &slice).await;
            let written = answer.map_err(|error| Fault::new("mirror", "Endpoints", key, &error))?;
            self.cluster.slices.learn(base.as_deref(), written);
        }
        for slice in writes.delete {
            let params = by_uid(slice.metadata.uid.clone());
            if let Err(error) = api.delete(meta::name(&slice.metadata), &params).await {
                Fault::new("delete a mirror of", "Endpoints", key, &error).unless_usual()?;
            }
        }
        Ok(())
    }

    /// Says what of the Endpoints is in no slice.
    fn complain(&self, endpoints: Option<&Endpoints>, invalid: usize, surplus: usize) {
        let Some(endpoints) = endpoints else { return };
        if invalid > 0 {
            let message =
                format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
            notes::warning(&self.recorder, endpoints, "InvalidAddresses", message);
        }
        if surplus > 0 {
            let message = format!(
                "A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per \
                 Endpoints subset. {surplus} addresses were skipped"
            );
            let reason = "TooManyAddressesToMirror";
            notes::warning(&self.recorder, endpoints, reason, message);
        }
    }
}

fn by_uid(uid: Option<String>) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid,
        resource_version: None,
    })
}

impl Known {
    /// A slice belongs to this Service now; answers the one that it belonged to.
    fn slice(&mut self, slice: &Key, service: Option<Key>) -> Option<Key> {
        let before = match &service {
            Some(service) => self.service_of.insert(slice.clone(), service.clone()),
            None => self.service_of.remove(slice),
        };
        if before == service {
            return before;
        }
        if let Some(before) = &before
            && let Some(names) = self.slices.get_mut(before)
        {
            names.remove(&slice.name);
            if names.is_empty() {
                self.slices.remove(before);
            }
        }
        if let Some(service) = service {
            let names = self.slices.entry(service).or_default();
            names.insert(slice.name.clone());
        }
        before
    }
}

impl Controller for EndpointsWriter {
    type Key = Key;
    const NAME: &'static str = "endpoints";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        let service = self.cluster.services.get(key);
        let endpoints = self.cluster.endpoints.get(key);
        let (slices, mirrors) = self.slices(key);
        let went = self.known().gone.contains(key);
        match (&service, &endpoints) {
            (Some(service), now) if is_selecting(service) && !is_external_name(service) => {
                self.make(key, service, &slices, now.as_deref()).await?;
            }
            (None, Some(endpoints)) if went || is_made(endpoints) => {
                self.drop_endpoints(key, endpoints).await?;
            }
            _ => {}
        }
        if service.is_none() && endpoints.is_none() {
            self.known().gone.remove(key);
        }
        let mut writes = plan(service.as_deref(), endpoints.as_deref(), &mirrors);
        if self.cluster.is_closing(&key.namespace) {
            writes.create.clear();
        }
        if writes.count() > 0 {
            self.complain(endpoints.as_deref(), writes.invalid, writes.surplus);
            self.perform(key, writes).await?;
        }
        Ok(None)
    }
}
