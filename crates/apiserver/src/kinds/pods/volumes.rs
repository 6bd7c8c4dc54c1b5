//! Validation of a Pod's volumes. Every kind of source is let through that the type knows; those
//! that a lab can mount are looked at closer.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{containers, environment};
use crate::kinds::fault::FieldError;
use crate::kinds::{names, read};

const FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Refuses what is wrong with the volumes of a spec; returns their names.
pub(super) fn validate<'a>(
    errors: &mut Vec<FieldError>,
    field: &str,
    spec: &'a Value,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in read::list(spec, "volumes").iter().enumerate() {
        let place = format!("{field}[{index}]");
        let (name, field) = (read::text(volume, "name"), format!("{place}.name"));
        if name.is_empty() {
            errors.push(FieldError::required(field, ""));
        } else {
            names::push_all(errors, &field, name, names::label(name));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(field, &name.into()));
            }
        }
        sources(errors, &place, volume);
    }
    seen
}

fn sources(errors: &mut Vec<FieldError>, place: &str, volume: &Value) {
    let fields = volume.as_object().into_iter().flatten();
    let mut given = fields.filter(|(name, value)| *name != "name" && !value.is_null());
    let Some((name, source)) = given.next() else {
        errors.push(FieldError::required(place, "must specify a volume type"));
        return;
    };
    for (more, _) in given {
        let detail = "may not specify more than 1 volume type";
        errors.push(FieldError::forbidden(format!("{place}.{more}"), detail));
    }
    let place = format!("{place}.{name}");
    match name.as_str() {
        "hostPath" => {
            let path = read::text(source, "path");
            if path.is_empty() {
                errors.push(FieldError::required(format!("{place}.path"), ""));
            } else if path.split('/').any(|part| part == "..") {
                errors.push(FieldError::bad_text(
                    format!("{place}.path"),
                    path,
                    "must not contain '..'",
                ));
            }
        }
        "configMap" => needs(errors, &place, source, "name"),
        "secret" => needs(errors, &place, source, "secretName"),
        "persistentVolumeClaim" => needs(errors, &place, source, "claimName"),
        _ => {}
    }
    if matches!(
        name.as_str(),
        "configMap" | "secret" | "downwardAPI" | "projected"
    ) {
        mode(errors, &place, source, "defaultMode");
        items(errors, &place, source);
    }
    for (index, part) in read::list(source, "sources").iter().enumerate() {
        for (kind, source) in part.as_object().into_iter().flatten() {
            let place = format!("{place}.sources[{index}].{kind}");
            if matches!(kind.as_str(), "configMap" | "secret") {
                needs(errors, &place, source, "name");
            }
            items(errors, &place, source);
        }
    }
}

fn needs(errors: &mut Vec<FieldError>, place: &str, source: &Value, field: &str) {
    if read::text(source, field).is_empty() {
        errors.push(FieldError::required(format!("{place}.{field}"), ""));
    }
}

fn mode(errors: &mut Vec<FieldError>, place: &str, source: &Value, field: &str) {
    if let Some(mode) = read::int(source, field)
        && !(0..=0o777).contains(&mode)
    {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(
            format!("{place}.{field}"),
            &mode.into(),
            detail,
        ));
    }
}

fn items(errors: &mut Vec<FieldError>, place: &str, source: &Value) {
    for (index, item) in read::list(source, "items").iter().enumerate() {
        let place = format!("{place}.items[{index}]");
        let path = read::text(item, "path");
        if path.is_empty() {
            errors.push(FieldError::required(format!("{place}.path"), ""));
        } else {
            containers::inner_path(errors, &format!("{place}.path"), path);
        }
        if read::has(item, "fieldRef") {
            environment::field_path(
                errors,
                &format!("{place}.fieldRef.fieldPath"),
                &item["fieldRef"],
                &FIELDS,
            );
        } else if !read::has(item, "resourceFieldRef") && read::text(item, "key").is_empty() {
            errors.push(FieldError::required(format!("{place}.key"), ""));
        }
        mode(errors, &place, item, "mode");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn volumes_have_a_name_and_one_source() {
        let cases = [
            (json!([{"name": "a", "emptyDir": {}}]), vec![]),
            (json!([{"name": "a"}]), vec!["v[0]"]),
            (json!([{"emptyDir": {}}]), vec!["v[0].name"]),
            (
                json!([{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]),
                vec!["v[1].name"],
            ),
            (
                json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/a"}}]),
                vec!["v[0].hostPath"],
            ),
            (
                json!([{"name": "a", "hostPath": {"path": "/a/../b"}}]),
                vec!["v[0].hostPath.path"],
            ),
            (
                json!([{"name": "a", "secret": {"defaultMode": 512}}]),
                vec!["v[0].secret.secretName", "v[0].secret.defaultMode"],
            ),
            (
                json!([{"name": "a", "configMap": {"name": "c", "items": [{"key": "a", "path": "../a"}, {"path": "b"}]}}]),
                vec![
                    "v[0].configMap.items[0].path",
                    "v[0].configMap.items[1].key",
                ],
            ),
            (
                json!([{"name": "a", "projected": {"sources": [{"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "x"}}]}}]}}]),
                vec!["v[0].projected.sources[0].downwardAPI.items[0].fieldRef.fieldPath"],
            ),
        ];
        for (volumes, expected) in cases {
            let mut errors = Vec::new();
            let spec = json!({"volumes": volumes});
            validate(&mut errors, "v", &spec);
            assert_eq!(fields(&errors), expected, "{volumes}");
        }
    }
}
