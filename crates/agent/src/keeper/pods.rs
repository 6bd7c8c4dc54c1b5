//! Repairing what a Pod's namespace has lost, found again by the path that the runtime gave, once
//! it is sure that the path still leads to the same namespace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use seaway_kernel::KernelError;
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
            let whole = match record.map_or(Ok(None), |record| reopen(&shared, &record)) {
                Ok(Some(netns)) => repair(&shared, &id, &netns),
                // Without a path, or after the namespace's end, there is nothing to repair.
                Ok(None) => true,
                Err(error) => {
                    tracing::warn!(attachment = %id, %error, "Pod not looked at");
                    false
                }
            };
            if !whole {
                self.pods.ask(id, Instant::now());
            }
        }
    }
}

/// The namespace of an attachment, if it still exists where it was and is the same. An error says
/// that this cannot be known now.
pub(super) fn reopen(shared: &Shared, record: &Record) -> Result<Option<Netns>, KernelError> {
    let Some(path) = record.netns_path.as_deref() else {
        return Ok(None);
    };
    let netns = match Netns::open(path) {
        Ok(netns) => netns,
        // An error without a number is our own: the file is something else by now.
        Err(error) if error.is_absent() || error.errno().is_none() => return Ok(None),
        // `/proc/PID/ns/net` of a process with more rights than ours, or of another one that has the
        // number by now, perhaps in PIDs of our own container: we shall never see behind it.
        Err(error) if error.is_denied() => return Ok(None),
        Err(error) => return Err(error),
    };
    let now = shared.host.pod(&netns)?.identity()?;
    Ok((Some(now) == record.netns).then_some(netns))
}

/// Compares a Pod's namespace with the plan and repairs what differs; tells whether it is whole.
pub(super) fn repair(shared: &Shared, id: &AttachmentId, netns: &Netns) -> bool {
    let Some(rows) = shared.lock().pod_rows(id) else {
        return true;
    };
    let repaired = shared.host.pod(netns).and_then(|mut pod| {
        let changes = rows.changes_from(&pod.observe(&rows)?);
        if changes.is_empty() {
            return Ok((0, Vec::new()));
        }
        tracing::info!(attachment = %id, changes = changes.len(), "repairing a Pod");
        Ok((changes.len(), pod.apply(&changes)))
    });
    match repaired {
        Ok((count, failures)) => {
            for failure in &failures {
                tracing::warn!(attachment = %id, %failure, "row in the Pod not in force");
            }
            shared.lock().note_repairs(count);
            failures.is_empty()
        }
        Err(error) => {
            tracing::warn!(attachment = %id, %error, "Pod not repaired");
            false
        }
    }
}
