//! The cluster as a node's agent follows it: all nodes, the node's own Pods, and all Services with
//! their endpoints where it balances them, for ever.

use std::time::SystemTime;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::{Api, Client};
use seaway_model::{ClusterEvent, NodeName};
use tokio::time::sleep;

use crate::connect::{ApiServers, connect};
use crate::feed::{ServiceParcel, SliceParcel, service_parcel, slice_parcel};
use crate::voice::{NodeVoice, Speaker};
use crate::{
    Access, Backoff, Changes, ClusterFeed, Selector, Timing, convert, watched, watched_in_part,
};

/// What an agent follows, and how.
#[derive(Clone, Debug)]
pub struct Following {
    /// Its node: of Pods only those of this node are followed.
    pub node: NodeName,
    /// Services and their endpoints are followed, too.
    pub services: bool,
    /// Deadlines and pauses.
    pub timing: Timing,
}

/// What is told of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterNews {
    /// The URL of the server that is in use.
    Server(String),
    /// The cluster changed. The first list of each kind comes as one.
    Events(Vec<ClusterEvent>),
    /// When what the slices among the last events say had happened, as far as they tell (S44).
    Triggers(Vec<SystemTime>),
    /// All that is wrong with the watches and their objects at present, or that nothing is any more.
    Problem(Option<String>),
    /// The objects alone that are wrong at present, or that none is any more.
    Refused(Option<String>),
    /// Why the own Node or Lease cannot be written, or that they can be again. The cluster is seen all
    /// the same.
    Unwritten(Option<String>),
}

/// Follows the cluster and tells what happens, for ever; says on the node's own object what `voice`
/// has to say. To be called on a tokio runtime. A kubeconfig that cannot be used yet is tried again,
/// as a server that is away is.
pub async fn follow_cluster(
    source: &Access,
    following: &Following,
    voice: NodeVoice,
    mut tell: impl FnMut(ClusterNews),
) {
    let (client, mut servers) = connected(source, &following.timing, &mut tell).await;
    let mut speaker = Speaker::start(&client, &following.node, &following.timing, voice);
    let mut watches = Watches::start(&client, &servers, following);
    let mut feed = match following.services {
        true => ClusterFeed::with_services(),
        false => ClusterFeed::default(),
    };
    let mut told = Told::default();
    loop {
        let events = tokio::select! {
            events = watches.next(&mut feed, &mut speaker) => events,
            () = servers.changed() => {
                tell(ClusterNews::Server(servers.in_use()));
                continue;
            }
        };
        let Some(events) = events else { return };
        // First, so that they count for what follows.
        let triggers = feed.take_triggers();
        if !triggers.is_empty() {
            tell(ClusterNews::Triggers(triggers));
        }
        if !events.is_empty() {
            tell(ClusterNews::Events(events));
        }
        told.tell_problems(&feed, &speaker, &mut tell);
    }
}

/// How a problem is told.
type News = fn(Option<String>) -> ClusterNews;

/// What was told last of what is wrong.
#[derive(Default)]
struct Told {
    problem: Option<String>,
    refused: Option<String>,
    unwritten: Option<String>,
}

impl Told {
    fn tell_problems(
        &mut self,
        feed: &ClusterFeed,
        speaker: &Speaker,
        tell: &mut impl FnMut(ClusterNews),
    ) {
        let all: [(_, _, News); 3] = [
            (&mut self.problem, feed.problem(), ClusterNews::Problem),
            (&mut self.refused, feed.refused(), ClusterNews::Refused),
            (
                &mut self.unwritten,
                speaker.problem(),
                ClusterNews::Unwritten,
            ),
        ];
        for (before, now, news) in all {
            if *before != now {
                before.clone_from(&now);
                tell(news(now));
            }
        }
    }
}

/// The watches of an agent.
struct Watches {
    nodes: Changes<core::Node>,
    pods: Changes<core::Pod>,
    balancing: Option<(Changes<ServiceParcel>, Changes<SliceParcel>)>,
}

impl Watches {
    fn start(client: &Client, servers: &ApiServers, following: &Following) -> Watches {
        let Following {
            node,
            services,
            timing,
        } = following;
        let own = Selector::fields(format!("spec.nodeName={node}"));
        let name = node.to_string();
        let trimmed = move |mut node: core::Node| {
            convert::trim_node(&mut node, &name);
            node
        };
        let everything = Selector::default;
        let nodes: Api<core::Node> = Api::all(client.clone());
        let (_, nodes) = watched_in_part(nodes, everything(), timing.clone(), trimmed);
        let pods: Api<core::Pod> = Api::all(client.clone());
        let (_, pods) = watched(pods, own, timing.clone());
        let balancing = services.then(|| {
            let services: Api<core::Service> = Api::all(client.clone());
            let keep = |service: core::Service| service_parcel(&service);
            let (_, services) = watched_in_part(services, everything(), timing.clone(), keep);
            let slices: Api<discovery::EndpointSlice> = Api::all(client.clone());
            let servers = servers.clone();
            let keep = move |slice: discovery::EndpointSlice| {
                servers.learn(&slice);
                slice_parcel(&slice)
            };
            let (_, slices) = watched_in_part(slices, everything(), timing.clone(), keep);
            (services, slices)
        });
        Watches {
            nodes,
            pods,
            balancing,
        }
    }

    /// What happens next; nothing, when only a problem changed.
    async fn next(
        &mut self,
        feed: &mut ClusterFeed,
        speaker: &mut Speaker,
    ) -> Option<Vec<ClusterEvent>> {
        let balancing = async {
            match &mut self.balancing {
                Some((services, slices)) => tokio::select! {
                    changes = services.next() => changes.map(Balancing::Services),
                    changes = slices.next() => changes.map(Balancing::Slices),
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changes = self.nodes.next() => {
                let changes = changes?;
                speaker.look(&changes);
                Some(feed.nodes(changes))
            }
            changes = self.pods.next() => Some(feed.pods(changes?)),
            changes = balancing => Some(match changes? {
                Balancing::Services(changes) => feed.services(changes),
                Balancing::Slices(changes) => feed.slices(changes),
            }),
            () = speaker.problem_changed() => Some(Vec::new()),
        }
    }
}

/// Changes of what is balanced.
enum Balancing {
    Services(Vec<crate::Change<ServiceParcel>>),
    Slices(Vec<crate::Change<SliceParcel>>),
}

async fn connected(
    source: &Access,
    timing: &Timing,
    tell: &mut impl FnMut(ClusterNews),
) -> (Client, ApiServers) {
    let mut backoff = Backoff::new(timing);
    let mut problem = None;
    loop {
        match connect(source, timing) {
            Ok((client, mut servers)) => {
                tell(ClusterNews::Server(servers.in_use()));
                if problem.is_some() {
                    tell(ClusterNews::Problem(None));
                }
                return (client, servers);
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
