//! PriorityClasses and PodDisruptionBudgets. They are kept and checked; nobody acts on them.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

use super::fault::{FieldError, immutable, one_of};
use super::workloads::share;
use super::{
    Kind, any_status, drop_status, keep_nothing, keep_status, nothing, only_status, read, selector,
};
use crate::decode::typed;
use crate::table;

/// What people may give; the classes of the system are above it.
const HIGHEST: i64 = 1_000_000_000;
const OF_SYSTEM: [(&str, i64); 2] = [
    ("system-cluster-critical", 2 * HIGHEST),
    ("system-node-critical", 2 * HIGHEST + 1000),
];

/// scheduling.k8s.io/v1 PriorityClass.
pub(super) const PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    version: "v1",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    categories: &[],
    namespaced: false,
    has_status: false,
    has_scale: false,
    bumps_generation: true,
    custom: None,
    columns: table::rights::PRIORITY_CLASS,
    decode: typed::<PriorityClass>,
    default: |class| read::default(class, "preemptionPolicy", "PreemptLowerPriority"),
    validate: class,
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

/// policy/v1 PodDisruptionBudget.
pub(super) const DISRUPTION_BUDGET: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    namespaced: true,
    has_status: true,
    columns: table::rights::DISRUPTION_BUDGET,
    decode: typed::<PodDisruptionBudget>,
    default: nothing,
    validate: |new, _| budget(new),
    on_create: drop_status,
    on_update: keep_status,
    on_status: only_status,
    ..PRIORITY_CLASS
};

fn class(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = read::text(&new["metadata"], "name");
    let value = read::int(new, "value").unwrap_or_default();
    if name.starts_with("system-") {
        if !OF_SYSTEM.contains(&(name, value)) {
            let detail =
                "priority class names with 'system-' prefix are reserved for system use only";
            errors.push(FieldError::forbidden("metadata.name", detail));
        }
    } else if value > HIGHEST {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        errors.push(FieldError::forbidden("value", &detail));
    }
    let policy = read::text(new, "preemptionPolicy");
    const POLICIES: [&str; 2] = ["Never", "PreemptLowerPriority"];
    one_of(
        &mut errors,
        "preemptionPolicy".to_owned(),
        policy,
        &POLICIES,
    );
    if let Some(old) = old {
        for field in ["value", "preemptionPolicy"] {
            immutable(&mut errors, field, &new[field], &old[field]);
        }
    }
    errors
}

fn budget(new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    let given = ["minAvailable", "maxUnavailable"].map(|name| read::has(spec, name));
    if given == [true, true] {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", &Value::Null, detail));
    }
    for name in ["minAvailable", "maxUnavailable"] {
        if read::has(spec, name) {
            let _ = share(&mut errors, &format!("spec.{name}"), &spec[name]);
        }
    }
    selector::validate(&mut errors, "spec.selector", &spec["selector"]);
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn a_priority_is_for_good_and_below_those_of_the_system() {
        let of = |name: &str, value: i64| {
            let mut object = json!({"metadata": {"name": name}, "value": value});
            (PRIORITY_CLASS.default)(&mut object);
            object
        };
        assert_eq!(class(&of("a", 5), Some(&of("a", 5))), []);
        assert_eq!(class(&of("system-node-critical", 2_000_001_000), None), []);
        for (object, expected) in [
            (of("system-x", 1), "metadata.name"),
            (of("a", HIGHEST + 1), "value"),
            (of("a", 6), "value"),
        ] {
            assert_eq!(fields(&class(&object, Some(&of("a", 5))))[0], expected);
        }
    }

    #[test]
    fn a_budget_has_one_bound() {
        for (spec, expected) in [
            (json!({"maxUnavailable": 1}), vec![]),
            (json!({"minAvailable": "50%"}), vec![]),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                vec!["spec"],
            ),
            (
                json!({"maxUnavailable": "half"}),
                vec!["spec.maxUnavailable"],
            ),
        ] {
            assert_eq!(fields(&budget(&json!({"spec": spec}))), expected);
        }
    }
}
