//! Validation of what every object has: its name, labels, annotations, owners and finalizers.

use serde_json::Value;

use super::fault::FieldError;
use super::{Kind, names, read, service_ranges};
use crate::lifecycle::{FOREGROUND, ORPHAN};

/// The most that annotations may take together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// What is wrong with the metadata of an object.
pub(crate) fn validate_metadata(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let mut errors = Vec::new();
    name(&mut errors, kind, metadata);
    namespace(&mut errors, kind, metadata);
    labels(&mut errors, "metadata.labels", metadata, "labels");
    annotations(&mut errors, "metadata.annotations", metadata);
    owners(&mut errors, metadata);
    for finalizer in read::texts(metadata, "finalizers") {
        names::push_all(
            &mut errors,
            "metadata.finalizers",
            finalizer,
            names::qualified(finalizer),
        );
    }
    let finalizers = read::texts(metadata, "finalizers");
    if [ORPHAN, FOREGROUND]
        .iter()
        .all(|one| finalizers.contains(one))
    {
        errors.push(FieldError::invalid(
            "metadata.finalizers",
            &metadata["finalizers"],
            &format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"),
        ));
    }
    errors
}

fn name_rule(kind: &Kind) -> names::Rule {
    // Only the group tells a custom kind from a built-in one of the same name.
    match kind.kind {
        _ if kind.custom.is_some() => names::subdomain,
        "Namespace" | "Service" => names::label,
        "IPAddress" => service_ranges::address_name,
        "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => names::path_segment,
        _ => names::subdomain,
    }
}

fn name(errors: &mut Vec<FieldError>, kind: &Kind, metadata: &Value) {
    let (name, generate) = (
        read::text(metadata, "name"),
        read::text(metadata, "generateName"),
    );
    let rule = name_rule(kind);
    if !generate.is_empty() {
        // The rest of the name comes behind it, so it may end in what a name may not end in.
        let start = format!("{}a", generate.trim_end_matches('-'));
        names::push_all(errors, "metadata.generateName", generate, rule(&start));
    }
    if name.is_empty() {
        if generate.is_empty() {
            errors.push(FieldError::required(
                "metadata.name",
                "name or generateName is required",
            ));
        }
        return;
    }
    names::push_all(errors, "metadata.name", name, rule(name));
}

fn namespace(errors: &mut Vec<FieldError>, kind: &Kind, metadata: &Value) {
    let namespace = read::text(metadata, "namespace");
    if kind.namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else {
            names::push_all(
                errors,
                "metadata.namespace",
                namespace,
                names::label(namespace),
            );
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(
            "metadata.namespace",
            "not allowed on this type",
        ));
    }
}

/// Refuses labels with malformed keys or values.
pub(super) fn labels(errors: &mut Vec<FieldError>, field: &str, parent: &Value, name: &str) {
    for (key, value) in read::pairs(parent, name) {
        names::push_all(errors, field, key, names::qualified(key));
        names::push_all(errors, field, value, names::label_value(value));
    }
}

/// Refuses annotations with malformed keys, or too large in all.
pub(super) fn annotations(errors: &mut Vec<FieldError>, field: &str, metadata: &Value) {
    let mut size = 0;
    for (key, value) in read::pairs(metadata, "annotations") {
        names::push_all(errors, field, key, names::qualified(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(field, MAX_ANNOTATIONS));
    }
}

fn owners(errors: &mut Vec<FieldError>, metadata: &Value) {
    let mut controllers = 0;
    for (index, owner) in read::list(metadata, "ownerReferences").iter().enumerate() {
        let field = format!("metadata.ownerReferences[{index}]");
        for (name, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if read::text(owner, name).is_empty() {
                errors.push(FieldError::bad_text(format!("{field}.{name}"), "", detail));
            }
        }
        controllers += usize::from(read::flag(owner, "controller"));
    }
    if controllers > 1 {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            &metadata["ownerReferences"],
            "Only one reference can have Controller set to true",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(plural: &str, metadata: &Value) -> Vec<String> {
        let kind = super::super::find("", "v1", plural).unwrap();
        validate_metadata(kind, &json!({"metadata": metadata}))
            .into_iter()
            .map(|error| error.field)
            .collect()
    }

    #[test]
    fn metadata_is_checked_per_kind() {
        let cases = [
            ("pods", json!({"name": "a.b", "namespace": "x"}), vec![]),
            (
                "services",
                json!({"name": "a.b", "namespace": "x"}),
                vec!["metadata.name"],
            ),
            ("services", json!({"name": "1a", "namespace": "x"}), vec![]),
            (
                "nodes",
                json!({"name": "a", "namespace": "x"}),
                vec!["metadata.namespace"],
            ),
            (
                "pods",
                json!({"generateName": "a-", "namespace": "x"}),
                vec![],
            ),
            (
                "pods",
                json!({"generateName": "A-", "namespace": "x"}),
                vec!["metadata.generateName"],
            ),
            ("pods", json!({"namespace": "x"}), vec!["metadata.name"]),
            ("pods", json!({"name": "a"}), vec!["metadata.namespace"]),
            (
                "nodes",
                json!({"name": "a", "labels": {"a b": "-"}}),
                vec!["metadata.labels", "metadata.labels"],
            ),
            (
                "nodes",
                json!({"name": "a", "annotations": {"Ab.C/d": "any thing"}}),
                vec![],
            ),
            (
                "nodes",
                json!({"name": "a", "annotations": {"a": "x".repeat(300_000)}}),
                vec!["metadata.annotations"],
            ),
            (
                "nodes",
                json!({"name": "a", "finalizers": ["a b"]}),
                vec!["metadata.finalizers"],
            ),
            (
                "nodes",
                json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
                vec!["metadata.ownerReferences[0].uid"],
            ),
        ];
        for (plural, metadata, expected) in cases {
            assert_eq!(fields(plural, &metadata), expected, "{metadata}");
        }
    }

    #[test]
    fn the_message_is_what_kubernetes_says() {
        let kind = super::super::find("", "v1", "nodes").unwrap();
        let errors = validate_metadata(kind, &json!({"metadata": {"name": "A"}}));
        assert!(errors[0].message.starts_with(
            "Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case"
        ));
    }
}
