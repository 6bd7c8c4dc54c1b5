//! Taints of nodes and tolerations of Pods: which taint keeps which Pod away.

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::meta;

/// A node whose agent says that it is not ready.
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// A node whose agent says nothing any more.
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// A node that is cordoned.
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// A node that says that its network is not there.
pub(crate) const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
/// No new Pods.
pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
/// No Pods at all.
pub(crate) const NO_EXECUTE: &str = "NoExecute";

/// A taint without a value.
pub(crate) fn taint(key: &str, effect: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: effect.to_owned(),
        value: None,
        time_added: None,
    }
}

/// The taints of a node.
pub(crate) fn of_node(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

/// The taint that a node's readiness implies: it may not be written down yet.
pub(crate) fn implied(node: &Node) -> Option<&'static str> {
    match meta::node_condition(node, "Ready").map(|ready| ready.status.as_str()) {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    }
}

/// The taints of a node, with the one that its readiness implies.
pub(crate) fn with_implied(node: &Node) -> Vec<Taint> {
    let mut all = of_node(node).to_vec();
    if let Some(key) = implied(node)
        && !all.iter().any(|t| t.key == key && t.effect == NO_SCHEDULE)
    {
        all.push(taint(key, NO_SCHEDULE));
    }
    all
}

/// The tolerations of a Pod.
pub(crate) fn of_pod(pod: &Pod) -> &[Toleration] {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default()
}

/// Whether a toleration covers a taint.
pub(crate) fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let effect = text(&toleration.effect);
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = text(&toleration.key);
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            !key.is_empty() && text(&toleration.value) == text(&taint.value)
        }
        Some(_) => false,
    }
}

/// Whether one of the tolerations covers the taint.
pub(crate) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations
        .iter()
        .any(|toleration| covers(toleration, taint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_cover_by_key_value_and_effect() {
        let dedicated = Taint {
            value: Some("db".into()),
            ..taint("dedicated", NO_SCHEDULE)
        };
        let cases = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "dedicated", "operator": "Exists"}), true),
            (json!({"key": "dedicated", "value": "db"}), true),
            (json!({"key": "dedicated", "value": "web"}), false),
            (json!({"key": "dedicated"}), false),
            (
                json!({"key": "dedicated", "value": "db", "effect": "NoExecute"}),
                false,
            ),
            (
                json!({"key": "dedicated", "value": "db", "effect": "NoSchedule"}),
                true,
            ),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({}), false),
        ];
        for (toleration, expected) in cases {
            let parsed = serde_json::from_value(toleration.clone()).expect("a toleration");
            assert_eq!(covers(&parsed, &dedicated), expected, "{toleration}");
        }
    }

    #[test]
    fn a_node_that_never_said_ready_is_as_good_as_tainted() {
        let node = |status: &str| -> Node {
            serde_json::from_value(json!({"status": {"conditions": [
                {"type": "Ready", "status": status}]}}))
            .expect("a Node")
        };
        assert_eq!(implied(&node("True")), None);
        assert_eq!(implied(&node("Unknown")), Some(UNREACHABLE));
        assert_eq!(implied(&node("False")), Some(NOT_READY));
        assert_eq!(implied(&Node::default()), Some(NOT_READY));
    }
}
