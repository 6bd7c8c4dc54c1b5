//! OpenAPI component schemas, from the same digest of the published API definitions that reads
//! protobuf bodies: which fields there are and of what type, so that `kubectl explain` has
//! something to show. Rules about values are not in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::descriptions::{Descriptions, Text};
use crate::crd;
use crate::handlers::wrap::api_version;
use crate::kinds::{Kind, Served};
use crate::protobuf::schema::{self, Field, Message, Shape, Type};
use crate::schema::{Fact, Shape as ListShape, of_message};

/// A type whose fields `apiVersion` and `kind` mean what they mean in all objects.
const OWN_NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

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

fn property(field: &Field, description: Option<String>) -> Value {
    let one = simple(&field.kind);
    let mut property = match (&field.shape, &description) {
        // Next to a reference nothing else is read.
        (Shape::One, Some(_)) if one.get("$ref").is_some() => json!({ "allOf": [one] }),
        (Shape::One, _) => one,
        (Shape::List, _) => json!({ "type": "array", "items": one }),
        (Shape::Map, _) => json!({ "type": "object", "additionalProperties": one }),
    };
    describe(&mut property, description);
    property
}

fn describe(schema: &mut Value, description: Option<String>) {
    if let Some(description) = description {
        schema["description"] = description.into();
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

/// Writes the properties of a message and names the messages that these lead to; `owner` is the
/// published name of the type that shows them.
fn properties(
    owner: &str,
    (name, message): (&str, &Message),
    words: &Descriptions<'_>,
    into: &mut Value,
    found: &mut Vec<&'static str>,
) {
    let facts = of_message(name);
    for field in message.fields.values() {
        let inner = match &field.kind {
            Type::Message(name) => schema::entry(name),
            _ => None,
        };
        match inner {
            Some(inner) if field.name == "*" => properties(owner, inner, words, into, found),
            _ => {
                found.extend(inner.map(|(name, _)| name));
                let fact = facts.and_then(|facts| facts.get(field.name.as_str()));
                let description = words.of_field(owner, &field.name);
                into[&field.name] = with_merging(fact, property(field, description));
            }
        }
    }
}

/// The schemas of the kinds and of all that is in them.
pub(super) fn of(served: &Served, kinds: &[&Kind]) -> Value {
    let text = Text::unpack();
    let words = text.descriptions();
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
        let own = published(name);
        let mut fields = json!({});
        for field in ["apiVersion", "kind"] {
            fields[field] = json!({ "type": "string" });
            describe(&mut fields[field], words.of_field(OWN_NAME, field));
        }
        properties(&own, (name, message), &words, &mut fields, &mut waiting);
        seen.insert(name);
        let mut described = json!({
            "type": "object",
            "properties": fields,
            "x-kubernetes-group-version-kind": [{
                "group": kind.group, "version": kind.version, "kind": kind.kind,
            }],
        });
        describe(&mut described, words.of_type(&own));
        schemas[own] = described;
    }
    while let Some(name) = waiting.pop() {
        if !seen.insert(name) {
            continue;
        }
        let Some((_, message)) = schema::entry(name) else {
            continue;
        };
        let mut fields = json!({});
        let own = published(name);
        properties(&own, (name, message), &words, &mut fields, &mut waiting);
        let mut described = json!({ "type": "object", "properties": fields });
        if of_message(name).is_some_and(|facts| facts.contains_key("-")) {
            described["x-kubernetes-map-type"] = "atomic".into();
        }
        describe(&mut described, words.of_type(&own));
        schemas[own] = described;
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
        assert_eq!(volume["name"]["type"], "string");
        assert_eq!(
            volume["emptyDir"]["allOf"][0]["$ref"],
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
