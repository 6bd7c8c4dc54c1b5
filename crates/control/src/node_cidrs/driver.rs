//! The loop of node ranges: one pass over all nodes whenever one came, went, or has no range.
//!
//! A range is promised before it is asked for, and stays promised until the watch shows the node with
//! ranges or gone: an answer that was lost cannot lead to a range being given twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use seaway_api::{EventRecorder, Failure};
use serde_json::json;

use super::{ClusterCidr, assign, ranges_of};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::notes;
use crate::queue::Queue;
use crate::work::Controller;

type Promises = BTreeMap<String, Vec<IpNet>>;

/// The allocator of node ranges.
#[derive(Debug)]
pub(crate) struct NodeCidrs {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<()>,
    pools: Vec<ClusterCidr>,
    /// By uid of the node.
    promised: Mutex<Promises>,
    /// By uid of nodes that got nothing, the cluster range that was full: told once.
    told: Mutex<BTreeMap<String, IpNet>>,
}

impl NodeCidrs {
    pub(crate) fn new(cluster: Arc<Cluster>, pools: Vec<ClusterCidr>) -> Self {
        Self {
            recorder: EventRecorder::start(cluster.client.clone(), "cidrAllocator", None),
            cluster,
            queue: Queue::default(),
            pools,
            promised: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Nodes changed.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        let matters = heard.changes().iter().any(|change| {
            let ranges = |node: &Option<Arc<Node>>| node.as_ref().map(|node| ranges_of(node));
            ranges(&change.old) != ranges(&change.new)
        });
        if matters && !self.pools.is_empty() {
            self.queue.add(());
        }
    }

    fn promised(&self) -> MutexGuard<'_, Promises> {
        // Every change is one step, so a poisoned lock still guards good data.
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn give(&self, node: &Node, ranges: &[IpNet]) -> Result<(), Fault> {
        let key = Key::of(node);
        let uid = meta::uid(&node.metadata).to_owned();
        self.promised().insert(uid.clone(), ranges.to_vec());
        let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let base = node.metadata.resource_version.as_deref();
        let patch = json!({
            "metadata": {"uid": uid, "resourceVersion": base},
            "spec": {"podCIDR": texts.first(), "podCIDRs": texts},
        });
        let api = self.cluster.everywhere::<Node>();
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match answer {
            Ok(changed) => {
                tracing::info!(node = %key, ranges = ?texts, "node ranges assigned");
                self.cluster.nodes.learn(base, changed);
                Ok(())
            }
            Err(error) => {
                let fault = Fault::new("assign ranges to", "Node", &key, &error);
                // Only an answer that says no ends a promise.
                if !matches!(fault.failure(), Failure::Passing(_)) {
                    self.promised().remove(&uid);
                }
                Err(fault)
            }
        }
    }

    /// Tells once that a node got nothing.
    fn lament(&self, node: &Node, full: ClusterCidr) {
        let uid = meta::uid(&node.metadata).to_owned();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(uid, full.cidr()) == Some(full.cidr()) {
            return;
        }
        let message = format!(
            "Cluster CIDR {} has no free /{} left for this node ({} in all); delete nodes that are \
             no more, or start the controller with a larger cluster CIDR or a longer node mask",
            full.cidr(),
            full.node_mask(),
            full.capacity(),
        );
        tracing::error!(node = meta::name(&node.metadata), "{message}");
        notes::warning(&self.recorder, node, "CIDRNotAvailable", message);
    }
}

impl Controller for NodeCidrs {
    type Key = ();
    const NAME: &'static str = "node-cidrs";

    fn queue(&self) -> &Queue<()> {
        &self.queue
    }

    async fn reconcile(&self, (): &()) -> Result<Option<Duration>, Fault> {
        let nodes = self.cluster.nodes.all();
        let unsettled = |uid: &str| {
            let mut nodes = nodes.iter();
            nodes.any(|node| meta::uid(&node.metadata) == uid && ranges_of(node).is_empty())
        };
        self.promised().retain(|uid, _| unsettled(uid));
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|uid, _| unsettled(uid));
        let promised = self.promised().clone();
        let mut failed = None;
        for assignment in assign(&self.pools, &nodes, &promised) {
            match assignment.ranges {
                Ok(ranges) => {
                    if let Err(fault) = self.give(&assignment.node, &ranges).await {
                        failed.get_or_insert(fault);
                    }
                }
                Err(full) => self.lament(&assignment.node, full),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}
