//! The cluster as a node's agent follows it: all nodes and the node's own Pods, for ever.

use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use seaway_model::{ClusterEvent, NodeName};
use tokio::time::sleep;

use crate::{
    Backoff, Changes, ClusterFeed, KubeconfigSource, Selector, Timing, client_with, server_url,
    watched,
};

/// What is told of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterNews {
    /// The server's URL.
    Server(String),
    /// The cluster changed. The first list of each kind comes as one.
    Events(Vec<ClusterEvent>),
    /// All that is wrong with the watches at present, or that nothing is any more.
    Problem(Option<String>),
}

/// Follows the cluster and tells what happens, for ever. To be called on a tokio runtime. A
/// kubeconfig that cannot be used yet is tried again, as a server that is away is.
pub async fn follow_cluster(
    source: &KubeconfigSource,
    node: &NodeName,
    timing: &Timing,
    mut tell: impl FnMut(ClusterNews),
) {
    let client = connect(source, timing, &mut tell).await;
    let nodes: Api<core::Node> = Api::all(client.clone());
    let pods: Api<core::Pod> = Api::all(client);
    let own = Selector::fields(format!("spec.nodeName={node}"));
    let (_, mut nodes) = watched(nodes, Selector::default(), timing.clone());
    let (_, mut pods) = watched(pods, own, timing.clone());
    let mut feed = ClusterFeed::default();
    let mut problem = None;
    while let Some(events) = next(&mut feed, &mut nodes, &mut pods).await {
        if !events.is_empty() {
            tell(ClusterNews::Events(events));
        }
        let now = feed.problem();
        if now != problem {
            problem.clone_from(&now);
            tell(ClusterNews::Problem(now));
        }
    }
}

async fn next(
    feed: &mut ClusterFeed,
    nodes: &mut Changes<core::Node>,
    pods: &mut Changes<core::Pod>,
) -> Option<Vec<ClusterEvent>> {
    tokio::select! {
        changes = nodes.next() => Some(feed.nodes(changes?)),
        changes = pods.next() => Some(feed.pods(changes?)),
    }
}

async fn connect(
    source: &KubeconfigSource,
    timing: &Timing,
    tell: &mut impl FnMut(ClusterNews),
) -> Client {
    let mut backoff = Backoff::new(timing);
    let mut problem = None;
    loop {
        let url = server_url(source);
        match url.and_then(|url| Ok((url, client_with(source, timing)?))) {
            Ok((url, client)) => {
                tell(ClusterNews::Server(url));
                if problem.is_some() {
                    tell(ClusterNews::Problem(None));
                }
                return client;
            }
            Err(error) => {
                let now = Some(error.to_string());
                if now != problem {
                    problem.clone_from(&now);
                    tell(ClusterNews::Problem(now));
                }
            }
        }
        sleep(backoff.pause()).await;
    }
}
