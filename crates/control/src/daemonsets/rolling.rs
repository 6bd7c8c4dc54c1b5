//! From one template to the next, node by node: the old Pod goes before the new one comes, on so many
//! nodes at once (`maxUnavailable`), or the new one comes before the old one goes (`maxSurge`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::crew::{Crew, Post};
use super::{Input, Plan, Step};
use crate::deployments::scaled;

/// How far a rollout may stray from one Pod a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) surge: usize,
    pub(super) unavailable: usize,
}

/// The limits in nodes, of so many.
pub(super) fn limits(set: &DaemonSet, nodes: usize) -> Limits {
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let total = i32::try_from(nodes).unwrap_or(i32::MAX);
    let count = |value: Option<&IntOrString>, default: i32| {
        let value = value.cloned().unwrap_or(IntOrString::Int(default));
        usize::try_from(scaled(&value, total, true)).unwrap_or(0)
    };
    if is_on_delete(set) {
        return Limits {
            surge: 0,
            unavailable: 0,
        };
    }
    let surge = count(rolling.and_then(|r| r.max_surge.as_ref()), 0);
    let unavailable = count(rolling.and_then(|r| r.max_unavailable.as_ref()), 1);
    let stuck = surge == 0 && unavailable == 0;
    Limits {
        surge,
        unavailable: if stuck { 1 } else { unavailable },
    }
}

/// Whether Pods are replaced when somebody else deletes them, and only then.
fn is_on_delete(set: &DaemonSet) -> bool {
    let strategy = set.spec.update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
}

/// The new Pod of a node and the old one.
type Pair<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

/// What a node has of each template, without what goes. None if there are several of one: they are
/// tidied up first.
fn pair<'a>(crew: &Crew<'_>, post: &'a Post) -> Option<Pair<'a>> {
    let staying = post.pods.iter().filter(|pod| !crew.is_leaving(pod));
    let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| crew.is_new(pod));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// The next Pods to replace.
pub(super) fn plan(input: &Input<'_>, crew: &Crew<'_>, plan: &mut Plan) {
    if is_on_delete(input.set) {
        return;
    }
    let limits = limits(input.set, crew.wanted().count());
    match limits.surge {
        0 => replace(crew, limits.unavailable, plan),
        most => surge(crew, most, plan),
    }
}

/// Deletes old Pods: those that serve nobody at once, others as many as the limit allows.
fn replace(crew: &Crew<'_>, most: usize, plan: &mut Plan) {
    let mut unavailable = 0;
    let mut healthy = Vec::new();
    for post in crew.wanted() {
        match pair(crew, post) {
            Some((None, Some(old))) if crew.is_available(old) => healthy.push(old.clone()),
            Some((None, Some(old))) => {
                unavailable += 1;
                plan.steps.push(Step::Delete(old.clone()));
            }
            Some((Some(new), None)) if crew.is_available(new) => {}
            _ => unavailable += 1,
        }
    }
    healthy.truncate(most.saturating_sub(unavailable));
    plan.steps.extend(healthy.into_iter().map(Step::Delete));
}

/// Makes new Pods beside old ones: where the old one serves nobody at once, elsewhere as many as the
/// limit allows. `manage` ends the old one when the new one is available.
fn surge(crew: &Crew<'_>, most: usize, plan: &mut Plan) {
    let mut surging = 0;
    let mut healthy = Vec::new();
    let create = |post: &Post| Step::Create {
        node: post.node.clone(),
        hash: crew.hash.to_owned(),
    };
    for post in crew.wanted() {
        match pair(crew, post) {
            Some((None, Some(old))) if crew.is_available(old) => healthy.push(post),
            Some((None, Some(_))) => plan.steps.push(create(post)),
            Some((Some(new), _)) if crew.is_available(new) => {}
            Some((None, None)) => {}
            _ => surging += 1,
        }
    }
    healthy.truncate(most.saturating_sub(surging));
    plan.steps.extend(healthy.into_iter().map(create));
}
