//! A structural schema, compiled: what a CustomResourceDefinition says of its objects.
//!
//! Descriptions and the like are not kept. The same [`Schema`] serves the logical parts (`allOf` and
//! so on), of which only the value checks count.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Number, Value};

use crate::cel::Rule;

/// What type a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Type {
    /// Not said: anything goes.
    #[default]
    Any,
    Object,
    Array,
    Text,
    Integer,
    Number,
    Flag,
    /// `x-kubernetes-int-or-string`
    IntOrText,
}

impl Type {
    /// Its name in a schema.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Flag => "boolean",
            Self::IntOrText => "integer or string",
        }
    }

    /// Whether a value, that is not null, has the type.
    pub(crate) fn fits(self, value: &Value) -> bool {
        let whole = |number: &Number| {
            number.is_i64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        };
        match (self, value) {
            (Self::Any, _)
            | (Self::Object, Value::Object(_))
            | (Self::Array, Value::Array(_))
            | (Self::Text | Self::IntOrText, Value::String(_))
            | (Self::Number, Value::Number(_))
            | (Self::Flag, Value::Bool(_)) => true,
            (Self::Integer | Self::IntOrText, Value::Number(number)) => whole(number),
            _ => false,
        }
    }
}

/// How the items of a list relate, `x-kubernetes-list-type`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum ListType {
    /// It is one value.
    #[default]
    Atomic,
    /// Its items differ.
    Set,
    /// These fields tell its items apart.
    Map(Vec<String>),
}

/// The schema of one place in an object.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Type,
    pub(crate) nullable: bool,
    /// Fields that are not named stay.
    pub(crate) preserve: bool,
    /// It is an object of some kind in itself.
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    /// Of all fields that are not named.
    pub(crate) additional: Option<Box<Schema>>,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    pub(crate) list: ListType,
    pub(crate) rules: Vec<Rule>,
    pub(crate) checks: Checks,
}

/// What a value must be like.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) format: Option<String>,
    pub(crate) required: Vec<String>,
    pub(crate) any_value: Vec<Value>,
    pub(crate) minimum: Option<(f64, bool)>,
    pub(crate) maximum: Option<(f64, bool)>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: (Option<u64>, Option<u64>),
    pub(crate) items: (Option<u64>, Option<u64>),
    pub(crate) fields: (Option<u64>, Option<u64>),
    pub(crate) unique: bool,
    /// As it is written and as it is used.
    pub(crate) pattern: Option<(String, Regex)>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

impl Schema {
    /// The schema of a field, if it is known.
    pub(crate) fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(self.additional.as_deref())
    }
}
