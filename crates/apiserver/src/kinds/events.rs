//! Events, in the core and in the newer view. Both name the same things differently; turning one
//! into the other is the server's.

use k8s_openapi::api::{core, events};
use serde_json::Value;

use super::fault::{FieldError, one_of};
use super::{Kind, Selectable, any_status, keep_nothing, nothing, read};
use crate::decode::typed;
use crate::table;

/// core/v1 Event.
pub(super) const CORE_EVENT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::events::COLUMNS,
    decode: typed::<core::v1::Event>,
    default: nothing,
    validate: validate_core,
    selectable: &[
        Selectable {
            path: "involvedObject.kind",
            get: |event| about(event, "kind"),
        },
        Selectable {
            path: "involvedObject.namespace",
            get: |event| about(event, "namespace"),
        },
        Selectable {
            path: "involvedObject.name",
            get: |event| about(event, "name"),
        },
        Selectable {
            path: "involvedObject.uid",
            get: |event| about(event, "uid"),
        },
        Selectable {
            path: "involvedObject.apiVersion",
            get: |event| about(event, "apiVersion"),
        },
        Selectable {
            path: "involvedObject.resourceVersion",
            get: |event| about(event, "resourceVersion"),
        },
        Selectable {
            path: "involvedObject.fieldPath",
            get: |event| about(event, "fieldPath"),
        },
        Selectable {
            path: "reason",
            get: |event| read::text(event, "reason").to_owned(),
        },
        Selectable {
            path: "reportingComponent",
            get: reporter,
        },
        Selectable {
            path: "source",
            get: source,
        },
        Selectable {
            path: "type",
            get: |event| read::text(event, "type").to_owned(),
        },
    ],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

/// events.k8s.io/v1 Event.
pub(super) const NEW_EVENT: Kind = Kind {
    group: "events.k8s.io",
    // With the same short name kubectl would ask which of the two is meant.
    short_names: &[],
    decode: typed::<events::v1::Event>,
    validate: validate_new,
    selectable: &[
        Selectable {
            path: "regarding.kind",
            get: |event| about(event, "kind"),
        },
        Selectable {
            path: "regarding.namespace",
            get: |event| about(event, "namespace"),
        },
        Selectable {
            path: "regarding.name",
            get: |event| about(event, "name"),
        },
        Selectable {
            path: "regarding.uid",
            get: |event| about(event, "uid"),
        },
        Selectable {
            path: "regarding.apiVersion",
            get: |event| about(event, "apiVersion"),
        },
        Selectable {
            path: "regarding.resourceVersion",
            get: |event| about(event, "resourceVersion"),
        },
        Selectable {
            path: "regarding.fieldPath",
            get: |event| about(event, "fieldPath"),
        },
        Selectable {
            path: "reason",
            get: |event| read::text(event, "reason").to_owned(),
        },
        Selectable {
            path: "reportingController",
            get: reporter,
        },
        Selectable {
            path: "type",
            get: |event| read::text(event, "type").to_owned(),
        },
    ],
    ..CORE_EVENT
};

/// A field of the object that the event is about, in either view.
fn about(event: &Value, field: &str) -> String {
    either(event, "involvedObject", "regarding")
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// The field under its core name, or else under its newer name.
pub(crate) fn either<'a>(event: &'a Value, core: &str, new: &str) -> &'a Value {
    match event.get(core) {
        Some(value) if !value.is_null() => value,
        _ => &event[new],
    }
}

fn reporter(event: &Value) -> String {
    either(event, "reportingComponent", "reportingController")
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn source(event: &Value) -> String {
    match read::text(either(event, "source", "deprecatedSource"), "component") {
        "" => reporter(event),
        component => component.to_owned(),
    }
}

fn validate_core(new: &Value, _: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    place(&mut errors, new, "involvedObject");
    errors
}

fn validate_new(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    place(&mut errors, new, "regarding");
    if old.is_some() {
        return errors;
    }
    for field in [
        "eventTime",
        "reportingController",
        "reportingInstance",
        "action",
        "reason",
    ] {
        if read::text(new, field).is_empty() {
            errors.push(FieldError::required(field, ""));
        }
    }
    one_of(
        &mut errors,
        "type".to_owned(),
        read::text(new, "type"),
        &["Normal", "Warning"],
    );
    if read::text(new, "note").len() > 1024 {
        errors.push(FieldError::too_long("note", 1024));
    }
    errors
}

/// An event lives beside its object, or in `default` if its object lives in no namespace.
fn place(errors: &mut Vec<FieldError>, event: &Value, field: &str) {
    let here = read::text(&event["metadata"], "namespace");
    let there = read::text(&event[field], "namespace");
    let fits = if there.is_empty() {
        matches!(here, "" | "default")
    } else {
        here == there
    };
    if !fits {
        let detail = "does not match event.namespace";
        errors.push(FieldError::bad_text(
            format!("{field}.namespace"),
            there,
            detail,
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn an_event_lives_beside_its_object() {
        let event = |here: &str, there: &str| json!({"metadata": {"namespace": here}, "involvedObject": {"namespace": there}});
        for (here, there, good) in [
            ("a", "a", true),
            ("a", "b", false),
            ("default", "", true),
            ("a", "", false),
        ] {
            assert_eq!(
                validate_core(&event(here, there), None).is_empty(),
                good,
                "{here} {there}"
            );
        }
    }

    #[test]
    fn the_newer_view_needs_more() {
        let event = json!({"metadata": {"namespace": "default"}, "type": "Odd"});
        assert_eq!(
            fields(&validate_new(&event, None)),
            [
                "eventTime",
                "reportingController",
                "reportingInstance",
                "action",
                "reason",
                "type"
            ]
        );
    }

    #[test]
    fn selectors_read_both_views() {
        let get = |kind: &Kind, path: &str, event: &Value| {
            let found = kind
                .selectable
                .iter()
                .find(|selectable| selectable.path == path)
                .unwrap();
            (found.get)(event)
        };
        let core = json!({"involvedObject": {"name": "a"}, "source": {"component": "c"}, "reportingComponent": "r"});
        let new = json!({"regarding": {"name": "a"}, "reportingController": "r"});
        assert_eq!(get(&CORE_EVENT, "involvedObject.name", &core), "a");
        assert_eq!(get(&NEW_EVENT, "regarding.name", &core), "a");
        assert_eq!(get(&CORE_EVENT, "source", &core), "c");
        assert_eq!(get(&CORE_EVENT, "source", &new), "r");
        assert_eq!(get(&NEW_EVENT, "reportingController", &core), "r");
    }
}
