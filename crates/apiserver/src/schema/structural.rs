//! The type of a custom resource, from the structural schema of its definition.

use std::sync::Arc;

use serde_json::Value;

use super::{Field, ListKey, Shape, Type, known};

/// How deep schemas are followed; deeper objects are merged field by field and lists are atomic.
const MAX_DEPTH: usize = 64;

/// Reads an `openAPIV3Schema`; the metadata is that of every object.
pub(crate) fn read(schema: &Value) -> Arc<Type> {
    let mut of = object(schema, MAX_DEPTH);
    of.fields.insert("metadata".into(), known::metadata());
    Arc::new(of)
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or("")
}

fn object(schema: &Value, depth: usize) -> Type {
    let Some(depth) = depth.checked_sub(1) else {
        return Type::default();
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields = properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.as_str().into(), field(schema, depth)))
        .filter(|(_, field)| !field.tells_nothing());
    let rest = schema
        .get("additionalProperties")
        .filter(|rest| rest.is_object());
    Type {
        fields: fields.collect(),
        rest: rest.map(|rest| Box::new(field(rest, depth))),
        whole: false,
    }
}

fn field(schema: &Value, depth: usize) -> Field {
    let nothing = || Arc::clone(Type::nothing());
    let (shape, of) = match (text(schema, "type"), text(schema, "x-kubernetes-list-type")) {
        ("array", "set") => (Shape::Set, nothing()),
        ("array", "map") => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let shape = Shape::Map {
                keys: keys(schema, items),
                patched: false,
            };
            match text(items, "x-kubernetes-map-type") {
                "atomic" => (shape, Arc::clone(Type::whole())),
                _ => (shape, Arc::new(object(items, depth))),
            }
        }
        ("array", _) => (Shape::Atomic, nothing()),
        _ if text(schema, "x-kubernetes-map-type") == "atomic" => (Shape::Atomic, nothing()),
        _ => (Shape::Object, Arc::new(object(schema, depth))),
    };
    Field {
        shape,
        of,
        always: false,
    }
}

fn keys(schema: &Value, items: &Value) -> Box<[ListKey]> {
    let names = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    let default = |name: &str| {
        let property = items.get("properties")?.get(name)?;
        property.get("default").cloned()
    };
    names
        .map(|name| ListKey {
            name: name.into(),
            default: default(name),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    #[test]
    fn a_structural_schema_tells_what_its_extensions_say() {
        let listeners = json!({
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "protocol"],
            "items": {"type": "object", "properties": {
                "protocol": {"type": "string", "default": "TCP"},
                "hosts": {"type": "array", "x-kubernetes-list-type": "set"},
            }},
        });
        let of = read(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "listeners": listeners,
                "plain": {"type": "array"},
                "ref": {"type": "object", "x-kubernetes-map-type": "atomic"},
                "table": {"type": "object", "additionalProperties": {"type": "object"}},
                "text": {"type": "string"},
            }}}}),
        );
        assert!(
            of.field("metadata")
                .unwrap()
                .of
                .field("finalizers")
                .is_some()
        );
        let spec = of.field("spec").unwrap();
        assert!(!spec.always, "a custom resource's spec may be absent");
        let Shape::Map { keys, .. } = &spec.of.field("listeners").unwrap().shape else {
            panic!("not a map");
        };
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[1].default, Some("TCP".into()));
        let listener = &spec.of.field("listeners").unwrap().of;
        assert_eq!(listener.field("hosts").unwrap().shape, Shape::Set);
        assert_eq!(spec.of.field("plain").unwrap().shape, Shape::Atomic);
        assert_eq!(spec.of.field("ref").unwrap().shape, Shape::Atomic);
        assert!(spec.of.field("table").unwrap().of.is_table());
        assert!(spec.of.field("text").is_none());
    }

    #[test]
    fn a_bottomless_schema_has_an_end() {
        let mut schema = json!({"type": "object"});
        for _ in 0..500 {
            schema = json!({"type": "object", "properties": {"a": schema}});
        }
        read(&schema);
    }
}
