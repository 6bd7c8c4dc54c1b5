//! Reading what every object has: keys, owners, labels, conditions of Pods and Nodes.
//!
//! Pure look-ups only. Nothing here decides, and nothing here writes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, ObjectMeta, OwnerReference, Time,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Resource;
use kube::core::{Selector, SelectorExt};

/// Namespace (empty for what is cluster-wide) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Namespace, empty for cluster-wide objects.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
}

impl Key {
    /// The key of an object.
    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self::of_meta(object.meta())
    }

    /// The key that metadata tell.
    pub(crate) fn of_meta(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The uid, or nothing for what never was in a cluster.
pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// The name.
pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// Whether a deletion was asked for.
pub(crate) fn is_terminating(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// The one owner that manages the object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// Whether the object is managed by the one with this uid.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, owner_uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == owner_uid)
}

/// A reference that makes `owner` the manager of what carries it.
pub(crate) fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: name(owner.meta()).to_owned(),
        uid: uid(owner.meta()).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Labels, empty when there are none.
pub(crate) fn labels(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    meta.labels.as_ref().unwrap_or(&NONE)
}

/// An annotation's value.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// A selector ready for use. None when it cannot be read, or is empty: a workload that would select
/// everything is a mistake, and selects nothing.
pub(crate) fn selector_of(selector: &LabelSelector) -> Option<Selector> {
    let selector = Selector::try_from(selector.clone()).ok()?;
    (!selector.selects_all()).then_some(selector)
}

/// Whether the object's labels match.
pub(crate) fn selects(selector: &Selector, meta: &ObjectMeta) -> bool {
    selector.matches(labels(meta))
}

/// Creation time; what has none is the oldest.
pub(crate) fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// A condition of a Pod.
pub(crate) fn pod_condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == kind)
}

/// A condition of a Node.
pub(crate) fn node_condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status
        .as_ref()?
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == kind)
}

/// The Pod's phase, `Pending` when nobody said.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// Whether the Pod ran to its end and never runs again.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the Pod counts as a replica: neither finished nor asked to go.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(&pod.metadata)
}

/// Whether the Pod says that it is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when the Pod's readiness is what it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let condition = pod_condition(pod, "Ready")?;
    Some(condition.last_transition_time.as_ref()?.0)
}

/// When a Pod becomes available (ready for `min_ready_seconds`): None if it is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    let wait = SignedDuration::from_secs(i64::from(min_ready_seconds.max(0)));
    if wait.is_zero() {
        return Some(Timestamp::MIN);
    }
    ready_since(pod)?.checked_add(wait).ok()
}

/// The node that a Pod is bound to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// Seconds are what Kubernetes keeps of a time.
pub(crate) fn to_time(now: Timestamp) -> Time {
    let whole = Timestamp::from_second(now.as_second());
    Time(whole.unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).expect("a Pod")
    }

    #[test]
    fn a_pod_is_available_when_ready_for_long_enough() {
        let ready = pod(json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}));
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        assert_eq!(
            available_at(&ready, 10),
            Some(since + SignedDuration::from_secs(10))
        );
        assert_eq!(available_at(&ready, 0), Some(Timestamp::MIN));
        assert_eq!(available_at(&pod(json!({})), 0), None);
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(selector_of(&LabelSelector::default()).is_none());
    }

    #[test]
    fn a_finished_or_terminating_pod_is_no_replica() {
        assert!(is_active(&pod(json!({}))));
        assert!(!is_active(&pod(json!({"status": {"phase": "Failed"}}))));
        assert!(!is_active(&pod(json!({"metadata": {
            "deletionTimestamp": "2026-01-01T00:00:00Z"}}))));
    }

    #[test]
    fn keys_print_as_kubectl_writes_them() {
        let key = Key::of(&pod(json!({"metadata": {"namespace": "a", "name": "b"}})));
        assert_eq!(key.to_string(), "a/b");
        let node = Key::of(&Node {
            metadata: ObjectMeta {
                name: Some("n".into()),
                ..ObjectMeta::default()
            },
            ..Node::default()
        });
        assert_eq!(node.to_string(), "n");
    }
}
