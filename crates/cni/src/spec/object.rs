//! Reading JSON objects field by field, so that every error names the field by its path. As Go's
//! decoder does for the reference plugins, `null` and an empty string count as absent, and a field
//! is found however its name is capitalised: containerd writes `HostPort` and `IngressRate`.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};
use thiserror::Error;

use super::error::{CniError, code};

/// A field of a configuration or result that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("field {path} of the network configuration {problem}")]
pub(crate) struct FieldError {
    path: String,
    problem: String,
}

impl From<FieldError> for CniError {
    fn from(error: FieldError) -> CniError {
        CniError::new(code::INVALID_CONFIG, error.to_string())
    }
}

/// A JSON object and where it stands.
pub(crate) struct Object<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The object `value`, which stands at `path`.
    pub(crate) fn at(path: &str, value: &'a Value) -> Result<Object<'a>, FieldError> {
        match value {
            Value::Object(map) => Ok(Object {
                path: path.to_owned(),
                map,
            }),
            other => Err(FieldError {
                path: path.to_owned(),
                problem: format!("must be an object, not {}", kind(other)),
            }),
        }
    }

    /// The object whose fields are `map`, which stands at `path`.
    pub(crate) fn of_fields(path: &str, map: &'a Map<String, Value>) -> Object<'a> {
        Object {
            path: path.to_owned(),
            map,
        }
    }

    /// A whole configuration.
    pub(crate) fn root(map: &'a Map<String, Value>) -> Object<'a> {
        Object {
            path: String::new(),
            map,
        }
    }

    /// The error that names the field `key`.
    pub(crate) fn error(&self, key: &str, problem: impl Display) -> FieldError {
        FieldError {
            path: self.path_of(key),
            problem: problem.to_string(),
        }
    }

    /// The field's value, whatever it is.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        let written =
            |(name, value): (&String, &'a Value)| name.eq_ignore_ascii_case(key).then_some(value);
        let found = self
            .map
            .get(key)
            .or_else(|| self.map.iter().find_map(written));
        found.filter(|v| !v.is_null())
    }

    /// Whether the field is there at all, be it `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.keys().any(|name| name.eq_ignore_ascii_case(key))
    }

    /// A string.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, FieldError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|t| !t.is_empty())),
            Some(other) => Err(self.mismatch(key, "a string", other)),
        }
    }

    /// A string that must be there.
    pub(crate) fn required(&self, key: &str) -> Result<&'a str, FieldError> {
        self.text(key)?
            .ok_or_else(|| self.error(key, "is missing or empty"))
    }

    /// A string that says a `T`.
    pub(crate) fn parsed<T>(&self, key: &str, what: &str) -> Result<Option<T>, FieldError>
    where
        T: FromStr,
    {
        let parse = |text: &str| {
            let problem = || format!("is \"{text}\", which is not {what}");
            text.parse().map_err(|_| self.error(key, problem()))
        };
        self.text(key)?.map(parse).transpose()
    }

    /// A whole number from 0 up.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u32>, FieldError> {
        let convert = |value: &Value| {
            let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
            number.ok_or_else(|| self.mismatch(key, "a whole number from 0 to 4294967295", value))
        };
        self.value(key).map(convert).transpose()
    }

    /// A whole number from 0 up to `most`.
    pub(crate) fn number_up_to(&self, key: &str, most: u64) -> Result<Option<u64>, FieldError> {
        let convert = |value: &Value| {
            let number = value.as_u64().filter(|n| *n <= most);
            let want = format!("a whole number from 0 to {most}");
            number.ok_or_else(|| self.mismatch(key, &want, value))
        };
        self.value(key).map(convert).transpose()
    }

    /// A list; an absent one is empty.
    pub(crate) fn list(&self, key: &str) -> Result<&'a [Value], FieldError> {
        match self.value(key) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.mismatch(key, "a list", other)),
        }
    }

    /// A list of strings.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, FieldError> {
        let convert = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(self.mismatch(key, "a list of strings", other)),
        };
        self.list(key)?.iter().map(convert).collect()
    }

    /// A list of objects, each read by `read`.
    pub(crate) fn objects<T>(
        &self,
        key: &str,
        read: impl Fn(&Object<'_>) -> Result<T, FieldError>,
    ) -> Result<Vec<T>, FieldError> {
        let item = |(i, value)| {
            let path = format!("{}[{i}]", self.path_of(key));
            read(&Object::at(&path, value)?)
        };
        self.list(key)?.iter().enumerate().map(item).collect()
    }

    /// An object inside this one, if it is there.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Object<'a>>, FieldError> {
        let convert = |value| Object::at(&self.path_of(key), value);
        self.value(key).map(convert).transpose()
    }

    /// All fields as they are.
    pub(crate) fn fields(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// The fields that are not among `known`.
    pub(crate) fn others(&self, known: &[&str]) -> Map<String, Value> {
        let unknown = |(key, _): &(&String, &Value)| !known.contains(&key.as_str());
        let entries = self.map.iter().filter(unknown);
        entries.map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn mismatch(&self, key: &str, want: &str, found: &Value) -> FieldError {
        self.error(key, format!("must be {want}, not {}", kind(found)))
    }
}

/// What a value is, short enough for a message.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
