//! What a node's silence or state means: its conditions and its taints.

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::jiff::Timestamp;

use crate::meta;
use crate::taints::{
    self, NETWORK_UNAVAILABLE, NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE,
};

/// Conditions that nobody vouches for when the node is silent.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The conditions to write for a silent node; none if all are said already.
pub(crate) fn conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    VOUCHED
        .into_iter()
        .filter_map(|kind| {
            let before = meta::node_condition(node, kind);
            if before.is_some_and(|condition| condition.status == "Unknown") {
                return None;
            }
            let (reason, message) = match before {
                Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
                None => (
                    "NodeStatusNeverUpdated",
                    "Kubelet never posted node status.",
                ),
            };
            Some(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_heartbeat_time: before.and_then(|before| before.last_heartbeat_time.clone()),
                last_transition_time: Some(meta::to_time(now)),
            })
        })
        .collect()
}

/// The taints that a node should have, if they differ from those that it has. `spare`: when all nodes
/// are silent the fault may be elsewhere, so no Pod is to be driven from anywhere.
pub(crate) fn wanted_taints(
    node: &Node,
    silent: bool,
    spare: bool,
    now: Timestamp,
) -> Option<Vec<Taint>> {
    let state = match silent {
        true => Some(UNREACHABLE),
        false => taints::implied(node),
    };
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let has = taints::of_node(node);
    let mut wanted: Vec<Taint> = has
        .iter()
        .filter(|taint| !is_ours(taint))
        .cloned()
        .collect();
    if let Some(key) = state {
        wanted.push(kept(has, key, NO_SCHEDULE, None));
        if !spare {
            wanted.push(kept(has, key, NO_EXECUTE, Some(now)));
        }
    }
    let network = meta::node_condition(node, "NetworkUnavailable");
    if network.is_some_and(|condition| condition.status == "True") {
        wanted.push(kept(has, NETWORK_UNAVAILABLE, NO_SCHEDULE, None));
    }
    if cordoned {
        wanted.push(kept(has, UNSCHEDULABLE, NO_SCHEDULE, None));
    }
    let id = |taint: &Taint| (taint.key.clone(), taint.effect.clone());
    let same = has.len() == wanted.len()
        && wanted
            .iter()
            .all(|taint| has.iter().any(|other| id(other) == id(taint)));
    (!same).then_some(wanted)
}

fn is_ours(taint: &Taint) -> bool {
    let effects: &[&str] = match taint.key.as_str() {
        NOT_READY | UNREACHABLE => &[NO_SCHEDULE, NO_EXECUTE],
        UNSCHEDULABLE | NETWORK_UNAVAILABLE => &[NO_SCHEDULE],
        _ => &[],
    };
    effects.contains(&taint.effect.as_str())
}

/// The taint as the node has it, or a new one.
fn kept(has: &[Taint], key: &str, effect: &str, added: Option<Timestamp>) -> Taint {
    let known = has
        .iter()
        .find(|taint| taint.key == key && taint.effect == effect);
    known.cloned().unwrap_or_else(|| Taint {
        time_added: added.map(meta::to_time),
        ..taints::taint(key, effect)
    })
}
