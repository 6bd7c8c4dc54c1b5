//! Repairing what a Pod's namespace has lost, found again by the path that the runtime gave, once
//! it is sure that the path still leads to the same namespace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;
use seaway_model::AttachmentId;

use super::Keeper;
use crate::records::Record;
use crate::shared::Shared;

/// The least time between two repairs of one Pod: a Pod that removes its own things again and
/// again gets no more than this.
const PACE: Duration = Duration::from_secs(1);

/// Which Pods are to be looked at, and when.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    due: BTreeMap<AttachmentId, Instant>,
    last: BTreeMap<AttachmentId, Instant>,
}

impl Repairs {
    /// Asks for a Pod to be looked at.
    pub(super) fn ask(&mut self, id: AttachmentId, now: Instant) {
        let earliest = self
            .last
            .get(&id)
            .map_or(now, |last| (*last + PACE).max(now));
        self.due.entry(id).or_insert(earliest);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The Pods whose time has come.
    fn take(&mut self, now: Instant) -> Vec<AttachmentId> {
        self.last.retain(|_, last| *last + PACE > now);
        let ready: Vec<AttachmentId> = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ready {
            self.due.remove(id);
            self.last.insert(id.clone(), now);
        }
        ready
    }
}

impl Keeper {
    /// Repairs the Pods whose time has come.
    pub(super) fn repair_pods(&mut self) {
        let shared = self.shared.clone();
        for id in self.pods.take(Instant::now()) {
            let Some(_claim) = shared.try_claim(&id.container) else {
                self.pods.ask(id, Instant::now());
                continue;
            };
            let record = shared.lock().records.get(&id).cloned();
            if let Some(netns) = record.and_then(|record| reopen(&shared, &record)) {
                repair(&shared, &id, &netns);
            }
        }
    }
}

/// The namespace of an attachment, if it still exists where it was and is the same.
pub(super) fn reopen(shared: &Shared, record: &Record) -> Option<Netns> {
    let netns = Netns::open(record.netns_path.as_deref()?).ok()?;
    let now = shared.host.pod(&netns).ok()?.identity().ok()?;
    (Some(now) == record.netns).then_some(netns)
}

/// Compares a Pod's namespace with the plan and repairs what differs.
pub(super) fn repair(shared: &Shared, id: &AttachmentId, netns: &Netns) {
    let Some(rows) = shared.lock().pod_rows(id) else {
        return;
    };
    let mut pod = match shared.host.pod(netns) {
        Ok(pod) => pod,
        Err(error) => {
            tracing::warn!(attachment = %id, %error, "Pod not repaired");
            return;
        }
    };
    let observed = match pod.observe(&rows) {
        Ok(observed) => observed,
        Err(error) => {
            tracing::warn!(attachment = %id, %error, "Pod not repaired");
            return;
        }
    };
    let changes = rows.changes_from(&observed);
    if changes.is_empty() {
        return;
    }
    tracing::info!(attachment = %id, changes = changes.len(), "repairing a Pod");
    for failure in pod.apply(&changes) {
        tracing::warn!(attachment = %id, %failure, "row in the Pod not in force");
    }
    shared.lock().repairs += changes.len() as u64;
}
