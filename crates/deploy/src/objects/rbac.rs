//! Who agents and the controller are in the cluster, and what each may do.

use super::{AGENT, CONTROLLER, NAMESPACE, cluster_metadata, metadata};
use crate::node::{Node, map};
use crate::rights::{self, Place, Right};

const GROUP: &str = "rbac.authorization.k8s.io";

struct Party {
    name: &'static str,
    component: &'static str,
    rights: &'static [Right],
}

const PARTIES: [Party; 2] = [
    Party {
        name: AGENT,
        component: "agent",
        rights: rights::AGENT,
    },
    Party {
        name: CONTROLLER,
        component: "controller",
        rights: rights::CONTROLLER,
    },
];

/// The ServiceAccounts.
pub(super) fn accounts() -> Vec<Node> {
    let account = |party: &Party| {
        map! {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(party.name, Some(party.component)),
            // Only the Pods that ask for it get a token.
            "automountServiceAccountToken": false,
        }
    };
    PARTIES.iter().map(account).collect()
}

/// The roles and bindings.
pub(super) fn objects() -> Vec<Node> {
    PARTIES.iter().flat_map(of_party).collect()
}

fn of_party(party: &Party) -> Vec<Node> {
    let version = format!("{GROUP}/v1");
    let own = || metadata(party.name, Some(party.component));
    let cluster = || cluster_metadata(party.name, Some(party.component));
    let reference = |kind: &str| map! {"apiGroup": GROUP, "kind": kind, "name": party.name};
    let subjects = || {
        Node::List(vec![map! {
            "kind": "ServiceAccount", "name": party.name, "namespace": NAMESPACE,
        }])
    };
    vec![
        map! {
            "apiVersion": version.clone(), "kind": "ClusterRole", "metadata": cluster(),
            "rules": rights::rules(party.rights, Place::Cluster),
        },
        map! {
            "apiVersion": version.clone(), "kind": "ClusterRoleBinding", "metadata": cluster(),
            "roleRef": reference("ClusterRole"), "subjects": subjects(),
        },
        map! {
            "apiVersion": version.clone(), "kind": "Role", "metadata": own(),
            "rules": rights::rules(party.rights, Place::Own),
        },
        map! {
            "apiVersion": version, "kind": "RoleBinding", "metadata": own(),
            "roleRef": reference("Role"), "subjects": subjects(),
        },
    ]
}
