//! Strategic merge patches: merge patches that know which lists are keyed.
//!
//! Rules:
//! 1. `$patch: delete` empties an object, `$patch: replace` replaces it; `merge` is what happens anyway.
//! 2. `$retainKeys` drops every field that it does not name.
//! 3. `$deleteFromPrimitiveList/x` takes values out of the set `x`.
//! 4. null removes a field; objects are merged; a keyed list is merged item by item, a set is united;
//!    everything else is replaced.
//! 5. In a keyed list an item with `$patch: delete` removes its namesake, and one with
//!    `$patch: replace` makes the patch's list the whole list.
//! 6. `$setElementOrder/x` gives the order of the list `x`, else the patch's own order does.
//!
//! What was not there before takes the patch's value, less its directives and nulls.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::PatchError;
use super::order;
use crate::schema::{Field, Shape, Type};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// Applies a patch, which is an object, to an object of this type.
pub(super) fn apply(schema: &Type, original: &Value, patch: Value) -> Result<Value, PatchError> {
    let original = original.as_object().cloned().unwrap_or_default();
    let Value::Object(patch) = patch else {
        return Err(PatchError::Malformed("it must be an object".to_owned()));
    };
    object(original, patch, schema, "").map(Value::Object)
}

fn fault(field: &str, why: impl Into<String>) -> PatchError {
    PatchError::Strategic {
        field: field.to_owned(),
        why: why.into(),
    }
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// What an object's `$patch` says.
#[derive(Clone, Copy, PartialEq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(patch: &mut Object, path: &str) -> Result<Directive, PatchError> {
    match patch.remove(PATCH).as_ref().map(Value::as_str) {
        None | Some(Some("merge")) => Ok(Directive::Merge),
        Some(Some("replace")) => Ok(Directive::Replace),
        Some(Some("delete")) => Ok(Directive::Delete),
        Some(_) => Err(fault(
            path,
            "$patch must be \"merge\", \"replace\" or \"delete\"",
        )),
    }
}

fn object(
    mut original: Object,
    mut patch: Object,
    schema: &Type,
    path: &str,
) -> Result<Object, PatchError> {
    match directive(&mut patch, path)? {
        Directive::Merge => {}
        Directive::Replace => return Ok(clean_object(patch)),
        Directive::Delete => return Ok(Object::new()),
    }
    retain(&mut original, &mut patch, path)?;
    for (name, values) in take_prefixed(&mut patch, DELETE_FROM) {
        delete_values(&mut original, &name, &values, path)?;
    }
    let mut orders = take_prefixed(&mut patch, ORDER);
    for (name, value) in patch {
        let at = below(path, &name);
        let wanted = orders
            .iter()
            .position(|(field, _)| *field == name)
            .map(|index| orders.swap_remove(index).1);
        let old = original.remove(&name).filter(|old| !old.is_null());
        if value.is_null() {
            continue;
        }
        let merged = field(old, value, schema.field(&name), wanted, &at)?;
        original.insert(name, merged);
    }
    for (name, wanted) in orders {
        reorder(&mut original, &name, wanted, schema, path)?;
    }
    Ok(original)
}

/// Takes out the fields whose names start with a directive, under the rest of their names.
fn take_prefixed(patch: &mut Object, prefix: &str) -> Vec<(String, Value)> {
    let names: Vec<String> = patch
        .keys()
        .filter(|name| name.starts_with(prefix))
        .cloned()
        .collect();
    names
        .into_iter()
        .filter_map(|name| Some((name[prefix.len()..].to_owned(), patch.remove(&name)?)))
        .collect()
}

fn retain(original: &mut Object, patch: &mut Object, path: &str) -> Result<(), PatchError> {
    let Some(kept) = patch.remove(RETAIN) else {
        return Ok(());
    };
    let names = kept.as_array().and_then(|names| {
        names
            .iter()
            .map(Value::as_str)
            .collect::<Option<BTreeSet<_>>>()
    });
    let Some(names) = names else {
        return Err(fault(path, "$retainKeys must be a list of field names"));
    };
    let stray = patch.iter().find(|(name, value)| {
        let told = name.starts_with(DELETE_FROM) || name.starts_with(ORDER);
        !told && !value.is_null() && !names.contains(name.as_str())
    });
    if let Some((name, _)) = stray {
        return Err(fault(
            path,
            format!("$retainKeys does not name {name:?}, which the patch sets"),
        ));
    }
    original.retain(|name, _| names.contains(name.as_str()));
    Ok(())
}

fn delete_values(
    original: &mut Object,
    name: &str,
    values: &Value,
    path: &str,
) -> Result<(), PatchError> {
    let Some(values) = values.as_array() else {
        return Err(fault(
            &below(path, name),
            format!("{DELETE_FROM}{name} must be a list"),
        ));
    };
    let gone: BTreeSet<String> = values.iter().map(Value::to_string).collect();
    if let Some(Value::Array(items)) = original.get_mut(name) {
        items.retain(|item| !gone.contains(&item.to_string()));
    }
    Ok(())
}

fn field(
    old: Option<Value>,
    new: Value,
    told: Option<&Field>,
    wanted: Option<Value>,
    path: &str,
) -> Result<Value, PatchError> {
    let of = told.map_or(Type::nothing(), |told| &told.of);
    match (old, new, told.map(merged)) {
        (Some(Value::Object(old)), Value::Object(new), _) => {
            object(old, new, of, path).map(Value::Object)
        }
        (None, Value::Object(new), _) => object(Object::new(), new, of, path).map(Value::Object),
        (Some(Value::Array(old)), Value::Array(new), Some(Merged::By(key))) => {
            keyed(old, new, key, of, wanted, path)
        }
        (None, Value::Array(new), Some(Merged::By(key))) => {
            keyed(Vec::new(), new, key, of, wanted, path)
        }
        (Some(Value::Array(old)), Value::Array(new), Some(Merged::United)) => {
            united(old, new, wanted, path)
        }
        (_, new, _) => Ok(clean(new)),
    }
}

/// How these patches merge a list.
enum Merged<'a> {
    By(&'a str),
    United,
    Replaced,
}

fn merged(field: &Field) -> Merged<'_> {
    match &field.shape {
        Shape::Map {
            keys,
            patched: true,
        } => keys
            .first()
            .map_or(Merged::Replaced, |key| Merged::By(&key.name)),
        Shape::Set => Merged::United,
        Shape::Map { .. } | Shape::Object | Shape::Atomic => Merged::Replaced,
    }
}

/// Rule 5.
fn keyed(
    old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
    of: &Type,
    wanted: Option<Value>,
    path: &str,
) -> Result<Value, PatchError> {
    let mut items = Vec::new();
    let (mut replace, mut deleted) = (false, BTreeSet::new());
    for item in new {
        let Value::Object(mut item) = item else {
            return Err(fault(
                path,
                format!("items of this list are objects with a {key:?}"),
            ));
        };
        let id = item.get(key).map(Value::to_string);
        match (directive(&mut item, path)?, id) {
            (Directive::Replace, _) => {
                replace = true;
                if !item.is_empty() {
                    items.push((String::new(), item));
                }
            }
            (_, None) => {
                let item = Value::Object(item);
                return Err(fault(
                    path,
                    format!("map: {item} does not contain declared merge key: {key}"),
                ));
            }
            (Directive::Delete, Some(id)) => {
                deleted.insert(id);
            }
            (Directive::Merge, Some(id)) => items.push((id, item)),
        }
    }
    if replace {
        return Ok(items
            .into_iter()
            .map(|(_, item)| Value::Object(clean_object(item)))
            .collect());
    }
    let patched: Vec<String> = items.iter().map(|(id, _)| id.clone()).collect();
    let wanted = wanted
        .map(|wanted| ids(wanted, Some(key), path))
        .transpose()?;
    if wanted
        .as_ref()
        .is_some_and(|wanted| !order::is_in_order(&patched, wanted))
    {
        return Err(fault(
            path,
            "the order of the patch's items is not that of $setElementOrder",
        ));
    }
    let id = |item: &Value| item.get(key).map(Value::to_string).unwrap_or_default();
    let mut merged: Vec<(String, Value)> = old
        .into_iter()
        .map(|item| (id(&item), item))
        .filter(|(id, _)| !deleted.contains(id))
        .collect();
    let before: Vec<String> = merged.iter().map(|(id, _)| id.clone()).collect();
    merge_items(&mut merged, items, of, path)?;
    Ok(order::arrange(merged, wanted.as_deref().unwrap_or(&patched), &before).into())
}

fn merge_items(
    merged: &mut Vec<(String, Value)>,
    items: Vec<(String, Object)>,
    of: &Type,
    path: &str,
) -> Result<(), PatchError> {
    let mut places = std::collections::BTreeMap::new();
    for (index, (id, _)) in merged.iter().enumerate() {
        places.entry(id.clone()).or_insert(index);
    }
    for (id, item) in items {
        let at = format!("{path}[{id}]");
        match places.get(&id) {
            Some(&index) => {
                let old = merged[index].1.take();
                let old = if let Value::Object(old) = old {
                    old
                } else {
                    Object::new()
                };
                merged[index].1 = Value::Object(object(old, item, of, &at)?);
            }
            None => {
                places.insert(id.clone(), merged.len());
                merged.push((id, Value::Object(object(Object::new(), item, of, &at)?)));
            }
        }
    }
    Ok(())
}

fn united(
    old: Vec<Value>,
    new: Vec<Value>,
    wanted: Option<Value>,
    path: &str,
) -> Result<Value, PatchError> {
    let before: Vec<String> = old.iter().map(Value::to_string).collect();
    let patched: Vec<String> = new.iter().map(Value::to_string).collect();
    let wanted = wanted.map(|wanted| ids(wanted, None, path)).transpose()?;
    if wanted
        .as_ref()
        .is_some_and(|wanted| !order::is_in_order(&patched, wanted))
    {
        return Err(fault(
            path,
            "the order of the patch's items is not that of $setElementOrder",
        ));
    }
    let mut seen = BTreeSet::new();
    let merged: Vec<(String, Value)> = old
        .into_iter()
        .chain(new)
        .map(|item| (item.to_string(), item))
        .filter(|(id, _)| seen.insert(id.clone()))
        .collect();
    Ok(order::arrange(merged, wanted.as_deref().unwrap_or(&patched), &before).into())
}

/// An order without a change of items.
fn reorder(
    original: &mut Object,
    name: &str,
    wanted: Value,
    schema: &Type,
    path: &str,
) -> Result<(), PatchError> {
    let at = below(path, name);
    let key = match schema.field(name).map(merged) {
        Some(Merged::By(key)) => Some(key),
        Some(Merged::United) => None,
        Some(Merged::Replaced) | None => {
            return Err(fault(
                &at,
                "$setElementOrder is for lists that are merged, which this is not",
            ));
        }
    };
    let wanted = ids(wanted, key, &at)?;
    let Some(Value::Array(items)) = original.get_mut(name) else {
        return Ok(());
    };
    let identified = |item: Value| match key {
        Some(key) => (
            item.get(key).map(Value::to_string).unwrap_or_default(),
            item,
        ),
        None => (item.to_string(), item),
    };
    let items_now: Vec<(String, Value)> =
        std::mem::take(items).into_iter().map(identified).collect();
    let before: Vec<String> = items_now.iter().map(|(id, _)| id.clone()).collect();
    *items = order::arrange(items_now, &wanted, &before);
    Ok(())
}

/// The identities in a `$setElementOrder`.
fn ids(wanted: Value, key: Option<&str>, path: &str) -> Result<Vec<String>, PatchError> {
    let Value::Array(wanted) = wanted else {
        return Err(fault(path, "$setElementOrder must be a list"));
    };
    let id = |item: &Value| match key {
        None => Ok(item.to_string()),
        Some(key) => item.get(key).map(Value::to_string).ok_or_else(|| {
            fault(
                path,
                format!("map: {item} does not contain declared merge key: {key}"),
            )
        }),
    };
    wanted.iter().map(id).collect()
}

fn is_directive(name: &str) -> bool {
    name == PATCH || name == RETAIN || name.starts_with(DELETE_FROM) || name.starts_with(ORDER)
}

/// A value that comes from the patch alone: no directives, no nulls in objects.
fn clean(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(clean_object(fields)),
        Value::Array(items) => {
            let kept = items
                .into_iter()
                .filter(|item| item.get(PATCH) != Some(&Value::from("delete")));
            kept.map(clean).collect()
        }
        other => other,
    }
}

fn clean_object(fields: Object) -> Object {
    fields
        .into_iter()
        .filter(|(name, value)| !is_directive(name) && !value.is_null())
        .map(|(name, value)| (name, clean(value)))
        .collect()
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
