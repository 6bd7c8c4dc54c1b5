//! Kubernetes nodes and Pods as the model has them. Whatever the API lets through is checked here
//! once and trusted afterwards.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use seaway_model::{Node, NodeName, Pod, PodName, PodPhase, Transport, host_address, pod_network};
use thiserror::Error;

use crate::Problem;

mod service;
mod slice;

pub use service::{HEADLESS_LABEL, PROXY_NAME_LABEL, service};
pub use slice::{SERVICE_NAME_LABEL, TRIGGER_TIME_ANNOTATION, slice, trigger_time};

/// The label of a Node that says in which zone it is.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// The taint of a Node that is about to be deleted (KEP-3836).
pub const LEAVING_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// What there is of it.
    pub value: T,
    /// Fields that cannot be right, and that the rest does not depend on.
    pub passed_over: Vec<FieldError>,
}

/// The annotation of a Node in which its agent says which transport it uses.
pub const TRANSPORT_ANNOTATION: &str = "network.seaway.dev/transport";

/// The condition of a Node that says whether its network is not there. Whoever makes Nodes for a
/// cloud sets it, and others wait until the network takes it back.
pub const NETWORK_CONDITION: &str = "NetworkUnavailable";

/// A field has a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Which field, for example `status.podIPs`.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldError {
    fn new(field: &'static str, reason: impl ToString) -> FieldError {
        FieldError {
            field,
            reason: reason.to_string(),
        }
    }

    /// The same as a problem of a watch, when the field alone is passed over.
    pub fn passed_over(self, kind: &str, key: &crate::ObjectKey) -> Problem {
        Problem::Field {
            object: format!("{kind} {key}"),
            field: self.field.to_owned(),
            reason: self.reason,
        }
    }

    /// The same as a problem of a watch, with the object's name.
    pub fn of(self, kind: &str, key: &crate::ObjectKey) -> Problem {
        Problem::Object {
            object: format!("{kind} {key}"),
            field: self.field.to_owned(),
            reason: self.reason,
        }
    }
}

/// A node: its internal addresses and pod CIDRs, both in the order of the object.
///
/// # Errors
///
/// Names the field.
pub fn node(node: &core::Node) -> Result<Node, FieldError> {
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref());
    let internal = addresses
        .unwrap_or_default()
        .iter()
        .filter(|address| address.type_ == "InternalIP");
    let name = node.metadata.name.as_deref().unwrap_or_default();
    Ok(Node {
        name: node_name("metadata.name", name)?,
        addresses: internal
            .map(|entry| address("status.addresses", &entry.address))
            .collect::<Result<_, _>>()?,
        pod_cidrs: pod_cidrs(node)?,
        // What is wrong with it is nothing that makes the rest wrong.
        transport: transport(node).unwrap_or_default(),
        zone: zone(node),
        leaving: is_leaving(node),
    })
}

fn zone(node: &core::Node) -> Option<String> {
    let zone = node.metadata.labels.as_ref()?.get(ZONE_LABEL)?;
    Some(zone.clone()).filter(|zone| !zone.is_empty())
}

fn is_leaving(node: &core::Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let tainted = taints
        .unwrap_or_default()
        .iter()
        .any(|taint| taint.key == LEAVING_TAINT);
    tainted || node.metadata.deletion_timestamp.is_some()
}

/// The transport that a node's agent says it uses, if it does.
///
/// # Errors
///
/// It is none that is known here: [`node`] passes over it.
pub fn transport(node: &core::Node) -> Result<Option<Transport>, FieldError> {
    let annotations = node.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(TRANSPORT_ANNOTATION));
    let read = |text: &String| {
        let field = "metadata.annotations[network.seaway.dev/transport]";
        text.parse()
            .map_err(|e| FieldError::new(field, e as seaway_model::ChoiceError))
    };
    text.map(read).transpose()
}

/// Leaves of a Node what [`node`] and [`transport`] read, and what it is known by: a kubelet's
/// list of images and conditions is many times as much. Of the own Node also [`NETWORK_CONDITION`].
pub(crate) fn trim_node(node: &mut core::Node, own: &str) {
    let is_own = node.metadata.name.as_deref() == Some(own);
    let meta = std::mem::take(&mut node.metadata);
    let only = |map: Option<BTreeMap<String, String>>, wanted: &str| {
        let kept = map.unwrap_or_default().into_iter();
        Some(kept.filter(|(key, _)| key == wanted).collect())
    };
    node.metadata = ObjectMeta {
        name: meta.name,
        uid: meta.uid,
        resource_version: meta.resource_version,
        deletion_timestamp: meta.deletion_timestamp,
        annotations: only(meta.annotations, TRANSPORT_ANNOTATION),
        labels: only(meta.labels, ZONE_LABEL),
        ..ObjectMeta::default()
    };
    let leaving = |taint: &core::Taint| taint.key == LEAVING_TAINT;
    node.spec = node.spec.take().map(|spec| core::NodeSpec {
        pod_cidr: spec.pod_cidr,
        pod_cidrs: spec.pod_cidrs,
        taints: spec
            .taints
            .map(|all| all.into_iter().filter(leaving).collect()),
        ..core::NodeSpec::default()
    });
    let network = |all: Vec<core::NodeCondition>| {
        let kept = all.into_iter().filter(|c| c.type_ == NETWORK_CONDITION);
        kept.collect()
    };
    node.status = node.status.take().map(|status| core::NodeStatus {
        addresses: status.addresses,
        conditions: status.conditions.filter(|_| is_own).map(network),
        ..core::NodeStatus::default()
    });
}

fn pod_cidrs(node: &core::Node) -> Result<Vec<IpNet>, FieldError> {
    let Some(spec) = &node.spec else {
        return Ok(Vec::new());
    };
    let (field, texts) = match (&spec.pod_cidrs, &spec.pod_cidr) {
        (Some(all), _) if !all.is_empty() => ("spec.podCIDRs", all.as_slice()),
        (_, Some(one)) if !one.is_empty() => ("spec.podCIDR", std::slice::from_ref(one)),
        _ => return Ok(Vec::new()),
    };
    let read = |text: &String| pod_network(text).map_err(|e| FieldError::new(field, e));
    texts.iter().map(read).collect()
}

/// A Pod: where it is bound, its addresses and its phase.
///
/// # Errors
///
/// Names the field.
pub fn pod(pod: &core::Pod) -> Result<Pod, FieldError> {
    let meta = &pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = PodName::new(namespace, meta.name.as_deref().unwrap_or_default());
    let spec = pod.spec.as_ref();
    let node = spec.and_then(|spec| spec.node_name.as_deref());
    let node = node.filter(|node| !node.is_empty());
    Ok(Pod {
        name: name.map_err(|e| FieldError::new("metadata.name", e))?,
        node: node.map(|n| node_name("spec.nodeName", n)).transpose()?,
        addresses: pod_addresses(pod)?,
        phase: phase(pod)?,
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or_default(),
    })
}

fn pod_addresses(pod: &core::Pod) -> Result<Vec<IpAddr>, FieldError> {
    let Some(status) = &pod.status else {
        return Ok(Vec::new());
    };
    let all = status.pod_ips.as_deref().unwrap_or_default();
    match (all, status.pod_ip.as_deref()) {
        ([], None | Some("")) => Ok(Vec::new()),
        ([], Some(one)) => Ok(vec![address("status.podIP", one)?]),
        (all, _) => all
            .iter()
            .map(|entry| address("status.podIPs", &entry.ip))
            .collect(),
    }
}

fn phase(pod: &core::Pod) -> Result<PodPhase, FieldError> {
    let status = pod.status.as_ref();
    match status.and_then(|status| status.phase.as_deref()) {
        None | Some("" | "Pending") => Ok(PodPhase::Pending),
        Some("Running") => Ok(PodPhase::Running),
        Some("Succeeded") => Ok(PodPhase::Succeeded),
        Some("Failed") => Ok(PodPhase::Failed),
        Some("Unknown") => Ok(PodPhase::Unknown),
        Some(other) => Err(FieldError::new(
            "status.phase",
            format!("\"{other}\" is no phase of a Pod"),
        )),
    }
}

fn node_name(field: &'static str, text: &str) -> Result<NodeName, FieldError> {
    NodeName::new(text).map_err(|e| FieldError::new(field, e))
}

fn address(field: &'static str, text: &str) -> Result<IpAddr, FieldError> {
    host_address(text).map_err(|e| FieldError::new(field, e))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node_from(value: Value) -> Result<Node, FieldError> {
        node(&serde_json::from_value(value).expect("a Node"))
    }

    fn pod_from(value: Value) -> Result<Pod, FieldError> {
        pod(&serde_json::from_value(value).expect("a Pod"))
    }

    #[test]
    fn a_trimmed_node_is_the_same_to_us_and_little_else() {
        let whole: core::Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "labels": {"a": "b", ZONE_LABEL: "z"},
                "annotations": {"x": "y", TRANSPORT_ANNOTATION: "l2"}},
            "spec": {"podCIDRs": ["10.244.1.0/24"], "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}],
                "conditions": [{"type": "Ready", "status": "True"},
                    {"type": NETWORK_CONDITION, "status": "False"}],
                "images": [{"names": ["i"], "sizeBytes": 1}]}
        }))
        .expect("a Node");
        let mut trimmed = whole.clone();
        trim_node(&mut trimmed, "n1");
        assert_eq!(node(&trimmed), node(&whole));
        assert_eq!(transport(&trimmed), transport(&whole));
        assert_eq!(trimmed.metadata.uid, whole.metadata.uid);
        assert_eq!(
            trimmed.metadata.resource_version,
            whole.metadata.resource_version
        );
        let labels = trimmed.metadata.labels.expect("a zone");
        assert_eq!(labels.into_keys().collect::<Vec<_>>(), [ZONE_LABEL]);
        let status = trimmed.status.expect("a status");
        assert_eq!(status.images, None);
        let conditions = status.conditions.expect("the network's");
        let types: Vec<&str> = conditions.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, [NETWORK_CONDITION]);
        let mut trimmed = whole;
        trim_node(&mut trimmed, "n2");
        let status = trimmed.status.expect("a status");
        assert_eq!(status.conditions, None, "of other nodes nobody asks");
    }

    #[test]
    fn a_node_has_its_internal_addresses_and_cidrs_in_order() {
        let node = node_from(json!({
            "metadata": {"name": "n1"},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "ExternalIP", "address": "203.0.113.1"},
                {"type": "InternalIP", "address": "fd00::1"},
                {"type": "InternalIP", "address": "192.168.0.1"}]}
        }))
        .expect("good");
        let texts: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["fd00::1", "192.168.0.1"]);
        assert_eq!(node.pod_cidrs.len(), 2);
        let bare = node_from(json!({"metadata": {"name": "n1"}})).expect("good");
        assert!(bare.addresses.is_empty() && bare.pod_cidrs.is_empty());
        let old = json!({"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.0.0.0/24"}});
        assert_eq!(node_from(old).expect("good").pod_cidrs.len(), 1);
    }

    #[test]
    fn a_node_has_a_zone_and_may_be_leaving() {
        let node = |meta: Value, taint: &str| {
            let mut value = json!({"metadata": meta, "spec": {"taints": [
                {"key": taint, "effect": "NoSchedule"}]}});
            value["metadata"]["name"] = json!("n1");
            let mut node: core::Node = serde_json::from_value(value).expect("a Node");
            trim_node(&mut node, "other");
            super::node(&node).expect("good")
        };
        let zoned = node(json!({"labels": {ZONE_LABEL: "z1"}}), "other");
        assert_eq!((zoned.zone.as_deref(), zoned.leaving), (Some("z1"), false));
        assert!(node(json!({}), LEAVING_TAINT).leaving);
        assert!(
            node(
                json!({"deletionTimestamp": "2025-01-01T00:00:00Z"}),
                "other"
            )
            .leaving
        );
    }

    #[test]
    fn a_node_has_the_transport_that_its_agent_names() {
        let annotated = |text: &str| {
            node_from(json!({"metadata": {"name": "n1",
                "annotations": {TRANSPORT_ANNOTATION: text, "other": "vxlan"}}}))
            .expect("good")
            .transport
        };
        assert_eq!(annotated("l2"), Some(Transport::L2));
        assert_eq!(annotated("carrier pigeon"), None);
        let raw = json!({"metadata": {"name": "n", "annotations": {TRANSPORT_ANNOTATION: "L2"}}});
        let raw = serde_json::from_value(raw).expect("a Node");
        let error = transport(&raw).expect_err("upper case").to_string();
        assert!(error.contains("network.seaway.dev/transport"), "{error}");
    }

    #[test]
    fn a_pod_has_its_node_addresses_and_phase() {
        let pod = pod_from(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"nodeName": "n1", "containers": [], "hostNetwork": true},
            "status": {"phase": "Running", "podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]}
        }))
        .expect("good");
        assert_eq!(pod.node, Some(NodeName::new("n1").expect("valid")));
        assert_eq!(pod.addresses.len(), 2);
        assert!(pod.host_network && pod.phase == PodPhase::Running);
        let bare = pod_from(json!({"metadata": {"name": "web", "namespace": "default"}}));
        let bare = bare.expect("good");
        assert_eq!((bare.phase, bare.node), (PodPhase::Pending, None));
    }

    #[test]
    fn garbage_is_refused_with_the_field() {
        for (value, words) in [
            (json!({"metadata": {}}), "metadata.name"),
            (json!({"metadata": {"name": "N_"}}), "metadata.name"),
            (
                json!({"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.0.0.1/24"]}}),
                "spec.podCIDRs: 10.0.0.1/24 has host bits set",
            ),
            (
                json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "all"}}),
                "spec.podCIDR: \"all\" is not a network",
            ),
            (
                json!({"metadata": {"name": "n"},
                    "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}}),
                "status.addresses: 127.0.0.1 cannot be anybody's",
            ),
        ] {
            let error = node_from(value.clone()).expect_err("garbage").to_string();
            assert!(error.contains(words), "{value}: {error}");
        }
        let pod = |status: Value| {
            pod_from(json!({"metadata": {"name": "a", "namespace": "b"}, "status": status}))
        };
        for (status, words) in [
            (
                json!({"podIP": "x"}),
                "status.podIP: \"x\" is not an IP address",
            ),
            (json!({"podIPs": [{"ip": "010.0.0.1"}]}), "status.podIPs"),
            (json!({"phase": "Dancing"}), "status.phase: \"Dancing\""),
        ] {
            let error = pod(status).expect_err("garbage").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
