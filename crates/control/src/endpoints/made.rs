//! The Endpoints of a Service with a selector, from the slices that it has.
//!
//! They are of the Service's first family only. Pods that end are in neither list, unless the Service
//! publishes all; beyond a thousand addresses the rest is left out, and an annotation says so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{MADE_BY, MAKER, MAX_ADDRESSES};
use crate::endpoint_slices::{HEADLESS, TRIGGER_TIME};
use crate::meta;

/// The annotation that says that not all addresses are there.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// Name, protocol, number and application protocol of each port.
type Ports = Vec<(Option<String>, Option<String>, i32, Option<String>)>;

/// The addresses with the same ports, by address.
#[derive(Debug, Default)]
struct Group {
    ready: BTreeMap<IpAddr, EndpointAddress>,
    unready: BTreeMap<IpAddr, EndpointAddress>,
}

/// Whether these were made here.
pub(super) fn is_made(endpoints: &Endpoints) -> bool {
    let by = meta::labels(&endpoints.metadata).get(MADE_BY);
    by.is_some_and(|by| by == MAKER)
}

/// The Endpoints as they should be, if they are not.
pub(super) fn made(
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    now: Option<&Endpoints>,
) -> Option<Endpoints> {
    let family = family(service);
    let slices = || slices.iter().filter(|slice| slice.address_type == family);
    let groups = groups(service, slices());
    let (subsets, truncated) = subsets(groups);
    let labels = labels(service);
    let over = now.and_then(|now| meta::annotation(&now.metadata, OVER_CAPACITY));
    let same = now.is_some_and(|now| {
        now.subsets.as_deref().unwrap_or_default() == subsets
            && *meta::labels(&now.metadata) == labels
            && over.is_some() == truncated
    });
    if same {
        return None;
    }
    let mut metadata = match now {
        Some(now) => now.metadata.clone(),
        None => ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
    };
    metadata.labels = Some(labels);
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    annotations.remove(TRIGGER_TIME);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    let times = slices().filter_map(|slice| meta::annotation(&slice.metadata, TRIGGER_TIME));
    if let Some(time) = times.max() {
        annotations.insert(TRIGGER_TIME.to_owned(), time.to_owned());
    }
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Some(Endpoints {
        metadata,
        subsets: (!subsets.is_empty()).then_some(subsets),
    })
}

/// The Service's first family, in the words of slices.
fn family(service: &Service) -> String {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|spec| spec.ip_families.as_ref()?.first());
    named.map_or_else(|| "IPv4".to_owned(), Clone::clone)
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = meta::labels(&service.metadata).clone();
    let spec = service.spec.as_ref();
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref());
    if address.is_some_and(|address| !address.is_empty() && address != "None") {
        labels.remove(HEADLESS);
    } else {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MADE_BY.to_owned(), MAKER.to_owned());
    labels
}

fn groups<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
) -> BTreeMap<Ports, Group> {
    let spec = service.spec.as_ref();
    let all = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let mut groups: BTreeMap<Ports, Group> = BTreeMap::new();
    for slice in slices {
        let ports = ports(slice);
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.terminating == Some(true) && !all {
                continue;
            }
            let first = endpoint.addresses.first();
            let Some(ip) = first.and_then(|text| text.parse().ok()) else {
                continue;
            };
            let group = groups.entry(ports.clone()).or_default();
            let list = match conditions.ready {
                Some(false) => &mut group.unready,
                _ => &mut group.ready,
            };
            list.insert(ip, address(ip, endpoint));
        }
    }
    groups
}

fn ports(slice: &EndpointSlice) -> Ports {
    let ports = slice.ports.iter().flatten();
    let mut ports: Ports = ports
        .filter_map(|port| {
            let name = port.name.clone().filter(|name| !name.is_empty());
            let (protocol, app) = (port.protocol.clone(), port.app_protocol.clone());
            Some((name, protocol, port.port?, app))
        })
        .collect();
    ports.sort_unstable();
    ports
}

fn address(ip: IpAddr, endpoint: &Endpoint) -> EndpointAddress {
    EndpointAddress {
        hostname: endpoint.hostname.clone(),
        ip: ip.to_string(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
    }
}

/// The subsets, and whether some addresses did not find room; those that are ready go first.
fn subsets(groups: BTreeMap<Ports, Group>) -> (Vec<EndpointSubset>, bool) {
    let count = |list: fn(&Group) -> usize| groups.values().map(list).sum::<usize>();
    let (ready, unready) = (
        count(|group| group.ready.len()),
        count(|group| group.unready.len()),
    );
    let mut room_ready = MAX_ADDRESSES;
    let mut room_unready = MAX_ADDRESSES.saturating_sub(ready);
    let mut subsets = Vec::new();
    for (ports, group) in groups {
        let addresses = first(group.ready, &mut room_ready);
        let not_ready_addresses = first(group.unready, &mut room_unready);
        if addresses.is_some() || not_ready_addresses.is_some() {
            let ports = ports.into_iter().map(port).collect::<Vec<_>>();
            subsets.push(EndpointSubset {
                addresses,
                not_ready_addresses,
                ports: (!ports.is_empty()).then_some(ports),
            });
        }
    }
    (subsets, ready + unready > MAX_ADDRESSES)
}

fn first(
    addresses: BTreeMap<IpAddr, EndpointAddress>,
    room: &mut usize,
) -> Option<Vec<EndpointAddress>> {
    let taken: Vec<_> = addresses.into_values().take(*room).collect();
    *room -= taken.len();
    (!taken.is_empty()).then_some(taken)
}

fn port(
    (name, protocol, port, app_protocol): (Option<String>, Option<String>, i32, Option<String>),
) -> EndpointPort {
    EndpointPort {
        app_protocol,
        name,
        port,
        protocol,
    }
}
