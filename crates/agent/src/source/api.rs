//! The cluster from the Kubernetes API: all nodes, this node's Pods, and Services with their
//! endpoints where they are balanced, watched by a thread of its own, born in the agent's network namespace. What may count as deleted is decided in
//! `seaway-api`; until it has seen everything once, the agent deletes nothing. What the agent has to
//! say on its own Node goes out the same way.

use std::path::{Path, PathBuf};

use seaway_api::{Access, ClusterNews, Following, NodeVoice, Timing, follow_cluster};
use seaway_model::NodeName;
use tokio::runtime::{Builder, Runtime};

use super::Sink;

/// How to reach the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSource {
    /// By which credentials, and at which servers; files may appear later than the agent.
    pub access: Access,
    /// Deadlines and pauses.
    pub timing: Timing,
}

impl ApiSource {
    /// With the usual deadlines; the servers that the cluster names are kept in the agent's state
    /// directory.
    pub fn new(access: Access, state_dir: &Path) -> ApiSource {
        ApiSource {
            access: access.remembering(ApiSource::memory_in(state_dir)),
            timing: Timing::default(),
        }
    }

    /// Where the servers that the cluster names are kept: a cache.
    pub(crate) fn memory_in(state_dir: &Path) -> PathBuf {
        state_dir.join("api-servers.json")
    }
}

/// Watches the API and tells a sink, for ever.
pub(crate) struct ApiWatcher {
    source: Access,
    following: Following,
    runtime: Runtime,
}

impl ApiWatcher {
    pub(crate) fn open(
        source: &ApiSource,
        node: &NodeName,
        services: bool,
    ) -> std::io::Result<ApiWatcher> {
        Ok(ApiWatcher {
            source: source.access.clone(),
            following: Following {
                node: node.clone(),
                services,
                timing: source.timing.clone(),
            },
            runtime: Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// Works in the calling thread's network namespace.
    pub(crate) fn run(self, sink: &Sink, voice: NodeVoice) {
        let tell = |news| match news {
            ClusterNews::Server(url) => sink.source(url),
            ClusterNews::Events(events) => sink.events(events),
            ClusterNews::Triggers(times) => sink.triggers(times),
            ClusterNews::Problem(problem) => sink.problem(problem),
            ClusterNews::Refused(refused) => sink.refused(refused),
            ClusterNews::Unwritten(problem) => sink.unwritten(problem),
        };
        let following = follow_cluster(&self.source, &self.following, voice, tell);
        self.runtime.block_on(following);
        // It ends only if a watch has failed in a way that nobody foresaw.
        let why = "the watch of the API has ended; restart the agent".to_owned();
        sink.problem(Some(why));
    }
}
