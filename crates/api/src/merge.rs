//! The difference of two JSON values as a merge patch (RFC 7396).

use serde_json::{Map, Value};

/// The merge patch that leads from `from` to `to`, or nothing if they are equal. Both are to be
/// objects without nulls, as serialised Kubernetes objects are.
pub fn merge_diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return Some(to.clone());
    };
    let mut patch = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        let change = match from.get(key) {
            Some(before) => merge_diff(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_patch_says_what_differs_and_no_more() {
        let from = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2]});
        let to = json!({"a": 1, "b": {"c": 4}, "e": [1], "f": "new"});
        let patch = json!({"b": {"c": 4, "d": null}, "e": [1], "f": "new"});
        assert_eq!(merge_diff(&from, &to), Some(patch));
        assert_eq!(merge_diff(&from, &from), None);
    }

    /// RFC 7396, section 2.
    fn merge(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch.clone();
        };
        let mut target = match target {
            Value::Object(target) => target,
            _ => Map::new(),
        };
        for (key, value) in patch {
            match value {
                Value::Null => drop(target.remove(key)),
                value => {
                    let before = target.remove(key).unwrap_or(Value::Null);
                    target.insert(key.clone(), merge(before, value));
                }
            }
        }
        Value::Object(target)
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3u8).prop_map(Value::from),
            proptest::collection::vec(0..3u8, 0..3).prop_map(Value::from),
        ];
        let fields = |value| proptest::collection::btree_map("[abc]", value, 0..3);
        let nested = leaf.prop_recursive(3, 16, 3, move |inner| {
            fields(inner).prop_map(|map| Value::Object(map.into_iter().collect()))
        });
        proptest::collection::btree_map("[abc]", nested, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn the_patch_leads_to_the_goal(from in object(), to in object()) {
            let patched = match merge_diff(&from, &to) {
                Some(patch) => merge(from.clone(), &patch),
                None => from.clone(),
            };
            prop_assert_eq!(patched, to);
        }
    }
}
