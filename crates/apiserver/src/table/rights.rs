//! The columns of roles, bindings, priorities and budgets.

use serde_json::Value;

use super::cells::{AGE, NAME, joined, number, text, wide};
use crate::kinds::{Column, read};

/// The columns of Roles and ClusterRoles.
pub(crate) const ROLE: &[Column] = &[
    NAME,
    text(
        "Created At",
        "CreationTimestamp is the server time when this object was created.",
        |role, _| read::text(&role["metadata"], "creationTimestamp").into(),
    ),
];

/// The columns of RoleBindings and ClusterRoleBindings.
pub(crate) const BINDING: &[Column] = &[
    NAME,
    text("Role", "The role that is given.", |binding, _| {
        let role = &binding["roleRef"];
        format!("{}/{}", read::text(role, "kind"), read::text(role, "name")).into()
    }),
    AGE,
    wide("Users", "Users that have the role.", |binding, _| {
        subjects(binding, "User").into()
    }),
    wide("Groups", "Groups that have the role.", |binding, _| {
        subjects(binding, "Group").into()
    }),
    wide(
        "ServiceAccounts",
        "Service accounts that have the role.",
        |binding, _| subjects(binding, "ServiceAccount").into(),
    ),
];

/// The columns of PriorityClasses.
pub(crate) const PRIORITY_CLASS: &[Column] = &[
    NAME,
    number("Value", "The priority itself.", |class, _| {
        read::int(class, "value").unwrap_or_default().into()
    }),
    text(
        "Global-Default",
        "Whether Pods have it that name no class.",
        |class, _| read::flag(class, "globalDefault").to_string().into(),
    ),
    AGE,
    text(
        "PreemptionPolicy",
        "Whether its Pods push others off nodes.",
        |class, _| read::text(class, "preemptionPolicy").into(),
    ),
];

/// The columns of PodDisruptionBudgets.
pub(crate) const DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    text(
        "Min Available",
        "How many Pods are to be left.",
        |budget, _| bound(budget, "minAvailable").into(),
    ),
    text(
        "Max Unavailable",
        "How many Pods may be missing.",
        |budget, _| bound(budget, "maxUnavailable").into(),
    ),
    number(
        "Allowed Disruptions",
        "How many Pods may be taken away now.",
        |budget, _| {
            let allowed = read::int(&budget["status"], "disruptionsAllowed");
            allowed.unwrap_or_default().into()
        },
    ),
    AGE,
];

fn subjects(binding: &Value, kind: &str) -> String {
    let of_kind = read::list(binding, "subjects")
        .iter()
        .filter(|subject| read::text(subject, "kind") == kind);
    let names: Vec<String> = of_kind
        .map(|subject| match read::text(subject, "namespace") {
            "" => read::text(subject, "name").to_owned(),
            namespace => format!("{namespace}/{}", read::text(subject, "name")),
        })
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => joined(names.iter().map(String::as_str)),
    }
}

fn bound(budget: &Value, field: &str) -> String {
    match &budget["spec"][field] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn rights_are_shown() {
        let cells = |columns: &[Column], object: &Value| -> Value {
            let shown = columns.iter().filter(|column| column.name != "Age");
            shown
                .map(|column| (column.cell)(object, Timestamp::UNIX_EPOCH))
                .collect()
        };
        let binding = json!({
            "metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
                {"kind": "User", "name": "u"},
            ],
        });
        assert_eq!(
            cells(BINDING, &binding),
            json!(["b", "Role/r", "u", "", "n/s"])
        );
        let class = json!({"metadata": {"name": "c"}, "value": 7, "preemptionPolicy": "Never"});
        assert_eq!(
            cells(PRIORITY_CLASS, &class),
            json!(["c", 7, "false", "Never"])
        );
        let budget = json!({"metadata": {"name": "p"}, "spec": {"maxUnavailable": 1}});
        assert_eq!(
            cells(DISRUPTION_BUDGET, &budget),
            json!(["p", "N/A", "1", 0])
        );
    }
}
