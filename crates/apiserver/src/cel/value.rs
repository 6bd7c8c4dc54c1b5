//! Values of expressions.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use serde_json::{Map, Value};

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    /// A list of the object.
    Items(&'a [Value]),
    /// A list that was made.
    List(Rc<Vec<Val<'a>>>),
    Map(&'a Map<String, Value>),
    /// In nanoseconds.
    Duration(i64),
    Address(IpAddr),
    Net(IpNet),
}

impl<'a> Val<'a> {
    /// A value of the object.
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::Items(items),
            Value::Object(fields) => Self::Map(fields),
        }
    }

    /// A list.
    pub(super) fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(Rc::new(items))
    }

    /// The items of a list, or the keys of a map.
    pub(super) fn items(&self) -> Result<Vec<Val<'a>>, String> {
        match self {
            Self::Items(items) => Ok(items.iter().map(Val::of).collect()),
            Self::List(items) => Ok(items.to_vec()),
            Self::Map(fields) => Ok(fields
                .keys()
                .map(|key| Val::Text(key.as_str().into()))
                .collect()),
            _ => Err("no such overload".to_owned()),
        }
    }

    /// How many items, fields or characters there are.
    pub(super) fn size(&self) -> Result<i64, String> {
        let size = match self {
            Self::Items(items) => items.len(),
            Self::List(items) => items.len(),
            Self::Map(fields) => fields.len(),
            Self::Text(text) => text.chars().count(),
            _ => return Err("no such overload".to_owned()),
        };
        Ok(i64::try_from(size).unwrap_or(i64::MAX))
    }

    /// How much work it is to look at all of it, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Items(items) => 1 + items.iter().map(weight).sum::<usize>(),
            Self::List(items) => 1 + items.iter().map(Val::weight).sum::<usize>(),
            Self::Map(fields) => 1 + fields.values().map(weight).sum::<usize>(),
            Self::Text(text) => 1 + text.len() / 16,
            _ => 1,
        }
    }

    /// Whether two values are equal.
    pub(super) fn same(&self, other: &Val<'_>) -> bool {
        match (self, other) {
            (Self::Null, Val::Null) => true,
            (Self::Bool(one), Val::Bool(other)) => one == other,
            (Self::Text(one), Val::Text(other)) => one == other,
            (Self::Duration(one), Val::Duration(other)) => one == other,
            (Self::Address(one), Val::Address(other)) => one == other,
            (Self::Net(one), Val::Net(other)) => one == other,
            (Self::Map(one), Val::Map(other)) => {
                one.len() == other.len()
                    && one.iter().all(|(key, value)| {
                        let other = other.get(key);
                        other.is_some_and(|other| Val::of(value).same(&Val::of(other)))
                    })
            }
            (Self::Int(_) | Self::Double(_), Val::Int(_) | Val::Double(_)) => {
                self.order(other) == Some(Ordering::Equal)
            }
            (Self::Items(_) | Self::List(_), Val::Items(_) | Val::List(_)) => {
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
            (Self::Text(one), Val::Text(other)) => Some(one.cmp(other)),
            (Self::Duration(one), Val::Duration(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(weight).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 16,
        _ => 1,
    }
}
