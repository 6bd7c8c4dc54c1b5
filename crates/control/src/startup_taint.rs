//! The taint that keeps Pods off a node until its network is up: whoever makes nodes may give it to
//! them, and it is taken away once the node says that its network is available.
//!
//! It is never given here, and never given back: a network that breaks later is told by the node's
//! conditions. Other taints are others' and stay as they are: the write holds only on top of what was
//! read, so a taint that came in between is not lost.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::queue::Queue;
use crate::taints;
use crate::work::Controller;

/// The taint's key; its effect and value are free.
const AGENT_NOT_READY: &str = "network.seaway.dev/agent-not-ready";

/// The taints that are left to a node whose network is up; None if there is nothing to take.
fn left(node: &Node) -> Option<Vec<Taint>> {
    let unavailable = meta::node_condition(node, "NetworkUnavailable")?;
    let has = taints::of_node(node);
    let ours = |taint: &&Taint| taint.key == AGENT_NOT_READY;
    if unavailable.status != "False" || !has.iter().any(|taint| ours(&taint)) {
        return None;
    }
    Some(has.iter().filter(|taint| !ours(taint)).cloned().collect())
}

/// Takes the taint away.
#[derive(Debug)]
pub(crate) struct StartupTaint {
    cluster: Arc<Cluster>,
    queue: Queue<Key>,
}

impl StartupTaint {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            queue: Queue::default(),
        }
    }

    /// Nodes changed.
    pub(crate) fn hear_nodes(&self, heard: &Heard<Node>) {
        for node in heard.changes().iter().filter_map(|c| c.new.as_ref()) {
            if left(node).is_some() {
                self.queue.add(Key::of(&**node));
            }
        }
    }
}

impl Controller for StartupTaint {
    type Key = Key;
    const NAME: &'static str = "startup-taint";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        let Some(node) = self.cluster.nodes.get(key) else {
            return Ok(None);
        };
        let Some(taints) = left(&node) else {
            return Ok(None);
        };
        let base = node.metadata.resource_version.as_deref();
        let patch = json!({
            "metadata": {"uid": node.metadata.uid, "resourceVersion": base},
            "spec": {"taints": taints},
        });
        let api = self.cluster.everywhere::<Node>();
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let changed = answer
            .map_err(|error| Fault::new("take the start-up taint from", "Node", key, &error))?;
        tracing::info!(node = %key, taint = AGENT_NOT_READY, "the node's network is up: taint taken");
        self.cluster.nodes.learn(base, changed);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(condition: Option<&str>, taints: &[(&str, &str)]) -> Node {
        let taints: Vec<_> = taints
            .iter()
            .map(|(key, effect)| json!({"key": key, "effect": effect}))
            .collect();
        let conditions: Vec<_> = condition
            .map(|status| json!({"type": "NetworkUnavailable", "status": status}))
            .into_iter()
            .collect();
        serde_json::from_value(
            json!({"metadata": {"name": "n"}, "spec": {"taints": taints},
            "status": {"conditions": conditions}}),
        )
        .expect("a Node")
    }

    #[test]
    fn it_goes_with_any_effect_and_others_stay() {
        let all = [
            (AGENT_NOT_READY, "NoSchedule"),
            ("node.kubernetes.io/not-ready", "NoSchedule"),
            (AGENT_NOT_READY, "NoExecute"),
            ("dedicated", "NoExecute"),
        ];
        let keys = |taints: Vec<Taint>| taints.into_iter().map(|t| t.key).collect::<Vec<_>>();
        assert_eq!(
            left(&node(Some("False"), &all)).map(keys),
            Some(vec![
                "node.kubernetes.io/not-ready".to_owned(),
                "dedicated".to_owned()
            ])
        );
        for condition in [None, Some("True"), Some("Unknown")] {
            assert_eq!(left(&node(condition, &all)), None, "{condition:?}");
        }
        assert_eq!(
            left(&node(Some("False"), &all[1..2])),
            None,
            "nothing to take"
        );
        assert_eq!(left(&node(Some("False"), &all[..1])), Some(Vec::new()));
    }
}
