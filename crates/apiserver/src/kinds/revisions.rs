//! ControllerRevisions: what a controller's object looked like once.

use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use super::fault::{FieldError, at_least, immutable};
use super::{Kind, any_status, keep_nothing, nothing, read};
use crate::decode::{DecodeError, Decoded, typed};
use crate::table;

/// apps/v1 ControllerRevision.
pub(super) const CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    short_names: &[],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: false,
    columns: table::workloads::CONTROLLER_REVISION,
    decode,
    default: nothing,
    validate,
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
    custom: None,
};

/// What is kept is the controller's own affair: it comes back as it was given, empty maps and all,
/// for kubectl compares it to the letter.
fn decode(value: Value) -> Result<Decoded, DecodeError> {
    let data = value.get("data").cloned();
    let mut decoded = typed::<ControllerRevision>(value)?;
    if let (Some(data), Some(fields)) = (data, decoded.value.as_object_mut()) {
        fields.insert("data".to_owned(), data);
    }
    Ok(decoded)
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new["data"].is_null() {
        errors.push(FieldError::required("data", "data is mandatory"));
    }
    let revision = read::int(new, "revision");
    at_least(&mut errors, "revision".to_owned(), revision, 0);
    if let Some(old) = old {
        immutable(&mut errors, "data", &new["data"], &old["data"]);
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn what_is_kept_comes_back_to_the_letter() {
        let data =
            json!({"spec": {"template": {"$patch": "replace", "resources": {}, "none": null}}});
        let given = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {"name": "a"}, "revision": 3, "data": data});
        let decoded = decode(given).unwrap();
        assert_eq!(decoded.value["data"], data);
        assert_eq!(decoded.unknown, Vec::<String>::new());
        assert!(decode(json!({"revision": "three"})).is_err());
    }

    #[test]
    fn a_revision_has_data_that_never_change() {
        let good = json!({"data": {"a": 1}, "revision": 1});
        let renumbered = json!({"data": {"a": 1}, "revision": 2});
        assert_eq!(validate(&renumbered, Some(&good)), []);
        let bad = json!({"data": {"a": 2}, "revision": -1});
        assert_eq!(fields(&validate(&bad, Some(&good))), ["revision", "data"]);
        assert_eq!(fields(&validate(&json!({"revision": 1}), None)), ["data"]);
    }
}
