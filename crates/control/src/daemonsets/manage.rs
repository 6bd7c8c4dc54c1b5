//! One Pod for each node that is to have one, and none elsewhere.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::crew::{Crew, Post};
use super::place::Fit;
use super::{Input, Plan, Step, rolling};
use crate::meta;

/// Pods to make and to delete.
pub(super) fn plan(input: &Input<'_>, crew: &Crew<'_>, plan: &mut Plan) {
    let surges = rolling::limits(input.set, 1).surge > 0;
    for post in &crew.posts {
        match post.fit {
            Fit::Goes => {
                let staying = post.pods.iter().filter(|pod| !crew.is_leaving(pod));
                plan.steps.extend(staying.cloned().map(Step::Delete));
            }
            Fit::Runs if post.pods.is_empty() => plan.steps.push(Step::Create {
                node: post.node.clone(),
                hash: crew.hash.to_owned(),
            }),
            Fit::Runs | Fit::Stays => tidy(input, crew, post, surges, plan),
        }
    }
    let stray = crew.stray.iter().filter(|pod| !crew.is_leaving(pod));
    plan.steps.extend(stray.cloned().map(Step::Delete));
}

/// What has ended makes room, and doubles go.
fn tidy(input: &Input<'_>, crew: &Crew<'_>, post: &Post, surges: bool, plan: &mut Plan) {
    let mut running: Vec<&Arc<Pod>> = Vec::new();
    for pod in post.pods.iter().filter(|pod| !crew.is_leaving(pod)) {
        if !meta::is_finished(pod) {
            running.push(pod);
            continue;
        }
        let at = (input.retry_at)(&post.node);
        match at <= input.now {
            true => plan.steps.push(Step::Bury {
                pod: pod.clone(),
                node: post.node.clone(),
            }),
            false => plan.look_at(at),
        }
    }
    let kept = match surges {
        true => kept_in_surge(crew, &running),
        false => running.first().map(|pod| vec![*pod]).unwrap_or_default(),
    };
    let doubles = running
        .iter()
        .filter(|pod| !kept.iter().any(|kept| Arc::ptr_eq(kept, pod)));
    let doubles = doubles.map(|pod| Step::Delete((*pod).clone()));
    plan.steps.extend(doubles);
}

/// The oldest of the new ones, and the oldest of the old ones until the new one has taken over.
fn kept_in_surge<'a>(crew: &Crew<'_>, running: &[&'a Arc<Pod>]) -> Vec<&'a Arc<Pod>> {
    let first = |new: bool| {
        let mut pods = running.iter();
        pods.find(|pod| crew.is_new(pod) == new).copied()
    };
    match (first(true), first(false)) {
        (Some(new), Some(old)) if crew.is_available(new) || !meta::is_ready(old) => vec![new],
        (new, old) => new.into_iter().chain(old).collect(),
    }
}
