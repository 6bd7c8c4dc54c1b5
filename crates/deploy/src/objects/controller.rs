//! The controller: a few Pods of which one works. It runs on nodes that wait for it, and needs no
//! network of Pods.

use super::config;
use super::{
    CONTROLLER, environment_of_config, from_field, labels, metadata, selector, tree, value,
};
use crate::node::{Node, map};
use crate::settings::Reader;
use crate::slots::Slot;

/// Of nobody: the controller needs no right on its node.
const USER: i64 = 65532;
/// Where the image has the program.
const PROGRAM: &str = "/usr/bin/seaway";
/// The folder of the socket at which it answers probes. A port would be one of its node's, where
/// another controller may have it: that one would answer for both.
const RUN_DIR: &str = "/run/seaway";

pub(super) fn deployment() -> Node {
    map! {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(CONTROLLER, Some("controller")),
        "spec": map! {
            "replicas": value("controller.replicas"),
            "revisionHistoryLimit": 5,
            "selector": selector("controller"),
            "strategy": map! {
                "type": "RollingUpdate",
                "rollingUpdate": map! {"maxUnavailable": 1, "maxSurge": 1},
            },
            "template": map! {
                "metadata": map! {
                    "labels": Node::Map(labels(Some("controller"))),
                    "annotations": map! {
                        "network.seaway.dev/config": config::digest(Reader::Controller),
                    },
                },
                "spec": pod(),
            },
        },
    }
}

/// One at a time may be taken away by those who empty nodes.
pub(super) fn disruption_budget() -> Node {
    map! {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(CONTROLLER, Some("controller")),
        "spec": map! {"maxUnavailable": 1, "selector": selector("controller")},
    }
}

fn pod() -> Node {
    map! {
        "serviceAccountName": CONTROLLER,
        "automountServiceAccountToken": true,
        // Nodes wait for it before their Pods have a network.
        "hostNetwork": true,
        "dnsPolicy": "Default",
        "enableServiceLinks": false,
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 10,
        "nodeSelector": tree("controller.nodeSelector"),
        "tolerations": tree("controller.tolerations"),
        "affinity": map! {"podAntiAffinity": map! {
            "preferredDuringSchedulingIgnoredDuringExecution": vec![map! {
                "weight": 100,
                "podAffinityTerm": map! {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": selector("controller"),
                },
            }],
        }},
        "imagePullSecrets": tree("imagePullSecrets"),
        "securityContext": map! {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": map! {"type": "RuntimeDefault"},
        },
        "containers": vec![container()],
        "volumes": vec![map! {
            "name": "run",
            "emptyDir": map! {"medium": "Memory", "sizeLimit": "1Mi"},
        }],
    }
}

fn container() -> Node {
    map! {
        "name": "controller",
        "image": Slot::Image,
        "imagePullPolicy": value("image.pullPolicy"),
        "args": vec!["controller", "--in-cluster", "--network-only", "--leader-elect"],
        "envFrom": environment_of_config(),
        "env": vec![
            from_field("SEAWAY_POD_NAME", "metadata.name"),
            from_field("SEAWAY_NAMESPACE", "metadata.namespace"),
            map! {
                "name": "SEAWAY_CONTROLLER_HEALTH_SOCKET",
                "value": format!("{RUN_DIR}/controller.sock"),
            },
        ],
        "resources": tree("controller.resources"),
        "livenessProbe": probe("/livez", 6),
        "readinessProbe": probe("/readyz", 2),
        "securityContext": map! {
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": map! {"drop": vec!["ALL"]},
        },
        "volumeMounts": vec![map! {"name": "run", "mountPath": RUN_DIR}],
    }
}

fn probe(path: &str, failures: i64) -> Node {
    map! {
        "exec": map! {"command": vec![PROGRAM, "probe", path]},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
}
