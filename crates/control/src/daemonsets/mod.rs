//! DaemonSets: one Pod on each node that fits.
//!
//! `plan` is pure: DaemonSet, nodes, Pods and revisions in, steps out. First every node gets the Pod
//! that it lacks and loses what it has too much (`manage`), then Pods of old templates are replaced as
//! fast as the strategy allows (`rolling`). The driver is `DaemonSets`. Pods are made for a node by
//! affinity and bound by the scheduler, as upstream, so what does not fit waits and says why.
//!
//! Every template that there was is kept as a ControllerRevision (`history`); a Pod names the one that
//! it was made from by its label `controller-revision-hash`.

mod crew;
mod driver;
mod history;
mod manage;
mod patience;
mod place;
mod requests;
mod rolling;
mod status;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;

use crew::Crew;
pub(crate) use driver::DaemonSets;
use history::History;

use crate::ledger::Ledger;
use crate::meta;

/// What a decision is made from.
pub(crate) struct Input<'a> {
    pub(crate) set: &'a DaemonSet,
    pub(crate) nodes: &'a [Arc<Node>],
    /// Pods of the namespace that are the set's or nobody's.
    pub(crate) pods: &'a [Arc<Pod>],
    /// Revisions of the namespace that are the set's or nobody's.
    pub(crate) revisions: &'a [Arc<ControllerRevision>],
    /// What was asked for and is not seen yet: Pods.
    pub(crate) ledger: &'a Ledger,
    /// Whether there are revisions that were made and are not seen yet.
    pub(crate) unseen: bool,
    /// When a Pod that ended on a node may be replaced.
    pub(crate) retry_at: &'a dyn Fn(&str) -> Timestamp,
    pub(crate) now: Timestamp,
}

/// What to do for one DaemonSet.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Make the set the owner of this Pod.
    Adopt(Arc<Pod>),
    /// Give this Pod up: its labels match no more.
    Release(Arc<Pod>),
    /// Make the set the owner of this revision.
    AdoptRevision(Arc<ControllerRevision>),
    /// Give this revision up.
    ReleaseRevision(Arc<ControllerRevision>),
    /// Keep the present template.
    Record(Box<ControllerRevision>),
    /// An old template is back: it gets this number.
    Renumber(Arc<ControllerRevision>, i64),
    /// Delete this revision: it is history beyond the limit.
    Forget(Arc<ControllerRevision>),
    /// Make a Pod of this revision for this node.
    Create { node: String, hash: String },
    /// Delete this Pod.
    Delete(Arc<Pod>),
    /// Delete this Pod, which has ended on this node, to make another one.
    Bury { pod: Arc<Pod>, node: String },
    /// Write this status.
    Status(Box<DaemonSetStatus>),
}

/// Steps, and when to look again though nothing changed.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) again: Option<Timestamp>,
}

impl Plan {
    /// Looks again at this moment, or earlier.
    fn look_at(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Whether an object can matter to the set: it is the set's, or nobody's.
pub(crate) fn concerns<K: Resource>(set: &DaemonSet, object: &K) -> bool {
    match meta::controller_of(object.meta()) {
        Some(owner) => owner.uid == meta::uid(&set.metadata),
        None => meta::selector_of(&set.spec.selector)
            .is_some_and(|selector| meta::selects(&selector, object.meta())),
    }
}

/// What to do next.
pub(crate) fn plan(input: &Input<'_>) -> Plan {
    let set = input.set;
    let mut plan = Plan::default();
    if meta::selector_of(&set.spec.selector).is_none() || meta::is_terminating(&set.metadata) {
        return plan;
    }
    plan.steps = claims(input);
    if !plan.steps.is_empty() {
        // What is adopted now is part of the next round.
        return plan;
    }
    let history = History::of(set, input.revisions);
    let Some(current) = history.current() else {
        if !input.unseen {
            plan.steps.push(Step::Record(Box::new(history.make(set))));
        }
        return plan;
    };
    if let Some(number) = history.number_to_give() {
        plan.steps.push(Step::Renumber(current.clone(), number));
    }
    let crew = Crew::of(input, &history);
    // Nobody can count while Pods are on their way.
    if input.ledger.creating() == 0 {
        manage::plan(input, &crew, &mut plan);
        if !plan.steps.iter().any(is_of_pods) {
            rolling::plan(input, &crew, &mut plan);
        }
        plan.steps.extend(history.surplus(set, input.pods));
    }
    status::plan(input, &crew, &mut plan);
    plan
}

fn is_of_pods(step: &Step) -> bool {
    matches!(
        step,
        Step::Create { .. } | Step::Delete(_) | Step::Bury { .. }
    )
}

/// What is to be adopted or released.
fn claims(input: &Input<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for pod in input.pods {
        match claim(input.set, &**pod) {
            // What has ended is left to those who made it.
            Some(Claim::Adopt) if meta::is_active(pod) => steps.push(Step::Adopt(pod.clone())),
            Some(Claim::Release) => steps.push(Step::Release(pod.clone())),
            _ => {}
        }
    }
    for revision in input.revisions {
        match claim(input.set, &**revision) {
            Some(Claim::Adopt) => steps.push(Step::AdoptRevision(revision.clone())),
            Some(Claim::Release) => steps.push(Step::ReleaseRevision(revision.clone())),
            None => {}
        }
    }
    steps
}

enum Claim {
    Adopt,
    Release,
}

fn claim<K: Resource>(set: &DaemonSet, object: &K) -> Option<Claim> {
    let metadata = object.meta();
    if meta::is_terminating(metadata) {
        return None;
    }
    let matches = meta::selector_of(&set.spec.selector)
        .is_some_and(|selector| meta::selects(&selector, metadata));
    match (is_of(set, object), matches) {
        (true, false) => Some(Claim::Release),
        (false, true) if meta::controller_of(metadata).is_none() => Some(Claim::Adopt),
        _ => None,
    }
}

/// Whether an object is the set's.
fn is_of<K: Resource>(set: &DaemonSet, object: &K) -> bool {
    meta::is_controlled_by(object.meta(), meta::uid(&set.metadata))
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
