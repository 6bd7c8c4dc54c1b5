//! A Pod after a template.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::meta;

/// What names are made of: no vowels and nothing that looks alike, as everywhere in Kubernetes.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// The longest part of a generated name that comes before its random end.
const LONGEST_BASE: usize = 58;

/// A name of its own for a Pod of the set.
pub(crate) fn pod_name(set: &str, random: u64) -> String {
    let base: String = format!("{set}-").chars().take(LONGEST_BASE).collect();
    base + &encode(random, 5)
}

/// A number, in letters that a name may have.
pub(crate) fn encode(mut number: u64, letters: usize) -> String {
    let base = LETTERS.len() as u64;
    let mut text = String::with_capacity(letters);
    for _ in 0..letters {
        let index = usize::try_from(number % base).unwrap_or(0);
        text.push(char::from(LETTERS[index]));
        number /= base;
    }
    text
}

/// The Pod that the set's template describes.
pub(crate) fn from_template(set: &ReplicaSet, name: &str) -> Pod {
    let template = set.spec.template.clone().unwrap_or_default();
    let described = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: set.metadata.namespace.clone(),
            generate_name: Some(format!("{}-", meta::name(&set.metadata))),
            labels: described.labels,
            annotations: described.annotations,
            finalizers: described.finalizers,
            owner_references: Some(vec![meta::controller_ref(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_bounded() {
        assert_eq!(pod_name("web", 0), "web-bbbbb");
        let long = pod_name(&"x".repeat(80), u64::MAX);
        assert_eq!(long.len(), 63);
        assert!(
            long.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
    }
}
