//! How a DaemonSet stands, as `kubectl rollout status` reads it.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::crew::Crew;
use super::place::Fit;
use super::{Input, Plan, Step};
use crate::meta;

/// Writes the status if it differs, and looks again when a Pod becomes available by time alone.
pub(super) fn plan(input: &Input<'_>, crew: &Crew<'_>, plan: &mut Plan) {
    let told = status(input, crew);
    let pods = crew.posts.iter().flat_map(|post| &post.pods);
    let coming: BTreeSet<_> = pods
        .filter_map(|pod| crew.available_at(pod))
        .filter(|at| *at > input.now)
        .collect();
    if let Some(at) = coming.first() {
        plan.look_at(*at);
    }
    if input.set.status.as_ref() != Some(&told) {
        plan.steps.push(Step::Status(Box::new(told)));
    }
}

/// The whole status: of each node, its oldest Pod counts.
fn status(input: &Input<'_>, crew: &Crew<'_>) -> DaemonSetStatus {
    let before = input.set.status.clone().unwrap_or_default();
    let (mut desired, mut current, mut ready, mut misplaced) = (0, 0, 0, 0);
    let (mut available, mut updated) = (0, 0);
    for post in &crew.posts {
        let wanted = post.fit == Fit::Runs;
        desired += i32::from(wanted);
        let Some(pod) = post.pods.first() else {
            continue;
        };
        if !wanted {
            misplaced += 1;
            continue;
        }
        current += 1;
        ready += i32::from(meta::is_ready(pod));
        available += i32::from(crew.is_available(pod));
        updated += i32::from(crew.is_new(pod));
    }
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: current,
        number_misscheduled: misplaced,
        number_ready: ready,
        number_available: some(available),
        number_unavailable: some(desired - available),
        updated_number_scheduled: some(updated),
        observed_generation: input.set.metadata.generation,
        collision_count: before.collision_count,
        conditions: before.conditions,
    }
}

/// Zero is left out, as Kubernetes does.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
