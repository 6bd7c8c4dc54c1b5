//! Conditions of a Deployment: set, get, remove, with the times as kubectl expects them.

use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::jiff::Timestamp;

use crate::meta;

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Says {
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The condition of a kind.
pub(crate) fn get<'a>(
    conditions: &'a [DeploymentCondition],
    kind: &str,
) -> Option<&'a DeploymentCondition> {
    conditions
        .iter()
        .find(|condition| condition.type_.as_deref() == Some(kind))
}

/// Whether the condition has this reason.
pub(crate) fn has_reason(condition: Option<&DeploymentCondition>, reason: &str) -> bool {
    condition.and_then(|condition| condition.reason.as_deref()) == Some(reason)
}

/// Takes a condition away.
pub(crate) fn remove(conditions: &mut Vec<DeploymentCondition>, kind: &str) {
    conditions.retain(|condition| condition.type_.as_deref() != Some(kind));
}

/// Sets a condition; the same status and reason again change nothing, unless it is to be `renewed`.
pub(crate) fn set(
    conditions: &mut Vec<DeploymentCondition>,
    says: Says,
    renewed: bool,
    now: Timestamp,
) {
    let before = get(conditions, says.kind).cloned();
    let same_status = before
        .as_ref()
        .is_some_and(|before| before.status.as_deref() == Some(says.status));
    if same_status && has_reason(before.as_ref(), says.reason) && !renewed {
        return;
    }
    let now = meta::to_time(now);
    let transition = match before {
        Some(before) if same_status => before.last_transition_time.unwrap_or_else(|| now.clone()),
        _ => now.clone(),
    };
    remove(conditions, says.kind);
    conditions.push(DeploymentCondition {
        type_: Some(says.kind.into()),
        status: Some(says.status.into()),
        reason: Some(says.reason.into()),
        message: Some(says.message),
        last_update_time: Some(now),
        last_transition_time: Some(transition),
    });
}
