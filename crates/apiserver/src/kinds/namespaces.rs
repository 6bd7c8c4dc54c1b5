//! Namespaces: the label that names them, the finalizer and the phase.

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use super::fault::FieldError;
use super::{Kind, Selectable, any_status, only_status, read};
use crate::decode::typed;
use crate::table;

/// core/v1 Namespace.
pub(super) const NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    has_status: true,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::simple::NAMESPACE,
    decode: typed::<Namespace>,
    default,
    validate,
    selectable: &[Selectable {
        path: "status.phase",
        get: |namespace| read::text(&namespace["status"], "phase").to_owned(),
    }],
    on_create,
    on_update,
    on_status: only_status,
    validate_status: any_status,
};

fn default(namespace: &mut Value) {
    let name = read::text(&namespace["metadata"], "name").to_owned();
    if let Some(metadata) = namespace.get_mut("metadata")
        && !name.is_empty()
    {
        read::set(
            metadata,
            "labels",
            "kubernetes.io/metadata.name",
            name.into(),
        );
    }
}

fn validate(_: &Value, _: Option<&Value>) -> Vec<FieldError> {
    Vec::new()
}

fn on_create(namespace: &mut Value) {
    if let Some(fields) = namespace.as_object_mut() {
        fields.insert("spec".to_owned(), json!({"finalizers": ["kubernetes"]}));
        fields.insert("status".to_owned(), json!({"phase": "Active"}));
    }
}

/// Only the finalize subresource takes a finalizer away.
fn on_update(new: &mut Value, old: &Value) {
    read::copy(new, old, "spec");
    read::copy(new, old, "status");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_named_by_a_label_and_starts_active() {
        let mut namespace = json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}});
        default(&mut namespace);
        on_create(&mut namespace);
        assert_eq!(
            namespace,
            json!({
                "metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            })
        );
        let mut update = json!({"metadata": {"name": "a"}, "spec": {"finalizers": []}});
        on_update(&mut update, &namespace);
        assert_eq!(
            (&update["spec"], &update["status"]),
            (&namespace["spec"], &namespace["status"])
        );
    }
}
