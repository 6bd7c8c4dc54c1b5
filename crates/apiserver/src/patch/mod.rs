//! Patches: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch.
//!
//! A patch turns one JSON document into another and knows nothing of versions or validation. However
//! it is made, the result is hardly larger or deeper than original and patch together.

pub(crate) mod order;
mod strategic;

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use crate::kinds::Kind;
use crate::schema;

/// The most operations of a JSON patch, as upstream.
const MAX_OPERATIONS: usize = 10_000;
/// The most bytes that the copies and moves of a JSON patch may carry together.
const MAX_COPIED: usize = 3 * 1024 * 1024;
/// The deepest nesting of a result.
const MAX_DEPTH: usize = 128;

/// The patches that there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PatchType {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum PatchError {
    /// The patch is not of its form.
    #[error("the patch is malformed: {0}")]
    Malformed(String),
    /// More operations than are allowed.
    #[error("The allowed maximum operations in a JSON patch is {most}, got {given}")]
    TooManyOperations {
        /// How many there are.
        given: usize,
        /// How many there may be.
        most: usize,
    },
    /// One operation of a JSON patch does not apply.
    #[error("operation {index} of the JSON patch ({operation} {path:?}) does not apply: {why}")]
    Operation {
        /// Its place, from 0.
        index: usize,
        /// Its name.
        operation: &'static str,
        /// Where it applies.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A strategic merge patch does not fit at a field.
    #[error("the strategic merge patch does not apply at {field:?}: {why}")]
    Strategic {
        /// The field.
        field: String,
        /// What is wrong.
        why: String,
    },
}

/// Applies a patch to an object of a kind.
pub(crate) fn apply(
    kind: &Kind,
    patch_type: PatchType,
    original: &Value,
    patch: Value,
) -> Result<Value, PatchError> {
    match patch_type {
        PatchType::Json => operations(original, patch),
        PatchType::Merge => {
            let patch = an_object(patch)?;
            let mut result = original.clone();
            json_patch::merge(&mut result, &patch);
            Ok(result)
        }
        PatchType::Strategic => strategic::apply(&schema::of(kind), original, an_object(patch)?),
    }
}

/// A merge patch that is no object would replace the whole, which never is an object of a kind.
fn an_object(patch: Value) -> Result<Value, PatchError> {
    if patch.is_object() {
        return Ok(patch);
    }
    let found = match patch {
        Value::Array(_) => "a list; for a list of operations send application/json-patch+json",
        _ => "a bare value",
    };
    Err(PatchError::Malformed(format!(
        "it must be an object, but is {found}"
    )))
}

fn operations(original: &Value, patch: Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = &patch else {
        let why = "it must be a list of operations".to_owned();
        return Err(PatchError::Malformed(why));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations {
            given: operations.len(),
            most: MAX_OPERATIONS,
        });
    }
    let patch: Patch =
        serde_json::from_value(patch).map_err(|error| PatchError::Malformed(error.to_string()))?;
    let mut result = original.clone();
    let mut copied = 0;
    for (index, operation) in patch.0.iter().enumerate() {
        let failed = |why: String| {
            let (operation, path) = describe(operation);
            PatchError::Operation {
                index,
                operation,
                path: path.to_string(),
                why,
            }
        };
        bounded(&result, operation, &mut copied).map_err(|why| failed(why.to_owned()))?;
        json_patch::patch_unsafe(&mut result, std::slice::from_ref(operation))
            .map_err(|error| failed(error.kind.to_string()))?;
    }
    Ok(result)
}

/// Refuses an operation that would make the document much larger or deeper.
fn bounded(
    document: &Value,
    operation: &PatchOperation,
    copied: &mut usize,
) -> Result<(), &'static str> {
    let (target, value) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Copy(copy) => (&copy.path, carried(document, &copy.from, copied)?),
        PatchOperation::Move(moved) => (&moved.path, carried(document, &moved.from, copied)?),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    let room = MAX_DEPTH.checked_sub(target.tokens().count());
    match room {
        Some(room) if value.is_none_or(|value| fits(value, room)) => Ok(()),
        _ => Err("the result would be nested too deeply"),
    }
}

/// What a copy or a move carries; all of them together carry no more than a request may hold.
fn carried<'a>(
    document: &'a Value,
    from: &Pointer,
    copied: &mut usize,
) -> Result<Option<&'a Value>, &'static str> {
    let Ok(value) = from.resolve(document) else {
        return Ok(None);
    };
    *copied = copied.saturating_add(size(value));
    if *copied > MAX_COPIED {
        return Err("the copies and moves of the patch carry more than 3 MiB in all");
    }
    Ok(Some(value))
}

/// About how many bytes a value is.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => 8 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => {
            8 + fields
                .iter()
                .map(|(key, value)| key.len() + 8 + size(value))
                .sum::<usize>()
        }
    }
}

/// Whether a value is nested at most `room` deep.
fn fits(value: &Value, room: usize) -> bool {
    let Some(room) = room.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, room)),
        Value::Object(fields) => fields.values().all(|field| fits(field, room)),
        _ => true,
    }
}

fn describe(operation: &PatchOperation) -> (&'static str, &Pointer) {
    match operation {
        PatchOperation::Add(one) => ("add", &one.path),
        PatchOperation::Remove(one) => ("remove", &one.path),
        PatchOperation::Replace(one) => ("replace", &one.path),
        PatchOperation::Move(one) => ("move", &one.path),
        PatchOperation::Copy(one) => ("copy", &one.path),
        PatchOperation::Test(one) => ("test", &one.path),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kinds::{find, samples};

    fn pod(patch_type: PatchType, original: &Value, patch: Value) -> Result<Value, PatchError> {
        apply(find("", "v1", "pods").unwrap(), patch_type, original, patch)
    }

    #[test]
    fn operations_apply_in_order_or_say_which_does_not() {
        let original = json!({"a": [1, 2], "b": {}});
        let good = json!([
            {"op": "test", "path": "/a/0", "value": 1},
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "move", "from": "/b", "path": "/c"},
            {"op": "copy", "from": "/a", "path": "/c/d"},
            {"op": "remove", "path": "/a/0"},
        ]);
        assert_eq!(
            pod(PatchType::Json, &original, good).unwrap(),
            json!({"a": [2, 3], "c": {"d": [1, 2, 3]}})
        );
        let bad = json!([{"op": "add", "path": "/x", "value": 1}, {"op": "remove", "path": "/y"}]);
        let error = pod(PatchType::Json, &original, bad).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("operation 1 of the JSON patch (remove \"/y\") does not apply: "),
            "{error}"
        );
        let test = json!([{"op": "test", "path": "/a/0", "value": 2}]);
        assert!(matches!(
            pod(PatchType::Json, &original, test),
            Err(PatchError::Operation {
                operation: "test",
                ..
            })
        ));
    }

    #[test]
    fn a_json_patch_is_a_short_list() {
        let original = json!({});
        for patch in [json!({}), json!([{"op": "grow"}]), json!([1])] {
            assert!(matches!(
                pod(PatchType::Json, &original, patch),
                Err(PatchError::Malformed(_))
            ));
        }
        let many: Value = (0..10_001)
            .map(|_| json!({"op": "add", "path": "/a", "value": 1}))
            .collect();
        let error = pod(PatchType::Json, &original, many).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }

    #[test]
    fn copies_do_not_grow_without_bound() {
        let doubling: Value = (0..100)
            .map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"}))
            .collect();
        let error = pod(PatchType::Json, &json!({"a": ["x".repeat(1000)]}), doubling).unwrap_err();
        assert!(
            error.to_string().contains("carry more than 3 MiB"),
            "{error}"
        );
    }

    #[test]
    fn moves_do_not_nest_without_bound() {
        let deepen = [
            json!({"op": "add", "path": "/b", "value": {}}),
            json!({"op": "move", "from": "/a", "path": "/b/a"}),
            json!({"op": "move", "from": "/b", "path": "/a"}),
        ];
        let deeper: Value = deepen.iter().cycle().take(9_000).cloned().collect();
        let error = pod(PatchType::Json, &json!({"a": {}}), deeper).unwrap_err();
        assert!(error.to_string().contains("nested too deeply"), "{error}");
    }

    #[test]
    fn a_merge_patch_removes_by_null_and_replaces_lists() {
        let original = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        let patch = json!({"a": {"b": null, "d": 3}, "l": [3]});
        assert_eq!(
            pod(PatchType::Merge, &original, patch).unwrap(),
            json!({"a": {"c": 2, "d": 3}, "l": [3]})
        );
        assert!(matches!(
            pod(PatchType::Merge, &original, json!([])),
            Err(PatchError::Malformed(_))
        ));
        assert!(matches!(
            pod(PatchType::Strategic, &original, json!("x")),
            Err(PatchError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn any_patch_applies_or_fails_and_stays_small(original in samples::json(), patch in samples::json()) {
            for patch_type in [PatchType::Merge, PatchType::Strategic, PatchType::Json] {
                if let Ok(result) = pod(patch_type, &original, patch.clone()) {
                    prop_assert!(size(&result) <= size(&original) + size(&patch));
                }
            }
        }

        #[test]
        fn any_operations_apply_or_fail_and_stay_small(
            original in samples::json(),
            operations in prop::collection::vec(
                (prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test"]),
                 "(/(a|spec|0|-|name)){0,3}", "(/(a|spec|0|-|name)){0,3}", samples::json()),
                0..20,
            ),
        ) {
            let patch: Value = operations.into_iter()
                .map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
                .collect();
            if let Ok(result) = pod(PatchType::Json, &original, patch.clone()) {
                prop_assert!(size(&result) <= size(&original) + size(&patch) + MAX_COPIED);
                prop_assert!(fits(&result, MAX_DEPTH));
            }
        }
    }
}
