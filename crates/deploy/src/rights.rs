//! What agents and the controller may do in the cluster: exactly what they use. A test runs both
//! against the embedded API server and compares what they asked for with these lines.
//!
//! Never in here: Secrets; writing Pods; writing Nodes by agents, but for their status.

use crate::node::{Node, map};

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the whole cluster.
    Cluster,
    /// In Seaway's own namespace.
    Own,
}

/// A right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Where it holds.
    pub place: Place,
    /// The API group; empty for core.
    pub group: &'static str,
    /// The resource, with its subresource: `nodes/status`.
    pub resource: &'static str,
    /// What may be done.
    pub verbs: &'static [&'static str],
    /// Only to objects of these names, unless there are none.
    pub names: &'static [&'static str],
    /// Why it is needed.
    pub why: &'static str,
}

const fn right(
    place: Place,
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right {
        place,
        group,
        resource,
        verbs,
        names: &[],
        why,
    }
}

const fn of(names: &'static [&'static str], right: Right) -> Right {
    Right { names, ..right }
}

const WATCH: &[&str] = &["list", "watch"];

/// What agents may do.
pub const AGENT: &[Right] = &[
    right(
        Place::Cluster,
        "",
        "nodes",
        WATCH,
        "where Pods of other nodes are",
    ),
    right(
        Place::Cluster,
        "",
        "pods",
        WATCH,
        "what runs here, and what holds an address",
    ),
    right(Place::Cluster, "", "services", WATCH, "what to balance"),
    right(
        Place::Cluster,
        "discovery.k8s.io",
        "endpointslices",
        WATCH,
        "among whom to balance",
    ),
    of(
        &["kube-system"],
        right(
            Place::Cluster,
            "",
            "namespaces",
            &["get"],
            "which cluster this is",
        ),
    ),
    right(
        Place::Cluster,
        "",
        "nodes/status",
        &["patch"],
        "how this node takes part",
    ),
    right(
        Place::Cluster,
        "",
        "events",
        &["create", "patch"],
        "what people are to know of a node",
    ),
    right(
        Place::Own,
        "coordination.k8s.io",
        "leases",
        &["create", "patch"],
        "that it lives, and how",
    ),
];

/// What the controller may do.
///
/// It tells each thing of an object once, so it never counts an Event up.
pub const CONTROLLER: &[Right] = &[
    right(
        Place::Cluster,
        "",
        "nodes",
        &["list", "watch", "patch"],
        "Pod networks and the start-up taint",
    ),
    right(
        Place::Cluster,
        "networking.k8s.io",
        "networkpolicies",
        WATCH,
        "which are not enforced",
    ),
    right(Place::Cluster, "", "events", &["create"], "to say which"),
    right(
        Place::Own,
        "coordination.k8s.io",
        "leases",
        &["create"],
        "the first of all takes it",
    ),
    of(
        &["seaway-controller"],
        right(
            Place::Own,
            "coordination.k8s.io",
            "leases",
            &["get", "update", "watch"],
            "which controller works",
        ),
    ),
];

/// The rights at a place, as rules of RBAC.
pub(crate) fn rules(rights: &[Right], place: Place) -> Node {
    let here = rights.iter().filter(|right| right.place == place);
    Node::List(here.map(rule).collect())
}

fn rule(right: &Right) -> Node {
    let mut rule = map! {
        "apiGroups": vec![right.group],
        "resources": vec![right.resource],
        "verbs": right.verbs,
    };
    if let (Node::Map(fields), [_, ..]) = (&mut rule, right.names) {
        fields.push(("resourceNames".to_owned(), right.names.into()));
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_what_nobody_is_to() {
        for right in AGENT.iter().chain(CONTROLLER) {
            assert_ne!(right.resource, "secrets");
            assert!(!right.resource.contains('*') && !right.verbs.contains(&"*"));
            let reads = right
                .verbs
                .iter()
                .all(|verb| ["get", "list", "watch"].contains(verb));
            assert!(reads || !right.resource.starts_with("pods"), "{right:?}");
            assert!(!right.why.is_empty());
        }
        let writes = AGENT.iter().filter(|right| right.resource == "nodes");
        assert!(writes.clone().all(|right| right.verbs == WATCH));
    }
}
