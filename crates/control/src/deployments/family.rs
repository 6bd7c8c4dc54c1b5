//! The ReplicaSets of a Deployment: which is the new one, and what is noted at them.
//!
//! Revisions are kept in annotations as kubectl reads them (`rollout history`, `rollout undo`): an old
//! template that returns finds its old set, which then gets the next revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::hash::{HASH_LABEL, hash, same};
use super::{Resize, rolling};
use crate::meta;
use crate::replicasets;

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// What is never copied from a Deployment to its sets.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
];

/// The sets of a Deployment.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// The set of the present template.
    pub(crate) new: Option<Arc<ReplicaSet>>,
    /// The others, oldest first.
    pub(crate) old: Vec<Arc<ReplicaSet>>,
}

impl Family {
    /// Sorts the sets that a Deployment owns.
    pub(crate) fn of(deployment: &Deployment, mut sets: Vec<Arc<ReplicaSet>>) -> Self {
        sets.sort_by_key(|set| (meta::created(&set.metadata), set.metadata.name.clone()));
        let new = sets.iter().position(|set| is_new(deployment, set));
        let new = new.map(|index| sets.remove(index));
        Self { new, old: sets }
    }

    /// All of them, the new one last.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(self.new.iter())
    }

    /// The sum of something over all sets.
    pub(crate) fn sum(&self, count: impl Fn(&ReplicaSet) -> i32) -> i32 {
        self.all().map(|set| count(set)).sum()
    }

    /// Whether the sets' own controller has taken notice of all their sizes.
    pub(crate) fn is_observed(&self) -> bool {
        self.all().all(|set| {
            let status = set.status.as_ref();
            set.metadata.generation <= status.and_then(|status| status.observed_generation)
        })
    }

    /// The revision that the new set has or must get.
    fn next_revision(&self) -> i64 {
        let latest = self.old.iter().map(|set| revision(set)).max();
        let next = latest.unwrap_or(0) + 1;
        self.new
            .as_ref()
            .map_or(next, |set| next.max(revision(set)))
    }

    /// The revision that the Deployment does not show yet.
    pub(crate) fn revision_to_note(&self, deployment: &Deployment) -> Option<String> {
        self.new.as_ref()?;
        let revision = self.next_revision().to_string();
        let noted = meta::annotation(&deployment.metadata, REVISION);
        (noted != Some(revision.as_str())).then_some(revision)
    }

    /// What is noted at the new set and no longer right.
    pub(crate) fn notes_to_renew(&self, deployment: &Deployment) -> Option<Resize> {
        let set = self.new.as_ref()?;
        let mut notes = copied(deployment);
        let next = self.next_revision();
        if revision(set) < next {
            notes.insert(REVISION.into(), next.to_string());
            if let Some(before) = meta::annotation(&set.metadata, REVISION) {
                let earlier = meta::annotation(&set.metadata, HISTORY);
                let history = earlier.map(|history| format!("{history},{before}"));
                notes.insert(HISTORY.into(), history.unwrap_or_else(|| before.to_owned()));
            }
        }
        notes.retain(|key, value| meta::annotation(&set.metadata, key) != Some(value.as_str()));
        let wanted = min_ready(deployment);
        let has = set.spec.min_ready_seconds;
        let min_ready_seconds = (has.unwrap_or(0) != wanted).then_some(wanted);
        if notes.is_empty() && min_ready_seconds.is_none() {
            return None;
        }
        Some(Resize {
            set: set.clone(),
            to: None,
            annotations: notes,
            min_ready_seconds,
        })
    }

    /// The set for the present template, to be created.
    pub(crate) fn make(&self, deployment: &Deployment, replicas: i32) -> ReplicaSet {
        let spec = deployment.spec.clone();
        let hash = template_hash(deployment);
        let mut template = spec.template;
        let labels = template
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default();
        labels.insert(HASH_LABEL.into(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector;
        let match_labels = selector.match_labels.get_or_insert_default();
        match_labels.insert(HASH_LABEL.into(), hash.clone());
        let mut annotations = copied(deployment);
        annotations.insert(REVISION.into(), self.next_revision().to_string());
        annotations.extend(sizes(deployment));
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", meta::name(&deployment.metadata))),
                namespace: deployment.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![meta::controller_ref(deployment)]),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(replicas),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            },
            status: None,
        }
    }
}

/// Whether the set stands for the present template: the same but for defaults that the server fills
/// in, or made by us from this very template.
fn is_new(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = &deployment.spec.template;
    let has = set.spec.template.as_ref();
    let label = meta::labels(&set.metadata).get(HASH_LABEL);
    has.is_some_and(|has| same(has, wanted)) || label == Some(&template_hash(deployment))
}

fn template_hash(deployment: &Deployment) -> String {
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count);
    hash(&deployment.spec.template, collisions)
}

/// The revision noted at a set; none is 0.
pub(crate) fn revision(set: &ReplicaSet) -> i64 {
    meta::annotation(&set.metadata, REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// The annotations of a Deployment that its sets share.
fn copied(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut notes = deployment.metadata.annotations.clone().unwrap_or_default();
    notes.retain(|key, _| !OWN.contains(&key.as_str()));
    notes
}

/// How many Pods are wanted and allowed, as noted at sets for scaling in proportion.
pub(crate) fn sizes(deployment: &Deployment) -> BTreeMap<String, String> {
    let wanted = super::replicas(deployment);
    let most = wanted + rolling::limits(deployment).surge;
    BTreeMap::from([
        (DESIRED.to_owned(), wanted.to_string()),
        (MAX.to_owned(), most.to_string()),
    ])
}

fn min_ready(deployment: &Deployment) -> i32 {
    deployment.spec.min_ready_seconds.unwrap_or(0)
}

/// The Pods of a set that are available, never more than it wants to keep.
pub(crate) fn available(set: &ReplicaSet) -> i32 {
    let told = set
        .status
        .as_ref()
        .and_then(|status| status.available_replicas);
    told.unwrap_or(0).min(replicasets::replicas(set))
}

/// The Pods of a set that there are or may be: it has not yet deleted all that it shall.
pub(crate) fn present(set: &ReplicaSet) -> i32 {
    let told = set.status.as_ref().map_or(0, |status| status.replicas);
    told.max(replicasets::replicas(set))
}
