//! What of a Pod's spec may change: images, and a few more that only loosen or tighten.
//!
//! A Pod gets its node when it is created or by a binding, never by an update.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::kinds::fault::FieldError;
use crate::kinds::read;

const ALLOWED: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
    (allow it to be set to 1 if it was previously negative)";

/// Refuses changes that a Pod does not allow.
pub(super) fn validate(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    for field in ["containers", "initContainers"] {
        if read::list(new, field).len() != read::list(old, field).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{field}"), detail));
            return;
        }
    }
    deadline(errors, new, old);
    tolerations(errors, new, old);
    let changed = changed(&settled(new), &settled(old));
    if !changed.is_empty() {
        let names: Vec<_> = changed.iter().map(|name| format!("spec.{name}")).collect();
        let detail = format!("{ALLOWED}; changed: {}", names.join(", "));
        errors.push(FieldError::forbidden("spec", &detail));
    }
}

/// The spec without what may change.
fn settled(spec: &Value) -> Map<String, Value> {
    let mut spec = spec.clone();
    for field in ["containers", "initContainers"] {
        for container in read::list_mut(&mut spec, field) {
            if let Some(fields) = container.as_object_mut() {
                fields.remove("image");
            }
        }
    }
    let mut fields = spec.as_object().cloned().unwrap_or_default();
    for name in [
        "activeDeadlineSeconds",
        "tolerations",
        "ephemeralContainers",
    ] {
        fields.remove(name);
    }
    if fields
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|grace| grace < 0)
    {
        fields.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    fields
}

fn changed(new: &Map<String, Value>, old: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = new.keys().chain(old.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| new.get(name) != old.get(name));
    names
}

fn deadline(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    let field = "spec.activeDeadlineSeconds";
    let Some(before) = read::int(old, "activeDeadlineSeconds") else {
        return;
    };
    match read::int(new, "activeDeadlineSeconds") {
        None => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(field, &Value::Null, detail));
        }
        Some(after) if after > before => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(field, &after.into(), detail));
        }
        Some(_) => {}
    }
}

fn tolerations(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    let what = |toleration: &Value| {
        ["key", "operator", "value", "effect"].map(|name| read::text(toleration, name).to_owned())
    };
    let after: BTreeSet<_> = read::list(new, "tolerations").iter().map(what).collect();
    let mut before = read::list(old, "tolerations").iter().map(what);
    if !before.all(|toleration| after.contains(&toleration)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::{fields, merged};

    #[test]
    fn a_pod_changes_only_in_what_it_may() {
        let old = json!({"containers": [{"name": "a", "image": "b"}], "nodeName": "n", "activeDeadlineSeconds": 10,
            "tolerations": [{"key": "a"}], "terminationGracePeriodSeconds": -5});
        let cases = [
            (json!({}), vec![]),
            (json!({"containers": [{"name": "a", "image": "c"}]}), vec![]),
            (
                json!({"containers": [{"name": "a", "image": "b", "tty": true}]}),
                vec!["spec"],
            ),
            (
                json!({"containers": [{"name": "a"}, {"name": "b"}]}),
                vec!["spec.containers"],
            ),
            (json!({"activeDeadlineSeconds": 5}), vec![]),
            (
                json!({"activeDeadlineSeconds": 11}),
                vec!["spec.activeDeadlineSeconds"],
            ),
            (
                json!({"activeDeadlineSeconds": null}),
                vec!["spec.activeDeadlineSeconds"],
            ),
            (json!({"tolerations": [{"key": "a"}, {"key": "b"}]}), vec![]),
            (
                json!({"tolerations": [{"key": "b"}]}),
                vec!["spec.tolerations"],
            ),
            (json!({"terminationGracePeriodSeconds": 1}), vec![]),
            (json!({"terminationGracePeriodSeconds": 2}), vec!["spec"]),
            (json!({"nodeName": "m"}), vec!["spec"]),
        ];
        for (change, expected) in cases {
            let mut errors = Vec::new();
            validate(&mut errors, &merged(&old, &change), &old);
            assert_eq!(fields(&errors), expected, "{change}");
        }
    }

    #[test]
    fn a_pod_without_a_node_gets_none_by_an_update() {
        let old = json!({"containers": []});
        let mut errors = Vec::new();
        let new = json!({"containers": [], "nodeName": "n", "hostNetwork": true});
        validate(&mut errors, &new, &old);
        let message = &errors[0].message;
        assert!(
            message.ends_with("changed: spec.hostNetwork, spec.nodeName"),
            "{message}"
        );
    }
}
