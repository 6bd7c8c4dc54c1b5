//! Label selectors as objects hold them: validation, matching and how they are written.

use serde_json::Value;

use super::fault::FieldError;
use super::{metadata, names, read};

/// Whether a selector asks for nothing, that is, takes everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    read::pairs(selector, "matchLabels").is_empty()
        && read::list(selector, "matchExpressions").is_empty()
}

/// Refuses a malformed selector.
pub(super) fn validate(errors: &mut Vec<FieldError>, field: &str, selector: &Value) {
    metadata::labels(
        errors,
        &format!("{field}.matchLabels"),
        selector,
        "matchLabels",
    );
    for (index, expression) in read::list(selector, "matchExpressions").iter().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        let key = read::text(expression, "key");
        let values = read::texts(expression, "values");
        match read::text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                format!("{field}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                format!("{field}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            operator => errors.push(FieldError::bad_text(
                format!("{field}.operator"),
                operator,
                "not a valid selector operator",
            )),
        }
        names::push_all(errors, &format!("{field}.key"), key, names::qualified(key));
        for (at, value) in values.iter().enumerate() {
            names::push_all(
                errors,
                &format!("{field}.values[{at}]"),
                value,
                names::label_value(value),
            );
        }
    }
}

/// Whether labels (an object of texts) are what the selector asks for.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let equal = read::pairs(selector, "matchLabels")
        .iter()
        .all(|(key, value)| labels.get(key).and_then(Value::as_str) == Some(value));
    equal
        && read::list(selector, "matchExpressions")
            .iter()
            .all(|expression| holds(expression, labels))
}

fn holds(expression: &Value, labels: &Value) -> bool {
    let value = labels
        .get(read::text(expression, "key"))
        .and_then(Value::as_str);
    let values = read::texts(expression, "values");
    match read::text(expression, "operator") {
        "In" => value.is_some_and(|value| values.contains(&value)),
        "NotIn" => value.is_none_or(|value| !values.contains(&value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// A selector as kubectl users write it; `<none>` for one that takes everything.
pub(crate) fn format(selector: &Value) -> String {
    let mut terms: Vec<(&str, String)> = read::pairs(selector, "matchLabels")
        .into_iter()
        .map(|(key, value)| (key, format!("{key}={value}")))
        .collect();
    for expression in read::list(selector, "matchExpressions") {
        let key = read::text(expression, "key");
        let mut values = read::texts(expression, "values");
        values.sort_unstable();
        let values = values.join(",");
        let term = match read::text(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key, term));
    }
    terms.sort_by(|a, b| a.0.cmp(b.0));
    if terms.is_empty() {
        return "<none>".to_owned();
    }
    terms
        .into_iter()
        .map(|(_, term)| term)
        .collect::<Vec<_>>()
        .join(",")
}

/// Labels as kubectl users write them; `<none>` for none.
pub(crate) fn format_labels(parent: &Value, field: &str) -> String {
    let pairs: Vec<String> = read::pairs(parent, field)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_match_labels_and_expressions() {
        let labels = json!({"app": "web", "tier": "front"});
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
                true,
            ),
        ];
        for (selector, expected) in cases {
            assert_eq!(matches(&selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn selectors_are_written_sorted_by_key() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(format(&selector), "a in (x,y),b=1,!c");
        assert_eq!(format(&json!({})), "<none>");
    }

    #[test]
    fn malformed_selectors_are_refused() {
        let mut errors = Vec::new();
        let selector = json!({"matchLabels": {"a b": "c"}, "matchExpressions": [
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]}, {"key": "a", "operator": "Is"}]});
        validate(&mut errors, "spec.selector", &selector);
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.selector.matchLabels",
                "spec.selector.matchExpressions[0].values",
                "spec.selector.matchExpressions[1].values",
                "spec.selector.matchExpressions[2].operator"
            ]
        );
    }
}
