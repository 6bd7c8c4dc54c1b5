//! DEL and GC: rows withdrawn and the link handed to the reaper; the answer does not wait for the
//! kernel to be rid of it. Nothing here fails because something is gone already.

use seaway_cni::spec::{CniError, Endpoint, NetworkConfig};
use seaway_kernel::KernelError;
use seaway_kernel::fault::{FaultPoint, reach};
use seaway_kernel::realise::{RowFailure, Services};
use seaway_model::{Attachment, AttachmentId, HostPortRow, LinkRow, Row};

use seaway_plan::{Change, ChangeSet, Tables};
use serde_json::Value;

use super::{CLAIM_LIMIT, busy, row_failures};
use crate::keeper::Command;
use crate::recover;
use crate::shared::Shared;

pub(super) fn del(shared: &Shared, endpoint: &Endpoint) -> Result<Value, CniError> {
    reach(FaultPoint::DelReceived);
    free(shared, &endpoint.id)?;
    reach(FaultPoint::DelAnswering);
    Ok(Value::Null)
}

fn free(shared: &Shared, id: &AttachmentId) -> Result<(), CniError> {
    let _claim = shared
        .claim(&id.container, CLAIM_LIMIT)
        .ok_or_else(|| busy(&id.container))?;
    match &remove(shared, id)[..] {
        [] => Ok(()),
        failures => Err(row_failures(&format!("detach {id}"), failures)),
    }
}

/// Frees an attachment whose container is claimed; gives what could not be withdrawn. While its
/// link could not be handed to the reaper, or its ports of the node not be closed, the attachment
/// stays, so that nobody gets its address.
pub(crate) fn remove(shared: &Shared, id: &AttachmentId) -> Vec<RowFailure> {
    adopt_unknown(shared, id);
    let record = shared.lock().records.get(id).cloned();
    let withdrawn = shared.lock().withdraw(id);
    reach(FaultPoint::DelWithdrawn);
    let (Some(record), Some((attachment, mut changes))) = (record, withdrawn) else {
        return Vec::new();
    };
    if let Err(error) = close_unplanned(shared, &attachment, &mut changes) {
        shared.lock().attach(record);
        return vec![RowFailure::whole(&error)];
    }
    let failures = withdraw_from_kernel(shared, &attachment, &changes);
    // A link that lives on has the addresses, and a port that leads to them would lead to the next
    // Pod that gets them.
    let held = [LinkRow::TABLE, HostPortRow::TABLE];
    if failures.iter().any(|failure| held.contains(&failure.table)) {
        shared.lock().attach(record);
        shared.keeper.tell(Command::Compare);
        return failures;
    }
    if !failures.is_empty() {
        shared.keeper.tell(Command::Compare);
    }
    reach(FaultPoint::DelDying);
    shared.records.remove(id);
    {
        let mut state = shared.lock();
        state.closed(id);
        state.doom(attachment);
    }
    shared.announce();
    Vec::new()
}

/// As long as the cluster is not known, filters are not planned, and a predecessor's are in force:
/// ports of the node that lead to the attachment are closed there.
fn close_unplanned(
    shared: &Shared,
    attachment: &Attachment,
    changes: &mut ChangeSet,
) -> Result<(), KernelError> {
    let planned = !shared.lock().planner.rows().firewall.is_empty();
    if planned || attachment.extras.ports.is_empty() {
        return Ok(());
    }
    let observed =
        shared.with_node(|node| node.observe(&Tables::default(), Services::Omitted))??;
    let ours = |row: &&HostPortRow| attachment.addresses.contains(&row.target.ip());
    let open = observed.tables.host_ports.iter().filter(ours).cloned();
    changes.host_ports.extend(open.map(Change::Delete));
    Ok(())
}

fn withdraw_from_kernel(
    shared: &Shared,
    attachment: &Attachment,
    changes: &ChangeSet,
) -> Vec<RowFailure> {
    let result = shared.with_node(|node| node.apply(changes, &|_| None));
    let failures = result.unwrap_or_else(|error| vec![RowFailure::whole(&error)]);
    for failure in &failures {
        tracing::warn!(attachment = %attachment.id, %failure, "row not withdrawn");
    }
    failures
}

/// A link of this attachment that the kernel holds and the plan does not (made by a predecessor,
/// say) joins the plan, so that one path frees all.
fn adopt_unknown(shared: &Shared, id: &AttachmentId) {
    if shared.lock().records.contains_key(id) {
        return;
    }
    let Ok(Ok(Some(mut attachment))) = shared.with_node(|node| node.find(id)) else {
        return;
    };
    let observed = shared.with_node(|node| node.observe(&Tables::default(), Services::Omitted));
    if let Ok(Ok(observed)) = observed {
        attachment.extras = recover::extras(&attachment, &observed.tables);
    }
    shared
        .lock()
        .attach(crate::records::Record::bare(attachment));
}

/// K8: frees every attachment of the network that the runtime does not list; goes on past errors.
pub(super) fn collect_garbage(shared: &Shared, config: &NetworkConfig) -> Result<Value, CniError> {
    let valid = config.valid_attachments.as_deref().unwrap_or_default();
    let stale: Vec<AttachmentId> = {
        let state = shared.lock();
        let ours = state
            .records
            .values()
            .filter(|r| r.attachment.network == config.name);
        ours.map(|r| r.attachment.id.clone())
            .filter(|id| !valid.contains(id))
            .collect()
    };
    let errors: Vec<CniError> = stale
        .iter()
        .filter_map(|id| free(shared, id).err())
        .collect();
    match errors.first() {
        None => Ok(Value::Null),
        Some(first) => {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let msg = format!(
                "{} of {} not freed, the first: {}",
                errors.len(),
                stale.len(),
                first.msg
            );
            Err(CniError::new(first.code, msg).with_details(all.join("\n")))
        }
    }
}

/// Takes up the notes of deletions that the plugin left while no agent ran.
pub(crate) fn collect_notes(shared: &Shared) {
    let pending = match shared.notes.pending() {
        Ok(pending) => pending,
        Err(error) => {
            tracing::warn!(%error, "notes of deletions not read");
            return;
        }
    };
    for note in pending {
        let done = note.map(|note| {
            let freed = free(shared, &note.id);
            (note.id, freed)
        });
        match done {
            Ok((id, Ok(()))) => {
                if let Err(error) = shared.notes.remove(&id) {
                    tracing::warn!(%error, "note of a deletion not removed");
                }
            }
            Ok((id, Err(error))) => tracing::warn!(attachment = %id, %error, "not freed"),
            Err(error) => tracing::warn!(%error, "note of a deletion passed over"),
        }
    }
}
