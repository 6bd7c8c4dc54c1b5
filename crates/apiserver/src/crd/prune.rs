//! What is taken out of an object and put into it: unknown fields, nulls and defaults.

use serde_json::{Map, Value};

use super::schema::Schema;

/// How many unknown fields are told.
const TOLD: usize = 64;

/// Takes out what the schema does not know and tells the paths.
pub(crate) fn prune(schema: &Schema, value: &mut Value, path: &str, told: &mut Vec<String>) {
    match value {
        Value::Object(fields) => prune_fields(schema, fields, path, told),
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (at, item) in items.iter_mut().enumerate() {
                prune(schema, item, &format!("{path}[{at}]"), told);
            }
        }
        _ => {}
    }
}

fn prune_fields(
    schema: &Schema,
    fields: &mut Map<String, Value>,
    path: &str,
    told: &mut Vec<String>,
) {
    let place = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    let itself = |name: &str| {
        (path.is_empty() || schema.embedded) && matches!(name, "apiVersion" | "kind" | "metadata")
    };
    fields.retain(|name, _| {
        let known = schema.preserve || itself(name) || schema.field(name).is_some();
        if !known && told.len() < TOLD {
            told.push(place(name));
        }
        known
    });
    for (name, field) in fields.iter_mut() {
        if itself(name) {
            continue;
        }
        if let Some(schema) = schema.field(name) {
            prune(schema, field, &place(name), told);
        }
    }
}

/// Takes out nulls where there may be none, and fills in what was left out.
pub(crate) fn default(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| {
                let known = schema.field(name);
                !field.is_null()
                    || known.is_none_or(|known| known.nullable || known.default.is_none())
            });
            for (name, field) in &schema.properties {
                if let Some(default) = &field.default
                    && !fields.contains_key(name)
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in fields.iter_mut() {
                if let Some(schema) = schema.field(name) {
                    default(schema, field);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for item in items {
                default(schema, item);
            }
        }
        _ => {}
    }
}
