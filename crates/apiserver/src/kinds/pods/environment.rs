//! Validation of a container's environment: variables, and where their values come from.

use serde_json::Value;

use crate::kinds::fault::FieldError;
use crate::kinds::{names, read};

const SOURCES: [&str; 5] = [
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fileKeyRef",
];
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Refuses what is wrong with the environment of the container at `place`.
pub(super) fn validate(errors: &mut Vec<FieldError>, place: &str, container: &Value) {
    for (index, variable) in read::list(container, "env").iter().enumerate() {
        let place = format!("{place}.env[{index}]");
        let name = read::text(variable, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{place}.name"), ""));
        } else {
            names::push_all(
                errors,
                &format!("{place}.name"),
                name,
                names::env_name(name),
            );
        }
        if read::has(variable, "valueFrom") {
            source(errors, &format!("{place}.valueFrom"), variable);
        }
    }
    for (index, whole) in read::list(container, "envFrom").iter().enumerate() {
        all_of(errors, &format!("{place}.envFrom[{index}]"), whole);
    }
}

fn source(errors: &mut Vec<FieldError>, place: &str, variable: &Value) {
    let from = &variable["valueFrom"];
    let given: Vec<_> = SOURCES
        .into_iter()
        .filter(|name| read::has(from, name))
        .collect();
    if !read::text(variable, "value").is_empty() {
        errors.push(FieldError::bad_text(
            place,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if given.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::bad_text(place, "", detail));
    } else if given.len() > 1 {
        errors.push(FieldError::bad_text(
            place,
            "",
            "may not have more than one field specified at a time",
        ));
    }
    for name in given {
        let (field, value) = (format!("{place}.{name}"), &from[name]);
        match name {
            "fieldRef" => field_path(errors, &format!("{field}.fieldPath"), value, &FIELDS),
            "configMapKeyRef" | "secretKeyRef" => key(errors, &field, value),
            "resourceFieldRef" if read::text(value, "resource").is_empty() => {
                errors.push(FieldError::required(format!("{field}.resource"), ""));
            }
            _ => {}
        }
    }
}

/// Refuses a reference to a field of the Pod that is none of `known` and no label or annotation.
pub(super) fn field_path(
    errors: &mut Vec<FieldError>,
    field: &str,
    source: &Value,
    known: &[&str],
) {
    let path = read::text(source, "fieldPath");
    if path.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    let keyed = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .find_map(|start| path.strip_prefix(start)?.strip_suffix("']"));
    match keyed {
        Some(key) => names::push_all(errors, field, key, names::qualified(key)),
        None if known.contains(&path) => {}
        None => errors.push(FieldError::not_supported(field, path, known)),
    }
}

fn key(errors: &mut Vec<FieldError>, field: &str, source: &Value) {
    let key = read::text(source, "key");
    if read::text(source, "name").is_empty() {
        errors.push(FieldError::required(format!("{field}.name"), ""));
    }
    if key.is_empty() {
        errors.push(FieldError::required(format!("{field}.key"), ""));
    } else {
        names::push_all(errors, &format!("{field}.key"), key, names::config_key(key));
    }
}

fn all_of(errors: &mut Vec<FieldError>, place: &str, whole: &Value) {
    let prefix = read::text(whole, "prefix");
    if !prefix.is_empty() {
        names::push_all(
            errors,
            &format!("{place}.prefix"),
            prefix,
            names::env_name(prefix),
        );
    }
    let given: Vec<_> = ["configMapRef", "secretRef"]
        .into_iter()
        .filter(|name| read::has(whole, name))
        .collect();
    match given.as_slice() {
        [name] if read::text(&whole[*name], "name").is_empty() => {
            errors.push(FieldError::required(format!("{place}.{name}.name"), ""));
        }
        [_] => {}
        [] => errors.push(FieldError::bad_text(
            place,
            "",
            "must specify one of: `configMapRef` or `secretRef`",
        )),
        _ => errors.push(FieldError::bad_text(
            place,
            "",
            "may not have more than one field specified at a time",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn variables_have_a_name_and_one_source() {
        let cases = [
            (json!({"name": "A"}), vec![]),
            (json!({"value": "x"}), vec!["c.env[0].name"]),
            (json!({"name": "a=b"}), vec!["c.env[0].name"]),
            (
                json!({"name": "A", "valueFrom": {}}),
                vec!["c.env[0].valueFrom"],
            ),
            (
                json!({"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
                vec!["c.env[0].valueFrom"],
            ),
            (
                json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}}),
                vec![],
            ),
            (
                json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}),
                vec!["c.env[0].valueFrom.fieldRef.fieldPath"],
            ),
            (
                json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}),
                vec!["c.env[0].valueFrom.secretKeyRef.key"],
            ),
            (
                json!({"name": "A", "valueFrom": {"configMapKeyRef": {"key": "a b"}}}),
                vec![
                    "c.env[0].valueFrom.configMapKeyRef.name",
                    "c.env[0].valueFrom.configMapKeyRef.key",
                ],
            ),
        ];
        for (variable, expected) in cases {
            let mut errors = Vec::new();
            validate(&mut errors, "c", &json!({"env": [variable]}));
            assert_eq!(fields(&errors), expected, "{variable}");
        }
    }

    #[test]
    fn whole_maps_are_named() {
        let mut errors = Vec::new();
        let env = json!([{"configMapRef": {"name": "a"}}, {}, {"secretRef": {}}, {"secretRef": {"name": "a"}, "configMapRef": {"name": "a"}}]);
        validate(&mut errors, "c", &json!({"envFrom": env}));
        assert_eq!(
            fields(&errors),
            [
                "c.envFrom[1]",
                "c.envFrom[2].secretRef.name",
                "c.envFrom[3]"
            ]
        );
    }
}
