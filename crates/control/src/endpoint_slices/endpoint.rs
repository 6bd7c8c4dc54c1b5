//! One Pod as an endpoint of one Service.
//!
//! Nothing here looks at slices.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Family, Place};
use crate::meta;

/// What Kubernetes takes when a port names no protocol.
const TCP: &str = "TCP";

/// All addresses of a Pod that another host can reach it by.
fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> + '_ {
    let status = pod.status.as_ref();
    let listed = status.and_then(|status| status.pod_ips.as_deref());
    let listed = listed.unwrap_or_default();
    let single = status.and_then(|status| status.pod_ip.as_deref());
    let single = single.filter(|_| listed.is_empty());
    let all = listed.iter().map(|ip| ip.ip.as_str()).chain(single);
    all.filter_map(|text| text.parse().ok())
        .filter(is_reachable)
}

/// Whether an address means the same on every node. A slice with another one is refused as a whole,
/// and one Pod's wrong status must not take all others with it.
pub(crate) fn is_reachable(address: &IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.to_ipv4_mapped().is_some()
        }
    };
    !(local || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

fn addresses_of(pod: &Pod, family: Family) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for address in addresses(pod).filter(|address| address.is_ipv4() == (family == Family::V4)) {
        let text = address.to_string();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// The Pod as an endpoint, if it has an address of the family.
pub(super) fn endpoint(
    service: &Service,
    pod: &Pod,
    place: Option<&Place>,
    family: Family,
) -> Option<Endpoint> {
    let addresses = addresses_of(pod, family);
    if addresses.is_empty() {
        return None;
    }
    let conditions = conditions(service, pod);
    let node_name = meta::node_name(pod).map(ToOwned::to_owned);
    let zone = place.and_then(|place| place.zone.clone());
    let ready = conditions.ready == Some(true);
    Some(Endpoint {
        addresses,
        hints: ready
            .then(|| hints(service, zone.as_deref(), node_name.as_deref()))
            .flatten(),
        conditions: Some(conditions),
        hostname: hostname(service, pod),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        deprecated_topology: None,
    })
}

/// Serving is what the Pod says of itself; ready is that too, unless the Pod goes. Only a Service
/// that publishes what is not ready has all its Pods ready.
fn conditions(service: &Service, pod: &Pod) -> EndpointConditions {
    let serving = meta::is_ready(pod);
    let terminating = meta::is_terminating(&pod.metadata);
    EndpointConditions {
        ready: Some(publishes_not_ready(service) || (serving && !terminating)),
        serving: Some(serving),
        terminating: Some(terminating),
    }
}

/// Whether Pods are endpoints whatever they or their nodes say.
pub(super) fn publishes_not_ready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// Whom an endpoint is for, if the Service keeps traffic near.
fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let spec = service.spec.as_ref()?;
    let same_node = match spec.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => false,
        "PreferSameNode" => true,
        _ => return None,
    };
    let for_zones = zone.map(|zone| {
        vec![ForZone {
            name: zone.to_owned(),
        }]
    });
    let for_nodes = node.filter(|_| same_node).map(|node| {
        vec![ForNode {
            name: node.to_owned(),
        }]
    });
    let some = for_zones.is_some() || for_nodes.is_some();
    some.then_some(EndpointHints {
        for_nodes,
        for_zones,
    })
}

/// A Pod has a name of its own under the Service that its subdomain names.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let ours = spec.subdomain.as_deref() == service.metadata.name.as_deref()
        && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname
        .clone()
        .filter(|name| ours && !name.is_empty())
}

/// The ports of the Service, if they are the same in all Pods.
pub(super) fn fixed_ports(service: &Service) -> Option<Vec<EndpointPort>> {
    let spec = service.spec.as_ref();
    let mut ports = spec.and_then(|spec| spec.ports.as_deref())?.iter();
    let named = ports.any(|port| matches!(port.target_port, Some(IntOrString::String(_))));
    (!named).then(|| self::ports(service, &Pod::default()))
}

/// The ports of the Service as this Pod has them; those that the Pod has not are left out.
pub(super) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref());
    let found = ports.unwrap_or_default().iter().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number(port, pod)?),
            protocol: Some(protocol(port.protocol.as_deref()).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    found.collect()
}

fn protocol(given: Option<&str>) -> &str {
    given.filter(|given| !given.is_empty()).unwrap_or(TCP)
}

/// The number of a Service's port in a Pod: as it says, or what the Pod calls by that name.
fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match port.target_port.as_ref() {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name.as_str(),
    };
    let spec = pod.spec.as_ref()?;
    // Containers that start before the others and run beside them serve, too.
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let mut ports = containers.flat_map(|one: &Container| one.ports.iter().flatten());
    let wanted = protocol(port.protocol.as_deref());
    let found = ports.find(|one| {
        one.name.as_deref() == Some(name) && protocol(one.protocol.as_deref()) == wanted
    });
    found.map(|port| port.container_port)
}

/// Since when the Pod is in the state that an endpoint shows.
pub(super) fn changed_at(pod: &Pod) -> Option<Timestamp> {
    let metadata = &pod.metadata;
    let asked = metadata.deletion_timestamp.as_ref().and_then(|time| {
        let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
        time.0.checked_sub(SignedDuration::from_secs(grace)).ok()
    });
    meta::ready_since(pod).max(asked)
}

/// Whether two states of one Pod are the same to every Service. Labels are not looked at.
pub(super) fn is_same(old: &Pod, new: &Pod) -> bool {
    old.metadata.uid == new.metadata.uid
        && meta::is_finished(old) == meta::is_finished(new)
        && meta::is_ready(old) == meta::is_ready(new)
        && meta::is_terminating(&old.metadata) == meta::is_terminating(&new.metadata)
        && meta::node_name(old) == meta::node_name(new)
        && addresses(old).eq(addresses(new))
}
