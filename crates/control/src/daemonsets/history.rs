//! The templates that a DaemonSet had, as kubectl reads them (`rollout history`, `rollout undo`).
//!
//! A revision keeps the template as the patch that brings it back. A template that returns finds its
//! old revision, which then gets the next number.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::{Step, is_of};
use crate::deployments;
use crate::meta;

/// The label by which a Pod names its revision.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// What is of no use in a revision: it would only double the object.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The revisions of a DaemonSet.
#[derive(Debug)]
pub(super) struct History {
    /// Those of the present template, the greatest number last. More than one if one was made under
    /// another name.
    current: Vec<Arc<ControllerRevision>>,
    /// The others, the smallest number first.
    old: Vec<Arc<ControllerRevision>>,
}

impl History {
    pub(super) fn of(set: &DaemonSet, revisions: &[Arc<ControllerRevision>]) -> Self {
        let mut own: Vec<_> = revisions.to_vec();
        own.retain(|revision| is_of(set, &**revision) && !meta::is_terminating(&revision.metadata));
        own.sort_by_key(|revision| (number(revision), revision.metadata.name.clone()));
        let patch = patch(set);
        let is_current = |revision: &Arc<ControllerRevision>| revision.data.0 == patch;
        let (current, old) = own.into_iter().partition(is_current);
        Self { current, old }
    }

    /// The revision of the present template.
    pub(super) fn current(&self) -> Option<&Arc<ControllerRevision>> {
        self.current.last()
    }

    /// The label of the present template.
    pub(super) fn hash(&self) -> &str {
        self.current().map_or("", |revision| hash_of(revision))
    }

    /// Whether a Pod is of the present template.
    pub(super) fn is_current(&self, pod: &Pod) -> bool {
        let label = meta::labels(&pod.metadata).get(HASH_LABEL);
        label.is_some_and(|label| self.current.iter().any(|r| hash_of(r) == label))
    }

    fn next_number(&self) -> i64 {
        self.old.last().map_or(0, |revision| number(revision)) + 1
    }

    /// The number of the present revision, if it has a smaller one.
    pub(super) fn number_to_give(&self) -> Option<i64> {
        let next = self.next_number();
        let current = self.current()?;
        (number(current) < next).then_some(next)
    }

    /// The revision of the present template, to be created.
    pub(super) fn make(&self, set: &DaemonSet) -> ControllerRevision {
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let hash = deployments::hash(&set.spec.template, collisions);
        let template = set.spec.template.metadata.as_ref();
        let mut labels = template.and_then(|t| t.labels.clone()).unwrap_or_default();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        let mut annotations = set.metadata.annotations.clone().unwrap_or_default();
        annotations.remove(APPLIED);
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", meta::name(&set.metadata))),
                namespace: set.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![meta::controller_ref(set)]),
                ..ObjectMeta::default()
            },
            data: RawExtension(patch(set)),
            revision: Some(self.next_number()),
        }
    }

    /// Whether this is the revision of the present template.
    pub(super) fn is_record(set: &DaemonSet, revision: &ControllerRevision) -> bool {
        is_of(set, revision) && revision.data.0 == patch(set)
    }

    /// Revisions beyond the limit that no Pod names, the oldest first.
    pub(super) fn surplus(&self, set: &DaemonSet, pods: &[Arc<Pod>]) -> Vec<Step> {
        let labels = pods
            .iter()
            .filter_map(|pod| meta::labels(&pod.metadata).get(HASH_LABEL));
        let alive: BTreeSet<&str> = labels.map(String::as_str).collect();
        let unused = |revision: &&Arc<ControllerRevision>| !alive.contains(hash_of(revision));
        let limit = set.spec.revision_history_limit.unwrap_or(10);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let beyond = self.old.len().saturating_sub(limit);
        let old = self.old.iter().filter(unused).take(beyond);
        let doubles = self.current.len().saturating_sub(1);
        let doubles = self.current.iter().take(doubles).filter(unused);
        old.chain(doubles).cloned().map(Step::Forget).collect()
    }
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

fn hash_of(revision: &ControllerRevision) -> &str {
    meta::labels(&revision.metadata)
        .get(HASH_LABEL)
        .map_or(meta::name(&revision.metadata), String::as_str)
}

/// The patch that brings the present template back.
fn patch(set: &DaemonSet) -> Value {
    let mut template = serde_json::to_value(&set.spec.template).unwrap_or_default();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}
