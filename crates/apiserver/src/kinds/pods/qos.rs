//! The quality of service class, which is computed from requests and limits.

use serde_json::Value;

use crate::kinds::{quantity, read};

/// `Guaranteed` if every container's cpu and memory requests are its limits, `BestEffort` if there
/// is neither, `Burstable` for the rest.
pub(super) fn class(spec: &Value) -> &'static str {
    let containers = || {
        read::list(spec, "containers")
            .iter()
            .chain(read::list(spec, "initContainers"))
    };
    let asked = |container: &Value, of: &str, resource: &str| {
        let given = read::text(&container["resources"][of], resource);
        quantity::nanos(given).filter(|amount| *amount > 0)
    };
    let any = containers().any(|container| {
        ["requests", "limits"].iter().any(|of| {
            ["cpu", "memory"]
                .iter()
                .any(|name| asked(container, of, name).is_some())
        })
    });
    if !any {
        return "BestEffort";
    }
    let all = containers().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = asked(container, "limits", name);
            let request = asked(container, "requests", name);
            limit.is_some() && request.is_none_or(|request| Some(request) == limit)
        })
    });
    if all { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        let cases = [
            (json!([{}]), "BestEffort"),
            (
                json!([{"resources": {"requests": {"cpu": "1"}}}]),
                "Burstable",
            ),
            (
                json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]),
                "Guaranteed",
            ),
            (
                json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, {}]),
                "Burstable",
            ),
            (
                json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]),
                "Burstable",
            ),
            (
                json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}}]),
                "Guaranteed",
            ),
            (
                json!([{"resources": {"limits": {"x/y": "1"}}}]),
                "BestEffort",
            ),
        ];
        for (containers, expected) in cases {
            assert_eq!(
                class(&json!({"containers": containers})),
                expected,
                "{containers}"
            );
        }
    }
}
