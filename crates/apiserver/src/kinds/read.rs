//! Reading and writing fields of JSON objects without ceremony: what is missing reads as empty.

use serde_json::{Map, Value};

/// The text of a field, or nothing at all as an empty text.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The number of a field.
pub(crate) fn int(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_i64)
}

/// The truth of a field; what is missing is false.
pub(crate) fn flag(value: &Value, field: &str) -> bool {
    value
        .get(field)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The items of a field.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The texts of a list.
pub(crate) fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    list(value, field)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// The items of a field, to be changed.
pub(crate) fn list_mut<'a>(value: &'a mut Value, field: &str) -> &'a mut [Value] {
    value
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .map(Vec::as_mut_slice)
        .unwrap_or_default()
}

/// The entries of a field whose values are texts, such as labels.
pub(crate) fn pairs<'a>(value: &'a Value, field: &str) -> Vec<(&'a str, &'a str)> {
    let entries = value.get(field).and_then(Value::as_object);
    entries
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// Whether a field is there and not null.
pub(crate) fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some_and(|value| !value.is_null())
}

/// The object at a field, made if there is none; nothing if something else is there.
pub(crate) fn child<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let fields = value.as_object_mut()?;
    let child = fields.entry(field).or_insert(Value::Null);
    if child.is_null() {
        *child = Value::Object(Map::new());
    }
    child.as_object_mut()
}

/// Sets `parent.field`.
pub(crate) fn set(value: &mut Value, parent: &str, field: &str, to: Value) {
    if let Some(child) = child(value, parent) {
        child.insert(field.to_owned(), to);
    }
}

/// Sets a field.
pub(crate) fn put(value: &mut Value, field: &str, to: impl Into<Value>) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(field.to_owned(), to.into());
    }
}

/// Sets a field that is missing, null or an empty text.
pub(crate) fn default(value: &mut Value, field: &str, to: impl Into<Value>) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    let unset = match fields.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if unset {
        fields.insert(field.to_owned(), to.into());
    }
}

/// Sets a number that is missing or zero.
pub(crate) fn default_number(value: &mut Value, field: &str, to: i64) {
    if let Some(fields) = value.as_object_mut()
        && fields
            .get(field)
            .is_none_or(|value| value.is_null() || *value == 0)
    {
        fields.insert(field.to_owned(), to.into());
    }
}

/// Takes a field as it is in `old`, also if it is not there.
pub(crate) fn copy(new: &mut Value, old: &Value, field: &str) {
    let Some(fields) = new.as_object_mut() else {
        return;
    };
    match old.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
}
