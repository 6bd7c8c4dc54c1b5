//! What a kind does, whether it is built in (a function) or custom (by its definition).

use jiff::Timestamp;
use serde_json::Value;

use super::{FieldError, Kind, Selectable, any_status, keep_nothing, nothing};
use crate::crd::custom::Custom;
use crate::decode::{DecodeError, Decoded};

impl Kind {
    /// The kind of a definition, without its names.
    pub(crate) fn of_definition(custom: &'static Custom) -> Self {
        Self {
            group: "",
            version: "",
            kind: "",
            plural: "",
            singular: "",
            short_names: &[],
            categories: &[],
            namespaced: false,
            has_status: false,
            has_scale: false,
            bumps_generation: true,
            custom: Some(custom),
            columns: &[],
            decode: |_| Err(DecodeError("the definition reads it".to_owned())),
            default: nothing,
            validate: |_, _| Vec::new(),
            selectable: &[],
            on_create: nothing,
            on_update: keep_nothing,
            on_status: keep_nothing,
            validate_status: any_status,
        }
    }

    /// The kind of a list.
    pub(crate) fn list_kind(&self) -> String {
        match self.custom {
            Some(custom) => custom.list_kind().to_owned(),
            None => format!("{}List", self.kind),
        }
    }

    /// What whoever writes such an object should know.
    pub(crate) fn warnings(&self, object: &Value) -> Vec<String> {
        match (self.group, self.kind) {
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                crate::crd::definition::warnings(object)
            }
            _ => Vec::new(),
        }
    }

    /// Reads JSON as this kind.
    pub(crate) fn decode(&self, value: Value) -> Result<Decoded, DecodeError> {
        match self.custom {
            Some(custom) => custom.decode(value),
            None => (self.decode)(value),
        }
    }

    /// Fills in what was left out.
    pub(crate) fn default(&self, value: &mut Value) {
        match self.custom {
            Some(custom) => custom.default(value),
            None => (self.default)(value),
        }
    }

    /// Says what is wrong with an object, given the one it replaces.
    pub(crate) fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        match self.custom {
            Some(custom) => custom.validate(new, old),
            None => (self.validate)(new, old),
        }
    }

    /// Prepares a new object: what its author may not set is reset.
    pub(crate) fn on_create(&self, new: &mut Value) {
        match self.custom {
            Some(custom) => custom.on_create(new),
            None => (self.on_create)(new),
        }
    }

    /// Prepares an update: what it may not change is kept.
    pub(crate) fn on_update(&self, new: &mut Value, old: &Value) {
        match self.custom {
            Some(custom) => custom.on_update(new, old),
            None => (self.on_update)(new, old),
        }
    }

    /// Prepares an update of the status subresource.
    pub(crate) fn on_status(&self, new: &mut Value, old: &Value) {
        match self.custom {
            Some(custom) => custom.on_status(new, old),
            None => (self.on_status)(new, old),
        }
    }

    /// Says what is wrong with a status that is about to be written.
    pub(crate) fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        match self.custom {
            Some(custom) => custom.validate(new, Some(old)),
            None => (self.validate_status)(new),
        }
    }

    /// The values of the selectable fields, in their order.
    pub(crate) fn selected(&self, object: &Value) -> Vec<String> {
        match self.custom {
            Some(custom) => custom.selected(object),
            None => self
                .selectable
                .iter()
                .map(|one| (one.get)(object))
                .collect(),
        }
    }

    /// The cells of an object's row, as a list.
    pub(crate) fn cells(&self, object: &Value, now: Timestamp) -> Value {
        match self.custom {
            Some(custom) => custom.cells(object, now),
            None => self
                .columns
                .iter()
                .map(|column| (column.cell)(object, now))
                .collect(),
        }
    }
}

impl Selectable {
    /// A field of a custom kind; its definition reads it.
    pub(crate) fn custom(path: &'static str) -> Self {
        Self {
            path,
            get: |_| String::new(),
        }
    }
}
