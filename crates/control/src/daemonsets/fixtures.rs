//! Objects for the tests of DaemonSets.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::history::History;
use super::place;
use crate::meta;

/// A DaemonSet of the usual kind.
pub(crate) fn daemon_set(strategy: &Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "agent", "namespace": "default", "uid": "set", "generation": 1,
                     "annotations": {"kubernetes.io/change-cause": "because",
                                     "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {
            "revisionHistoryLimit": 1,
            "updateStrategy": strategy,
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}},
                         "spec": {"containers": [{"name": "main", "image": "agent:1", "resources": {}}]}},
        },
    }))
    .expect("a DaemonSet")
}

/// Another version of the template.
pub(crate) fn set_image(set: &mut DaemonSet, image: &str) {
    let pod = set.spec.template.spec.as_mut().expect("a Pod");
    pod.containers[0].image = Some(image.to_owned());
    *set.metadata.generation.get_or_insert(0) += 1;
}

/// The revision of the present template, as it would be after creation.
pub(crate) fn recorded(set: &DaemonSet, number: i64) -> Arc<ControllerRevision> {
    let mut revision = History::of(set, &[]).make(set);
    revision.revision = Some(number);
    revision.metadata.uid = revision.metadata.name.clone();
    Arc::new(revision)
}

/// A Pod of the present template for a node: bound, and ready since a second if there is one.
pub(crate) fn pod(set: &DaemonSet, node: &str, name: &str, ready: Option<i64>) -> Pod {
    let revision = recorded(set, 1);
    let hash = &meta::labels(&revision.metadata)[super::history::HASH_LABEL];
    let mut pod = place::pod(set, hash, node, name);
    pod.metadata.uid = Some(name.to_owned());
    let spec = pod.spec.as_mut().expect("a spec");
    spec.node_name = Some(node.to_owned());
    pod.status = Some(status(ready));
    pod
}

/// The status of a Pod that runs.
pub(crate) fn status(ready: Option<i64>) -> k8s_openapi::api::core::v1::PodStatus {
    let condition = ready.map(|second| {
        let since = k8s_openapi::jiff::Timestamp::from_second(second).expect("a time");
        json!({"type": "Ready", "status": "True", "lastTransitionTime": meta::to_time(since)})
    });
    let conditions: Vec<Value> = condition.into_iter().collect();
    serde_json::from_value(json!({"phase": "Running", "conditions": conditions})).expect("a status")
}

/// A node that is ready, with these taints (key and effect).
pub(crate) fn node(name: &str, taints: &[(&str, &str)]) -> Arc<Node> {
    let taints: Vec<Value> = taints
        .iter()
        .map(|(key, effect)| json!({"key": key, "effect": effect}))
        .collect();
    let node = json!({"metadata": {"name": name, "uid": name, "labels": {"zone": name}},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    Arc::new(serde_json::from_value(node).expect("a Node"))
}
