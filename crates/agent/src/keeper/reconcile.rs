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
use seaway_kernel::realise::{Observed, RowFailure, Services};
use seaway_model::{
    Attachment, AttachmentId, ContainerId, Device, HostPortRow, LinkKind, LinkRow, LocalPodRow,
    PortGuardRow, Row,
};
use seaway_plan::{Change, ChangeSet, Tables};

use super::{Keeper, REST, RETRY, pods};
use crate::shared::{Claim, Shared};
use crate::state::Compared;

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

/// How often the kernel is looked at again because the plan has changed meanwhile.
const LOOKS: u32 = 4;

/// Leaves alone what could be a newcomer's: elements of ports that nobody is known to have, which
/// are deleted one by one or along with a renewal of the filters.
fn leave_newcomers(changes: &mut ChangeSet) {
    let named = |change: &Change<PortGuardRow>| matches!(change.row().device, Device::Named(_));
    changes.port_guards.retain(|change| !named(change));
    let known = |change: &Change<LocalPodRow>| change.row().owner.is_some();
    changes.local_pods.retain(known);
    changes.firewall.clear();
}

impl Keeper {
    /// Carries out changes that planning gave. Until the cluster is known they are only planned:
    /// the first comparison then makes the least of them true.
    /// Gives what failed.
    pub(super) fn carry_out(&mut self, changes: &ChangeSet) -> Vec<RowFailure> {
        let shared = self.shared.clone();
        if changes.is_empty() || !shared.lock().synced {
            return Vec::new();
        }
        let mut changes = changes.clone();
        let (_claims, some_left_out) = claim(&shared, &mut changes);
        // A request may have finished between the planning and the claim.
        changes.retain_planned(shared.lock().planner.rows());
        if some_left_out {
            self.ask_node(Instant::now() + REST);
        }
        let failures = self.node.apply(&changes, &|_| None);
        self.settle_outcome(&changes, failures.clone());
        failures
    }

    fn settle_outcome(&mut self, tried: &ChangeSet, failures: Vec<RowFailure>) {
        let failed = !failures.is_empty();
        self.trust.carried_out(&failures);
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
        let began = Instant::now();
        match self.compare_and_repair() {
            Ok(()) => self.settle(),
            Err(error) => {
                tracing::error!(%error, "the kernel cannot be compared with the plan; trying again");
                self.try_again();
            }
        }
        // A large node is not looked at all the time, whoever changes things back and forth there.
        self.compared_in = began.elapsed();
        self.rest_until = Instant::now() + REST.max(self.compared_in);
    }

    /// After the first comparison with a known cluster, Pods can come.
    fn settle(&self) {
        {
            let mut state = self.shared.lock();
            if state.settled || !state.synced {
                return;
            }
            state.settled = true;
        }
        self.shared.announce();
    }

    fn compare_and_repair(&mut self) -> Result<(), KernelError> {
        let began = Instant::now();
        let shared = self.shared.clone();
        let services = self.trust.services(began);
        let (planned, synced, observed, steady) = self.look_steadily(&shared, services)?;
        self.clear_unfinished(&observed)?;
        self.free_lost(&shared, |lost| {
            let mut ports = observed.tables.host_ports.iter();
            !ports.any(|row| lost.addresses.contains(&row.target.ip()))
        });
        let mut changes = planned.changes_from(&observed.tables);
        if synced && services == Services::Read {
            self.trust.compared(&changes, began);
        }
        {
            let mut state = shared.lock();
            state.note_comparison(&observed.tables);
            state.compared = Some(Compared {
                at: Instant::now(),
                took: began.elapsed(),
                drifted: changes.len(),
            });
        }
        if !synced {
            // What is not planned, or otherwise, may be so only because the cluster is not known.
            changes.retain_missing(&observed.tables);
        }
        let (_claims, mut some_left_out) = claim(&shared, &mut changes);
        changes.retain_planned(shared.lock().planner.rows());
        if !steady {
            leave_newcomers(&mut changes);
            some_left_out = true;
        }
        if some_left_out {
            self.ask_node(Instant::now() + REST);
        }
        if !some_left_out {
            shared.lock().forget_failures_but(&changes);
        }
        drop(planned);
        if changes.is_empty() {
            shared.programming.done(began.elapsed(), &[]);
            return Ok(());
        }
        self.repair(&shared, &observed, changes);
        Ok(())
    }

    /// The plan and the kernel beside it, and whether the filters' elements can be told apart: a
    /// Pod that came while they were read has some that this plan takes for a stranger's.
    fn look_steadily(
        &mut self,
        shared: &Shared,
        services: Services,
    ) -> Result<(Tables, bool, Observed, bool), KernelError> {
        let mut tries = 0;
        loop {
            let (planned, synced) = {
                let state = shared.lock();
                (state.planner.rows().clone(), state.synced)
            };
            let observed = self.node.observe(&planned, services)?;
            let steady = {
                let state = shared.lock();
                let now = state.planner.rows();
                // What changes while others attach Pods; the rest changes only here.
                now.port_guards == planned.port_guards
                    && now.host_ports == planned.host_ports
                    && now.local_pods == planned.local_pods
            };
            tries += 1;
            if steady || tries == LOOKS {
                return Ok((planned, synced, observed, steady));
            }
        }
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
        let began = Instant::now();
        let missing = self.still_missing(&observed.tables, &mut changes);
        if changes.is_empty() {
            shared.programming.done(began.elapsed(), &[]);
            return;
        }
        let namespaces = self.reopen(shared, &missing, &mut changes);
        tracing::info!(
            changes = changes.len(),
            links = namespaces.len(),
            "repairing drift"
        );
        let netns_of = |id: &AttachmentId| namespaces.get(id).map(AsFd::as_fd);
        let failures = self.node.apply(&changes, &netns_of);
        let held = [LinkRow::TABLE, HostPortRow::TABLE];
        if !failures.iter().any(|failure| held.contains(&failure.table)) {
            self.free_lost(shared, |_| true);
        }
        shared.announce();
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
        {
            let mut state = shared.lock();
            state.note_repairs(changes.len());
            if failures.is_empty() {
                state.note_as_planned(changes.len());
            }
        }
        shared.programming.done(began.elapsed(), &failures);
        self.compare_flows_after_repair(&changes);
        self.settle_outcome(&changes, failures);
    }

    /// The attachments whose links are to be made again. One that an ADD has made since the kernel was
    /// looked at is left out of `changes`; all of it is looked at again.
    fn still_missing(&mut self, observed: &Tables, changes: &mut ChangeSet) -> Vec<AttachmentId> {
        let mut missing = missing_links(changes, observed);
        missing.retain(|id| {
            let found = self.node.find(id).ok().flatten();
            let made = found.is_some_and(|attachment| attachment.id == *id);
            if made {
                changes.retain_attachments(|other| other != id);
                self.ask_node(Instant::now() + REST);
            }
            !made
        });
        missing
    }

    /// The namespaces in which missing links are to be made again. An attachment whose namespace
    /// is gone is gone itself: it leaves the plan, and its addresses are free once the kernel has
    /// carried that out.
    fn reopen(
        &mut self,
        shared: &Shared,
        missing: &[AttachmentId],
        changes: &mut ChangeSet,
    ) -> BTreeMap<AttachmentId, Netns> {
        let mut namespaces = BTreeMap::new();
        for id in missing {
            self.devices.forget(&Device::PodLink(id.clone()));
            let record = shared.lock().records.get(id).cloned();
            match record.map_or(Ok(None), |record| pods::reopen(shared, &record)) {
                Ok(Some(netns)) => drop(namespaces.insert(id.clone(), netns)),
                Ok(None) => self.lose(shared, id, changes),
                Err(error) => {
                    tracing::warn!(attachment = %id, %error, "its namespace cannot be opened now");
                    changes.retain_attachments(|other| other != id);
                    self.try_again();
                }
            }
        }
        namespaces
    }

    fn lose(&mut self, shared: &Shared, id: &AttachmentId, changes: &mut ChangeSet) {
        tracing::info!(attachment = %id, "the Pod's namespace is gone, and so is the Pod");
        changes.retain_attachments(|other| other != id);
        let mut state = shared.lock();
        if let Some((attachment, gone)) = state.withdraw(id) {
            // The kernel took the link's routes and neighbours along; deleting again is harmless.
            changes.append(gone);
            self.lost.push(attachment);
        }
        drop(state);
        shared.records.remove(id);
        shared.rewire_if_due();
    }

    /// Frees the addresses and ports of lost attachments to which no port of the node leads: it
    /// would lead to the next Pod that gets the address.
    fn free_lost(&mut self, shared: &Shared, is_closed: impl Fn(&Attachment) -> bool) {
        let mut state = shared.lock();
        self.lost.retain(|attachment| {
            if is_closed(attachment) {
                state.closed(&attachment.id);
                state.let_go(attachment);
                return false;
            }
            true
        });
    }

    /// Live links that nobody planned have been moved to the dying group: hands them to the reaper.
    fn doom_unplanned(&self, shared: &Shared, observed: &Observed, changes: &ChangeSet) {
        let gone: BTreeSet<&AttachmentId> = changes
            .links
            .iter()
            .filter_map(|change| match change {
                Change::Delete(LinkRow {
                    device: Device::PodLink(id),
                    ..
                }) => Some(id),
                Change::Delete(_) | Change::Upsert(_) => None,
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
