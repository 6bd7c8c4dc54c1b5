//! The objects of Seaway in a cluster: all that carry its label, whatever made them.

use anyhow::Context;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};

/// What all objects of Seaway carry.
const PART_OF: &str = "app.kubernetes.io/part-of=seaway";
/// What the Leases of agents carry: agents make them.
const HEARTBEAT: &str = "network.seaway.dev/agent";

/// A kind of objects: group, version, kind, plural, whether it is in namespaces, and how to find ours.
type Kind = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static str,
);

/// In the order of deletion: what works first, its rights and its namespace last.
const KINDS: [Kind; 15] = [
    ("apps", "v1", "DaemonSet", "daemonsets", true, PART_OF),
    ("apps", "v1", "Deployment", "deployments", true, PART_OF),
    ("", "v1", "Pod", "pods", true, PART_OF),
    (
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        true,
        PART_OF,
    ),
    ("", "v1", "Service", "services", true, PART_OF),
    ("", "v1", "ConfigMap", "configmaps", true, PART_OF),
    ("", "v1", "Secret", "secrets", true, PART_OF),
    (
        "coordination.k8s.io",
        "v1",
        "Lease",
        "leases",
        true,
        PART_OF,
    ),
    (
        "coordination.k8s.io",
        "v1",
        "Lease",
        "leases",
        true,
        HEARTBEAT,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "rolebindings",
        true,
        PART_OF,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "Role",
        "roles",
        true,
        PART_OF,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        false,
        PART_OF,
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRole",
        "clusterroles",
        false,
        PART_OF,
    ),
    ("", "v1", "ServiceAccount", "serviceaccounts", true, PART_OF),
    ("", "v1", "Namespace", "namespaces", false, PART_OF),
];

/// An object that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    kind: &'static Kind,
    namespace: Option<String>,
    name: String,
}

impl Found {
    /// The object as people write it.
    pub(super) fn describe(&self) -> String {
        let kind = self.kind.2;
        match &self.namespace {
            Some(namespace) => format!("{kind} {namespace}/{}", self.name),
            None => format!("{kind} {}", self.name),
        }
    }

    /// The first to go; the rest of the clean-up needs what is not.
    pub(super) fn is_controller(&self) -> bool {
        self.kind.2 == "Deployment"
    }
}

/// All of them. Kinds that the server does not know have none.
pub(super) async fn find(client: &Client) -> anyhow::Result<Vec<Found>> {
    let mut all = Vec::new();
    for kind in &KINDS {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind));
        match api.list(&ListParams::default().labels(kind.5)).await {
            Ok(list) => all.extend(list.items.into_iter().map(|object| Found {
                kind,
                namespace: object.namespace(),
                name: object.name_any(),
            })),
            Err(error) if is_unknown(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("list {}", kind.3)),
        }
    }
    Ok(all)
}

/// Deletes one; it may be gone already.
pub(super) async fn delete(client: &Client, found: &Found) -> anyhow::Result<()> {
    let resource = resource(found.kind);
    let api: Api<DynamicObject> = match &found.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    // Pods that still are there are of nodes that nobody ends them on.
    let grace_period_seconds = (found.kind.2 == "Pod").then_some(0);
    let parameters = DeleteParams {
        grace_period_seconds,
        ..DeleteParams::background()
    };
    match api.delete(&found.name, &parameters).await {
        Err(error) if !is_unknown(&error) => {
            Err(error).with_context(|| format!("delete {}", found.describe()))
        }
        _ => Ok(()),
    }
}

fn resource(kind: &Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.0, kind.1, kind.2);
    ApiResource::from_gvk_with_plural(&gvk, kind.3)
}

/// Neither the object nor its kind are there.
pub(super) fn is_unknown(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
