//! The node daemon: it watches the cluster, plans the rows of its node, makes them true and keeps
//! them so, and attaches Pods on behalf of the CNI plugin.
//!
//! Threads: one per request on the socket, the *keeper* that applies cluster changes and repairs
//! drift, the *reaper* that deletes dying links in groups, the *prober* that looks for paths that
//! swallow large packets, the *summary* thread that tells how the agent is, the *flows* thread that puts UDP flows right, the *web* thread that answers
//! by HTTP, and the source's own. All are synchronous but the last two, which have async runtimes of
//! their own. They meet in [`Shared`](shared::Shared), whose lock is never held over a system call on
//! the network.
//!
//! State outside the process: the kernel's (see `seaway-kernel`), and caches in the state
//! directory that may be lost at any time ([`records`]).

mod bridged;
mod cleanup;
mod cni;
mod conflist;
mod dns;
mod error;
mod journal;
mod keeper;
mod pathmtu;
mod reaper;
mod records;
mod recover;
mod report;
mod run;
mod server;
mod services;
mod shared;
#[cfg(test)]
mod simulation;
mod source;
mod state;
mod strangers;
mod summary;
mod trace;
mod web;

pub use cleanup::{Cleaner, CleanupConfig, CleanupReport, cleanup};
pub use error::AgentError;
pub use journal::JournalEntry;
pub use pathmtu::{PathReport, PathsReport};
pub use report::{
    AttachmentReport, NetworkReport, PoolReport, ServicesReport, Status, TablesReport,
    WaitingWiring,
};
pub use run::{AgentConfig, run};
pub use source::ClusterSource;
pub use source::api::ApiSource;
pub use source::file::{ClusterFileError, parse as parse_cluster_file};
pub use strangers::StrangersReport;
pub use trace::{PathTrace, TraceReport, Verdicts};
pub use web::{HEALTH_PORT, METRICS_PORT, WebConfig};
