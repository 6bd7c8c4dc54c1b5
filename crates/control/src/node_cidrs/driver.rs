//! The loop of node ranges: one pass over all nodes whenever one came, went, or has no range.
//!
//! A range is promised before it is asked for, and stays promised until the watch shows the node with
//! ranges or gone: an answer that was lost cannot lead to a range being given twice. A promise is
//! forgotten with its process, and its request may be on the way yet: so who begins writes a mark into
//! every node that has no range, and requests that were based on the node without it are refused. A
//! node that another changed may have got a range by that: nobody gets any until it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use seaway_api::{EventRecorder, Failure};
use serde_json::json;

use super::doubts::doubts;
use super::{ClusterCidr, assign, ranges_of};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::notes;
use crate::queue::{Queue, random};
use crate::work::Controller;

type Promises = BTreeMap<String, Vec<IpNet>>;

/// Says on a node which run of the allocator was the last to begin while it had no range.
const MARK: &str = "network.seaway.dev/cidr-allocator";

/// The allocator of node ranges.
#[derive(Debug)]
pub(crate) struct NodeCidrs {
    cluster: Arc<Cluster>,
    recorder: EventRecorder,
    queue: Queue<()>,
    pools: Vec<ClusterCidr>,
    /// By uid of the node.
    promised: Mutex<Promises>,
    /// Differs from run to run.
    mark: String,
    /// Uids of nodes to be marked; None until they are known.
    unmarked: Mutex<Option<BTreeSet<String>>>,
    /// By uid of the node, what was told of it: once.
    told: Mutex<BTreeMap<String, String>>,
}

impl NodeCidrs {
    pub(crate) fn new(cluster: Arc<Cluster>, pools: Vec<ClusterCidr>) -> Self {
        Self {
            recorder: EventRecorder::start(cluster.client.clone(), "cidrAllocator", None),
            cluster,
            queue: Queue::default(),
            pools,
            promised: Mutex::default(),
            mark: format!("{:016x}", random()),
            unmarked: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Nodes changed.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        let matters = heard.changes().iter().any(|change| {
            let ranges = |node: &Option<Arc<Node>>| node.as_ref().map(|node| ranges_of(node));
            ranges(&change.old) != ranges(&change.new)
        });
        if matters {
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
                // The promise stays: an earlier request may have had success.
                Err(Fault::new("assign ranges to", "Node", &key, &error))
            }
        }
    }

    /// Marks the nodes that had no range when this run began.
    async fn mark(&self) -> Result<(), Fault> {
        let nodes = self.cluster.nodes.all();
        let waiting = |node: &&Arc<Node>| ranges_of(node).is_empty();
        let waiting: Vec<_> = nodes.iter().filter(waiting).collect();
        let unmarked = self.unmarked().clone().unwrap_or_else(|| {
            let uids = waiting.iter().map(|node| meta::uid(&node.metadata));
            uids.map(str::to_owned).collect()
        });
        *self.unmarked() = Some(unmarked.clone());
        for node in waiting {
            let uid = meta::uid(&node.metadata);
            if !unmarked.contains(uid) {
                continue;
            }
            let key = Key::of(&**node);
            let base = node.metadata.resource_version.as_deref();
            let patch = json!({"metadata": {"uid": uid, "resourceVersion": base,
                "annotations": {MARK: self.mark}}});
            let api = self.cluster.everywhere::<Node>();
            let answer = api
                .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            let changed = answer.map_err(|error| Fault::new("mark", "Node", &key, &error))?;
            self.cluster.nodes.learn(base, changed);
            if let Some(unmarked) = self.unmarked().as_mut() {
                unmarked.remove(uid);
            }
        }
        Ok(())
    }

    fn unmarked(&self) -> MutexGuard<'_, Option<BTreeSet<String>>> {
        self.unmarked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That a node got nothing.
    fn lament(&self, node: &Node, full: ClusterCidr) {
        let message = format!(
            "Cluster CIDR {} has no free /{} left for this node ({} in all); delete nodes that are \
             no more, or start the controller with a larger cluster CIDR or a longer node mask",
            full.cidr(),
            full.node_mask(),
            full.capacity(),
        );
        self.tell(node, "CIDRNotAvailable", message);
    }

    /// Tells what is wrong with ranges that nodes have.
    fn doubt(&self, nodes: &[Arc<Node>]) {
        let doubts = doubts(&self.pools, nodes);
        for node in nodes {
            if let Some(doubt) = doubts.get(meta::uid(&node.metadata)) {
                let message = format!(
                    "The Pod ranges of this node are left as they are, though {doubt}; delete the Node \
                     and let it register again to give it others"
                );
                self.tell(node, "CIDRMismatch", message);
            }
        }
    }

    /// Tells something of a node, unless it was the last that was told.
    fn tell(&self, node: &Node, reason: &str, message: String) {
        let uid = meta::uid(&node.metadata).to_owned();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&uid) == Some(&message) {
            return;
        }
        tracing::error!(node = meta::name(&node.metadata), "{message}");
        notes::warning(&self.recorder, node, reason, message.clone());
        told.insert(uid, message);
    }
}

impl Controller for NodeCidrs {
    type Key = ();
    const NAME: &'static str = "node-cidrs";

    fn queue(&self) -> &Queue<()> {
        &self.queue
    }

    async fn reconcile(&self, (): &()) -> Result<Option<Duration>, Fault> {
        self.mark().await?;
        let nodes = self.cluster.nodes.all();
        let find = |uid: &str| {
            let mut nodes = nodes.iter();
            nodes.find(|node| meta::uid(&node.metadata) == uid)
        };
        self.promised()
            .retain(|uid, _| find(uid).is_some_and(|node| ranges_of(node).is_empty()));
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|uid, _| find(uid).is_some());
        self.doubt(&nodes);
        let promised = self.promised().clone();
        let mut failed = None;
        for assignment in assign(&self.pools, &nodes, &promised) {
            let given = match assignment.ranges {
                Ok(ranges) => self.give(&assignment.node, &ranges).await,
                Err(full) => {
                    self.lament(&assignment.node, full);
                    Ok(())
                }
            };
            let Err(fault) = given else { continue };
            let unknown = fault.failure() == Failure::Conflict;
            failed.get_or_insert(fault);
            if unknown {
                break;
            }
        }
        failed.map_or(Ok(None), Err)
    }
}
