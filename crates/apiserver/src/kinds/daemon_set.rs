//! DaemonSets.

use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::{Value, json};

use super::fault::{FieldError, at_least, one_of};
use super::workloads::{DEPLOYMENT, common, share};
use super::{Kind, pods, read};
use crate::decode::typed;
use crate::table;

/// apps/v1 DaemonSet.
pub(super) const DAEMON_SET: Kind = Kind {
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    has_scale: false,
    columns: table::workloads::DAEMON_SET,
    decode: typed::<DaemonSet>,
    default,
    validate,
    ..DEPLOYMENT
};

fn default(set: &mut Value) {
    pods::default_template(set);
    let Some(spec) = set.get_mut("spec") else {
        return;
    };
    read::default(spec, "revisionHistoryLimit", 10);
    read::default(spec, "updateStrategy", json!({}));
    let Some(strategy) = spec.get_mut("updateStrategy") else {
        return;
    };
    read::default(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        read::default(strategy, "rollingUpdate", json!({}));
        if let Some(update) = strategy.get_mut("rollingUpdate") {
            read::default(update, "maxUnavailable", 1);
            read::default(update, "maxSurge", 0);
        }
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    common(&mut errors, new, old, "daemonset");
    let spec = &new["spec"];
    let limit = read::int(spec, "revisionHistoryLimit");
    let field = "spec.revisionHistoryLimit".to_owned();
    at_least(&mut errors, field, limit, 0);
    let strategy = &spec["updateStrategy"];
    let kind = read::text(strategy, "type");
    let field = "spec.updateStrategy.type".to_owned();
    one_of(&mut errors, field, kind, &["OnDelete", "RollingUpdate"]);
    if kind == "RollingUpdate" {
        rolling(&mut errors, &strategy["rollingUpdate"]);
    }
    errors
}

/// A node has the old Pod or the new one, or both at once: exactly one of the two ways is chosen.
fn rolling(errors: &mut Vec<FieldError>, update: &Value) {
    let field = |name: &str| format!("spec.updateStrategy.rollingUpdate.{name}");
    let unavailable = share(errors, &field("maxUnavailable"), &update["maxUnavailable"]);
    let surge = share(errors, &field("maxSurge"), &update["maxSurge"]);
    let (wrong, value, detail) = match (unavailable, surge) {
        (Some(0), Some(0)) => (
            "maxUnavailable",
            &update["maxUnavailable"],
            "cannot be 0 when maxSurge is 0",
        ),
        (Some(1..), Some(1..)) => (
            "maxSurge",
            &update["maxSurge"],
            "may not be set when maxUnavailable is non-zero",
        ),
        _ => return,
    };
    errors.push(FieldError::invalid(field(wrong), value, detail));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::samples::{fields, merged};

    fn good() -> Value {
        let mut set = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}});
        default(&mut set);
        set
    }

    #[test]
    fn a_daemon_set_gets_what_kubernetes_gives_it() {
        let spec = good()["spec"].take();
        assert_eq!(spec["revisionHistoryLimit"], 10);
        assert_eq!(
            spec["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
        );
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    }

    #[test]
    fn a_daemon_set_is_checked() {
        let rolling =
            |update: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": update}}});
        let way = "spec.updateStrategy.rollingUpdate";
        for (change, expected) in [
            (json!({}), vec![]),
            (
                json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}),
                vec![],
            ),
            (
                json!({"spec": {"updateStrategy": {"type": "Recreate"}}}),
                vec!["spec.updateStrategy.type".to_owned()],
            ),
            (
                rolling(json!({"maxUnavailable": 0})),
                vec![format!("{way}.maxUnavailable")],
            ),
            (
                rolling(json!({"maxSurge": "10%"})),
                vec![format!("{way}.maxSurge")],
            ),
            (
                json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
                vec![
                    "spec.template.metadata.labels".to_owned(),
                    "spec.selector".to_owned(),
                ],
            ),
        ] {
            let errors = validate(&merged(&good(), &change), Some(&good()));
            assert_eq!(fields(&errors), expected, "{change}");
        }
    }
}
