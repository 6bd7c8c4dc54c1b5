//! A rolling update: never more than `maxSurge` above, never more than `maxUnavailable` below.
//!
//! Percentages of surge round up, of unavailability down; if both come to nothing, one may be
//! unavailable, or nothing would ever move. A set counts with what it has *or* wants, whichever is more
//! when Pods are to be made, and with what it has *and* wants, whichever is less when they are to go:
//! so the bounds hold for Pods, however late the sets' own controller is. While it has not taken notice of
//! a set's latest size, nobody knows how many Pods that set has, and nothing moves.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::family::{Family, available, present};
use super::{Step, replicas, scale};
use crate::replicasets;

/// How far a rollout may stray from the wanted number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) surge: i32,
    pub(crate) unavailable: i32,
}

/// Whether all old Pods go before the first new one comes.
pub(crate) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// The limits in Pods.
pub(crate) fn limits(deployment: &Deployment) -> Limits {
    let wanted = replicas(deployment);
    if is_recreate(deployment) {
        return Limits {
            surge: 0,
            unavailable: 0,
        };
    }
    let rolling = deployment
        .spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".into());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let surge = scaled(surge.unwrap_or(&quarter), wanted, true);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let unavailable = scaled(unavailable.unwrap_or(&quarter), wanted, false);
    let unavailable = match (surge, unavailable) {
        (0, 0) => 1,
        _ => unavailable,
    };
    Limits {
        surge,
        unavailable: unavailable.min(wanted),
    }
}

/// The number of a count or of a percentage of `total`.
pub(crate) fn scaled(value: &IntOrString, total: i32, up: bool) -> i32 {
    let count = match value {
        IntOrString::Int(count) => i64::from(*count),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredfold = percent.saturating_mul(i64::from(total));
            match up {
                true => hundredfold.saturating_add(99) / 100,
                false => hundredfold / 100,
            }
        }
    };
    i32::try_from(count.max(0)).unwrap_or(i32::MAX / 2)
}

/// How many Pods the new set shall have next.
fn new_size(deployment: &Deployment, family: &Family) -> i32 {
    let wanted = replicas(deployment);
    let has = family
        .new
        .as_ref()
        .map_or(0, |set| replicasets::replicas(set));
    if has >= wanted {
        return wanted;
    }
    let most = wanted.saturating_add(limits(deployment).surge);
    let room = match family.is_observed() {
        true => most - family.sum(present),
        false => 0,
    };
    has + room.clamp(0, wanted - has)
}

/// The next step of a rollout.
pub(crate) fn plan(deployment: &Deployment, family: &Family) -> Vec<Step> {
    let size = new_size(deployment, family);
    match &family.new {
        None => vec![Step::Create(Box::new(family.make(deployment, size)))],
        Some(set) if replicasets::replicas(set) != size => {
            vec![Step::Resize(scale::to(deployment, set, size))]
        }
        Some(set) => shrink_old(deployment, family, set),
    }
}

/// Old Pods that may go: first the unhealthy ones, then as many as the limit allows.
fn shrink_old(deployment: &Deployment, family: &Family, new: &ReplicaSet) -> Vec<Step> {
    if !family.is_observed() {
        return Vec::new();
    }
    let least = replicas(deployment) - limits(deployment).unavailable;
    let new_missing = replicasets::replicas(new) - available(new);
    let mut budget = family.sum(replicasets::replicas) - least - new_missing;
    if budget <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = family
        .old
        .iter()
        .map(|set| replicasets::replicas(set))
        .collect();
    for (set, size) in family.old.iter().zip(&mut sizes) {
        let unhealthy = (*size - available(set)).clamp(0, budget);
        *size -= unhealthy;
        budget -= unhealthy;
    }
    let mut spare = (family.sum(available) - least).min(budget);
    for (set, size) in family.old.iter().zip(&mut sizes) {
        let healthy = (*size).min(available(set));
        let going = healthy.clamp(0, spare.max(0));
        *size -= going;
        spare -= going;
    }
    let changed = family.old.iter().zip(sizes);
    changed
        .filter(|(set, size)| replicasets::replicas(set) != *size)
        .map(|(set, size)| Step::Resize(scale::to(deployment, set, size)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployments::fixtures::deployment;
    use serde_json::{Value, json};

    fn of(wanted: i32, surge: Value, unavailable: Value) -> (i32, i32) {
        let mut deployment = deployment(wanted);
        let strategy = json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        deployment.spec.strategy = serde_json::from_value(strategy).expect("a strategy");
        let limits = limits(&deployment);
        (limits.surge, limits.unavailable)
    }

    #[test]
    fn percentages_round_up_for_surge_and_down_for_unavailable() {
        assert_eq!(of(10, json!("25%"), json!("25%")), (3, 2));
        assert_eq!(of(3, json!("25%"), json!("25%")), (1, 0));
        assert_eq!(of(3, json!(1), json!(5)), (1, 3));
        assert_eq!(
            of(1, json!("0%"), json!("30%")),
            (0, 1),
            "something must move"
        );
        assert_eq!(of(4, Value::Null, Value::Null), (1, 1));
        assert_eq!(of(0, json!("50%"), json!("50%")), (0, 0));
    }
}
