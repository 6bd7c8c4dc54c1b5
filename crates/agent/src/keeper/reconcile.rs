//! Making the kernel as planned: incremental changes as they come, and the full comparison.
//!
//! A request may be working on a Pod at the same time. The keeper claims each Pod that it is going
//! to touch, leaves alone those that it cannot claim, and drops what has been planned otherwise
//! since it looked.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::Instant;

use seaway_kernel::KernelError;
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::{Observed, RowFailure};
use seaway_model::{AttachmentId, ContainerId, Device, LinkKind, LinkRow, Row};
use seaway_plan::{Change, ChangeSet, Tables};

use super::{Keeper, REST, RETRY, pods};
use crate::shared::{Claim, Shared};

/// Claims the Pods of all changes. Those that a request works on are left out of `changes`; the
/// second value tells whether there were any.
fn claim<'a>(
    shared: &'a Shared,
    changes: &mut ChangeSet,
) -> (BTreeMap<ContainerId, Claim<'a>>, bool) {
    let containers: BTreeSet<ContainerId> = changes
        .attachments()
        .into_iter()
        .map(|id| id.container.clone())
        .collect();
    let wanted = containers.len();
    let held: BTreeMap<_, _> = containers
        .into_iter()
        .filter_map(|container| Some((container.clone(), shared.try_claim(&container)?)))
        .collect();
    changes.retain_attachments(|id| held.contains_key(&id.container));
    let some_left_out = held.len() < wanted;
    (held, some_left_out)
}

impl Keeper {
    /// Carries out changes that planning gave. Until the cluster is known they are only planned:
    /// the first comparison then makes the least of them true.
    pub(super) fn carry_out(&mut self, changes: &ChangeSet) {
        let shared = self.shared.clone();
        if changes.is_empty() || !shared.lock().synced {
            return;
        }
        let mut changes = changes.clone();
        let (_claims, some_left_out) = claim(&shared, &mut changes);
        // A request may have finished between the planning and the claim.
        changes.retain_planned(shared.lock().planner.rows());
        if some_left_out {
            self.ask_node(Instant::now() + REST);
        }
        let failures = self.node.apply(&changes, &|_| None);
        self.settle_outcome(&changes, failures);
    }

    fn settle_outcome(&mut self, tried: &ChangeSet, failures: Vec<RowFailure>) {
        let failed = !failures.is_empty();
        for failure in &failures {
            tracing::warn!(%failure, "row not in force");
        }
        self.shared.lock().note_outcome(tried, failures);
        if failed {
            self.try_again();
        } else {
            self.retry = RETRY.0;
        }
    }

    fn try_again(&mut self) {
        self.ask_node(Instant::now() + self.retry);
        self.retry = (self.retry * 2).min(RETRY.1);
    }

    /// Compares everything with the kernel and repairs what differs.
    pub(super) fn reconcile(&mut self) {
        self.node_due = None;
        if let Err(error) = self.compare_and_repair() {
            tracing::error!(%error, "the kernel cannot be compared with the plan; trying again");
            self.try_again();
        }
        self.rest_until = Instant::now() + REST;
    }

    fn compare_and_repair(&mut self) -> Result<(), KernelError> {
        let shared = self.shared.clone();
        let (planned, synced) = {
            let state = shared.lock();
            (state.planner.rows().clone(), state.synced)
        };
        let observed = self.node.observe(&planned)?;
        self.clear_unfinished(&observed)?;
        let mut changes = planned.changes_from(&observed.tables);
        if !synced {
            // What is not planned, or otherwise, may be so only because the cluster is not known.
            changes.retain_missing(&observed.tables);
        }
        let (_claims, some_left_out) = claim(&shared, &mut changes);
        changes.retain_planned(shared.lock().planner.rows());
        if some_left_out {
            self.ask_node(Instant::now() + REST);
        }
        if changes.is_empty() {
            if !some_left_out {
                shared.lock().failures.clear();
            }
            return Ok(());
        }
        self.repair(&shared, &observed, changes);
        Ok(())
    }

    fn clear_unfinished(&mut self, observed: &Observed) -> Result<(), KernelError> {
        if observed.unfinished.is_empty() {
            return Ok(());
        }
        tracing::info!(
            links = observed.unfinished.len(),
            "deleting links of unfinished ADDs"
        );
        self.node.condemn(&observed.unfinished)?;
        self.node.reap()
    }

    fn repair(&mut self, shared: &Shared, observed: &Observed, mut changes: ChangeSet) {
        let missing = missing_links(&changes, &observed.tables);
        let namespaces = self.reopen(shared, missing, &mut changes);
        tracing::info!(
            changes = changes.len(),
            links = namespaces.len(),
            "repairing drift"
        );
        let netns_of = |id: &AttachmentId| namespaces.get(id).map(AsFd::as_fd);
        let failures = self.node.apply(&changes, &netns_of);
        for (id, netns) in &namespaces {
            if !pods::repair(shared, id, netns) {
                self.pods.ask(id.clone(), Instant::now());
            }
            if let Err(error) = self.node.settle(id) {
                tracing::warn!(attachment = %id, %error, "link not settled");
            }
        }
        if failures
            .iter()
            .all(|failure| failure.table != LinkRow::TABLE)
        {
            self.doom_unplanned(shared, observed, &changes);
        }
        shared.lock().repairs += changes.len() as u64;
        self.settle_outcome(&changes, failures);
    }

    /// The namespaces in which missing links are to be made again. An attachment whose namespace
    /// is gone is gone itself: it leaves the plan and its addresses are free.
    fn reopen(
        &mut self,
        shared: &Shared,
        missing: Vec<AttachmentId>,
        changes: &mut ChangeSet,
    ) -> BTreeMap<AttachmentId, Netns> {
        let mut namespaces = BTreeMap::new();
        for id in missing {
            self.devices.forget(&Device::PodLink(id.clone()));
            let record = shared.lock().records.get(&id).cloned();
            match record.map_or(Ok(None), |record| pods::reopen(shared, &record)) {
                Ok(Some(netns)) => drop(namespaces.insert(id, netns)),
                Ok(None) => self.lose(shared, &id, changes),
                Err(error) => {
                    tracing::warn!(attachment = %id, %error, "its namespace cannot be opened now");
                    changes.retain_attachments(|other| *other != id);
                    self.try_again();
                }
            }
        }
        namespaces
    }

    fn lose(&mut self, shared: &Shared, id: &AttachmentId, changes: &mut ChangeSet) {
        tracing::info!(attachment = %id, "the Pod's namespace is gone; its addresses are free");
        changes.retain_attachments(|other| other != id);
        let mut state = shared.lock();
        if let Some((attachment, gone)) = state.withdraw(id) {
            // The kernel took the link's routes and neighbours along; deleting again is harmless.
            changes.append(gone);
            state.let_go(&attachment);
        }
        drop(state);
        shared.records.remove(id);
    }

    /// Live links that nobody planned have been moved to the dying group: hands them to the reaper.
    fn doom_unplanned(&self, shared: &Shared, observed: &Observed, changes: &ChangeSet) {
        let gone: BTreeSet<&AttachmentId> = changes
            .links
            .iter()
            .filter_map(|change| match change {
                Change::Delete(row) => row.device.attachment(),
                Change::Upsert(_) => None,
            })
            .collect();
        for attachment in observed.attachments.iter().filter(|a| gone.contains(&a.id)) {
            shared.lock().doom(attachment.clone());
        }
        shared.announce();
    }
}

fn missing_links(changes: &ChangeSet, observed: &Tables) -> Vec<AttachmentId> {
    let missing = changes.links.iter().filter_map(|change| match change {
        Change::Upsert(row) if matches!(row.kind, LinkKind::Pod(_)) => Some(&row.device),
        _ => None,
    });
    missing
        .filter(|device| observed.links.get(device).is_none())
        .filter_map(|device| device.attachment().cloned())
        .collect()
}
