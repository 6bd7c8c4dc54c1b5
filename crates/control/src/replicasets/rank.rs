//! Which Pods go first when there are too many.
//!
//! In this order: without a node before bound ones; pending, then unknown, then running; not ready
//! before ready; lower `controller.kubernetes.io/pod-deletion-cost` first; more related Pods on the
//! same node first; ready for less time first; more restarts first; younger first; then by name, so
//! that the choice is the same each time.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::meta;

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The rank of a Pod: lower goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    bound: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    doubled: Reverse<usize>,
    ready_since: Reverse<Timestamp>,
    restarts: Reverse<i32>,
    created: Reverse<Timestamp>,
    name: String,
}

impl Rank {
    /// Ranks a Pod; `on_node` counts the related active Pods of a node.
    pub(crate) fn of(pod: &Pod, on_node: &dyn Fn(&str) -> usize) -> Self {
        let ready = meta::is_ready(pod);
        let node = meta::node_name(pod);
        let restarts = pod
            .status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
            .map(|container| container.restart_count)
            .max();
        Self {
            bound: node.is_some(),
            phase: match meta::phase(pod) {
                "Pending" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            ready,
            cost: meta::annotation(&pod.metadata, COST)
                .and_then(|cost| cost.parse().ok())
                .unwrap_or(0),
            doubled: Reverse(node.map_or(0, on_node)),
            ready_since: Reverse(match ready {
                true => meta::ready_since(pod).unwrap_or(Timestamp::MIN),
                false => Timestamp::MIN,
            }),
            restarts: Reverse(restarts.unwrap_or(0)),
            created: Reverse(meta::created(&pod.metadata)),
            name: meta::name(&pod.metadata).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, node: Option<&str>, phase: &str, ready: Option<&str>, extra: Value) -> Pod {
        let mut value = json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase},
        });
        if let Some(since) = ready {
            value["status"]["conditions"] =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
        }
        if let Some(cost) = extra.get("cost") {
            value["metadata"]["annotations"] = json!({COST: cost});
        }
        if let Some(restarts) = extra.get("restarts") {
            value["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "",
                "ready": true, "restartCount": restarts}]);
        }
        if let Some(created) = extra.get("created") {
            value["metadata"]["creationTimestamp"] = created.clone();
        }
        serde_json::from_value(value).expect("a Pod")
    }

    #[test]
    fn the_order_is_the_one_promised() {
        let early = Some("2026-01-01T00:00:10Z");
        let late = Some("2026-01-01T00:00:20Z");
        let expected = [
            pod("unbound", None, "Pending", None, json!({})),
            pod("pending", Some("n1"), "Pending", None, json!({})),
            pod("unknown", Some("n1"), "Unknown", None, json!({})),
            pod("unready", Some("n1"), "Running", None, json!({})),
            pod("cheap", Some("n1"), "Running", early, json!({"cost": "-5"})),
            pod("doubled", Some("n2"), "Running", early, json!({})),
            pod("late", Some("n1"), "Running", late, json!({})),
            pod(
                "restarted",
                Some("n1"),
                "Running",
                early,
                json!({"restarts": 3}),
            ),
            pod(
                "young",
                Some("n1"),
                "Running",
                early,
                json!({"created": "2026-01-01T00:00:05Z"}),
            ),
            pod("a", Some("n1"), "Running", early, json!({})),
            pod("b", Some("n1"), "Running", early, json!({})),
        ];
        let on_node = |node: &str| if node == "n2" { 2 } else { 1 };
        let mut shuffled: Vec<Pod> = expected.iter().rev().cloned().collect();
        shuffled.sort_by_cached_key(|pod| Rank::of(pod, &on_node));
        let names =
            |pods: &[Pod]| -> Vec<_> { pods.iter().map(|pod| pod.metadata.name.clone()).collect() };
        assert_eq!(names(&shuffled), names(&expected));
    }
}
