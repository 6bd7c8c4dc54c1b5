//! The cluster as a node's agent follows it: all nodes and the node's own Pods, for ever.

use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client};
use seaway_model::{ClusterEvent, NodeName};
use tokio::time::sleep;

use crate::voice::{NodeVoice, Speaker};
use crate::{
    Backoff, Changes, ClusterFeed, KubeconfigSource, Selector, Timing, client_with, convert,
    server_url, watched, watched_in_part,
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
    /// Why the own Node cannot be written, or that it can be again. The cluster is seen all the same.
    Unwritten(Option<String>),
}

/// Follows the cluster and tells what happens, for ever; says on the node's own object what `voice`
/// has to say. To be called on a tokio runtime. A kubeconfig that cannot be used yet is tried again,
/// as a server that is away is.
pub async fn follow_cluster(
    source: &KubeconfigSource,
    node: &NodeName,
    timing: &Timing,
    voice: NodeVoice,
    mut tell: impl FnMut(ClusterNews),
) {
    let client = connect(source, timing, &mut tell).await;
    let mut speaker = Speaker::start(&client, node, timing, voice);
    let nodes: Api<core::Node> = Api::all(client.clone());
    let pods: Api<core::Pod> = Api::all(client);
    let own = Selector::fields(format!("spec.nodeName={node}"));
    let (_, mut nodes) = watched_in_part(
        nodes,
        Selector::default(),
        timing.clone(),
        convert::trim_node,
    );
    let (_, mut pods) = watched(pods, own, timing.clone());
    let mut feed = ClusterFeed::default();
    let (mut problem, mut unwritten) = (None, None);
    while let Some(events) = next(&mut feed, &mut speaker, &mut nodes, &mut pods).await {
        if !events.is_empty() {
            tell(ClusterNews::Events(events));
        }
        let now = feed.problem();
        if now != problem {
            problem.clone_from(&now);
            tell(ClusterNews::Problem(now));
        }
        let now = speaker.problem();
        if now != unwritten {
            unwritten.clone_from(&now);
            tell(ClusterNews::Unwritten(now));
        }
    }
}

/// What happens next; nothing, when only a problem changed.
async fn next(
    feed: &mut ClusterFeed,
    speaker: &mut Speaker,
    nodes: &mut Changes<core::Node>,
    pods: &mut Changes<core::Pod>,
) -> Option<Vec<ClusterEvent>> {
    tokio::select! {
        changes = nodes.next() => {
            let changes = changes?;
            speaker.look(&changes);
            Some(feed.nodes(changes))
        }
        changes = pods.next() => Some(feed.pods(changes?)),
        () = speaker.problem_changed() => Some(Vec::new()),
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
