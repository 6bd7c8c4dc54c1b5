//! What the daemons of a lab may do: Seaway's own exactly what its manifest gives them (see
//! `seaway_deploy::rights`), the stand-ins for the controllers and kubelets of a cluster what they use.
//!
//! The API server has these roles and bindings from the start, under names that no manifest has: what
//! people apply and delete does not change what the lab itself may do.

use seaway_api::heartbeat::NAMESPACE;
use seaway_deploy::rights::{AGENT, CONTROLLER, Place, Right};
use serde_json::{Value, json};

use crate::credentials::Caller;

const GROUP: &str = "rbac.authorization.k8s.io";
const READ: &[&str] = &["get", "list", "watch"];
const ALL: &[&str] = &[
    "get", "list", "watch", "create", "update", "patch", "delete",
];
const NOTE: &[&str] = &["create", "patch"];
const STATUS: &[&str] = &["get", "patch", "update"];

/// A group, resources of it, and what may be done to them.
type Rule = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// What the controllers of a cluster do: workloads, endpoints, node life, scheduling, namespaces.
const CONTROLLERS: &[Rule] = &[
    ("", &["nodes"], &["get", "list", "watch", "patch", "update"]),
    ("", &["nodes/status", "pods/status"], STATUS),
    ("", &["pods", "endpoints"], ALL),
    ("", &["pods/binding", "pods/eviction"], &["create"]),
    ("", &["namespaces", "services"], READ),
    (
        "",
        &["configmaps", "serviceaccounts"],
        &["get", "list", "watch", "create", "update", "patch"],
    ),
    ("", &["events"], NOTE),
    ("events.k8s.io", &["events"], NOTE),
    ("apps", &["deployments", "daemonsets"], READ),
    ("apps", &["deployments", "daemonsets"], &["update", "patch"]),
    ("apps", &["replicasets", "controllerrevisions"], ALL),
    (
        "apps",
        &[
            "deployments/status",
            "daemonsets/status",
            "replicasets/status",
        ],
        STATUS,
    ),
    ("apps", &["replicasets/scale"], STATUS),
    ("coordination.k8s.io", &["leases"], ALL),
    ("discovery.k8s.io", &["endpointslices"], ALL),
    ("networking.k8s.io", &["networkpolicies"], READ),
];

/// What the kubelets of all nodes do: one process speaks for them.
const KUBELETS: &[Rule] = &[
    (
        "",
        &["nodes"],
        &["get", "list", "watch", "create", "patch", "update"],
    ),
    ("", &["nodes/status", "pods/status"], STATUS),
    ("", &["pods"], &["get", "list", "watch", "delete"]),
    ("", &["configmaps", "secrets", "services"], READ),
    ("", &["namespaces"], &["get"]),
    ("", &["serviceaccounts/token"], &["create"]),
    ("", &["events"], NOTE),
    (
        "coordination.k8s.io",
        &["leases"],
        &["get", "create", "update", "patch"],
    ),
];

/// Roles and bindings of all daemons, as a `List`.
pub(crate) fn objects() -> Value {
    let mut items = Vec::new();
    for (caller, rights) in [(Caller::Agent, AGENT), (Caller::Network, CONTROLLER)] {
        for place in [Place::Cluster, Place::Own] {
            let here = rights.iter().filter(|right| right.place == place);
            let rules: Vec<Value> = here.map(rule_of).collect();
            items.extend(given(caller, place, &rules));
        }
    }
    for (caller, rules) in [
        (Caller::Controller, CONTROLLERS),
        (Caller::Runtime, KUBELETS),
    ] {
        let rules: Vec<Value> = rules.iter().map(rule).collect();
        items.extend(given(caller, Place::Cluster, &rules));
    }
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn rule((group, resources, verbs): &Rule) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

fn rule_of(right: &Right) -> Value {
    let mut shown = rule(&(right.group, &[], right.verbs));
    shown["resources"] = json!([right.resource]);
    if !right.names.is_empty() {
        shown["resourceNames"] = json!(right.names);
    }
    shown
}

/// A role and its binding to a caller.
fn given(caller: Caller, place: Place, rules: &[Value]) -> [Value; 2] {
    let prefix = match place {
        Place::Cluster => "Cluster",
        Place::Own => "",
    };
    let role = format!("{prefix}Role");
    let version = format!("{GROUP}/v1");
    let mut metadata = json!({ "name": format!("seaway-lab:{}", caller.title()) });
    if place == Place::Own {
        metadata["namespace"] = NAMESPACE.into();
    }
    let subject = json!({ "apiGroup": GROUP, "kind": "User", "name": caller.user() });
    [
        json!({
            "apiVersion": version, "kind": role, "metadata": metadata, "rules": rules,
        }),
        json!({
            "apiVersion": version, "kind": format!("{role}Binding"), "metadata": metadata,
            "roleRef": { "apiGroup": GROUP, "kind": role, "name": metadata["name"] },
            "subjects": [subject],
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_daemon_has_a_role_and_nobody_may_everything() {
        let list = objects();
        let items = list["items"].as_array().expect("items");
        let of_kind = |kind: &str| items.iter().filter(|item| item["kind"] == kind).count();
        let kinds = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
        assert_eq!(kinds.map(of_kind), [4, 4, 2, 2]);
        for item in items {
            let text = item["rules"].to_string();
            assert!(!text.contains('*'), "{text}");
            let is_runtime = item["metadata"]["name"] == "seaway-lab:kubelets";
            assert!(is_runtime || !text.contains("secrets"), "{text}");
        }
        let subjects = items.iter().filter_map(|item| item.get("subjects"));
        assert!(subjects.clone().count() == 6);
        assert!(subjects.into_iter().all(|s| s[0]["name"] != "admin"));
    }
}
