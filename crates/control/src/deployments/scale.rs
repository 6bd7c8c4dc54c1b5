//! Another number of Pods, without another template.
//!
//! In the middle of a rollout the sets grow or shrink in proportion to their sizes, so that a
//! Deployment that is half-way stays half-way. The annotations at the sets say for what number they
//! were sized last; that is how a new number is noticed.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::family::{DESIRED, Family, MAX, available, sizes};
use super::{Resize, Step, replicas, rolling};
use crate::meta;
use crate::replicasets;

/// A resize that also notes the wanted size.
pub(crate) fn to(deployment: &Deployment, set: &Arc<ReplicaSet>, size: i32) -> Resize {
    let mut annotations = sizes(deployment);
    annotations.retain(|key, value| meta::annotation(&set.metadata, key) != Some(value.as_str()));
    Resize {
        set: set.clone(),
        to: (replicasets::replicas(set) != size).then_some(size),
        annotations,
        min_ready_seconds: None,
    }
}

/// Whether a set with Pods was sized for another number than is wanted now.
pub(crate) fn is_due(deployment: &Deployment, family: &Family) -> bool {
    let wanted = replicas(deployment).to_string();
    family.all().any(|set| {
        replicasets::replicas(set) > 0
            && meta::annotation(&set.metadata, DESIRED).is_some_and(|noted| noted != wanted)
    })
}

/// The resizes that bring the sets to the wanted number.
pub(crate) fn plan(deployment: &Deployment, family: &Family) -> Vec<Step> {
    let targets = targets(deployment, family);
    targets
        .into_iter()
        .map(|(set, size)| to(deployment, &set, size))
        .filter(|resize| resize.to.is_some() || !resize.annotations.is_empty())
        .map(Step::Resize)
        .collect()
}

fn targets(deployment: &Deployment, family: &Family) -> Vec<(Arc<ReplicaSet>, i32)> {
    let wanted = replicas(deployment);
    if let Some(only) = active_or_latest(family) {
        return vec![(only, wanted)];
    }
    let active = family.all().filter(|set| replicasets::replicas(set) > 0);
    if family
        .new
        .as_ref()
        .is_some_and(|new| is_saturated(deployment, new))
    {
        let own = family
            .new
            .as_ref()
            .map(|new| meta::uid(&new.metadata).to_owned());
        return active
            .filter(|set| Some(meta::uid(&set.metadata)) != own.as_deref())
            .map(|set| (set.clone(), 0))
            .collect();
    }
    if rolling::is_recreate(deployment) {
        return Vec::new();
    }
    in_proportion(deployment, active.cloned().collect())
}

/// The one set that has Pods, or the new or latest one if none has. None if several have.
fn active_or_latest(family: &Family) -> Option<Arc<ReplicaSet>> {
    let mut active = family.all().filter(|set| replicasets::replicas(set) > 0);
    match (active.next(), active.next()) {
        (None, _) => family.new.clone().or_else(|| family.old.last().cloned()),
        (Some(only), None) => Some(only.clone()),
        (Some(_), Some(_)) => None,
    }
}

/// Whether the new set alone is enough.
fn is_saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let wanted = replicas(deployment);
    let noted = meta::annotation(&new.metadata, DESIRED).and_then(|text| text.parse().ok());
    replicasets::replicas(new) == wanted && noted == Some(wanted) && available(new) == wanted
}

fn in_proportion(
    deployment: &Deployment,
    mut active: Vec<Arc<ReplicaSet>>,
) -> Vec<(Arc<ReplicaSet>, i32)> {
    let wanted = replicas(deployment);
    let most = match wanted {
        0 => 0,
        _ => wanted.saturating_add(rolling::limits(deployment).surge),
    };
    let total: i32 = active.iter().map(|set| replicasets::replicas(set)).sum();
    let change = most - total;
    // The biggest first; of equals, the newest when growing and the oldest when shrinking.
    active.sort_by_key(|set| meta::created(&set.metadata));
    if change > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| std::cmp::Reverse(replicasets::replicas(set)));
    let mut done = 0;
    let mut sized: Vec<(Arc<ReplicaSet>, i32)> = Vec::with_capacity(active.len());
    for set in active {
        let share = share(&set, wanted, most, change, done);
        done += share;
        let size = replicasets::replicas(&set) + share;
        sized.push((set, size));
    }
    if let Some((_, size)) = sized.first_mut() {
        *size = (*size + change - done).max(0);
    }
    sized
}

/// A set's part of the change, not more than what is left of it.
fn share(set: &ReplicaSet, wanted: i32, most: i32, change: i32, done: i32) -> i32 {
    let has = replicasets::replicas(set);
    if wanted == 0 {
        return -has;
    }
    let noted: Option<i64> =
        meta::annotation(&set.metadata, MAX).and_then(|text| text.parse().ok());
    let before = noted
        .filter(|noted| *noted > 0)
        .unwrap_or_else(|| i64::from(most.max(1)));
    let exact = i64::from(has) * i64::from(most);
    let size = (2 * exact + before) / (2 * before);
    let share = i32::try_from(size).unwrap_or(i32::MAX).saturating_sub(has);
    let left = change - done;
    match change {
        0.. => share.clamp(0, left.max(0)),
        _ => share.clamp(left.min(0), 0),
    }
}
