//! How a ReplicaSet stands, counted from its Pods. Pods that were asked for count as there: whoever
//! reads the number wants to know how many there can be.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::jiff::Timestamp;

use super::Claim;
use crate::ledger::Ledger;
use crate::meta;

/// A failure to make or delete Pods, for the condition that tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(crate) reason: &'static str,
    /// What went wrong.
    pub(crate) message: String,
}

/// The status, and when it changes by the passing of time alone (a Pod that becomes available).
pub(crate) fn status(
    set: &ReplicaSet,
    claim: &Claim,
    ledger: &Ledger,
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Timestamp>) {
    let spec = &set.spec;
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let described = spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref())
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default();
    let (mut labeled, mut ready, mut available) = (0, 0, 0);
    let mut again: Option<Timestamp> = None;
    for pod in &claim.active {
        let labels = meta::labels(&pod.metadata);
        if described
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
        {
            labeled += 1;
        }
        if meta::is_ready(pod) {
            ready += 1;
        }
        match meta::available_at(pod, min_ready) {
            Some(at) if at <= now => available += 1,
            Some(at) => again = Some(again.map_or(at, |earlier| earlier.min(at))),
            None => {}
        }
    }
    let status = ReplicaSetStatus {
        replicas: count(claim.active.len() + ledger.creating()),
        fully_labeled_replicas: some(labeled),
        ready_replicas: some(ready),
        available_replicas: some(available),
        terminating_replicas: some(count(claim.terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
    };
    (status, again)
}

fn conditions(
    set: &ReplicaSet,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let before = set
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let known = before
        .iter()
        .any(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
    let mut after: Vec<_> = match failure {
        Some(_) if known => return Some(before),
        _ => before
            .into_iter()
            .filter(|condition| condition.type_.as_deref() != Some("ReplicaFailure"))
            .collect(),
    };
    if let Some(failure) = failure {
        after.push(ReplicaSetCondition {
            type_: Some("ReplicaFailure".into()),
            status: Some("True".into()),
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(meta::to_time(now)),
        });
    }
    (!after.is_empty()).then_some(after)
}

/// Zero is left out, as Kubernetes does.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
