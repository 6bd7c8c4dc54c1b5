//! What makes a kind of a CustomResourceDefinition.
//!
//! Definitions are interned for the whole process and never freed, which is what lets `&'static
//! Kind` name them everywhere.

use jiff::Timestamp;
use serde_json::Value;

use super::FieldError;
use crate::decode::{DecodeError, Decoded};

/// One version of a CustomResourceDefinition.
#[derive(Debug)]
pub(crate) struct Custom {
    shelf: usize,
    stored: bool,
}

impl Custom {
    /// See [`super::Kind::shelf`].
    pub(super) fn shelf(&self) -> usize {
        self.shelf
    }

    /// Whether this is the version that is stored.
    pub(super) fn is_stored(&self) -> bool {
        self.stored
    }

    /// See [`super::Kind::decode`].
    pub(super) fn decode(&self, value: Value) -> Result<Decoded, DecodeError> {
        Ok(Decoded {
            value,
            unknown: Vec::new(),
        })
    }

    /// See [`super::Kind::default`].
    pub(super) fn default(&self, _: &mut Value) {}

    /// See [`super::Kind::validate`].
    pub(super) fn validate(&self, _: &Value, _: Option<&Value>) -> Vec<FieldError> {
        Vec::new()
    }

    /// See [`super::Kind::on_create`].
    pub(super) fn on_create(&self, _: &mut Value) {}

    /// See [`super::Kind::on_update`].
    pub(super) fn on_update(&self, _: &mut Value, _: &Value) {}

    /// See [`super::Kind::selected`].
    pub(super) fn selected(&self, _: &Value) -> Vec<String> {
        Vec::new()
    }

    /// See [`super::Kind::cells`].
    pub(super) fn cells(&self, _: &Value, _: Timestamp) -> Value {
        Value::Array(Vec::new())
    }

    /// The `columnDefinitions` of tables, as JSON.
    pub(crate) fn columns(&self) -> &str {
        "[]"
    }
}
