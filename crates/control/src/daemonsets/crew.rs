//! Nodes with the Pods that a DaemonSet has there.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::history::History;
use super::place::{self, Fit};
use super::{Input, is_of};
use crate::ledger::Ledger;
use crate::meta;

/// One node.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) node: String,
    pub(super) fit: Fit,
    /// The set's Pods there or made for there, the bound and the oldest first. Those that go count,
    /// unless they have ended.
    pub(super) pods: Vec<Arc<Pod>>,
}

/// All nodes, and what is known of the set's Pods.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    pub(super) posts: Vec<Post>,
    /// Pods without a node, for nodes that are not there.
    pub(super) stray: Vec<Arc<Pod>>,
    /// The revision that new Pods are made from.
    pub(super) hash: &'a str,
    history: &'a History,
    ledger: &'a Ledger,
    min_ready: i32,
    now: Timestamp,
}

impl<'a> Crew<'a> {
    pub(super) fn of(input: &Input<'a>, history: &'a History) -> Self {
        let set = input.set;
        let mut by_node: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in input.pods.iter().filter(|pod| is_of(set, &***pod)) {
            let over = meta::is_finished(pod) && meta::is_terminating(&pod.metadata);
            if let Some(node) = place::node_of(pod).filter(|_| !over) {
                by_node.entry(node).or_default().push(pod.clone());
            }
        }
        let described = place::described(set);
        let mut posts: Vec<Post> = Vec::with_capacity(input.nodes.len());
        for node in input.nodes {
            let name = meta::name(&node.metadata);
            let mut pods = by_node.remove(name).unwrap_or_default();
            pods.sort_by_cached_key(|pod| {
                let bound = meta::node_name(pod).is_some();
                (
                    !bound,
                    meta::created(&pod.metadata),
                    pod.metadata.name.clone(),
                )
            });
            posts.push(Post {
                node: name.to_owned(),
                fit: place::fit(&described, node),
                pods,
            });
        }
        let stray = by_node.into_values().flatten();
        let stray = stray.filter(|pod| meta::node_name(pod).is_none());
        Self {
            posts,
            stray: stray.collect(),
            hash: history.hash(),
            history,
            ledger: input.ledger,
            min_ready: set.spec.min_ready_seconds.unwrap_or(0),
            now: input.now,
        }
    }

    /// The nodes that are to have a Pod.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Post> {
        self.posts.iter().filter(|post| post.fit == Fit::Runs)
    }

    /// Whether a Pod was made from the present template.
    pub(super) fn is_new(&self, pod: &Pod) -> bool {
        self.history.is_current(pod)
    }

    /// Whether a Pod was asked to go.
    pub(super) fn is_leaving(&self, pod: &Pod) -> bool {
        meta::is_terminating(&pod.metadata) || self.ledger.is_deleting(meta::uid(&pod.metadata))
    }

    /// When the Pod is available; None if it is not ready.
    pub(super) fn available_at(&self, pod: &Pod) -> Option<Timestamp> {
        meta::available_at(pod, self.min_ready)
    }

    /// Whether the Pod is available now.
    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        self.available_at(pod).is_some_and(|at| at <= self.now)
    }
}
