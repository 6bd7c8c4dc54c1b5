//! The hash of a Pod template that names its ReplicaSet.
//!
//! Any stable hash serves: what counts as the same template is decided by comparing, not by the hash.

use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::replicasets;

/// The label that keeps the Pods of versions apart.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// The hash of a template; `collisions` makes another one when a name is taken.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    // Maps are sorted and absent fields left out, so equal templates give equal text.
    let text = serde_json::to_string(template).unwrap_or_default();
    let mut state: u32 = 0x811c_9dc5;
    let salt = collisions
        .map(|count| count.to_string())
        .unwrap_or_default();
    for byte in text.bytes().chain(salt.bytes()) {
        state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    replicasets::encode(u64::from(state), 10)
}

/// Whether two templates describe the same Pods; the hash label is no part of a description.
pub(crate) fn same(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    bare(left) == bare(right)
}

fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let mut metadata = template.metadata.take().unwrap_or_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH_LABEL);
    }
    metadata.labels = metadata.labels.filter(|labels| !labels.is_empty());
    metadata.creation_timestamp = None;
    template.metadata = Some(metadata);
    template
}
