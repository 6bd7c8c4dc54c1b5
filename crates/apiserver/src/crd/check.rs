//! Whether an object is as its schema wants it, in the words of Kubernetes.
//!
//! What has not changed since it was accepted is not held against an update, as upstream.

use std::collections::HashMap;

use serde_json::Value;

use super::formats;
use super::schema::{Checks, ListType, Schema, Type};
use crate::cel::Budget;
use crate::kinds::FieldError;

/// How many faults are told.
const TOLD: usize = 64;

/// What is wrong with an object, given the one that it replaces.
pub(crate) fn check(schema: &Schema, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut checker = Checker::default();
    checker.place(schema, new, old, "");
    if checker.errors.is_empty() {
        // Rules count on the types of what they look at.
        checker.rules(schema, new, old, "");
    }
    checker.errors
}

#[derive(Default)]
struct Checker {
    errors: Vec<FieldError>,
    budget: Budget,
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// The place where something is said of a whole object.
fn named(path: &str) -> String {
    match path {
        "" => "<nil>".to_owned(),
        path => path.to_owned(),
    }
}

/// The items of the list before, if they can be told apart.
struct Before<'a> {
    keys: &'a [String],
    items: HashMap<Vec<Option<&'a Value>>, &'a Value>,
}

impl<'a> Before<'a> {
    fn of(list: &'a ListType, old: Option<&'a Value>) -> Self {
        let (keys, old) = match (list, old.and_then(Value::as_array)) {
            (ListType::Map(keys), Some(old)) => (keys.as_slice(), old.as_slice()),
            _ => (&[][..], &[][..]),
        };
        let mut items = HashMap::with_capacity(old.len());
        for item in old {
            items.entry(key(keys, item)).or_insert(item);
        }
        Self { keys, items }
    }

    /// What goes with an item.
    fn with(&self, item: &Value) -> Option<&'a Value> {
        self.items.get(&key(self.keys, item)).copied()
    }
}

fn key<'a>(keys: &[String], item: &'a Value) -> Vec<Option<&'a Value>> {
    keys.iter().map(|key| item.get(key)).collect()
}

/// A value in words, not longer than a line.
fn shown(value: &Value) -> Value {
    match value {
        Value::Object(_) => "object".into(),
        Value::Array(_) => "array".into(),
        other => other.clone(),
    }
}

impl Checker {
    fn tell(&mut self, error: FieldError) {
        if self.errors.len() < TOLD {
            self.errors.push(error);
        }
    }

    fn say(&mut self, path: &str, value: &Value, what: &str) {
        let place = named(path);
        let detail = format!("{path} in body {what}");
        self.tell(FieldError::invalid(place, value, detail.trim_start()));
    }

    fn place(&mut self, schema: &Schema, new: &Value, old: Option<&Value>, path: &str) {
        if old == Some(new) || self.errors.len() >= TOLD {
            return;
        }
        if new.is_null() && schema.nullable {
            return;
        }
        if !schema.kind.fits(new) {
            let kind = schema.kind.name();
            let given = type_name(new);
            let detail = format!("{path} in body must be of type {kind}: {given:?}");
            self.tell(FieldError::bad_text(
                named(path),
                given,
                detail.trim_start(),
            ));
            return;
        }
        self.value(&schema.checks, new, path);
        match new {
            Value::Object(fields) => {
                if schema.embedded {
                    self.embedded(new, path);
                }
                for (name, field) in fields {
                    if path.is_empty() && name == "metadata" {
                        self.metadata(schema, field);
                    } else if let Some(schema) = schema.field(name) {
                        let old = old.and_then(|old| old.get(name));
                        self.place(schema, field, old, &join(path, name));
                    }
                }
            }
            Value::Array(items) => {
                self.list(schema, items, path);
                let Some(inner) = &schema.items else { return };
                let before = Before::of(&schema.list, old);
                for (at, item) in items.iter().enumerate() {
                    let old = before.with(item);
                    self.place(inner, item, old, &format!("{path}[{at}]"));
                }
            }
            _ => {}
        }
    }

    /// A schema may say what names there are.
    fn metadata(&mut self, schema: &Schema, metadata: &Value) {
        let Some(schema) = schema.properties.get("metadata") else {
            return;
        };
        self.value(&schema.checks, metadata, "metadata");
        for (name, field) in &schema.properties {
            if let Some(value) = metadata.get(name) {
                self.place(field, value, None, &join("metadata", name));
            }
        }
    }

    fn embedded(&mut self, value: &Value, path: &str) {
        for name in ["apiVersion", "kind"] {
            match value.get(name) {
                Some(Value::String(text)) if !text.is_empty() => {}
                None => self.tell(FieldError::required(join(path, name), "must not be empty")),
                Some(other) => {
                    let detail = "must be a text that is not empty";
                    self.tell(FieldError::invalid(join(path, name), other, detail));
                }
            }
        }
    }

    fn list(&mut self, schema: &Schema, items: &[Value], path: &str) {
        let mut seen = std::collections::HashSet::new();
        for (at, item) in items.iter().enumerate() {
            let (key, told) = match &schema.list {
                ListType::Atomic if !schema.checks.unique => return,
                ListType::Atomic | ListType::Set => (item.to_string(), item.clone()),
                ListType::Map(keys) => {
                    let keys = keys
                        .iter()
                        .filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                    let told = Value::Object(keys.collect());
                    (told.to_string(), told)
                }
            };
            if !seen.insert(key) {
                self.tell(FieldError::duplicate(format!("{path}[{at}]"), &told));
            }
        }
    }

    fn value(&mut self, checks: &Checks, value: &Value, path: &str) {
        match value {
            Value::String(text) => self.text(checks, text, value, path),
            Value::Number(number) => {
                self.number(checks, number.as_f64().unwrap_or(0.0), value, path);
            }
            Value::Array(items) => self.count(checks.items, items.len(), path, "items"),
            Value::Object(fields) => {
                self.count(checks.fields, fields.len(), path, "properties");
                for name in &checks.required {
                    if !fields.contains_key(name) {
                        self.tell(FieldError::required(join(path, name), ""));
                    }
                }
            }
            _ => {}
        }
        if !checks.any_value.is_empty() && !checks.any_value.contains(value) {
            let known: Vec<String> = checks.any_value.iter().map(plain).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            self.tell(FieldError::not_supported(
                named(path),
                &plain(value),
                &known,
            ));
        }
        self.logical(checks, value, path);
    }

    fn text(&mut self, checks: &Checks, text: &str, value: &Value, path: &str) {
        let length = text.chars().count() as u64;
        if let Some(least) = checks.length.0.filter(|least| length < *least) {
            self.say(
                path,
                value,
                &format!("should be at least {least} chars long"),
            );
        }
        if let Some(most) = checks.length.1.filter(|most| length > *most) {
            self.tell(FieldError::too_long(
                named(path),
                usize::try_from(most).unwrap_or(usize::MAX),
            ));
        }
        if let Some((pattern, _)) = checks
            .pattern
            .as_ref()
            .filter(|(_, pattern)| !pattern.is_match(text))
        {
            self.say(path, value, &format!("should match '{pattern}'"));
        }
        if let Some(format) = checks
            .format
            .as_deref()
            .filter(|format| !formats::fits(format, text))
        {
            self.say(path, value, &format!("must be of type {format}: {value}"));
        }
    }

    fn number(&mut self, checks: &Checks, number: f64, value: &Value, path: &str) {
        match checks.minimum {
            Some((least, true)) if number <= least => {
                self.say(path, value, &format!("should be greater than {least}"));
            }
            Some((least, false)) if number < least => {
                self.say(
                    path,
                    value,
                    &format!("should be greater than or equal to {least}"),
                );
            }
            _ => {}
        }
        match checks.maximum {
            Some((most, true)) if number >= most => {
                self.say(path, value, &format!("should be less than {most}"));
            }
            Some((most, false)) if number > most => {
                self.say(
                    path,
                    value,
                    &format!("should be less than or equal to {most}"),
                );
            }
            _ => {}
        }
        if let Some(of) = checks.multiple_of {
            let times = number / of;
            if (times - times.round()).abs() > 1e-9 {
                self.say(path, value, &format!("should be a multiple of {of}"));
            }
        }
        let range = match checks.format.as_deref() {
            Some("int32") => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            Some("int64") => Some((i64::MIN as f64, i64::MAX as f64)),
            _ => None,
        };
        if let (Some((least, most)), Some(format)) = (range, &checks.format)
            && !(least..=most).contains(&number)
        {
            self.say(path, value, &format!("must be of type {format}: {value}"));
        }
    }

    fn count(
        &mut self,
        (least, most): (Option<u64>, Option<u64>),
        given: usize,
        path: &str,
        what: &str,
    ) {
        let count = given as u64;
        if let Some(least) = least.filter(|least| count < *least) {
            self.say(
                path,
                &given.into(),
                &format!("should have at least {least} {what}"),
            );
        }
        if let Some(most) = most.filter(|most| count > *most) {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            self.tell(FieldError::too_many(named(path), given, most));
        }
    }

    /// Whether a logical part is satisfied.
    fn holds(&self, schema: &Schema, value: &Value, path: &str) -> bool {
        let mut part = Checker::default();
        part.place(schema, value, None, path);
        part.errors.is_empty()
    }

    fn logical(&mut self, checks: &Checks, value: &Value, path: &str) {
        let whole = shown(value);
        let said = |path: &str| {
            if path.is_empty() {
                "\"\"".to_owned()
            } else {
                format!("{path:?}")
            }
        };
        for part in &checks.all_of {
            self.place(part, value, None, path);
        }
        let any = &checks.any_of;
        if !any.is_empty() && !any.iter().any(|part| self.holds(part, value, path)) {
            let detail = format!("{} must validate at least one schema (anyOf)", said(path));
            self.tell(FieldError::invalid(named(path), &whole, &detail));
        }
        if !checks.one_of.is_empty() {
            let holding = checks
                .one_of
                .iter()
                .filter(|part| self.holds(part, value, path))
                .count();
            if holding != 1 {
                let found = if holding == 0 {
                    "none"
                } else {
                    "more than one"
                };
                let detail = format!(
                    "{} must validate one and only one schema (oneOf). Found {found} valid",
                    said(path)
                );
                self.tell(FieldError::invalid(named(path), &whole, &detail));
            }
        }
        if let Some(not) = &checks.not
            && self.holds(not, value, path)
        {
            let detail = format!("{} must not validate the schema (not)", said(path));
            self.tell(FieldError::invalid(named(path), &whole, &detail));
        }
    }

    fn rules(&mut self, schema: &Schema, new: &Value, old: Option<&Value>, path: &str) {
        if old == Some(new) || self.errors.len() >= TOLD || (new.is_null() && schema.nullable) {
            return;
        }
        for rule in &schema.rules {
            if let Some(message) = rule.broken(new, old, Some(schema), &self.budget) {
                let place = named(&format!("{path}{}", rule.field));
                let place = place.trim_start_matches('.').to_owned();
                let mut error = match rule.reason {
                    "FieldValueRequired" => FieldError::required(place, &message),
                    "FieldValueForbidden" => FieldError::forbidden(place, &message),
                    _ => FieldError::invalid(place, &shown(new), &message),
                };
                error.reason = rule.reason;
                self.tell(error);
            }
        }
        match new {
            Value::Object(fields) => {
                for (name, field) in fields {
                    if let Some(schema) = schema.field(name) {
                        let old = old.and_then(|old| old.get(name));
                        self.rules(schema, field, old, &join(path, name));
                    }
                }
            }
            Value::Array(items) => {
                let Some(inner) = &schema.items else { return };
                let before = Before::of(&schema.list, old);
                for (at, item) in items.iter().enumerate() {
                    let old = before.with(item);
                    self.rules(inner, item, old, &format!("{path}[{at}]"));
                }
            }
            _ => {}
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => Type::Flag.name(),
        Value::Number(number) if number.is_f64() => Type::Number.name(),
        Value::Number(_) => Type::Integer.name(),
        Value::String(_) => Type::Text.name(),
        Value::Array(_) => Type::Array.name(),
        Value::Object(_) => Type::Object.name(),
    }
}
