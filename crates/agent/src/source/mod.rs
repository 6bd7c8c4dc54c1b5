//! Where the agent learns the cluster from. A source tells events and problems; it never decides
//! that something is gone because it cannot see it.

pub(crate) mod api;
pub(crate) mod file;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use seaway_api::NodeVoice;
use seaway_model::{ClusterEvent, NodeName};

use self::api::{ApiSource, ApiWatcher};
use self::file::FileSource;
use crate::error::AgentError;
use crate::keeper::Command;
use crate::shared::Shared;

/// Where the cluster's state comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterSource {
    /// A file that is watched for changes.
    File(PathBuf),
    /// The Kubernetes API.
    Api(Box<ApiSource>),
}

impl ClusterSource {
    /// The source in words, as far as it is known before it is opened.
    pub(crate) fn describe(&self) -> String {
        match self {
            ClusterSource::File(path) => path.display().to_string(),
            ClusterSource::Api(api) => format!("the API of {}", api.access.describe()),
        }
    }
}

/// An open source.
pub(crate) enum Source {
    File(FileSource),
    Api(Box<ApiWatcher>),
}

impl Source {
    /// Services are followed if they are balanced here.
    pub(crate) fn open(
        source: &ClusterSource,
        node: &NodeName,
        services: bool,
    ) -> Result<Source, AgentError> {
        match source {
            ClusterSource::File(path) => FileSource::open(path)
                .map(Source::File)
                .map_err(AgentError::file("watch the folder of", path)),
            ClusterSource::Api(api) => ApiWatcher::open(api, node, services)
                .map(|watcher| Source::Api(Box::new(watcher)))
                .map_err(|error| AgentError::Thread("source", error)),
        }
    }

    /// Tells at once what can be known without waiting.
    pub(crate) fn look(&mut self, sink: &Sink) {
        match self {
            Source::File(file) => file.look(sink),
            Source::Api(_) => {}
        }
    }

    /// Tells what happens, for ever, and says what `voice` has to say, if anybody can hear it.
    pub(crate) fn run(self, sink: &Sink, voice: NodeVoice) {
        match self {
            Source::File(file) => file.run(sink),
            Source::Api(api) => api.run(sink, voice),
        }
    }
}

/// What a source tells to.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Shared>);

impl Sink {
    pub(crate) fn new(shared: Arc<Shared>) -> Sink {
        Sink(shared)
    }

    /// The cluster changed.
    pub(crate) fn events(&self, events: Vec<ClusterEvent>) {
        self.0.programming.queued(&events);
        if let Some(names) = self.0.names.get() {
            names.apply(&events);
        }
        self.0.keeper.tell(Command::Cluster(events));
    }

    /// When what the next events say had happened.
    pub(crate) fn triggers(&self, times: Vec<SystemTime>) {
        self.0.programming.triggered(times);
    }

    /// Some objects are wrong, or none is any more.
    pub(crate) fn refused(&self, objects: Option<String>) {
        self.0.keeper.tell(Command::Refused(objects));
    }

    /// The cluster cannot be seen, or can be again.
    pub(crate) fn problem(&self, problem: Option<String>) {
        self.0.keeper.tell(Command::SourceProblem(problem));
    }

    /// The own Node or Lease cannot be written, or can be again.
    pub(crate) fn unwritten(&self, problem: Option<String>) {
        if let Some(problem) = &problem {
            tracing::warn!(%problem, "not everything can be told to the cluster");
        }
        self.0.lock().node_problem = problem;
    }

    /// What the source is called, for people.
    pub(crate) fn source(&self, name: String) {
        self.0.lock().source = name;
    }
}
