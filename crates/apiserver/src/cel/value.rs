//! Values of expressions.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

use ipnet::IpNet;
use serde_json::{Map, Number, Value};

use crate::crd::schema::{Schema, Type};

/// A text. Copies of it share it, however long it is: a rule may keep many.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    /// A text of the object or of the rule.
    Given(&'a str),
    /// A text that was made.
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Given(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Given(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Made(text.into())
    }
}

/// What the definition says of a value, if it does: JSON does not tell a double that is whole from
/// an integer.
pub(super) type Shape<'a> = Option<&'a Schema>;

/// A list that was made.
#[derive(Debug)]
pub(super) struct Made<'a> {
    items: Vec<Val<'a>>,
    /// Kept, as a list may hold another many times over.
    weight: usize,
}

impl<'a> Deref for Made<'a> {
    type Target = [Val<'a>];

    fn deref(&self) -> &[Val<'a>] {
        &self.items
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Text<'a>),
    /// A list of the object.
    Items(&'a [Value], Shape<'a>),
    /// A list that was made.
    List(Rc<Made<'a>>),
    Map(&'a Map<String, Value>, Shape<'a>),
    /// In nanoseconds.
    Duration(i64),
    Address(IpAddr),
    Net(IpNet),
}

impl<'a> Val<'a> {
    /// A value of the object.
    pub(super) fn of(value: &'a Value, shape: Shape<'a>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::number(number, shape.map(|shape| shape.kind)),
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(items) => Self::Items(items, shape),
            Value::Object(fields) => Self::Map(fields, shape),
        }
    }

    fn number(number: &Number, kind: Option<Type>) -> Self {
        let double = number.as_f64().unwrap_or(f64::NAN);
        let whole = double.fract() == 0.0 && double.abs() < i64::MAX as f64;
        match (kind, number.as_i64()) {
            (Some(Type::Number), _) => Self::Double(double),
            (_, Some(number)) => Self::Int(number),
            (Some(Type::Integer | Type::IntOrText), None) if whole => Self::Int(double as i64),
            (_, None) => Self::Double(double),
        }
    }

    /// An item of a list of the object.
    pub(super) fn item(value: &'a Value, list: Shape<'a>) -> Self {
        Self::of(value, list.and_then(|list| list.items.as_deref()))
    }

    /// A field of a map of the object.
    pub(super) fn field(
        fields: &'a Map<String, Value>,
        shape: Shape<'a>,
        name: &str,
    ) -> Result<Self, String> {
        let value = fields.get(name);
        value
            .map(|value| Self::of(value, shape.and_then(|shape| shape.field(name))))
            .ok_or_else(|| format!("no such key: {name}"))
    }

    /// A list.
    pub(super) fn list(items: Vec<Val<'a>>) -> Self {
        let weight = items.iter().map(Val::weight);
        let weight = weight.fold(1, usize::saturating_add);
        Self::List(Rc::new(Made { items, weight }))
    }

    /// The items of a list, or the keys of a map.
    pub(super) fn items(&self) -> Result<Vec<Val<'a>>, String> {
        match self {
            Self::Items(items, shape) => {
                Ok(items.iter().map(|item| Val::item(item, *shape)).collect())
            }
            Self::List(items) => Ok(items.to_vec()),
            Self::Map(fields, _) => Ok(fields
                .keys()
                .map(|key| Val::Text(key.as_str().into()))
                .collect()),
            _ => Err("no such overload".to_owned()),
        }
    }

    /// How many items, fields or characters there are.
    pub(super) fn size(&self) -> Result<i64, String> {
        let size = match self {
            Self::Items(items, _) => items.len(),
            Self::List(items) => items.len(),
            Self::Map(fields, _) => fields.len(),
            Self::Text(text) => text.chars().count(),
            _ => return Err("no such overload".to_owned()),
        };
        Ok(i64::try_from(size).unwrap_or(i64::MAX))
    }

    /// How much work it is to look at all of it, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Items(items, _) => 1 + items.iter().map(weight).sum::<usize>(),
            Self::List(items) => items.weight,
            Self::Map(fields, _) => weight_of(fields),
            Self::Text(text) => 1 + text.len() / 16,
            _ => 1,
        }
    }

    /// Whether two values are equal.
    pub(super) fn same(&self, other: &Val<'_>) -> bool {
        match (self, other) {
            (Self::Null, Val::Null) => true,
            (Self::Bool(one), Val::Bool(other)) => one == other,
            (Self::Text(one), Val::Text(other)) => **one == **other,
            (Self::Duration(one), Val::Duration(other)) => one == other,
            (Self::Address(one), Val::Address(other)) => one == other,
            (Self::Net(one), Val::Net(other)) => one == other,
            (Self::Map(one, _), Val::Map(other, _)) => {
                one.len() == other.len()
                    && one.iter().all(|(key, value)| {
                        let other = other.get(key);
                        other.is_some_and(|other| Val::of(value, None).same(&Val::of(other, None)))
                    })
            }
            (Self::Int(_) | Self::Double(_), Val::Int(_) | Val::Double(_)) => {
                self.order(other) == Some(Ordering::Equal)
            }
            (Self::Items(..) | Self::List(_), Val::Items(..) | Val::List(_)) => {
                match (self.items(), other.items()) {
                    (Ok(one), Ok(other)) => {
                        one.len() == other.len()
                            && one.iter().zip(&other).all(|(one, other)| one.same(other))
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// Which of two values is greater, if they can be compared.
    pub(super) fn order(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Val::Bool(other)) => Some(one.cmp(other)),
            (Self::Int(one), Val::Int(other)) => Some(one.cmp(other)),
            (Self::Int(one), Val::Double(other)) => (*one as f64).partial_cmp(other),
            (Self::Double(one), Val::Int(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Double(one), Val::Double(other)) => one.partial_cmp(other),
            (Self::Text(one), Val::Text(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
            (Self::Duration(one), Val::Duration(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => weight_of(fields),
        Value::String(text) => 1 + text.len() / 16,
        _ => 1,
    }
}

fn weight_of(fields: &Map<String, Value>) -> usize {
    let each = fields
        .iter()
        .map(|(key, value)| key.len() / 16 + weight(value));
    1 + each.sum::<usize>()
}
