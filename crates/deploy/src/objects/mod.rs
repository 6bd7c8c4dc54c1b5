//! The objects, in the order in which they are applied.

mod agent;
mod config;
mod controller;
mod rbac;

use crate::node::{Map, Node, map};
use crate::slots::{Condition, Slot};
use crate::values::Values;
use crate::yaml;

/// The namespace of all that runs in the cluster.
pub const NAMESPACE: &str = "seaway-system";
/// The label of everything that is Seaway's, and what it says.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "seaway");
/// The version of this source, which is that of the image and of the chart.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const AGENT: &str = "seaway-agent";
const CONTROLLER: &str = "seaway-controller";
const CONFIG: &str = "seaway-config";

/// An object and the chart's file that it is in.
#[derive(Clone, Debug)]
pub struct Object {
    /// The file, such as `agent.yaml`.
    pub file: &'static str,
    /// What it is.
    pub node: Node,
}

/// All objects, with slots.
pub fn objects() -> Vec<Object> {
    let rbac = rbac::objects().into_iter();
    let rbac = rbac.map(|node| ("rbac.yaml", node));
    let mut all = vec![("namespace.yaml", namespace())];
    all.extend(rbac::accounts().into_iter().map(|node| ("rbac.yaml", node)));
    all.extend(rbac);
    all.push(("config.yaml", config::config_map()));
    all.push(("agent.yaml", agent::daemon_set()));
    all.push(("controller.yaml", controller::deployment()));
    all.push(("controller.yaml", controller::disruption_budget()));
    all.into_iter()
        .map(|(file, node)| Object { file, node })
        .collect()
}

/// The manifest that these values make.
pub fn manifest(values: &Values) -> String {
    let filled = objects();
    let filled = filled.iter().filter_map(|o| yaml::filled(&o.node, values));
    let documents: Vec<String> = filled.map(|node| yaml::document(&node)).collect();
    documents.join("---\n")
}

fn namespace() -> Node {
    let privileged = "privileged";
    let mut labels = labels(None);
    for mode in ["enforce", "audit", "warn"] {
        let name = format!("pod-security.kubernetes.io/{mode}");
        labels.push((name, privileged.into()));
    }
    map! {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": map! {"name": NAMESPACE, "labels": Node::Map(labels)},
    }
    .when(Condition::OwnNamespace)
}

/// The labels of everything, or of a component.
fn labels(component: Option<&str>) -> Map {
    let mut labels = vec![("app.kubernetes.io/name".to_owned(), "seaway".into())];
    if let Some(component) = component {
        labels.push(("app.kubernetes.io/component".to_owned(), component.into()));
    }
    labels.push((PART_OF.0.to_owned(), PART_OF.1.into()));
    labels
}

/// What finds the Pods of a component.
fn selector(component: &str) -> Node {
    map! {"matchLabels": map! {
        "app.kubernetes.io/name": "seaway",
        "app.kubernetes.io/component": component,
    }}
}

fn metadata(name: &str, component: Option<&str>) -> Node {
    map! {"name": name, "namespace": NAMESPACE, "labels": Node::Map(labels(component))}
}

fn cluster_metadata(name: &str, component: Option<&str>) -> Node {
    map! {"name": name, "labels": Node::Map(labels(component))}
}

/// The variables that a Pod gets by the downward API.
fn from_field(name: &str, path: &str) -> Node {
    map! {"name": name, "valueFrom": map! {"fieldRef": map! {"fieldPath": path}}}
}

fn environment_of_config() -> Node {
    Node::List(vec![map! {"configMapRef": map! {"name": CONFIG}}])
}

/// A list or map as Kubernetes has it. Empty ones are left out, as API servers do: what is applied again
/// would differ otherwise.
fn tree(path: &'static str) -> Node {
    value(path).when(Condition::Given(path))
}

fn value(path: &'static str) -> Node {
    Slot::Value(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_names_a_setting_and_every_setting_is_used() {
        use std::collections::BTreeSet;
        let text: String = objects()
            .iter()
            .map(|object| yaml::document(&object.node))
            .collect();
        let parts = text.split(".Values.").skip(1);
        let used: BTreeSet<&str> = parts
            .filter_map(|rest| rest.split([' ', ')', '}']).next())
            .collect();
        // There is one service backend, so nobody has to be told which.
        let known: BTreeSet<&str> = crate::settings::ALL
            .iter()
            .map(|setting| setting.path)
            .filter(|path| *path != "serviceBackend")
            .collect();
        assert_eq!(used, known);
    }

    #[test]
    fn the_manifest_is_in_the_order_of_need() {
        let text = manifest(&Values::default());
        let kinds: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("kind: "))
            .collect();
        let mut once = kinds.clone();
        once.dedup();
        assert_eq!(
            once,
            [
                "Namespace",
                "ServiceAccount",
                "ClusterRole",
                "ClusterRoleBinding",
                "Role",
                "RoleBinding",
                "ClusterRole",
                "ClusterRoleBinding",
                "Role",
                "RoleBinding",
                "ConfigMap",
                "DaemonSet",
                "Deployment",
                "PodDisruptionBudget"
            ]
        );
        assert!(!text.contains("{{"), "{text}");
    }
}
