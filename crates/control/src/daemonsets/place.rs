//! Which nodes a DaemonSet means, and its Pod for one of them.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::history::HASH_LABEL;
use crate::{meta, scheduler, taints};

/// The field by which a Pod is made for one node.
const NODE_FIELD: &str = "metadata.name";
/// What nodes may suffer from without losing such Pods, or being kept from them.
const ENDURED: [(&str, &str); 6] = [
    (taints::NOT_READY, taints::NO_EXECUTE),
    (taints::UNREACHABLE, taints::NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", taints::NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", taints::NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", taints::NO_SCHEDULE),
    (taints::UNSCHEDULABLE, taints::NO_SCHEDULE),
];

/// What becomes of a Pod on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// There is to be one.
    Runs,
    /// One that is there stays, but none is made.
    Stays,
    /// There is to be none.
    Goes,
}

/// The Pod that the set's template describes, with what every Pod of a DaemonSet endures.
pub(super) fn described(set: &DaemonSet) -> PodSpec {
    let mut spec = set.spec.template.spec.clone().unwrap_or_default();
    let on_host = spec.host_network == Some(true);
    let network = on_host.then_some((taints::NETWORK_UNAVAILABLE, taints::NO_SCHEDULE));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in ENDURED.into_iter().chain(network) {
        let endured = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&endured) {
            tolerations.push(endured);
        }
    }
    spec
}

/// Whether a node is meant.
pub(super) fn fit(described: &PodSpec, node: &Node) -> Fit {
    let name = meta::name(&node.metadata);
    let other = described.node_name.as_deref();
    let other = other.is_some_and(|wanted| !wanted.is_empty() && wanted != name);
    if other || !scheduler::wants(described, meta::labels(&node.metadata), name) {
        return Fit::Goes;
    }
    let tolerations = described.tolerations.as_deref().unwrap_or_default();
    let own = taints::with_implied(node);
    let repels = |effect: &str| {
        own.iter()
            .any(|taint| taint.effect == effect && !taints::tolerated(tolerations, taint))
    };
    match (repels(taints::NO_EXECUTE), repels(taints::NO_SCHEDULE)) {
        (true, _) => Fit::Goes,
        (false, true) => Fit::Stays,
        (false, false) => Fit::Runs,
    }
}

/// The node that a Pod is on, or is made for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    if let Some(node) = meta::node_name(pod) {
        return Some(node);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?;
    let required = affinity
        .node_affinity
        .as_ref()?
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let mut named = fields.filter(|field| field.key == NODE_FIELD && field.operator == "In");
    match named.next()?.values.as_deref()? {
        [node] => Some(node),
        _ => None,
    }
}

/// The Pod of this name for a node, of the present template.
pub(super) fn pod(set: &DaemonSet, hash: &str, node: &str, name: &str) -> Pod {
    let template = set.spec.template.metadata.clone().unwrap_or_default();
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let mut spec = described(set);
    aim(&mut spec, node);
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: set.metadata.namespace.clone(),
            generate_name: Some(format!("{}-", meta::name(&set.metadata))),
            labels: Some(labels),
            annotations: template.annotations,
            finalizers: template.finalizers,
            owner_references: Some(vec![meta::controller_ref(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// The node fulfils what the template requires, so it may take its place.
fn aim(spec: &mut PodSpec, node: &str) {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: NODE_FIELD.to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let affinity = spec.affinity.get_or_insert_default();
    let of_node: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    of_node.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![term],
    });
}
