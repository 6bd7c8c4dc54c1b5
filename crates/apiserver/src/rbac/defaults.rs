//! The roles and bindings that every cluster has: those of Kubernetes that people bind others to, as
//! far as their kinds are served here.

use serde_json::{Value, json};

use super::GROUP;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

fn labelled(name: &str, labels: &[(&str, &str)]) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    for (key, value) in labels {
        metadata["labels"][key] = (*value).into();
    }
    metadata
}

fn role(metadata: &Value, rules: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
        "metadata": metadata, "rules": rules,
    })
}

fn gathered(name: &str, labels: &[(&str, &str)]) -> Value {
    let label = format!("{GROUP}/aggregate-to-{name}");
    let mut role = role(&labelled(name, labels), &json!([]));
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    role
}

/// Part of `admin`, `edit` or `view`.
fn part(of: &str, rules: &Value) -> Value {
    let label = format!("{GROUP}/aggregate-to-{of}");
    let name = format!("system:aggregate-to-{of}");
    role(&labelled(&name, &[(&label, "true")]), rules)
}

fn binding(role: &str, groups: &[&str]) -> Value {
    let subject = |group: &&str| json!({"apiGroup": GROUP, "kind": "Group", "name": group});
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
        "metadata": labelled(role, &[]),
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
    })
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn views() -> Value {
    let core = [
        "configmaps",
        "endpoints",
        "events",
        "namespaces",
        "namespaces/status",
        "pods",
        "pods/log",
        "pods/status",
        "serviceaccounts",
        "services",
        "services/status",
    ];
    let apps = [
        "controllerrevisions",
        "daemonsets",
        "daemonsets/status",
        "deployments",
        "deployments/scale",
        "deployments/status",
        "replicasets",
        "replicasets/scale",
        "replicasets/status",
    ];
    let network = ["ingresses", "ingresses/status", "networkpolicies"];
    let budgets = ["poddisruptionbudgets", "poddisruptionbudgets/status"];
    json!([
        rule("", &core, &READ),
        rule("apps", &apps, &READ),
        rule("discovery.k8s.io", &["endpointslices"], &READ),
        rule("networking.k8s.io", &network, &READ),
        rule("policy", &budgets, &READ),
    ])
}

fn edits() -> Value {
    let secret_things = [
        "pods/attach",
        "pods/exec",
        "pods/portforward",
        "pods/proxy",
        "secrets",
        "services/proxy",
    ];
    // Who could write Endpoints would lead a Service to Pods of other namespaces (CVE-2021-25740).
    let core = [
        "configmaps",
        "events",
        "pods",
        "pods/attach",
        "pods/exec",
        "pods/portforward",
        "pods/proxy",
        "secrets",
        "serviceaccounts",
        "services",
        "services/proxy",
    ];
    let apps = [
        "daemonsets",
        "deployments",
        "deployments/rollback",
        "deployments/scale",
        "replicasets",
        "replicasets/scale",
    ];
    json!([
        rule("", &secret_things, &READ),
        rule("", &["serviceaccounts"], &["impersonate"]),
        rule("", &core, &WRITE),
        rule("", &["pods/eviction", "serviceaccounts/token"], &["create"]),
        rule("apps", &apps, &WRITE),
        rule(
            "networking.k8s.io",
            &["ingresses", "networkpolicies"],
            &WRITE
        ),
        rule("policy", &["poddisruptionbudgets"], &WRITE),
        rule(
            "coordination.k8s.io",
            &["leases"],
            &[&WRITE[..], &READ].concat(),
        ),
    ])
}

fn administers() -> Value {
    let all = [&WRITE[..], &READ].concat();
    json!([
        rule(
            "authorization.k8s.io",
            &["localsubjectaccessreviews"],
            &["create"]
        ),
        rule(GROUP, &["rolebindings", "roles"], &all),
    ])
}

/// Roles and bindings, roles first.
pub(crate) fn defaults() -> Vec<Value> {
    let label = |of: &str| format!("{GROUP}/aggregate-to-{of}");
    let (to_admin, to_edit) = (label("admin"), label("edit"));
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let everything = json!([
        rule("*", &["*"], &["*"]),
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]);
    let system = |name: &str, rules: &Value| role(&labelled(name, &[]), rules);
    let urls = |urls: &[&str]| json!([{"nonResourceURLs": urls, "verbs": ["get"]}]);
    let access = "authorization.k8s.io";
    let own = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    vec![
        system("cluster-admin", &everything),
        gathered("admin", &[]),
        gathered("edit", &[(&to_admin, "true")]),
        gathered("view", &[(&to_edit, "true")]),
        part("admin", &administers()),
        part("edit", &edits()),
        part("view", &views()),
        system("system:discovery", &urls(&discovery)),
        system("system:public-info-viewer", &urls(&public)),
        system(
            "system:basic-user",
            &json!([
                rule(access, &own, &["create"]),
                rule(
                    "authentication.k8s.io",
                    &["selfsubjectreviews"],
                    &["create"]
                ),
            ]),
        ),
        system(
            "system:auth-delegator",
            &json!([
                rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
                rule(access, &["subjectaccessreviews"], &["create"]),
            ]),
        ),
        binding("cluster-admin", &["system:masters"]),
        binding("system:discovery", &["system:authenticated"]),
        binding("system:basic-user", &["system:authenticated"]),
        binding(
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
    ]
}
