//! What is wrong with a field, in the words that Kubernetes uses.

use serde_json::Value;

/// One wrong field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldError {
    /// The path, such as `spec.containers[0].name`.
    pub(crate) field: String,
    /// A cause of Kubernetes' `Status`, such as `FieldValueInvalid`.
    pub(crate) reason: &'static str,
    /// The message without the path.
    pub(crate) message: String,
}

impl FieldError {
    fn new(field: impl Into<String>, reason: &'static str, message: String) -> Self {
        Self {
            field: field.into(),
            reason,
            message,
        }
    }

    /// Something must be given; `detail` says what, if it is not plain.
    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = with_detail("Required value", detail);
        Self::new(field, "FieldValueRequired", message)
    }

    /// A value that is not acceptable, and why.
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let message = with_detail(&format!("Invalid value: {value}"), detail);
        Self::new(field, "FieldValueInvalid", message)
    }

    /// A text that is not acceptable, and why.
    pub(crate) fn bad_text(field: impl Into<String>, value: &str, detail: &str) -> Self {
        Self::invalid(field, &Value::from(value), detail)
    }

    /// A value that is none of those there are.
    pub(crate) fn not_supported(field: impl Into<String>, value: &str, known: &[&str]) -> Self {
        let mut known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        known.sort();
        let known = known.join(", ");
        let message = format!("Unsupported value: {value:?}: supported values: {known}");
        Self::new(field, "FieldValueNotSupported", message)
    }

    /// A value that is there twice.
    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(
            field,
            "FieldValueDuplicate",
            format!("Duplicate value: {value}"),
        )
    }

    /// Something that may not be given or changed.
    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(
            field,
            "FieldValueForbidden",
            with_detail("Forbidden", detail),
        )
    }

    /// Something that is nowhere to be found.
    pub(crate) fn not_found(field: impl Into<String>, value: &str) -> Self {
        Self::new(field, "FieldValueNotFound", format!("Not found: {value:?}"))
    }

    /// More bytes than may be.
    pub(crate) fn too_long(field: impl Into<String>, bytes: usize) -> Self {
        let message = format!("Too long: may not be more than {bytes} bytes");
        Self::new(field, "FieldValueTooLong", message)
    }

    /// More items than may be.
    pub(crate) fn too_many(field: impl Into<String>, given: usize, most: usize) -> Self {
        let message = format!("Too many: {given}: must have at most {most} items");
        Self::new(field, "FieldValueTooMany", message)
    }
}

fn with_detail(what: &str, detail: &str) -> String {
    if detail.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {detail}")
    }
}

/// Refuses a text that is none of `known`; an empty text is missing.
pub(crate) fn one_of(errors: &mut Vec<FieldError>, field: String, value: &str, known: &[&str]) {
    if value.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !known.contains(&value) {
        errors.push(FieldError::not_supported(field, value, known));
    }
}

/// Refuses a number outside of a range.
pub(crate) fn at_least(
    errors: &mut Vec<FieldError>,
    field: String,
    value: Option<i64>,
    least: i64,
) {
    if let Some(value) = value.filter(|value| *value < least) {
        let detail = match least {
            0 => "must be greater than or equal to 0".to_owned(),
            least => format!("must be greater than or equal to {least}"),
        };
        errors.push(FieldError::invalid(field, &value.into(), &detail));
    }
}

/// Refuses any change of a field.
pub(crate) fn immutable(errors: &mut Vec<FieldError>, field: &str, new: &Value, old: &Value) {
    if new != old {
        errors.push(FieldError::invalid(field, new, "field is immutable"));
    }
}
