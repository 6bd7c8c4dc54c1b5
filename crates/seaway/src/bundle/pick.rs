//! What of an object goes into the archive: the fields that are listed, and no others. Pure.
//!
//! A list of what may stay, never of what must go: a field that nobody thought of is left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Every element of a list, in a path.
const EACH: &str = "*";

/// The parts of a value that the paths name, such as `spec.ports.*.port`; what a path ends at is
/// taken whole. `None` if there are none.
pub(super) fn pick(value: &Value, paths: &[&str]) -> Option<Value> {
    match value {
        Value::Object(fields) => pick_fields(fields, paths),
        Value::Array(items) => pick_items(items, paths),
        _ => None,
    }
}

fn pick_fields(fields: &Map<String, Value>, paths: &[&str]) -> Option<Value> {
    let mut by_field: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in paths {
        let (field, rest) = path.split_once('.').unwrap_or((path, ""));
        by_field.entry(field).or_default().push(rest);
    }
    let mut picked = Map::new();
    for (field, rest) in by_field {
        if let Some(part) = fields.get(field).and_then(|value| below(value, &rest)) {
            picked.insert(field.to_owned(), part);
        }
    }
    (!picked.is_empty()).then_some(Value::Object(picked))
}

fn pick_items(items: &[Value], paths: &[&str]) -> Option<Value> {
    let rest: Vec<&str> = paths
        .iter()
        .filter_map(|path| {
            let (head, rest) = path.split_once('.').unwrap_or((path, ""));
            (head == EACH).then_some(rest)
        })
        .collect();
    if rest.is_empty() {
        return None;
    }
    let picked = items.iter().filter_map(|item| below(item, &rest)).collect();
    Some(Value::Array(picked))
}

fn below(value: &Value, rest: &[&str]) -> Option<Value> {
    match rest.contains(&"") {
        true => Some(value.clone()),
        false => pick(value, rest),
    }
}

/// The annotations of these names: their keys hold dots, so no path names them.
pub(super) fn annotations(object: &Value, names: &[&str]) -> Option<Value> {
    let all = object["metadata"]["annotations"].as_object()?;
    let kept: Map<String, Value> = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), all.get(*name)?.clone())))
        .collect();
    (!kept.is_empty()).then_some(Value::Object(kept))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_named_stays() {
        let pod = json!({
            "metadata": {"name": "a", "annotations": {"x/secret": "1", "x/known": "2"}},
            "spec": {"containers": [
                {"name": "c", "env": [{"name": "KEY", "value": "secret"}], "ports": [{"containerPort": 1}]},
                {"env": []},
            ]},
        });
        let paths = [
            "metadata.name",
            "spec.containers.*.name",
            "spec.containers.*.ports",
        ];
        let picked = pick(&pod, &paths).expect("something");
        let expected = json!({"metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}]}});
        assert_eq!(picked, expected);
        assert_eq!(
            annotations(&pod, &["x/known", "y"]),
            Some(json!({"x/known": "2"}))
        );
        assert_eq!(annotations(&pod, &["y"]), None);
    }

    #[test]
    fn a_path_that_does_not_fit_names_nothing() {
        for (value, path) in [
            (json!({"a": 1}), "a.b"),
            (json!({"a": [1]}), "a.b"),
            (json!({"a": {"b": 1}}), "a.*"),
            (json!([1]), "a"),
            (json!("a"), "a"),
        ] {
            assert_eq!(pick(&value, &[path]), None, "{value} {path}");
        }
        let whole = json!({"a": [{"b": 1}]});
        assert_eq!(pick(&whole, &["a.*.b", "a"]), Some(whole.clone()));
    }
}
