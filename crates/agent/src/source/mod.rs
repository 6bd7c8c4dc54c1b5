//! Where the agent learns the cluster from. A source tells events and problems; it never decides
//! that something is gone because it cannot see it.

pub(crate) mod file;

use std::sync::Arc;

use seaway_model::ClusterEvent;

use crate::keeper::Command;
use crate::shared::Shared;

/// What a source tells to.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Shared>);

impl Sink {
    pub(crate) fn new(shared: Arc<Shared>) -> Sink {
        Sink(shared)
    }

    /// The cluster changed.
    pub(crate) fn events(&self, events: Vec<ClusterEvent>) {
        self.0.keeper.tell(Command::Cluster(events));
    }

    /// The cluster cannot be seen, or can be again.
    pub(crate) fn problem(&self, problem: Option<String>) {
        self.0.keeper.tell(Command::SourceProblem(problem));
    }
}
