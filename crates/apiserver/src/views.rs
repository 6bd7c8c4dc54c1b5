//! Kinds that are stored as another kind: Events have two APIs over one set of objects, and custom
//! kinds may have several versions.
//!
//! `events.k8s.io/v1` is what new clients write, core `v1` what `kubectl describe` reads. They are
//! stored as core Events; this module renames fields on the way in and out.

use std::borrow::Cow;

use serde_json::Value;

use crate::handlers::wrap::api_version;
use crate::kinds::{self, Kind, read};

/// Fields by their name in `events.k8s.io/v1` and in core `v1`.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Whether objects of the kind are stored as another one.
pub(crate) fn is_view(kind: &Kind) -> bool {
    kind.group == "events.k8s.io" && kind.kind == "Event"
}

/// Whether an object, of which this is the JSON, has to be changed to be shown as the kind.
pub(crate) fn differs(kind: &Kind, json: &[u8]) -> bool {
    is_view(kind) || kind.custom.is_some_and(|custom| !custom.is_own(json))
}

/// The kind as which objects are stored.
pub(crate) fn stored_as(kind: &'static Kind) -> &'static Kind {
    if is_view(kind) {
        kinds::find("", "v1", "events").unwrap_or(kind)
    } else {
        kind
    }
}

fn rename(value: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    for (from, to) in names {
        if let Some(field) = object.remove(from) {
            object.insert(to.to_owned(), field);
        }
    }
}

/// A stored object as the kind shows it.
pub(crate) fn to_view(kind: &'static Kind, mut value: Value) -> Value {
    if kind.custom.is_some() {
        // All that changes from version to version; what only this one has gets its default.
        read::put(&mut value, "apiVersion", api_version(kind));
        kind.default(&mut value);
        return value;
    }
    if is_view(kind) {
        rename(
            &mut value,
            NAMES.iter().map(|(view, stored)| (*stored, *view)),
        );
        value["apiVersion"] = api_version(kind).into();
    }
    value
}

/// An object of the kind as it is stored.
pub(crate) fn to_stored(kind: &'static Kind, mut value: Value) -> Value {
    if let Some(custom) = kind.custom {
        read::put(&mut value, "apiVersion", custom.stored_version());
    }
    if is_view(kind) {
        rename(&mut value, NAMES.iter().copied());
        value["apiVersion"] = api_version(stored_as(kind)).into();
    }
    value
}

/// A field selector in the words of the stored kind.
pub(crate) fn selector<'a>(kind: &Kind, text: &'a str) -> Cow<'a, str> {
    if !is_view(kind) {
        return text.into();
    }
    let parts = text.split(',').map(|part| {
        NAMES
            .iter()
            .find_map(|(view, stored)| {
                let rest = part.strip_prefix(view)?;
                Some(format!("{stored}{rest}"))
            })
            .unwrap_or_else(|| part.to_owned())
    });
    parts.collect::<Vec<_>>().join(",").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_views_are_of_one_event() {
        let view = kinds::find("events.k8s.io", "v1", "events").unwrap();
        let new = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "reason": "r",
            "regarding": { "name": "p" }, "reportingController": "c",
        });
        let stored = to_stored(view, new.clone());
        assert_eq!(stored["apiVersion"], "v1");
        assert_eq!(stored["involvedObject"]["name"], "p");
        assert_eq!(to_view(view, stored), new);
        assert_eq!(
            selector(view, "regarding.name=p,type=x"),
            "involvedObject.name=p,type=x"
        );
        let pods = kinds::find("", "v1", "pods").unwrap();
        assert_eq!(to_view(pods, new.clone()), new);
    }
}
