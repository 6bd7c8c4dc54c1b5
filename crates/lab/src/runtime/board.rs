//! What the lab's people can ask about its Pods, and do to them, from any thread.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::container::{self, Started};
use crate::namespaces::Namespaces;
use crate::supervisor::reaper::Reaper;

/// What the process that holds a sandbox is called, unless a container is called so.
const PAUSE: &str = "pause";

/// A Pod that is on one of the lab's nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodReport {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) phase: String,
    pub(crate) ready: bool,
    pub(crate) host_network: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// The sandbox's id, its network namespace's path on the node and what the CNI plugin answered;
    /// nothing as long as it does not stand or if it is the node's.
    pub(crate) sandbox: Option<String>,
    pub(crate) netns: Option<String>,
    pub(crate) result: Value,
    pub(crate) containers: Vec<ContainerReport>,
}

/// A container of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerReport {
    pub(crate) name: String,
    /// Of its process, if it runs, in the lab's process namespace.
    pub(crate) pid: Option<i32>,
    pub(crate) restarts: u32,
}

/// What stands of a Pod and can be entered and signalled.
#[derive(Clone, Default)]
pub(crate) struct Posted {
    pub(crate) report: PodReport,
    pub(crate) namespaces: Option<Arc<Namespaces>>,
    /// The process that holds the sandbox.
    pub(crate) pause: Option<Pid>,
    pub(crate) running: BTreeMap<String, Arc<Started>>,
}

/// All Pods by uid.
#[derive(Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, Posted>>);

impl Board {
    /// Puts up the state of a Pod.
    pub(crate) fn post(&self, posted: Posted) {
        self.lock().insert(posted.report.uid.clone(), posted);
    }

    /// The Pod is gone.
    pub(crate) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// All Pods, by namespace and name.
    pub(crate) fn reports(&self) -> Vec<PodReport> {
        let mut all: Vec<_> = self.lock().values().map(|p| p.report.clone()).collect();
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }

    /// The namespaces of a Pod whose sandbox stands; on that node, if one is named.
    pub(crate) fn namespaces(
        &self,
        node: Option<&str>,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Namespaces>> {
        let posted = self.lock();
        let wanted = |p: &&Posted| {
            p.report.is(namespace, name) && node.is_none_or(|node| node == p.report.node)
        };
        let mut found = posted.values().filter(wanted);
        found.find_map(|posted| posted.namespaces.clone())
    }

    /// Sends a signal to a container, or to the process that holds the sandbox; tells whether there
    /// was one.
    pub(crate) fn signal(
        &self,
        reaper: &Reaper,
        (namespace, name, container): (&str, &str, &str),
        signal: Signal,
    ) -> bool {
        let (started, pause) = {
            let posted = self.lock();
            let mine = || posted.values().filter(|p| p.report.is(namespace, name));
            let started = mine().find_map(|p| p.running.get(container).cloned());
            let pause = mine().find_map(|p| p.pause.filter(|_| container == PAUSE));
            (started, pause)
        };
        match (&started, pause) {
            (Some(started), _) => container::signal(reaper, started, signal),
            (None, Some(pause)) => reaper.signal(pause, signal),
            (None, None) => return false,
        }
        true
    }

    /// A container that runs.
    pub(crate) fn started(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Option<Arc<Started>> {
        let posted = self.lock();
        let mut mine = posted.values().filter(|p| p.report.is(namespace, name));
        mine.find_map(|posted| posted.running.get(container).cloned())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Posted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodReport {
    fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}
