//! The slices of Endpoints that somebody else writes for a Service without a selector.
//!
//! Addresses are grouped by family and ports; each group is a slice, or several if it is large.
//! Addresses that no slice could hold are left out and counted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{MADE_BY, MAX_ADDRESSES, MIRRORER};
use crate::endpoint_slices::{MANAGED_BY, SERVICE_NAME, TRIGGER_TIME, is_reachable, is_selecting};
use crate::meta;
use crate::replicasets::encode;

/// The label of Endpoints that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints that are a lock and nothing else.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// The annotation with what was applied last, which is about the Endpoints alone.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) create: Vec<EndpointSlice>,
    /// Slices as they should be, based on a version.
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
    /// Addresses that no slice can hold, and those that are too many.
    pub(super) invalid: usize,
    pub(super) surplus: usize,
}

impl Writes {
    /// The number of requests.
    pub(super) fn count(&self) -> usize {
        self.create.len() + self.update.len() + self.delete.len()
    }
}

/// Whether Endpoints are to be mirrored.
fn is_mirrored(service: Option<&Service>, endpoints: &Endpoints) -> bool {
    let metadata = &endpoints.metadata;
    let skipped = meta::labels(metadata).get(SKIP);
    service
        .is_some_and(|service| !is_selecting(service) && !meta::is_terminating(&service.metadata))
        && !meta::is_terminating(metadata)
        && skipped.is_none_or(|skip| skip != "true")
        && meta::annotation(metadata, LEADER).is_none()
}

/// Decides; `slices` are those of the Service's name that mirror something.
pub(super) fn plan(
    service: Option<&Service>,
    endpoints: Option<&Endpoints>,
    slices: &[Arc<EndpointSlice>],
) -> Writes {
    let mut writes = Writes::default();
    let mut wanted = match endpoints.filter(|endpoints| is_mirrored(service, endpoints)) {
        Some(endpoints) => wanted(endpoints, &mut writes),
        None => BTreeMap::new(),
    };
    for slice in slices {
        let uid = endpoints.map(|endpoints| meta::uid(&endpoints.metadata));
        let ours = uid.is_some_and(|uid| meta::is_controlled_by(&slice.metadata, uid));
        let name = meta::name(&slice.metadata);
        // One of earlier Endpoints makes room for ours.
        match wanted.remove(name) {
            Some(new) if ours && new.address_type == slice.address_type => {
                if !is_same(slice, &new) {
                    writes.update.push(updated(slice, new));
                }
            }
            _ => writes.delete.push(slice.clone()),
        }
    }
    writes.create = wanted.into_values().collect();
    writes
}

fn is_same(slice: &EndpointSlice, new: &EndpointSlice) -> bool {
    let annotations =
        |slice: &EndpointSlice| slice.metadata.annotations.clone().unwrap_or_default();
    slice.endpoints == new.endpoints
        && slice.ports.as_deref().unwrap_or_default() == new.ports.as_deref().unwrap_or_default()
        && meta::labels(&slice.metadata) == meta::labels(&new.metadata)
        && annotations(slice) == annotations(new)
}

fn updated(slice: &EndpointSlice, new: EndpointSlice) -> EndpointSlice {
    let mut metadata = slice.metadata.clone();
    metadata.labels = new.metadata.labels;
    metadata.annotations = new.metadata.annotations;
    EndpointSlice { metadata, ..new }
}

/// Name, protocol, number and application protocol of each port.
type Ports = Vec<(String, String, i32, Option<String>)>;
type Groups = BTreeMap<(bool, Ports), BTreeMap<IpAddr, Endpoint>>;

fn wanted(endpoints: &Endpoints, writes: &mut Writes) -> BTreeMap<String, EndpointSlice> {
    let mut groups = Groups::new();
    for subset in endpoints.subsets.iter().flatten() {
        group(subset, &mut groups, writes);
    }
    let mut slices = BTreeMap::new();
    for ((v6, ports), all) in groups {
        let mut all = all.into_values().peekable();
        let mut part = 0_usize;
        while all.peek().is_some() {
            let chunk: Vec<Endpoint> = all.by_ref().take(MAX_ADDRESSES).collect();
            let slice = slice(endpoints, v6, &ports, part, chunk);
            slices.insert(meta::name(&slice.metadata).to_owned(), slice);
            part += 1;
        }
    }
    slices
}

fn group(subset: &EndpointSubset, groups: &mut Groups, writes: &mut Writes) {
    let ready = subset.addresses.iter().flatten().map(|one| (one, true));
    let unready = subset.not_ready_addresses.iter().flatten();
    let all = ready.chain(unready.map(|one| (one, false)));
    let ports = ports(subset);
    let mut room = MAX_ADDRESSES;
    for (address, ready) in all {
        let ip: Option<IpAddr> = address.ip.parse().ok();
        let Some(ip) = ip.filter(is_reachable) else {
            writes.invalid += 1;
            continue;
        };
        if room == 0 {
            writes.surplus += 1;
            continue;
        }
        room -= 1;
        let group = groups.entry((ip.is_ipv6(), ports.clone())).or_default();
        // What is ready somewhere is ready: these come first.
        group
            .entry(ip)
            .or_insert_with(|| endpoint(ip, address, ready));
    }
}

fn ports(subset: &EndpointSubset) -> Ports {
    let ports = subset.ports.iter().flatten();
    let mut ports: Ports = ports
        .map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let name = port.name.clone().unwrap_or_default();
            (name, protocol, port.port, port.app_protocol.clone())
        })
        .collect();
    ports.sort_unstable();
    ports
}

fn endpoint(ip: IpAddr, address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn slice(
    endpoints: &Endpoints,
    v6: bool,
    ports: &Ports,
    part: usize,
    chunk: Vec<Endpoint>,
) -> EndpointSlice {
    let family = if v6 { "IPv6" } else { "IPv4" };
    let service = meta::name(&endpoints.metadata);
    let mut labels = meta::labels(&endpoints.metadata).clone();
    labels.remove(MADE_BY);
    labels.insert(SERVICE_NAME.to_owned(), service.to_owned());
    labels.insert(MANAGED_BY.to_owned(), MIRRORER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(APPLIED);
    annotations.remove(TRIGGER_TIME);
    let mark = hash(&format!("{family} {ports:?} {part}"));
    let ports = ports
        .iter()
        .map(|(name, protocol, port, app)| EndpointPort {
            app_protocol: app.clone(),
            name: Some(name.clone()),
            port: Some(*port),
            protocol: Some(protocol.clone()),
        });
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{service}-{}", encode(mark, 10))),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![meta::controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(chunk),
        ports: Some(ports.collect()),
    }
}

/// FNV-1a: the same in every process and version, as names must be.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
