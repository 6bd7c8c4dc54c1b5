//! The schemas of custom kinds as OpenAPI shows them: as they are written, with what every object
//! has.

use serde_json::{Value, json};

use super::definition::Definition;
use crate::kinds::Kind;

/// The name of the schema of a kind: `io.k8s.networking.gateway.v1.Gateway`.
pub(crate) fn name(kind: &Kind) -> String {
    let group: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

/// The schema of a kind.
pub(crate) fn schema(definition: &Definition, kind: &Kind) -> Value {
    let version = definition
        .versions
        .iter()
        .find(|version| version.name == kind.version);
    let mut schema = version.map_or(json!({ "type": "object" }), |version| {
        version.schema().clone()
    });
    let text = json!({ "type": "string" });
    if let Some(fields) = schema.as_object_mut() {
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        for name in ["apiVersion", "kind"] {
            if properties.get(name).is_none() {
                properties[name] = text.clone();
            }
        }
        let metadata = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        properties["metadata"] = json!({ "$ref": metadata });
        fields.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!([{ "group": kind.group, "version": kind.version, "kind": kind.kind }]),
        );
    }
    schema
}
