//! What an applier wants, laid over what there is; and whether its lists can be told apart at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::walk::step;
use crate::patch::order;
use crate::schema::{Field, Shape, Type};

/// Lays a configuration over an object.
pub(super) fn merge(live: &Value, config: &Value, of: &Type) -> Value {
    let (Value::Object(live), Value::Object(config)) = (live, config) else {
        return config.clone();
    };
    let mut merged = live.clone();
    for (name, wanted) in config {
        let value = match live.get(name) {
            Some(value) => merge_field(value, wanted, of.field(name)),
            None => wanted.clone(),
        };
        merged.insert(name.clone(), value);
    }
    Value::Object(merged)
}

fn merge_field(live: &Value, config: &Value, told: Option<&Field>) -> Value {
    let of = told.map_or(Type::nothing(), |told| &told.of);
    match (
        live,
        config,
        told.map_or(&Shape::Object, |told| &told.shape),
    ) {
        (Value::Object(_), Value::Object(_), Shape::Object) if !of.is_whole() => {
            merge(live, config, of)
        }
        (Value::Array(live), Value::Array(config), shape @ (Shape::Set | Shape::Map { .. })) => {
            merge_items(live, config, shape, of)
        }
        _ => config.clone(),
    }
}

/// Items of both, those of the configuration in its order.
fn merge_items(live: &[Value], config: &[Value], shape: &Shape, of: &Type) -> Value {
    let identified = |items: &[Value]| -> Vec<(String, Value)> {
        let id = |(index, item)| step(item, shape).unwrap_or_else(|| format!("i:{index}"));
        items
            .iter()
            .enumerate()
            .map(|one| (id(one), one.1.clone()))
            .collect()
    };
    let ids = |items: &[(String, Value)]| -> Vec<String> {
        items.iter().map(|(id, _)| id.clone()).collect()
    };
    let mut merged = identified(live);
    let wanted = identified(config);
    let (before, order) = (ids(&merged), ids(&wanted));
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (place, id) in before.iter().enumerate() {
        places.entry(id.clone()).or_insert(place);
    }
    for (id, item) in wanted {
        match places.get(&id) {
            Some(&place) if !of.is_whole() => merged[place].1 = merge(&merged[place].1, &item, of),
            Some(&place) => merged[place].1 = item,
            None => merged.push((id, item)),
        }
    }
    order::arrange(merged, &order, &before).into()
}

/// Says what hinders a configuration from being merged.
pub(super) fn check(config: &Value, of: &Type) -> Result<(), String> {
    check_fields(config.as_object(), of, "")
}

fn check_fields(fields: Option<&Map<String, Value>>, of: &Type, path: &str) -> Result<(), String> {
    for (name, value) in fields.into_iter().flatten() {
        let path = format!("{path}.{name}");
        let told = of.field(name);
        let inner = told.map_or(Type::nothing(), |told| &told.of);
        match (value, told.map_or(&Shape::Object, |told| &told.shape)) {
            (Value::Object(fields), Shape::Object) if !inner.is_whole() => {
                check_fields(Some(fields), inner, &path)?;
            }
            (Value::Array(items), shape @ (Shape::Set | Shape::Map { .. })) => {
                check_items(items, shape, inner, &path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_items(items: &[Value], shape: &Shape, of: &Type, path: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let Some(step) = step(item, shape) else {
            let keys = match shape {
                Shape::Map { keys, .. } => keys.as_ref(),
                _ => &[],
            };
            let missing = keys.iter().find(|key| {
                key.default.is_none() && item.get(&*key.name).is_none_or(Value::is_null)
            });
            let missing = missing.map_or("", |key| &key.name);
            return Err(format!(
                "{path}: element {index}: associative list with keys has an element that omits \
                 key field {missing:?} (and doesn't have default value)"
            ));
        };
        if !seen.insert(step.clone()) {
            let shown = step.split_once(':').map_or("", |(_, shown)| shown);
            return Err(format!("{path}: duplicate entries for key {shown}"));
        }
        if !of.is_whole() {
            check_fields(item.as_object(), of, &format!("{path}[{index}]"))?;
        }
    }
    Ok(())
}
