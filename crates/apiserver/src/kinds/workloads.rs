//! Deployments and ReplicaSets.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

use super::fault::{FieldError, at_least, immutable, one_of};
use super::{
    Kind, Selectable, any_status, drop_status, keep_metadata, keep_status, only_status, pods, read,
    selector,
};
use crate::decode::typed;
use crate::table;

/// apps/v1 Deployment.
pub(super) const DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    has_status: true,
    has_scale: true,
    bumps_generation: true,
    custom: None,
    columns: table::workloads::DEPLOYMENT,
    decode: typed::<Deployment>,
    default: default_deployment,
    validate: deployment,
    selectable: &[],
    on_create: drop_status,
    on_update: keep_status,
    on_status: |new, old| {
        only_status(new, old);
        keep_metadata(new, old, "labels");
    },
    validate_status: any_status,
};

/// apps/v1 ReplicaSet.
pub(super) const REPLICA_SET: Kind = Kind {
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    columns: table::workloads::REPLICA_SET,
    decode: typed::<ReplicaSet>,
    default: default_replica_set,
    validate: replica_set,
    selectable: &[Selectable {
        path: "status.replicas",
        get: |set| {
            read::int(&set["status"], "replicas")
                .unwrap_or_default()
                .to_string()
        },
    }],
    on_status: only_status,
    validate_status: any_status,
    ..DEPLOYMENT
};

fn default_replica_set(set: &mut Value) {
    if let Some(spec) = set.get_mut("spec") {
        read::default(spec, "replicas", 1);
    }
    pods::default_template(set);
}

fn default_deployment(deployment: &mut Value) {
    default_replica_set(deployment);
    let Some(spec) = deployment.get_mut("spec") else {
        return;
    };
    read::default(spec, "revisionHistoryLimit", 10);
    read::default(spec, "progressDeadlineSeconds", 600);
    read::default(spec, "strategy", json!({}));
    let Some(strategy) = spec.get_mut("strategy") else {
        return;
    };
    read::default(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        read::default(strategy, "rollingUpdate", json!({}));
        if let Some(update) = strategy.get_mut("rollingUpdate") {
            read::default(update, "maxUnavailable", "25%");
            read::default(update, "maxSurge", "25%");
        }
    }
}

pub(super) fn common(errors: &mut Vec<FieldError>, new: &Value, old: Option<&Value>, kind: &str) {
    let spec = &new["spec"];
    at_least(
        errors,
        "spec.replicas".to_owned(),
        read::int(spec, "replicas"),
        0,
    );
    at_least(
        errors,
        "spec.minReadySeconds".to_owned(),
        read::int(spec, "minReadySeconds"),
        0,
    );
    if spec["selector"].is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    } else {
        selector::validate(errors, "spec.selector", &spec["selector"]);
        if selector::is_empty(&spec["selector"]) {
            let detail = format!("empty selector is invalid for {kind}");
            errors.push(FieldError::invalid(
                "spec.selector",
                &spec["selector"],
                &detail,
            ));
        }
    }
    if spec["template"].is_null() {
        errors.push(FieldError::required("spec.template", ""));
    } else {
        pods::validate_template(errors, new);
    }
    if let Some(old) = old {
        immutable(
            errors,
            "spec.selector",
            &spec["selector"],
            &old["spec"]["selector"],
        );
    }
}

fn replica_set(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    common(&mut errors, new, old, "replicaset");
    errors
}

fn deployment(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    common(&mut errors, new, old, "deployment");
    let spec = &new["spec"];
    let limit = read::int(spec, "revisionHistoryLimit");
    at_least(
        &mut errors,
        "spec.revisionHistoryLimit".to_owned(),
        limit,
        0,
    );
    let ready = read::int(spec, "minReadySeconds").unwrap_or_default();
    if let Some(deadline) =
        read::int(spec, "progressDeadlineSeconds").filter(|deadline| *deadline <= ready)
    {
        let detail = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid(
            "spec.progressDeadlineSeconds",
            &deadline.into(),
            detail,
        ));
    }
    strategy(&mut errors, &spec["strategy"]);
    errors
}

fn strategy(errors: &mut Vec<FieldError>, strategy: &Value) {
    let kind = read::text(strategy, "type");
    one_of(
        errors,
        "spec.strategy.type".to_owned(),
        kind,
        &["Recreate", "RollingUpdate"],
    );
    let update = &strategy["rollingUpdate"];
    if kind == "Recreate" && !update.is_null() {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", detail));
    }
    if kind != "RollingUpdate" {
        return;
    }
    let field = "spec.strategy.rollingUpdate.maxUnavailable";
    let unavailable = share(errors, field, &update["maxUnavailable"]);
    let surge = share(
        errors,
        "spec.strategy.rollingUpdate.maxSurge",
        &update["maxSurge"],
    );
    if unavailable == Some(0) && surge == Some(0) {
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(
            field,
            &update["maxUnavailable"],
            detail,
        ));
    }
    let too_much = update["maxUnavailable"].as_str().is_some() && unavailable > Some(100);
    if too_much {
        let detail = "must not be greater than 100%";
        errors.push(FieldError::invalid(
            field,
            &update["maxUnavailable"],
            detail,
        ));
    }
}

/// The number of a count or of a percentage.
pub(super) fn share(errors: &mut Vec<FieldError>, field: &str, value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').filter(|digits| {
                !digits.is_empty()
                    && digits.len() < 10
                    && digits.bytes().all(|byte| byte.is_ascii_digit())
            });
            if digits.is_none() {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' \
                    (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(field, value, detail));
            }
            digits?.parse().ok()
        }
        Value::Number(number) => {
            at_least(errors, field.to_owned(), number.as_i64(), 0);
            number.as_i64()
        }
        _ => {
            errors.push(FieldError::required(field, ""));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::samples::{fields, merged};

    fn good() -> Value {
        let mut deployment = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}});
        default_deployment(&mut deployment);
        deployment
    }

    #[test]
    fn a_deployment_gets_what_kubernetes_gives_it() {
        let mut spec = good()["spec"].take();
        for field in ["selector", "template"] {
            spec.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(
            spec,
            json!({"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}})
        );
        let mut recreate = json!({"spec": {"strategy": {"type": "Recreate"}, "replicas": 0}});
        default_deployment(&mut recreate);
        assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
        assert_eq!(recreate["spec"]["replicas"], 0);
    }

    #[test]
    fn a_deployment_is_checked() {
        let rolling = |update: Value| json!({"spec": {"strategy": {"rollingUpdate": update}}});
        let unavailable = "spec.strategy.rollingUpdate.maxUnavailable";
        let cases = [
            (json!({}), vec![]),
            (json!({"spec": {"replicas": -1}}), vec!["spec.replicas"]),
            (
                json!({"spec": {"selector": null}}),
                vec!["spec.selector", "spec.selector"],
            ),
            (
                json!({"spec": {"selector": {"matchLabels": null}}}),
                vec!["spec.selector", "spec.selector"],
            ),
            (
                json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
                vec!["spec.template.metadata.labels", "spec.selector"],
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": []}}}}),
                vec!["spec.template.spec.containers"],
            ),
            (
                json!({"spec": {"strategy": {"type": "Recreate"}}}),
                vec!["spec.strategy.rollingUpdate"],
            ),
            (
                rolling(json!({"maxUnavailable": 0, "maxSurge": 0})),
                vec![unavailable],
            ),
            (
                rolling(json!({"maxUnavailable": "150%"})),
                vec![unavailable],
            ),
            (rolling(json!({"maxUnavailable": "x"})), vec![unavailable]),
            (
                json!({"spec": {"progressDeadlineSeconds": 5, "minReadySeconds": 5}}),
                vec!["spec.progressDeadlineSeconds"],
            ),
        ];
        for (change, expected) in cases {
            let errors = deployment(&merged(&good(), &change), Some(&good()));
            assert_eq!(fields(&errors), expected, "{change}");
        }
    }

    #[test]
    fn messages_are_what_kubernetes_says() {
        let changed = merged(
            &good(),
            &json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
        );
        let messages: Vec<_> = deployment(&changed, Some(&good()))
            .into_iter()
            .map(|error| error.message)
            .collect();
        assert_eq!(
            messages,
            [
                "Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
                "Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable",
            ]
        );
    }
}
