//! Deployments: ReplicaSets, one for each version of the template, and the way from one to the next.
//!
//! `plan` is pure: Deployment, ReplicaSets and Pods in, steps out. One round takes one step of a
//! rollout (more new Pods, or fewer old ones); what comes of it is the next round's input. The driver
//! is `Deployments`. It never touches a Pod: that is the ReplicaSets' work.

mod conditions;
mod driver;
mod family;
mod hash;
mod rolling;
mod scale;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

pub(crate) use driver::Deployments;
pub(crate) use family::Family;
pub(crate) use hash::hash;
pub(crate) use rolling::scaled;

use crate::meta;
use crate::replicasets;

/// What a decision is made from.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) deployment: &'a Deployment,
    /// The namespace's ReplicaSets that are the Deployment's or nobody's.
    pub(crate) sets: &'a [Arc<ReplicaSet>],
    /// Pods of these sets, whatever their state.
    pub(crate) pods: &'a [Arc<Pod>],
    /// Whether there are sets that were made and are not seen yet: nobody can count with them.
    pub(crate) unseen: bool,
    pub(crate) now: Timestamp,
}

/// What to do for one Deployment.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Make the Deployment the owner of this set.
    Adopt(Arc<ReplicaSet>),
    /// Give this set up: its labels match no more.
    Release(Arc<ReplicaSet>),
    /// Make this set.
    Create(Box<ReplicaSet>),
    /// Change a set's replicas and what is noted at it.
    Resize(Resize),
    /// Delete this set: it is history beyond the limit.
    Delete(Arc<ReplicaSet>),
    /// Note this revision at the Deployment.
    Revision(String),
    /// Write this status.
    Status(Box<DeploymentStatus>),
}

/// A change of a set.
#[derive(Debug, Clone)]
pub(crate) struct Resize {
    pub(crate) set: Arc<ReplicaSet>,
    /// None: leave the replicas alone.
    pub(crate) to: Option<i32>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) min_ready_seconds: Option<i32>,
}

/// Steps, and when to look again though nothing changed.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) again: Option<Timestamp>,
}

/// Whether a set can matter to the Deployment: it is the Deployment's, or nobody's.
pub(crate) fn concerns(deployment: &Deployment, set: &ReplicaSet) -> bool {
    match meta::controller_of(&set.metadata) {
        Some(owner) => owner.uid == meta::uid(&deployment.metadata),
        None => meta::selector_of(&deployment.spec.selector)
            .is_some_and(|selector| meta::selects(&selector, &set.metadata)),
    }
}

/// What to do next.
pub(crate) fn plan(input: &Input<'_>) -> Plan {
    let deployment = input.deployment;
    if meta::selector_of(&deployment.spec.selector).is_none() {
        return Plan::default();
    }
    let (claims, owned) = claim(deployment, input.sets);
    if !claims.is_empty() && !meta::is_terminating(&deployment.metadata) {
        // What is adopted now is part of the next round.
        return Plan {
            steps: claims,
            again: None,
        };
    }
    let family = Family::of(deployment, owned);
    let mut steps = Vec::new();
    if !meta::is_terminating(&deployment.metadata) && !input.unseen {
        rollout(input, &family, &mut steps);
    }
    let created = steps.iter().any(|step| matches!(step, Step::Create(_)));
    let told = status::status(deployment, &family, created, input.now);
    let again = status::deadline(deployment, &told, input.now);
    if deployment.status.as_ref() != Some(&told) {
        steps.push(Step::Status(Box::new(told)));
    }
    Plan { steps, again }
}

/// Sets to adopt or release, and the ones that are the Deployment's already.
fn claim(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> (Vec<Step>, Vec<Arc<ReplicaSet>>) {
    let mut steps = Vec::new();
    let mut owned = Vec::new();
    let own = meta::uid(&deployment.metadata);
    let selector = meta::selector_of(&deployment.spec.selector);
    for set in sets {
        let matches = selector
            .as_ref()
            .is_some_and(|selector| meta::selects(selector, &set.metadata));
        let ours = meta::is_controlled_by(&set.metadata, own);
        match (ours, matches) {
            (true, true) => owned.push(set.clone()),
            (true, false) => steps.push(Step::Release(set.clone())),
            (false, true)
                if meta::controller_of(&set.metadata).is_none()
                    && !meta::is_terminating(&set.metadata) =>
            {
                steps.push(Step::Adopt(set.clone()));
            }
            (false, _) => {}
        }
    }
    (steps, owned)
}

fn rollout(input: &Input<'_>, family: &Family, steps: &mut Vec<Step>) {
    let deployment = input.deployment;
    let paused = is_paused(deployment);
    if let Some(revision) = family.revision_to_note(deployment) {
        steps.push(Step::Revision(revision));
    }
    if let Some(touch) = family.notes_to_renew(deployment) {
        steps.push(Step::Resize(touch));
        return;
    }
    if paused || scale::is_due(deployment, family) {
        steps.extend(scale::plan(deployment, family));
        if paused && steps.is_empty() {
            steps.extend(cleanup(deployment, family));
        }
        return;
    }
    let next = if rolling::is_recreate(deployment) {
        recreate(input, family)
    } else {
        rolling::plan(deployment, family)
    };
    let still = next.is_empty();
    steps.extend(next);
    if still && status::is_complete(deployment, &status::counts(deployment, family)) {
        steps.extend(cleanup(deployment, family));
    }
}

/// Recreate: first no old Pod, then the new ones.
fn recreate(input: &Input<'_>, family: &Family) -> Vec<Step> {
    let deployment = input.deployment;
    let down: Vec<Step> = family
        .old
        .iter()
        .filter(|set| replicasets::replicas(set) > 0)
        .map(|set| Step::Resize(scale::to(deployment, set, 0)))
        .collect();
    if !down.is_empty() {
        return down;
    }
    let old_runs = family.old.iter().any(|set| {
        input.pods.iter().any(|pod| {
            meta::is_controlled_by(&pod.metadata, meta::uid(&set.metadata))
                && !meta::is_finished(pod)
        })
    });
    if old_runs {
        return Vec::new();
    }
    let wanted = replicas(deployment);
    match &family.new {
        None => vec![Step::Create(Box::new(family.make(deployment, wanted)))],
        Some(set) if replicasets::replicas(set) != wanted => {
            vec![Step::Resize(scale::to(deployment, set, wanted))]
        }
        Some(_) => Vec::new(),
    }
}

/// Old sets beyond the limit of history, the oldest revisions first.
fn cleanup(deployment: &Deployment, family: &Family) -> Vec<Step> {
    let limit = deployment.spec.revision_history_limit.unwrap_or(10);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut old: Vec<_> = family
        .old
        .iter()
        .filter(|set| !meta::is_terminating(&set.metadata))
        .collect();
    let surplus = old.len().saturating_sub(limit);
    old.sort_by_key(|set| (family::revision(set), meta::created(&set.metadata)));
    old.into_iter()
        .take(surplus)
        .filter(|set| is_idle(set))
        .map(|set| Step::Delete(set.clone()))
        .collect()
}

/// Whether a set wants and has no Pods, as far as its own controller has seen.
fn is_idle(set: &ReplicaSet) -> bool {
    let status = set.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    replicasets::replicas(set) == 0
        && status.is_some_and(|status| status.replicas == 0)
        && set.metadata.generation <= observed
}

/// The wanted number of Pods; one when nothing is said.
pub(crate) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

/// Whether the rollout is halted by the user.
pub(crate) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused == Some(true)
}

#[cfg(test)]
pub(crate) use rolling::{Limits, is_recreate, limits};

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
