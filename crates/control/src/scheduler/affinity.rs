//! Which nodes a Pod wants to run on: nodeSelector and required nodeAffinity.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether a node with these labels and this name is what the Pod demands.
pub(crate) fn wants(spec: &PodSpec, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|node| {
            node.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    selected
        && required.is_none_or(|required| {
            required
                .node_selector_terms
                .iter()
                .any(|term| term_matches(term, labels, name))
        })
}

/// All of a term's requirements; a term without any matches nothing.
fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|wanted| matches(wanted, labels.get(&wanted.key).map(String::as_str)))
        && fields
            .iter()
            .all(|wanted| wanted.key == "metadata.name" && matches(wanted, Some(name)))
}

fn matches(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let among = |value: &str| values.iter().any(|candidate| candidate == value);
    let compare = |order: std::cmp::Ordering| {
        let has: Option<i64> = value.and_then(|value| value.parse().ok());
        let bound: Option<i64> = values.first().and_then(|bound| bound.parse().ok());
        has.zip(bound)
            .is_some_and(|(has, bound)| has.cmp(&bound) == order)
    };
    match wanted.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(std::cmp::Ordering::Greater),
        "Lt" => compare(std::cmp::Ordering::Less),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn terms_are_alternatives_and_expressions_add_up() {
        let labels = BTreeMap::from([
            ("zone".to_owned(), "a".to_owned()),
            ("size".to_owned(), "5".to_owned()),
        ]);
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let cases = [
            (
                json!([{"matchExpressions": [expression("zone", "In", &["a", "b"])]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [expression("zone", "NotIn", &["a"])]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [expression("disk", "NotIn", &["a"])]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [expression("size", "Gt", &["4"])]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [expression("size", "Lt", &["5"])]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [expression("disk", "Exists", &[])]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [expression("disk", "DoesNotExist", &[])]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [expression("zone", "In", &["a"]),
                                             expression("size", "Gt", &["9"])]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [expression("zone", "In", &["z"])]},
                       {"matchFields": [expression("metadata.name", "In", &["n1"])]}]),
                true,
            ),
            (json!([{}]), false),
        ];
        for (terms, expected) in cases {
            let spec: PodSpec = serde_json::from_value(json!({
                "containers": [],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                    {"nodeSelectorTerms": terms}}},
            }))
            .expect("a spec");
            assert_eq!(wants(&spec, &labels, "n1"), expected, "{terms}");
        }
    }
}
