//! Validation of requests and limits.

use serde_json::Value;

use crate::kinds::fault::FieldError;
use crate::kinds::{names, quantity, read};

/// Refuses malformed or negative amounts, and requests above their limits.
pub(super) fn validate(errors: &mut Vec<FieldError>, field: &str, resources: &Value) {
    for list in ["limits", "requests"] {
        for (name, amount) in read::pairs(resources, list) {
            let field = format!("{field}.{list}[{name}]");
            names::push_all(errors, &field, name, names::qualified(name));
            match quantity::nanos(amount) {
                None => errors.push(FieldError::bad_text(field, amount, quantity::SYNTAX)),
                Some(nanos) if nanos < 0 => {
                    let detail = "must be greater than or equal to 0";
                    errors.push(FieldError::bad_text(field, amount, detail));
                }
                Some(_) => {}
            }
        }
    }
    for (name, request) in read::pairs(resources, "requests") {
        let limit = read::text(&resources["limits"], name);
        if quantity::nanos(limit).is_some_and(|limit| quantity::nanos(request) > Some(limit)) {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::bad_text(
                format!("{field}.requests"),
                request,
                &detail,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_not_above_its_limit() {
        let mut errors = Vec::new();
        let resources = json!({"limits": {"cpu": "1", "memory": "-1"}, "requests": {"cpu": "1100m", "a b": "1"}});
        validate(&mut errors, "r", &resources);
        let messages: Vec<_> = errors
            .iter()
            .map(|error| (error.field.as_str(), error.message.as_str()))
            .collect();
        assert_eq!(messages.len(), 3);
        assert_eq!(
            messages[2],
            (
                "r.requests",
                "Invalid value: \"1100m\": must be less than or equal to cpu limit of 1"
            )
        );
    }
}
