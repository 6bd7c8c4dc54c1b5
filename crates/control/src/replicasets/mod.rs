//! ReplicaSets: as many Pods as wanted.
//!
//! `plan` decides, from the set, its Pods and what this process has asked for and not yet seen, which
//! Pods to adopt, release, make and delete; `status` says how things stand. Both are pure. The driver
//! is `ReplicaSets`. A set that is being deleted is left to the garbage collector.

mod driver;
mod pods;
mod rank;
mod status;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

pub(crate) use driver::ReplicaSets;
pub(crate) use pods::{encode, from_template, pod_name};
pub(crate) use rank::Rank;
pub(crate) use status::status;

use crate::ledger::Ledger;
use crate::meta;

/// The most Pods that one round makes or deletes.
const BURST: usize = 500;

/// What to do for one ReplicaSet.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Make the set the owner of this Pod.
    Adopt(Arc<Pod>),
    /// Give this Pod up: its labels match no more.
    Release(Arc<Pod>),
    /// Make so many Pods.
    Create(usize),
    /// Delete this Pod.
    Delete(Arc<Pod>),
}

/// Which Pods are the set's, and which are about to be or to be no more.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    /// The set's, now or after adoption: without those that finished or go.
    pub(crate) active: Vec<Arc<Pod>>,
    /// The set's, on their way out.
    pub(crate) terminating: usize,
    pub(crate) adopt: Vec<Arc<Pod>>,
    pub(crate) release: Vec<Arc<Pod>>,
}

/// Whether a Pod can matter to the set: it is the set's, or nobody's.
pub(crate) fn concerns(set: &ReplicaSet, pod: &Pod) -> bool {
    match meta::controller_of(&pod.metadata) {
        Some(owner) => owner.uid == meta::uid(&set.metadata),
        None => meta::selector_of(&set.spec.selector)
            .is_some_and(|selector| meta::selects(&selector, &pod.metadata)),
    }
}

/// Sorts the Pods that concern a set.
pub(crate) fn claim(set: &ReplicaSet, pods: &[Arc<Pod>], ledger: &Ledger) -> Claim {
    let mut claim = Claim::default();
    let Some(selector) = meta::selector_of(&set.spec.selector) else {
        return claim;
    };
    let own = meta::uid(&set.metadata);
    for pod in pods {
        let matches = meta::selects(&selector, &pod.metadata);
        let owner = meta::controller_of(&pod.metadata);
        let ours = owner.is_some_and(|owner| owner.uid == own);
        if (owner.is_some() && !ours) || (owner.is_none() && !matches) {
            continue;
        }
        if ours && !matches {
            if !meta::is_terminating(&pod.metadata) {
                claim.release.push(pod.clone());
            }
            continue;
        }
        if !ours && !meta::is_active(pod) {
            continue;
        }
        if !ours {
            claim.adopt.push(pod.clone());
        }
        let leaving =
            meta::is_terminating(&pod.metadata) || ledger.is_deleting(meta::uid(&pod.metadata));
        if leaving {
            claim.terminating += 1;
        } else if !meta::is_finished(pod) {
            claim.active.push(pod.clone());
        }
    }
    claim
}

/// What to do next. `on_node` counts the related Pods of a node: doubled-up ones go first.
pub(crate) fn plan(
    set: &ReplicaSet,
    claim: &Claim,
    ledger: &Ledger,
    on_node: &dyn Fn(&str) -> usize,
) -> Vec<Step> {
    if meta::is_terminating(&set.metadata) {
        return Vec::new();
    }
    let mut steps: Vec<Step> = Vec::new();
    steps.extend(claim.adopt.iter().cloned().map(Step::Adopt));
    steps.extend(claim.release.iter().cloned().map(Step::Release));
    let wanted = usize::try_from(replicas(set)).unwrap_or(0);
    let expected = claim.active.len() + ledger.creating();
    if expected < wanted {
        steps.push(Step::Create((wanted - expected).min(BURST)));
    } else if claim.active.len() > wanted && ledger.creating() == 0 {
        let mut doomed = claim.active.clone();
        doomed.sort_by_cached_key(|pod| Rank::of(pod, on_node));
        doomed.truncate((claim.active.len() - wanted).min(BURST));
        steps.extend(doomed.into_iter().map(Step::Delete));
    }
    steps
}

/// The wanted number of Pods; one when nothing is said.
pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

#[cfg(test)]
mod tests;
