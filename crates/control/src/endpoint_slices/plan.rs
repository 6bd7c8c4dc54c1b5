//! The slices of one Service: what to write.
//!
//! Each family of the Service has slices of its own. Within it Pods are grouped by the numbers of
//! their ports, and each group fills its slices. Slices that nobody needs any more are used for what
//! is new before anything is created. A family without any endpoint has one slice without ports, so
//! that all can see that the Service was looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::endpoint::{changed_at, endpoint, fixed_ports, ports, publishes_not_ready};
use super::fill::{Endpoints, Filled, Wanted, fill, pod_name};
use super::{
    Family, HEADLESS, MANAGED_BY, MANAGER, Place, SERVICE_NAME, TRIGGER_TIME, is_external_name,
};
use crate::meta;

/// All that decides what the slices of a Service are.
pub(super) struct Scene<'a> {
    pub(super) service: &'a Service,
    /// The Pods that its selector matches.
    pub(super) pods: &'a [Arc<Pod>],
    /// The slices of its name that this controller manages, without those that are being deleted.
    pub(super) slices: &'a [Arc<EndpointSlice>],
    /// What is known of a node; None if there is none of that name.
    pub(super) place: &'a dyn Fn(&str) -> Option<Place>,
}

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// New slices, without names.
    pub(super) create: Vec<EndpointSlice>,
    /// Slices as they should be, based on a version.
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

impl Writes {
    /// The number of requests.
    pub(super) fn count(&self) -> usize {
        self.create.len() + self.update.len() + self.delete.len()
    }
}

/// Decides.
pub(super) fn plan(scene: &Scene<'_>) -> Writes {
    let families = families(scene.service);
    let mut writes = Writes::default();
    let mut slices: BTreeMap<Family, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in scene.slices {
        match Family::named(&slice.address_type).filter(|family| families.contains(family)) {
            Some(family) => slices.entry(family).or_default().push(slice.clone()),
            None => writes.delete.push(slice.clone()),
        }
    }
    for family in families {
        let slices = slices.remove(&family).unwrap_or_default();
        Draft::new(scene, family).write(slices, &mut writes);
    }
    // What the garbage collector takes away must not be made again meanwhile.
    if meta::is_terminating(&scene.service.metadata) {
        writes.create.clear();
    }
    writes
}

/// The families of a Service; a name for something else has none.
fn families(service: &Service) -> Vec<Family> {
    let Some(spec) = service.spec.as_ref().filter(|_| !is_external_name(service)) else {
        return Vec::new();
    };
    let named = spec.ip_families.iter().flatten();
    let mut families: Vec<Family> = named.filter_map(|text| Family::named(text)).collect();
    families.sort_unstable();
    families.dedup();
    if !families.is_empty() {
        return families;
    }
    // An API server that knows no families.
    match spec.cluster_ip.as_deref().unwrap_or_default() {
        "" | "None" => vec![Family::V4, Family::V6],
        address if address.contains(':') => vec![Family::V6],
        _ => vec![Family::V4],
    }
}

/// Name, protocol, number and application protocol of each port, in an order of its own.
type PortSet = Vec<(String, String, Option<i32>, Option<String>)>;

fn port_set(ports: &[EndpointPort]) -> PortSet {
    let mut set: PortSet = ports
        .iter()
        .map(|port| {
            let protocol = port.protocol.clone();
            (
                port.name.clone().unwrap_or_default(),
                protocol.unwrap_or_else(|| "TCP".to_owned()),
                port.port,
                port.app_protocol.clone(),
            )
        })
        .collect();
    set.sort_unstable();
    set
}

/// Slices by their ports.
type Homes = BTreeMap<PortSet, Vec<Arc<EndpointSlice>>>;

fn ports_of(slice: &EndpointSlice) -> PortSet {
    port_set(slice.ports.as_deref().unwrap_or_default())
}

/// Endpoints with the same ports.
#[derive(Debug, Default)]
struct Group<'a> {
    ports: Vec<EndpointPort>,
    endpoints: Endpoints<'a>,
}

/// What the slices of one family should be.
struct Draft<'a> {
    service: &'a Service,
    family: Family,
    groups: BTreeMap<PortSet, Group<'a>>,
    labels: BTreeMap<String, String>,
}

impl<'a> Draft<'a> {
    fn new(scene: &Scene<'a>, family: Family) -> Self {
        let service = scene.service;
        let mut draft = Self {
            service,
            family,
            groups: BTreeMap::new(),
            labels: labels(service),
        };
        let fixed = fixed_ports(service);
        let mut all = Endpoints::new();
        for pod in scene.pods.iter().filter(|pod| !meta::is_finished(pod)) {
            let place = meta::node_name(pod).and_then(|node| (scene.place)(node));
            // Whoever is on a node that is not there will not answer.
            if place.is_none() && !publishes_not_ready(service) {
                continue;
            }
            let Some(endpoint) = endpoint(service, pod, place.as_ref(), family) else {
                continue;
            };
            let since = changed_at(pod);
            let (name, wanted) = (meta::name(&pod.metadata), Wanted { endpoint, since });
            if fixed.is_some() {
                all.insert(name, wanted);
            } else {
                draft.add(name, wanted, ports(service, pod));
            }
        }
        if let Some(ports) = fixed.filter(|_| !all.is_empty()) {
            let endpoints = all;
            let group = Group { ports, endpoints };
            draft.groups.insert(port_set(&group.ports), group);
        }
        draft
    }

    fn add(&mut self, name: &'a str, wanted: Wanted, ports: Vec<EndpointPort>) {
        let group = self.groups.entry(port_set(&ports)).or_default();
        group.ports = ports;
        group.endpoints.insert(name, wanted);
    }

    /// What must be written so that the slices of the family become this.
    fn write(mut self, slices: Vec<Arc<EndpointSlice>>, writes: &mut Writes) {
        let uid = meta::uid(&self.service.metadata);
        // Those of an earlier Service of this name are the garbage collector's.
        let ours = |slice: &Arc<EndpointSlice>| meta::is_controlled_by(&slice.metadata, uid);
        let (slices, strange): (Vec<_>, Vec<_>) = slices.into_iter().partition(ours);
        writes.delete.extend(strange);
        let (mut homes, mut spare) = self.sort(slices);
        let mut fresh = Vec::new();
        let mut stay = 0;
        for (set, group) in std::mem::take(&mut self.groups) {
            let slices = homes.remove(&set).unwrap_or_default();
            let has_ports = |slice: &EndpointSlice| ports_of(slice) == set;
            let is_current = |slice: &EndpointSlice| self.is_labelled(slice) && has_ports(slice);
            let Filled { kept, emptied, new } = fill(slices, group.endpoints, &is_current);
            stay += kept.len();
            spare.extend(emptied);
            fresh.extend(new.into_iter().map(|new| (group.ports.clone(), new)));
            for kept in kept.into_iter().filter(|kept| kept.changed) {
                // In the order that they are in already.
                let ports = match has_ports(&kept.slice) {
                    true => kept.slice.ports.clone(),
                    false => Some(group.ports.clone()),
                };
                let update = self.updated(&kept.slice, ports, kept.endpoints);
                writes.update.push(update);
            }
        }
        if stay == 0 && fresh.is_empty() {
            fresh.push((Vec::new(), Vec::new()));
        }
        for (ports, endpoints) in fresh {
            self.place(ports, endpoints, &mut spare, writes);
        }
        writes.delete.extend(spare);
    }

    /// The slices of each set of ports, and those with nothing in them that is wanted. Where the
    /// Service's ports change, its slices change with them and keep their endpoints: none of these is
    /// ever in no slice.
    fn sort(&self, slices: Vec<Arc<EndpointSlice>>) -> (Homes, Vec<Arc<EndpointSlice>>) {
        let (mut homes, mut spare) = (Homes::new(), Vec::new());
        for slice in slices {
            let set = ports_of(&slice);
            let home = if self.groups.contains_key(&set) {
                Some(set)
            } else {
                self.home(&slice)
            };
            match home {
                Some(set) => homes.entry(set).or_default().push(slice),
                None => spare.push(slice),
            }
        }
        (homes, spare)
    }

    /// The ports of the first endpoint of a slice that is still wanted.
    fn home(&self, slice: &EndpointSlice) -> Option<PortSet> {
        slice.endpoints.iter().flatten().find_map(|endpoint| {
            let name = pod_name(endpoint);
            let mut groups = self.groups.iter();
            let found = groups.find(|(_, group)| group.endpoints.contains_key(name));
            found.map(|(set, _)| set.clone())
        })
    }

    fn is_labelled(&self, slice: &EndpointSlice) -> bool {
        *meta::labels(&slice.metadata) == self.labels
    }

    /// Writes endpoints that have no slice: into a spare one, or into a new one.
    fn place(
        &self,
        ports: Vec<EndpointPort>,
        endpoints: Vec<Wanted>,
        spare: &mut Vec<Arc<EndpointSlice>>,
        writes: &mut Writes,
    ) {
        let is_there = |slice: &Arc<EndpointSlice>| {
            endpoints.is_empty()
                && slice.endpoints.iter().flatten().next().is_none()
                && slice.ports.iter().flatten().next().is_none()
                && self.is_labelled(slice)
        };
        if let Some(index) = spare.iter().position(is_there) {
            spare.remove(index);
            return;
        }
        if spare.is_empty() {
            writes.create.push(self.created(ports, endpoints));
            return;
        }
        let slice = spare.remove(0);
        let update = self.updated(&slice, Some(ports), endpoints);
        writes.update.push(update);
    }

    fn created(&self, ports: Vec<EndpointPort>, endpoints: Vec<Wanted>) -> EndpointSlice {
        let metadata = &self.service.metadata;
        let mut slice = EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", meta::name(metadata))),
                namespace: metadata.namespace.clone(),
                labels: Some(self.labels.clone()),
                owner_references: Some(vec![meta::controller_ref(self.service)]),
                ..ObjectMeta::default()
            },
            address_type: self.family.text().to_owned(),
            ports: Some(ports),
            endpoints: None,
        };
        note_time(&mut slice, self.trigger(&[], &endpoints));
        slice.endpoints = Some(bare(endpoints));
        slice
    }

    fn updated(
        &self,
        slice: &EndpointSlice,
        ports: Option<Vec<EndpointPort>>,
        endpoints: Vec<Wanted>,
    ) -> EndpointSlice {
        let before = slice.endpoints.as_deref().unwrap_or_default();
        let time = self.trigger(before, &endpoints);
        let mut metadata = slice.metadata.clone();
        metadata.labels = Some(self.labels.clone());
        let mut slice = EndpointSlice {
            metadata,
            address_type: slice.address_type.clone(),
            ports,
            endpoints: Some(bare(endpoints)),
        };
        note_time(&mut slice, time);
        slice
    }

    /// When the earliest change happened that a slice is written for, as far as a Pod tells: a Pod
    /// that comes, or that changes its state.
    fn trigger(&self, before: &[Endpoint], after: &[Wanted]) -> Option<Timestamp> {
        let before = before.iter().map(|old| (pod_name(old), old));
        let before: BTreeMap<&str, &Endpoint> = before.collect();
        let made = meta::created(&self.service.metadata);
        let times = after.iter().filter_map(|wanted| {
            let endpoint = &wanted.endpoint;
            match before.get(pod_name(endpoint)) {
                Some(old) if old.conditions == endpoint.conditions => None,
                Some(_) => wanted.since,
                None => wanted.since.map(|time| time.max(made)),
            }
        });
        times.min()
    }
}

fn bare(endpoints: Vec<Wanted>) -> Vec<Endpoint> {
    endpoints.into_iter().map(|one| one.endpoint).collect()
}

/// The labels of all slices of a Service: its own, and those that are kept for this.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = meta::labels(&service.metadata).clone();
    let spec = service.spec.as_ref();
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref());
    if address.is_some_and(|address| !address.is_empty() && address != "None") {
        labels.remove(HEADLESS);
    } else {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let name = meta::name(&service.metadata).to_owned();
    labels.insert(SERVICE_NAME.to_owned(), name);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// Notes the time of a change, or that it is not known.
fn note_time(slice: &mut EndpointSlice, time: Option<Timestamp>) {
    let annotations = slice.metadata.annotations.get_or_insert_default();
    match time {
        Some(time) => annotations.insert(TRIGGER_TIME.to_owned(), time.to_string()),
        None => annotations.remove(TRIGGER_TIME),
    };
    if annotations.is_empty() {
        slice.metadata.annotations = None;
    }
}
