//! How a Deployment stands, as `kubectl rollout status` reads it.
//!
//! `Available`: enough Pods are available. `Progressing`: the rollout moves, is done, or has stood
//! still for longer than `progressDeadlineSeconds`. The latter changes by time alone, so `deadline`
//! says when to look again.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::conditions::{self, Says};
use super::family::Family;
use super::{is_paused, replicas, rolling};
use crate::meta;
use crate::replicasets;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const DONE: &str = "NewReplicaSetAvailable";
const LATE: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The counts alone.
pub(crate) fn counts(deployment: &Deployment, family: &Family) -> DeploymentStatus {
    let told = |pick: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Option<i32>| {
        family.sum(|set| set.status.as_ref().and_then(pick).unwrap_or(0))
    };
    let available = told(|status| status.available_replicas);
    let wanted = family.sum(replicasets::replicas);
    let updated = family.new.as_ref().and_then(|set| set.status.as_ref());
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(told(|status| Some(status.replicas))),
        updated_replicas: some(updated.map_or(0, |status| status.replicas)),
        ready_replicas: some(told(|status| status.ready_replicas)),
        available_replicas: some(available),
        unavailable_replicas: some((wanted - available).max(0)),
        terminating_replicas: some(told(|status| status.terminating_replicas)),
        collision_count: deployment
            .status
            .as_ref()
            .and_then(|status| status.collision_count),
        conditions: None,
    }
}

/// Whether the rollout is over and all is as wanted.
pub(crate) fn is_complete(deployment: &Deployment, counts: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    counts.updated_replicas.unwrap_or(0) == wanted
        && counts.replicas.unwrap_or(0) == wanted
        && counts.available_replicas.unwrap_or(0) == wanted
}

/// The whole status. `created`: a new set is being made in this round.
pub(crate) fn status(
    deployment: &Deployment,
    family: &Family,
    created: bool,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = counts(deployment, family);
    let before = deployment.status.clone().unwrap_or_default();
    let mut list = before.conditions.clone().unwrap_or_default();
    let least = replicas(deployment) - rolling::limits(deployment).unavailable;
    conditions::set(&mut list, availability(&status, least), false, now);
    if is_paused(deployment) || !has_deadline(deployment) {
        pause(deployment, &mut list, now);
    } else {
        progress(
            deployment, family, &before, &status, created, &mut list, now,
        );
    }
    failure(family, &mut list);
    status.conditions = (!list.is_empty()).then_some(list);
    status
}

fn availability(status: &DeploymentStatus, least: i32) -> Says {
    match status.available_replicas.unwrap_or(0) >= least {
        true => Says {
            kind: AVAILABLE,
            status: "True",
            reason: "MinimumReplicasAvailable",
            message: "Deployment has minimum availability.".into(),
        },
        false => Says {
            kind: AVAILABLE,
            status: "False",
            reason: "MinimumReplicasUnavailable",
            message: "Deployment does not have minimum availability.".into(),
        },
    }
}

fn pause(deployment: &Deployment, list: &mut Vec<DeploymentCondition>, now: Timestamp) {
    if !has_deadline(deployment) {
        conditions::remove(list, PROGRESSING);
    } else if !conditions::has_reason(conditions::get(list, PROGRESSING), LATE) {
        let says = Says {
            kind: PROGRESSING,
            status: "Unknown",
            reason: PAUSED,
            message: "Deployment is paused".into(),
        };
        conditions::set(list, says, false, now);
    }
}

fn progress(
    deployment: &Deployment,
    family: &Family,
    before: &DeploymentStatus,
    status: &DeploymentStatus,
    created: bool,
    list: &mut Vec<DeploymentCondition>,
    now: Timestamp,
) {
    let says = |status, reason, message| Says {
        kind: PROGRESSING,
        status,
        reason,
        message,
    };
    let set = family.new.as_ref().map(|set| meta::name(&set.metadata));
    let subject = match set {
        Some(set) => format!("ReplicaSet {set:?}"),
        None => format!("Deployment {:?}", meta::name(&deployment.metadata)),
    };
    if conditions::has_reason(conditions::get(list, PROGRESSING), PAUSED) {
        let resumed = says(
            "Unknown",
            "DeploymentResumed",
            "Deployment is resumed".into(),
        );
        return conditions::set(list, resumed, false, now);
    }
    if created {
        let name = meta::name(&family.make(deployment, 0).metadata).to_owned();
        let message = format!("Created new replica set {name:?}");
        return conditions::set(
            list,
            says("True", "NewReplicaSetCreated", message),
            true,
            now,
        );
    }
    let current = conditions::get(list, PROGRESSING);
    let was_done =
        status.replicas == status.updated_replicas && conditions::has_reason(current, DONE);
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        conditions::set(list, says("True", DONE, message), false, now);
    } else if was_done {
        // A Pod that was lost after the rollout is no rollout.
    } else if current.is_none() || moved(before, status) {
        let message = format!("{subject} is progressing.");
        conditions::set(list, says("True", "ReplicaSetUpdated", message), true, now);
    } else if is_late(deployment, current, now) {
        let message = format!("{subject} has timed out progressing.");
        conditions::set(list, says("False", LATE, message), false, now);
    }
}

/// Whether there is more of what is wanted, or less of what is not.
fn moved(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    after.updated_replicas > before.updated_replicas
        || old(after) < old(before)
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
}

/// What went wrong in making Pods is told by the sets and passed on.
fn failure(family: &Family, list: &mut Vec<DeploymentCondition>) {
    let newest_first = family.new.iter().chain(family.old.iter());
    let failed = newest_first
        .filter_map(|set| set.status.as_ref())
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| {
            condition.type_.as_deref() == Some("ReplicaFailure")
                && condition.status.as_deref() == Some("True")
        });
    let Some(failed) = failed else {
        return conditions::remove(list, "ReplicaFailure");
    };
    let told = conditions::get(list, "ReplicaFailure");
    if told.is_some_and(|told| told.message == failed.message && told.reason == failed.reason) {
        return;
    }
    conditions::remove(list, "ReplicaFailure");
    list.push(DeploymentCondition {
        type_: Some("ReplicaFailure".into()),
        status: Some("True".into()),
        reason: failed.reason.clone(),
        message: failed.message.clone(),
        last_update_time: failed.last_transition_time.clone(),
        last_transition_time: failed.last_transition_time.clone(),
    });
}

fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    let spec = &deployment.spec;
    // The largest number is how "no deadline" is written.
    spec.progress_deadline_seconds
        .filter(|seconds| *seconds != i32::MAX)
}

fn has_deadline(deployment: &Deployment) -> bool {
    progress_deadline(deployment).is_some()
}

fn late_at(deployment: &Deployment, condition: &DeploymentCondition) -> Option<Timestamp> {
    let seconds = progress_deadline(deployment)?;
    let from = condition.last_update_time.as_ref()?.0;
    from.checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .ok()
}

fn is_late(
    deployment: &Deployment,
    condition: Option<&DeploymentCondition>,
    now: Timestamp,
) -> bool {
    condition
        .and_then(|condition| late_at(deployment, condition))
        .is_some_and(|at| now >= at)
}

/// When a rollout that moves no more is to be called late.
pub(crate) fn deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    if is_paused(deployment) || is_complete(deployment, status) {
        return None;
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let current = conditions::get(conditions, PROGRESSING)?;
    if conditions::has_reason(Some(current), DONE) || conditions::has_reason(Some(current), LATE) {
        return None;
    }
    late_at(deployment, current).filter(|at| *at > now)
}

/// Zero is left out, as Kubernetes does.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
