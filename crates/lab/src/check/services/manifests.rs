//! The objects that a check of Services has the API make, as a user could have written them.

use serde_json::{Value, json};

use crate::cluster::CONTAINERS;

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
pub(super) fn service(name: &str, behind: Behind<'_>, with_node_ports: bool) -> Value {
    let app = match behind {
        Behind::Pods(app) => app,
        Behind::Nothing => "nothing-has-this-label",
    };
    let port = |name: &str, protocol: &str| json!({"name": name, "protocol": protocol, "port": PORT, "targetPort": CONTAINERS[0].echo});
    json!({
        "metadata": {"name": name},
        "spec": {
            "type": if with_node_ports { "NodePort" } else { "ClusterIP" },
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {"app": app},
            "ports": [port(TCP, "TCP"), port(UDP, "UDP"), port(SCTP, "SCTP")],
        },
    })
}

/// A Service that keeps each client at its Pod.
pub(super) fn sticky(name: &str, app: &str) -> Value {
    let mut service = service(name, Behind::Pods(app), false);
    service["spec"]["sessionAffinity"] = "ClientIP".into();
    service
}

/// A Service of an app of the same name whose ports of nodes lead to Pods of the same node alone.
pub(super) fn local(name: &str) -> Value {
    let mut service = service(name, Behind::Pods(name), true);
    service["spec"]["externalTrafficPolicy"] = "Local".into();
    service
}

/// Servers on any nodes. When they are replaced, all new ones come before any old one goes.
pub(super) fn deployment(name: &str, replicas: usize, linger_ms: u32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": server(linger_ms)},
        },
    })
}

/// A server on a node.
pub(super) fn pod(name: &str, node: &str) -> Value {
    let mut spec = server(0);
    spec["nodeName"] = node.into();
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

fn server(linger_ms: u32) -> Value {
    let [http, echo] = [CONTAINERS[0].http, CONTAINERS[0].echo].map(|port| port.to_string());
    json!({
        "terminationGracePeriodSeconds": linger_ms.div_ceil(1000) + 1,
        "containers": [{
            "name": CONTAINERS[0].name,
            "image": "seaway",
            "args": ["serve", "--http", http, "--echo", echo, "--sctp", echo,
                     "--linger-ms", linger_ms.to_string()],
            "readinessProbe": {
                "tcpSocket": {"port": CONTAINERS[0].echo},
                "periodSeconds": 1,
            },
        }],
    })
}
