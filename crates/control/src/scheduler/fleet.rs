//! The nodes as the scheduler sees them: what they offer, and what is taken already.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use super::needs::{HostPort, Needs, Resources};
use crate::{meta, taints};

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct NodeState {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) cordoned: bool,
    /// None: the node did not say.
    pub(crate) cpu: Option<i128>,
    pub(crate) memory: Option<i128>,
    pub(crate) room: Option<usize>,
    pub(crate) used: Resources,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) pods: usize,
    /// Pods by the uid of what manages them.
    pub(crate) owners: BTreeMap<String, usize>,
}

impl NodeState {
    fn of(node: &Node) -> Self {
        let status = node.status.as_ref();
        let allocatable =
            status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        let amount = |name: &str| {
            let quantity = allocatable.and_then(|amounts| amounts.get(name))?;
            super::quantity::milli(&quantity.0)
        };
        Self {
            name: meta::name(&node.metadata).to_owned(),
            labels: meta::labels(&node.metadata).clone(),
            taints: taints::with_implied(node),
            cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true),
            cpu: amount("cpu"),
            memory: amount("memory"),
            room: amount("pods").and_then(|milli| usize::try_from(milli / 1000).ok()),
            used: Resources::default(),
            ports: Vec::new(),
            pods: 0,
            owners: BTreeMap::new(),
        }
    }

    fn take(&mut self, pod: &Pod) {
        let needs = Needs::of(pod);
        self.used = self.used.plus(needs.resources);
        self.ports.extend(needs.ports);
        self.pods += 1;
        if let Some(owner) = meta::controller_of(&pod.metadata) {
            *self.owners.entry(owner.uid.clone()).or_default() += 1;
        }
    }
}

/// All nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    nodes: BTreeMap<String, NodeState>,
}

impl Fleet {
    /// A fleet without Pods.
    pub(crate) fn new<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Self {
        let nodes = nodes.into_iter().map(NodeState::of);
        Self {
            nodes: nodes.map(|node| (node.name.clone(), node)).collect(),
        }
    }

    /// The nodes by name.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.values()
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Puts a Pod on a node, if there is such a node and the Pod is not finished.
    pub(crate) fn place(&mut self, pod: &Pod, node: &str) {
        if meta::is_finished(pod) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.take(pod);
        }
    }
}
