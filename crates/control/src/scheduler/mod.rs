//! The scheduler: gives each Pod without a node one.
//!
//! `schedule` is pure: the fleet (nodes and what is taken) and the waiting Pods in, a node or the
//! reasons for each out. It filters (readiness and taints, cordon, nodeSelector and required
//! nodeAffinity, host ports, room for Pods, cpu, memory) and then spreads: fewest Pods of the same
//! owner, then fewest Pods, then by name. It knows no preferred affinity, no affinity between Pods, no
//! topology constraints, no volumes and no preemption. The driver is `Scheduler`.

mod affinity;
mod driver;
mod fleet;
mod needs;
mod quantity;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

pub(crate) use affinity::wants;
pub(crate) use driver::Scheduler;
pub(crate) use fleet::Fleet;

use crate::{meta, natural, taints};
use fleet::NodeState;
use needs::Needs;

/// The scheduler that Pods get when they name none.
pub(crate) const NAME: &str = "default-scheduler";

/// What becomes of a waiting Pod.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) pod: Arc<Pod>,
    /// The node, or why there is none.
    pub(crate) node: Result<String, String>,
}

/// Whether the Pod waits for this scheduler.
pub(crate) fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let ours = spec
        .scheduler_name
        .as_deref()
        .is_none_or(|name| name.is_empty() || name == NAME);
    let gated = spec
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty());
    ours && !gated && meta::node_name(pod).is_none() && meta::is_active(pod)
}

/// Finds nodes for Pods: by priority, then the oldest first. Each takes its place in the fleet, so
/// that the next one sees it.
pub(crate) fn schedule(fleet: &mut Fleet, mut waiting: Vec<Arc<Pod>>) -> Vec<Decision> {
    waiting.sort_by_cached_key(|pod| {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
        (
            std::cmp::Reverse(priority.unwrap_or(0)),
            meta::created(&pod.metadata),
            meta::Key::of(&**pod),
        )
    });
    waiting
        .into_iter()
        .map(|pod| {
            let node = choose(fleet, &pod);
            if let Ok(node) = &node {
                fleet.place(&pod, node);
            }
            Decision { pod, node }
        })
        .collect()
}

fn choose(fleet: &Fleet, pod: &Pod) -> Result<String, String> {
    let needs = Needs::of(pod);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<&NodeState> = None;
    for node in fleet.nodes() {
        let against = objections(node, pod, &needs);
        if against.is_empty() {
            if best.is_none_or(|best| compare(node, best, pod) == Ordering::Less) {
                best = Some(node);
            }
        } else {
            for reason in against {
                *reasons.entry(reason).or_default() += 1;
            }
        }
    }
    best.map(|node| node.name.clone())
        .ok_or_else(|| explain(fleet.len(), &reasons))
}

/// Why a node cannot take the Pod. The first kind of objection is told, all shortages at once.
fn objections(node: &NodeState, pod: &Pod, needs: &Needs) -> Vec<String> {
    let tolerations = taints::of_pod(pod);
    let cordon = taints::taint(taints::UNSCHEDULABLE, taints::NO_SCHEDULE);
    if node.cordoned && !taints::tolerated(tolerations, &cordon) {
        return vec!["node(s) were unschedulable".into()];
    }
    let repelling = node.taints.iter().find(|taint| {
        matches!(
            taint.effect.as_str(),
            taints::NO_SCHEDULE | taints::NO_EXECUTE
        ) && !taints::tolerated(tolerations, taint)
    });
    if let Some(taint) = repelling {
        let value = taint.value.as_deref().unwrap_or_default();
        return vec![format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        )];
    }
    let wanted = pod
        .spec
        .as_ref()
        .is_none_or(|spec| affinity::wants(spec, &node.labels, &node.name));
    if !wanted {
        return vec!["node(s) didn't match Pod's node affinity/selector".into()];
    }
    let taken = |port| node.ports.iter().any(|other| other.conflicts(port));
    if needs.ports.iter().any(taken) {
        return vec!["node(s) didn't have free ports for the requested pod ports".into()];
    }
    shortages(node, needs)
}

fn shortages(node: &NodeState, needs: &Needs) -> Vec<String> {
    let mut short = Vec::new();
    if node.room.is_some_and(|room| node.pods >= room) {
        short.push("Too many pods".into());
    }
    let lacks = |wanted: i128, used: i128, offered: Option<i128>| {
        wanted > 0 && offered.is_some_and(|offered| used.saturating_add(wanted) > offered)
    };
    if lacks(needs.resources.cpu, node.used.cpu, node.cpu) {
        short.push("Insufficient cpu".into());
    }
    if lacks(needs.resources.memory, node.used.memory, node.memory) {
        short.push("Insufficient memory".into());
    }
    short
}

/// The better node comes first.
fn compare(left: &NodeState, right: &NodeState, pod: &Pod) -> Ordering {
    let owner = meta::controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
    let score = |node: &NodeState| {
        let disliked = node.taints.iter().filter(|taint| {
            taint.effect == "PreferNoSchedule" && !taints::tolerated(taints::of_pod(pod), taint)
        });
        let related = owner.and_then(|owner| node.owners.get(owner)).copied();
        (disliked.count(), related.unwrap_or(0), node.pods)
    };
    score(left)
        .cmp(&score(right))
        .then_with(|| natural::compare(&left.name, &right.name))
}

fn explain(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut told: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    told.sort();
    format!("0/{nodes} nodes are available: {}.", told.join(", "))
}

#[cfg(test)]
mod tests;
