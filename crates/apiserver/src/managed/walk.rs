//! Objects as sets of fields: what is in one, what differs between two, and what is left when a set is
//! taken out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::Set;
use crate::schema::{Field, ListKey, Shape, Type};

/// What differs between two objects.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Changes {
    pub(super) fn sets(&mut self) -> [&mut Set; 3] {
        [&mut self.added, &mut self.modified, &mut self.removed]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn attach(&mut self, step: &str, below: Changes) {
        self.added.attach(step, below.added);
        self.modified.attach(step, below.modified);
        self.removed.attach(step, below.removed);
    }
}

/// How the parts of a value are reached.
enum Parts<'a> {
    /// By their names.
    Fields(&'a Type),
    /// By what tells the items apart.
    Items(&'a Shape, &'a Type),
    /// Not at all: it changes as a whole.
    Whole,
}

fn parts<'a>(value: &Value, shape: &'a Shape, of: &'a Type) -> Parts<'a> {
    match (value, shape) {
        (Value::Object(_), Shape::Object) if !of.is_whole() => Parts::Fields(of),
        (Value::Array(_), Shape::Set | Shape::Map { .. }) => Parts::Items(shape, of),
        _ => Parts::Whole,
    }
}

fn told(told: Option<&Field>) -> (&Shape, &Type) {
    told.map_or((&Shape::Object, Type::nothing()), |told| {
        (&told.shape, &told.of)
    })
}

/// The step to an item of a list; nothing if the item does not say which it is.
pub(super) fn step(item: &Value, shape: &Shape) -> Option<String> {
    match shape {
        Shape::Set => Some(format!("v:{item}")),
        Shape::Map { keys, .. } => {
            let key = |key: &ListKey| {
                let value = item.get(&*key.name).filter(|value| !value.is_null());
                let value = value.or(key.default.as_ref())?;
                Some((key.name.to_string(), value.clone()))
            };
            let keys: Option<Map<String, Value>> = keys.iter().map(key).collect();
            Some(format!("k:{}", Value::Object(keys?)))
        }
        Shape::Object | Shape::Atomic => None,
    }
}

/// The items of a list by their steps; of equal ones the first.
fn by_step<'a>(list: Option<&'a Value>, shape: &Shape) -> BTreeMap<String, &'a Value> {
    let mut items = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if let Some(step) = step(item, shape) {
            items.entry(step).or_insert(item);
        }
    }
    items
}

/// What differs between two objects of a type.
pub(super) fn compare(old: &Value, new: &Value, of: &Type) -> Changes {
    let mut changes = Changes::default();
    fields(&mut changes, Some(old), Some(new), of);
    changes
}

fn fields(changes: &mut Changes, old: Option<&Value>, new: Option<&Value>, of: &Type) {
    let all: BTreeSet<&String> = names(old).chain(names(new)).collect();
    for name in all {
        let told = of.field(name);
        let (before, after) = (child(old, name), child(new, name));
        if before == after {
            continue;
        }
        let always = told.is_some_and(|told| told.always);
        let before = usual(before, after, always && old.is_some());
        let after = usual(after, before.as_deref(), always && new.is_some());
        let below = differ(before.as_deref(), after.as_deref(), told);
        if !below.is_empty() {
            changes.attach(&format!("f:{name}"), below);
        }
    }
}

fn names(value: Option<&Value>) -> impl Iterator<Item = &String> {
    let fields = value.and_then(Value::as_object);
    fields.into_iter().flat_map(Map::keys)
}

fn child<'a>(value: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    value?.get(name).filter(|value| !value.is_null())
}

/// A part that is never absent is empty where it is not given.
fn usual<'a>(
    value: Option<&'a Value>,
    other: Option<&Value>,
    always: bool,
) -> Option<Cow<'a, Value>> {
    match (value, other) {
        (None, Some(Value::Object(_))) if always => Some(Cow::Owned(Value::Object(Map::new()))),
        (None, Some(Value::Array(_))) if always => Some(Cow::Owned(Value::Array(Vec::new()))),
        (value, _) => value.map(Cow::Borrowed),
    }
}

fn differ(old: Option<&Value>, new: Option<&Value>, field: Option<&Field>) -> Changes {
    let (shape, of) = told(field);
    differ_as(old, new, shape, of)
}

fn differ_as(old: Option<&Value>, new: Option<&Value>, shape: &Shape, of: &Type) -> Changes {
    let mut changes = Changes::default();
    let Some(sample) = new.or(old) else {
        return changes;
    };
    if old == new {
        return changes;
    }
    let same_form = |value: &Value| std::mem::discriminant(value) == std::mem::discriminant(sample);
    let parts = match old.is_none_or(same_form) {
        true => parts(sample, shape, of),
        false => Parts::Whole,
    };
    match parts {
        Parts::Fields(of) => fields(&mut changes, old, new, of),
        Parts::Items(shape, of) => items(&mut changes, old, new, shape, of),
        Parts::Whole => changes.modified.member = old.is_some() && new.is_some(),
    }
    changes.added.member = old.is_none();
    changes.removed.member = new.is_none();
    changes
}

fn items(
    changes: &mut Changes,
    old: Option<&Value>,
    new: Option<&Value>,
    shape: &Shape,
    of: &Type,
) {
    let (before, after) = (by_step(old, shape), by_step(new, shape));
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for step in all {
        let (old, new) = (before.get(step).copied(), after.get(step).copied());
        changes.attach(step, differ_as(old, new, &Shape::Object, of));
    }
}

/// The fields that an object of a type sets.
pub(super) fn field_set(value: &Value, of: &Type) -> Set {
    let mut set = Set::default();
    set_fields(&mut set, value, of);
    set
}

fn set_fields(set: &mut Set, value: &Value, of: &Type) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let (shape, inner) = told(of.field(name));
        let mut below = set_of(value, shape, inner);
        below.member |= of.is_table() || value.as_object().is_some_and(Map::is_empty);
        set.attach(&format!("f:{name}"), below);
    }
}

fn set_of(value: &Value, shape: &Shape, of: &Type) -> Set {
    let mut set = Set::default();
    match parts(value, shape, of) {
        Parts::Fields(of) => set_fields(&mut set, value, of),
        Parts::Items(shape, of) => {
            for (step, item) in by_step(Some(value), shape) {
                let mut below = set_of(item, &Shape::Object, of);
                below.member = true;
                set.attach(&step, below);
            }
        }
        Parts::Whole => set.member = true,
    }
    set
}

/// Takes the members of a set out of an object.
pub(super) fn remove(value: &mut Value, gone: &Set, of: &Type) {
    remove_from(value, gone, &Shape::Object, of);
}

fn remove_from(value: &mut Value, gone: &Set, shape: &Shape, of: &Type) {
    match value {
        Value::Object(fields) => {
            for (step, below) in &gone.children {
                let Some(name) = step.strip_prefix("f:") else {
                    continue;
                };
                if below.member {
                    fields.remove(name);
                } else if let Some(value) = fields.get_mut(name) {
                    let (shape, of) = told(of.field(name));
                    remove_from(value, below, shape, of);
                }
            }
        }
        Value::Array(items) => items.retain_mut(|item| {
            let step = step(item, shape);
            let below = step.and_then(|step| gone.children.get(step.as_str()));
            let Some(below) = below.filter(|below| !below.member) else {
                return below.is_none();
            };
            remove_from(item, below, &Shape::Object, of);
            true
        }),
        _ => {}
    }
}
