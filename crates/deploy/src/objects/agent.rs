//! The agents: one Pod on each node, there before any other and whatever the node's state.

use super::config::{self, HEALTH_PORTS};
use super::{AGENT, environment_of_config, from_field, labels, metadata, selector, tree, value};
use crate::node::{Node, map};
use crate::settings::Reader;
use crate::slots::{Condition, Slot};

/// What an agent cannot do without.
///
/// - `NET_ADMIN`: links, addresses, routes, neighbours, nftables, conntrack, sysctls.
/// - `NET_BROADCAST`: to hear of what Pods lose in their own namespaces.
/// - `NET_RAW`: the echoes that find out a path's MTU.
/// - `SYS_ADMIN`: to enter the namespaces of Pods.
const CAPABILITIES: [&str; 4] = ["NET_ADMIN", "NET_BROADCAST", "NET_RAW", "SYS_ADMIN"];
/// For a name server at port 53.
const CAPABILITY_OF_NAMES: &str = "NET_BIND_SERVICE";

/// The settings of a node's network, where they can be written: a container's own are read-only.
const HOST_SYSCTLS: &str = "/host/proc/sys/net";
const PROC_SYS: &str = "/host/proc/sys";
/// Runtimes name namespaces of Pods by this path, too; on nodes it is a link.
const OTHER_NETNS_DIR: &str = "/var/run/netns";

pub(super) fn daemon_set() -> Node {
    map! {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(AGENT, Some("agent")),
        "spec": map! {
            "selector": selector("agent"),
            "revisionHistoryLimit": 5,
            // Two agents of one node would wait for each other: the old one goes first. Packets do not
            // notice.
            "updateStrategy": map! {
                "type": "RollingUpdate",
                "rollingUpdate": map! {"maxUnavailable": value("agent.maxUnavailable"), "maxSurge": 0},
            },
            "template": map! {
                "metadata": map! {
                    "labels": Node::Map(labels(Some("agent"))),
                    "annotations": map! {"network.seaway.dev/config": config::digest(Reader::Agent)},
                },
                "spec": pod(),
            },
        },
    }
}

fn pod() -> Node {
    map! {
        "serviceAccountName": AGENT,
        "automountServiceAccountToken": true,
        "hostNetwork": true,
        // The node's own name servers: those of the cluster may need us.
        "dnsPolicy": "Default",
        "enableServiceLinks": false,
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 5,
        "nodeSelector": tree("agent.nodeSelector"),
        "tolerations": tree("agent.tolerations"),
        "imagePullSecrets": tree("imagePullSecrets"),
        "securityContext": map! {"seccompProfile": map! {"type": "RuntimeDefault"}},
        "initContainers": vec![plugin()],
        "containers": vec![agent()],
        "volumes": volumes(),
    }
}

/// Puts the plugin in place; the configuration is the agent's, once it can serve.
fn plugin() -> Node {
    map! {
        "name": "install-plugin",
        "image": Slot::Image,
        "imagePullPolicy": value("image.pullPolicy"),
        "args": vec![
            "install".into(), "--host".into(), "--plugin-only".into(),
            "--cni-bin-dir".into(), value("cniBinDir"),
        ],
        "securityContext": security(vec![]),
        "volumeMounts": vec![mount("cni-bin", value("cniBinDir"))],
    }
}

fn agent() -> Node {
    let mut capabilities: Vec<Node> = CAPABILITIES.map(Node::from).into();
    capabilities.push(Node::from(CAPABILITY_OF_NAMES).when(Condition::On("dns.enabled")));
    map! {
        "name": "agent",
        "image": Slot::Image,
        "imagePullPolicy": value("image.pullPolicy"),
        "args": vec!["agent", "--in-cluster"],
        "envFrom": environment_of_config(),
        "env": vec![
            from_field("SEAWAY_NODE_NAME", "spec.nodeName"),
            from_field("SEAWAY_NAMESPACE", "metadata.namespace"),
            map! {"name": "SEAWAY_PROC_SYS", "value": PROC_SYS},
        ],
        "resources": tree("agent.resources"),
        "securityContext": security(capabilities),
        // All three ask the agent itself and do not depend on the API server: an agent that cannot
        // reach it goes on and is not killed for it.
        "startupProbe": probe("/livez", 2, 60),
        "livenessProbe": probe("/livez", 10, 6),
        "readinessProbe": probe("/readyz", 5, 2),
        "volumeMounts": vec![
            mount("run", value("runDir")),
            mount("cni-conf", value("cniConfDir")),
            mount("sysctls", HOST_SYSCTLS),
            from_host(mount("netns", value("netnsDir"))),
            from_host(mount("netns", OTHER_NETNS_DIR)),
        ],
    }
}

/// Nothing but these capabilities.
fn security(capabilities: Vec<Node>) -> Node {
    let sets = match capabilities.is_empty() {
        true => map! {"drop": vec!["ALL"]},
        false => map! {"drop": vec!["ALL"], "add": Node::List(capabilities)},
    };
    map! {
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        // Capabilities of a program that is not root's would be none.
        "runAsUser": 0,
        "capabilities": sets,
    }
}

fn probe(path: &str, period: i64, failures: i64) -> Node {
    let (ours, beside) = HEALTH_PORTS;
    map! {
        "httpGet": map! {
            "host": "127.0.0.1",
            "path": path,
            "port": Slot::Number("kubeProxyReplacement", ours, beside),
        },
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
}

fn mount(volume: &str, path: impl Into<Node>) -> Node {
    map! {"name": volume, "mountPath": path.into()}
}

/// With what the host mounts there later.
fn from_host(mut mount: Node) -> Node {
    if let Node::Map(fields) = &mut mount {
        fields.push(("mountPropagation".to_owned(), "HostToContainer".into()));
    }
    mount
}

fn volumes() -> Node {
    let volume = |name: &str, path: Node, kind: &str| {
        map! {"name": name, "hostPath": map! {"path": path, "type": kind}}
    };
    Node::List(vec![
        volume("run", value("runDir"), "DirectoryOrCreate"),
        volume("cni-bin", value("cniBinDir"), "DirectoryOrCreate"),
        volume("cni-conf", value("cniConfDir"), "DirectoryOrCreate"),
        volume("netns", value("netnsDir"), "DirectoryOrCreate"),
        volume("sysctls", "/proc/sys/net".into(), "Directory"),
    ])
}
