//! OpenAPI component schemas, from the same digest of the published API definitions that reads
//! protobuf bodies: which fields there are and of what type, so that `kubectl explain` has
//! something to show. Descriptions of fields and rules about values are not in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::crd;
use crate::handlers::wrap::api_version;
use crate::kinds::{Kind, Served};
use crate::protobuf::schema::{self, Field, Message, Shape, Type};
use crate::schema::{Fact, Shape as ListShape, of_message};

/// What `kubectl explain` says of a kind.
const DESCRIPTION: &str = "This server publishes the names and types of fields, without words \
    about them. These are at https://kubernetes.io/docs/reference/kubernetes-api/";

/// The published name of a message: `core.Pod` is `io.k8s.api.core.v1.Pod`.
fn published(name: &str) -> String {
    match name.split_once('.') {
        Some(("meta", name)) => format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"),
        Some((group, name)) => format!("io.k8s.api.{group}.v1.{name}"),
        None => name.to_owned(),
    }
}

fn simple(kind: &Type) -> Value {
    match kind {
        Type::Flag => json!({ "type": "boolean" }),
        Type::Number => json!({ "type": "integer" }),
        Type::Text | Type::Quantity => json!({ "type": "string" }),
        Type::Bytes => json!({ "type": "string", "format": "byte" }),
        Type::NumberOrText => json!({ "type": "string", "format": "int-or-string" }),
        Type::Time { .. } => json!({ "type": "string", "format": "date-time" }),
        Type::Json => json!({ "type": "object" }),
        Type::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Type::Message(name) => {
            json!({ "$ref": format!("#/components/schemas/{}", published(name)) })
        }
    }
}

fn property(field: &Field) -> Value {
    let one = simple(&field.kind);
    match field.shape {
        Shape::One => one,
        Shape::List => json!({ "type": "array", "items": one }),
        Shape::Map => json!({ "type": "object", "additionalProperties": one }),
    }
}

/// How a field is merged, in the extensions that clients go by.
fn merging(fact: &Fact, schema: &mut Value) {
    let list = schema["type"] == "array";
    let strategy = match (&fact.shape, fact.retain) {
        (Some(ListShape::Map { patched: true, .. }), true) => Some("merge,retainKeys"),
        (Some(ListShape::Set | ListShape::Map { patched: true, .. }), _) => Some("merge"),
        (_, true) => Some("retainKeys"),
        _ => None,
    };
    if let Some(strategy) = strategy {
        schema["x-kubernetes-patch-strategy"] = strategy.into();
    }
    match &fact.shape {
        Some(ListShape::Map { keys, patched }) => {
            let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
            if *patched {
                schema["x-kubernetes-patch-merge-key"] = names.first().copied().into();
            }
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] = names.into();
        }
        Some(ListShape::Set) => schema["x-kubernetes-list-type"] = "set".into(),
        Some(ListShape::Atomic) => schema["x-kubernetes-map-type"] = "atomic".into(),
        _ if list => schema["x-kubernetes-list-type"] = "atomic".into(),
        _ => {}
    }
}

/// A reference takes nothing beside it.
fn with_merging(fact: Option<&Fact>, mut schema: Value) -> Value {
    let fact = fact.cloned().unwrap_or_default();
    if schema.get("$ref").is_some() && (fact.retain || fact.shape.is_some()) {
        schema = json!({ "allOf": [schema] });
    }
    merging(&fact, &mut schema);
    schema
}

/// Writes the properties of a message and names the messages that these lead to.
fn properties((name, message): (&str, &Message), into: &mut Value, found: &mut Vec<&'static str>) {
    let facts = of_message(name);
    for field in message.fields.values() {
        let inner = match &field.kind {
            Type::Message(name) => schema::entry(name),
            _ => None,
        };
        match inner {
            Some(inner) if field.name == "*" => properties(inner, into, found),
            _ => {
                found.extend(inner.map(|(name, _)| name));
                let fact = facts.and_then(|facts| facts.get(field.name.as_str()));
                into[&field.name] = with_merging(fact, property(field));
            }
        }
    }
}

/// The schemas of the kinds and of all that is in them.
pub(super) fn of(served: &Served, kinds: &[&Kind]) -> Value {
    let mut schemas = json!({});
    let (mut waiting, mut seen) = (Vec::new(), BTreeSet::new());
    for kind in kinds {
        if let Some(custom) = served.custom(kind) {
            let definition = &custom.definition;
            schemas[crd::openapi::name(kind)] = crd::openapi::schema(definition, kind);
            waiting.extend(schema::entry("meta.ObjectMeta").map(|(name, _)| name));
            continue;
        }
        let Some((name, message)) = schema::entry_of(&api_version(kind), kind.kind) else {
            continue;
        };
        let mut fields =
            json!({ "apiVersion": { "type": "string" }, "kind": { "type": "string" } });
        properties((name, message), &mut fields, &mut waiting);
        seen.insert(name);
        schemas[published(name)] = json!({
            "type": "object",
            "description": DESCRIPTION,
            "properties": fields,
            "x-kubernetes-group-version-kind": [{
                "group": kind.group, "version": kind.version, "kind": kind.kind,
            }],
        });
    }
    while let Some(name) = waiting.pop() {
        if !seen.insert(name) {
            continue;
        }
        let Some((_, message)) = schema::entry(name) else {
            continue;
        };
        let mut fields = json!({});
        properties((name, message), &mut fields, &mut waiting);
        let mut schema = json!({ "type": "object", "properties": fields });
        if of_message(name).is_some_and(|facts| facts.contains_key("-")) {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        schemas[published(name)] = schema;
    }
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn every_kind_has_a_schema_and_every_reference_leads_somewhere() {
        let served = kinds::Registry::default().served();
        for kind in kinds::all()
            .iter()
            .filter(|kind| kind.plural != "customresourcedefinitions")
        {
            let schemas = of(&served, &[kind]);
            let text = schemas.to_string();
            for part in text.split("#/components/schemas/").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(schemas.get(name).is_some(), "{kind:?}: {name}");
            }
            assert!(text.contains("x-kubernetes-group-version-kind"), "{kind:?}");
        }
    }

    #[test]
    fn fields_that_json_shows_in_the_parent_are_there() {
        let schemas = of(
            &kinds::Registry::default().served(),
            &[kinds::find("", "v1", "pods").unwrap()],
        );
        let volume = &schemas["io.k8s.api.core.v1.Volume"]["properties"];
        assert_eq!(volume["name"], json!({ "type": "string" }));
        assert_eq!(
            volume["emptyDir"]["$ref"],
            "#/components/schemas/io.k8s.api.core.v1.EmptyDirVolumeSource"
        );
        let spec = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"];
        assert_eq!(spec["containers"]["type"], "array");
        assert_eq!(
            spec["containers"]["x-kubernetes-list-map-keys"],
            json!(["name"])
        );
        assert_eq!(
            spec["volumes"]["x-kubernetes-patch-strategy"],
            "merge,retainKeys"
        );
        assert_eq!(spec["volumes"]["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(spec["tolerations"]["x-kubernetes-list-type"], "atomic");
        let reference = &schemas["io.k8s.api.core.v1.LocalObjectReference"];
        assert_eq!(reference["x-kubernetes-map-type"], "atomic");
        assert_eq!(
            spec["nodeSelector"]["additionalProperties"]["type"],
            "string"
        );
    }
}
