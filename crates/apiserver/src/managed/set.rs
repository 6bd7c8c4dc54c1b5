//! A set of fields: what one manager owns of an object.
//!
//! It is a tree whose steps are written as in `FieldsV1`: `f:NAME` is a field, `k:{KEYS}` the item of a
//! list that these keys tell apart, `v:VALUE` a value of a set.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::schema::{Shape, Type};

/// How deep a set may be, as a request's JSON.
const MAX_DEPTH: usize = 128;
/// How deep a set is written, so that everybody can read it.
const MAX_WRITTEN: usize = 100;

/// The fields at and below one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Set {
    /// Whether the place itself is in the set.
    pub(super) member: bool,
    pub(super) children: BTreeMap<Box<str>, Set>,
}

impl Set {
    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Puts what is below a step, if there is anything.
    pub(super) fn attach(&mut self, step: &str, below: Set) {
        if !below.is_empty() {
            self.children.insert(step.into(), below);
        }
    }

    /// Takes out what is below a path of fields.
    pub(super) fn cut(&mut self, path: &[&str]) {
        let [step, rest @ ..] = path else {
            *self = Self::default();
            return;
        };
        if let Some(below) = self.children.get_mut(*step) {
            below.cut(rest);
            if below.is_empty() {
                self.children.remove(*step);
            }
        }
    }

    /// Takes one place out and leaves what is below it.
    pub(super) fn forget(&mut self, path: &[&str]) {
        let [step, rest @ ..] = path else {
            self.member = false;
            return;
        };
        if let Some(below) = self.children.get_mut(*step) {
            below.forget(rest);
            if below.is_empty() {
                self.children.remove(*step);
            }
        }
    }

    /// Gives whether that adds anything.
    pub(super) fn add(&mut self, other: &Self) -> bool {
        let mut grows = other.member && !self.member;
        self.member |= other.member;
        for (step, below) in &other.children {
            match self.children.get_mut(step) {
                Some(mine) => grows |= mine.add(below),
                None => {
                    grows = true;
                    self.children.insert(step.clone(), below.clone());
                }
            }
        }
        grows
    }

    /// Gives whether that takes anything.
    pub(super) fn subtract(&mut self, other: &Self) -> bool {
        let mut shrinks = other.member && self.member;
        self.member &= !other.member;
        for (step, below) in &other.children {
            if let Some(mine) = self.children.get_mut(step) {
                shrinks |= mine.subtract(below);
                if mine.is_empty() {
                    self.children.remove(step);
                }
            }
        }
        shrinks
    }

    pub(super) fn common(&self, other: &Self) -> Self {
        let mut common = Self {
            member: self.member && other.member,
            children: BTreeMap::new(),
        };
        for (step, below) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                common.attach(step, below.common(theirs));
            }
        }
        common
    }

    /// Adds every named field that has members below it; keys of tables and items of lists stand only
    /// for themselves.
    pub(super) fn with_parents(mut self, of: &Type) -> Self {
        for (step, below) in &mut self.children {
            let told = step.strip_prefix("f:").and_then(|name| of.field(name));
            let inner = told.map_or(Type::nothing(), |told| &told.of);
            below.item_parents(inner, told.is_some_and(|told| told.shape != Shape::Object));
            below.member |= step.starts_with("f:") && !of.is_table();
        }
        self
    }

    fn item_parents(&mut self, of: &Type, list: bool) {
        let taken = std::mem::take(self);
        if !list {
            *self = taken.with_parents(of);
            return;
        }
        self.member = taken.member;
        for (step, mut below) in taken.children {
            below.item_parents(of, false);
            self.children.insert(step, below);
        }
    }

    /// The paths of the members, as people read them.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        if self.member {
            paths.push(path.clone());
        }
        for (step, below) in &self.children {
            let before = path.len();
            path.push_str(&shown(step));
            below.collect(path, paths);
            path.truncate(before);
        }
    }

    /// Writes the set as `FieldsV1`; what lies very deep is owned as a whole.
    pub(super) fn write(&self, text: &mut String) {
        self.write_at(text, 0);
    }

    fn write_at(&self, text: &mut String, depth: usize) {
        if depth >= MAX_WRITTEN {
            text.push_str("{}");
            return;
        }
        text.push('{');
        let mut first = true;
        if self.member && !self.children.is_empty() {
            text.push_str("\".\":{}");
            first = false;
        }
        for (step, below) in &self.children {
            if !first {
                text.push(',');
            }
            first = false;
            // Writing to memory does not fail.
            let _written = write!(text, "{}:", Value::from(step.as_ref()));
            below.write_at(text, depth + 1);
        }
        text.push('}');
    }

    /// Reads `FieldsV1`.
    pub(super) fn read(fields: &Value) -> Result<Self, String> {
        let mut set = Self::read_at(fields, 0)?;
        // At the root, nothing is nothing and not everything.
        set.member = false;
        Ok(set)
    }

    fn read_at(fields: &Value, depth: usize) -> Result<Self, String> {
        let Value::Object(steps) = fields else {
            return Err(format!("{fields} is no object"));
        };
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let mut set = Self {
            member: steps.is_empty(),
            children: BTreeMap::new(),
        };
        for (step, below) in steps {
            if step == "." {
                set.member = true;
            } else {
                let step = canonical(step)?;
                set.children.insert(step, Self::read_at(below, depth + 1)?);
            }
        }
        Ok(set)
    }
}

/// Reads what [`Set::write`] wrote, without a detour.
impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Steps;

        impl<'de> Visitor<'de> for Steps {
            type Value = Set;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a set of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Set, A::Error> {
                let (mut set, mut steps) = (Set::default(), 0);
                while let Some((step, below)) = map.next_entry::<Box<str>, Set>()? {
                    steps += 1;
                    if &*step == "." {
                        set.member = true;
                    } else {
                        set.children.insert(step, below);
                    }
                }
                set.member |= steps == 0;
                Ok(set)
            }
        }

        deserializer.deserialize_map(Steps)
    }
}

/// A step as this server writes it.
fn canonical(step: &str) -> Result<Box<str>, String> {
    let bad = || format!("{step:?} is neither f:NAME nor k:KEYS nor v:VALUE nor i:INDEX");
    let (kind, rest) = step.split_once(':').ok_or_else(bad)?;
    let value = || serde_json::from_str::<Value>(rest).map_err(|_| bad());
    match kind {
        "f" => Ok(step.into()),
        "k" => match value()? {
            keys @ Value::Object(_) => Ok(format!("k:{keys}").into()),
            _ => Err(bad()),
        },
        "v" => Ok(format!("v:{}", value()?).into()),
        "i" if rest.parse::<u32>().is_ok() => Ok(step.into()),
        _ => Err(bad()),
    }
}

/// A step as people read it.
fn shown(step: &str) -> String {
    let (kind, rest) = step.split_once(':').unwrap_or(("f", step));
    match kind {
        "k" => {
            let keys = serde_json::from_str::<serde_json::Map<String, Value>>(rest);
            let keys: Vec<String> = keys
                .into_iter()
                .flatten()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("[{}]", keys.join(","))
        }
        "v" => format!("[={rest}]"),
        "i" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(fields: Value) -> Set {
        Set::read(&fields).unwrap()
    }

    fn text(set: &Set) -> Value {
        let mut text = String::new();
        set.write(&mut text);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn fields_are_read_and_written_alike() {
        let fields = json!({"f:a": {}, "f:m": {".": {}, "k:{\"n\":1,\"p\":\"TCP\"}": {"f:x": {}},
            "v:\"text\"": {}, "i:3": {}}});
        let set = set(fields.clone());
        assert_eq!(text(&set), fields);
        assert_eq!(
            set.paths(),
            [".a", ".m", ".m[3]", ".m[n=1,p=\"TCP\"].x", ".m[=\"text\"]"]
        );
        assert!(Set::read(&json!({})).unwrap().is_empty());
        for bad in [
            json!({"a": {}}),
            json!({"k:1": {}}),
            json!({"f:a": 1}),
            json!({"v:": {}}),
            json!([]),
        ] {
            assert!(Set::read(&bad).is_err(), "{bad}");
        }
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({"f:a": deep});
        }
        assert!(Set::read(&deep).is_err());
        let mut deep = Set::default();
        for _ in 0..1000 {
            let mut above = Set::default();
            above.attach(
                "f:a",
                Set {
                    member: true,
                    ..deep
                },
            );
            deep = above;
        }
        let mut text = String::new();
        deep.write(&mut text);
        assert!(serde_json::from_str::<Set>(&text).is_ok());
    }

    #[test]
    fn sets_are_added_subtracted_and_intersected() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let b = set(json!({"f:a": {"f:b": {}, "f:d": {}}}));
        let mut sum = a.clone();
        sum.add(&b);
        assert_eq!(
            text(&sum),
            json!({"f:a": {".": {}, "f:b": {}, "f:d": {}}, "f:c": {}})
        );
        let mut rest = a.clone();
        rest.subtract(&b);
        assert_eq!(text(&rest), json!({"f:a": {}, "f:c": {}}));
        assert_eq!(text(&a.common(&b)), json!({"f:a": {"f:b": {}}}));
        let mut cut = a;
        cut.cut(&["f:a"]);
        assert_eq!(text(&cut), json!({"f:c": {}}));
    }
}
