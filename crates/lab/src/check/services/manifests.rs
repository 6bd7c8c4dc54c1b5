//! The objects that a check of Services has the API make, as a user could have written them.

use serde_json::{Value, json};

use crate::cluster::{CONTAINERS, Recipe};

/// The port of every Service.
pub(super) const PORT: u16 = 80;
/// The names of the Services' ports.
pub(super) const TCP: &str = "tcp";
pub(super) const UDP: &str = "udp";
const SCTP: &str = "sctp";
/// How long a server goes on that is asked to end: longer than it takes for all nodes to hear of it.
pub(super) const LINGER_MS: u32 = 2000;

/// What a Service leads to.
#[derive(Clone, Copy)]
pub(super) enum Behind<'a> {
    /// The Pods of an app.
    Pods(&'a str),
    /// Pods that do not exist.
    Nothing,
}

/// A Service, with ports of nodes or without.
pub(super) fn service(
    recipe: &Recipe,
    name: &str,
    behind: Behind<'_>,
    with_node_ports: bool,
) -> Value {
    let app = match behind {
        Behind::Pods(app) => app,
        Behind::Nothing => "nothing-has-this-label",
    };
    let port = |name: &str, protocol: &str| json!({"name": name, "protocol": protocol, "port": PORT, "targetPort": CONTAINERS[0].echo});
    let mut ports = vec![port(TCP, "TCP"), port(UDP, "UDP")];
    if recipe.tries_sctp() {
        ports.push(port(SCTP, "SCTP"));
    }
    json!({
        "metadata": {"name": name},
        "spec": {
            "type": if with_node_ports { "NodePort" } else { "ClusterIP" },
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {"app": app},
            "ports": ports,
        },
    })
}

/// A Service that keeps each client at its Pod.
pub(super) fn sticky(recipe: &Recipe, name: &str, app: &str) -> Value {
    let mut service = service(recipe, name, Behind::Pods(app), false);
    service["spec"]["sessionAffinity"] = "ClientIP".into();
    service
}

/// A Service of an app of the same name whose ports of nodes lead to Pods of the same node alone.
pub(super) fn local(recipe: &Recipe, name: &str) -> Value {
    let mut service = service(recipe, name, Behind::Pods(name), true);
    service["spec"]["externalTrafficPolicy"] = "Local".into();
    service
}

/// Servers on any nodes. When they are replaced, all new ones come before any old one goes.
pub(super) fn deployment(recipe: &Recipe, name: &str, replicas: usize, linger_ms: u32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": recipe.servers(linger_ms)},
        },
    })
}

/// A server on a node, which can be a client, too.
pub(super) fn pod(recipe: &Recipe, name: &str, node: &str) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": recipe.servers(0),
    });
    pod["spec"]["nodeName"] = node.into();
    recipe.add_client(&mut pod);
    pod
}
