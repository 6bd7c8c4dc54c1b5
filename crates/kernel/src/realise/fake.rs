//! A host in memory, with the semantics that the agent builds on: a Pod's link needs the Pod's
//! namespace, a link takes its routes and neighbours along, deletion goes through the dying group.
//!
//! For simulations. It has no packets, no notifications and no time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaway_model::{
    Attachment, AttachmentId, Device, DropReason, IfName, LinkKind, LinkRow, Row, SysctlRow,
};
use seaway_plan::{Change, ChangeSet, Table, Tables};

use super::{Host, NetnsOf, NodeRealiser, Observed, PodNetns, PodRealiser, RowFailure, Services};
use crate::error::KernelError;
use crate::netns::{Netns, NetnsId};

/// A host in memory; clones share it, as processes share a kernel.
#[derive(Clone, Debug, Default)]
pub struct FakeHost {
    kernel: Arc<Mutex<Kernel>>,
}

#[derive(Debug, Default)]
struct Kernel {
    node: Tables,
    /// Where the other ends of live links were born.
    born: HashMap<AttachmentId, NetnsId>,
    dying: Vec<(Attachment, Option<NetnsId>)>,
    pods: HashMap<NetnsId, Tables>,
}

impl FakeHost {
    /// The rows of the node's namespace.
    pub fn node_rows(&self) -> Tables {
        self.lock().node.clone()
    }

    /// How many links wait in the dying group.
    pub fn dying(&self) -> usize {
        self.lock().dying.len()
    }

    fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for FakeHost {
    fn node(&self) -> Result<Box<dyn NodeRealiser>, KernelError> {
        Ok(Box::new(self.clone()))
    }

    fn pod<'a>(&self, netns: &'a Netns) -> Result<Box<dyn PodRealiser + 'a>, KernelError> {
        Ok(Box::new(FakePod {
            host: self.clone(),
            id: netns.identity()?,
        }))
    }
}

fn owner(row: &LinkRow) -> Option<Attachment> {
    match &row.kind {
        LinkKind::Pod(pod) => pod.alias.parse().ok(),
        _ => None,
    }
}

fn failure(table: &'static str, key: &dyn std::fmt::Display, error: &str) -> RowFailure {
    RowFailure {
        table,
        key: key.to_string(),
        error: error.to_owned(),
        errno: None,
    }
}

impl Kernel {
    /// A link that goes takes its neighbours and routes along.
    fn unlink(&mut self, id: &AttachmentId) {
        let mut gone = self.node.of_attachment(id).changes_from(&Tables::default());
        gone.links.clear();
        // What is said of a Pod elsewhere than on its link stays until somebody takes it away.
        gone.proxies.clear();
        gone.host_ports.clear();
        gone.port_guards.clear();
        gone.local_pods.clear();
        let gone = gone.reversed();
        self.node.apply(&gone);
    }

    fn delete_link(&mut self, row: &LinkRow) {
        if let Some(row) = self.node.links.remove(&row.device) {
            let born = row.device.attachment().and_then(|id| self.born.remove(id));
            self.dying.extend(owner(&row).map(|owner| (owner, born)));
        }
    }

    fn has_device(&self, device: &Device) -> bool {
        !matches!(device, Device::PodLink(_)) || self.node.links.get(device).is_some()
    }

    fn upsert_link(
        &mut self,
        row: &LinkRow,
        netns_of: &NetnsOf<'_>,
        failures: &mut Vec<RowFailure>,
    ) {
        let exists = self.node.links.get(&row.device).is_some();
        let possible = match &row.device {
            Device::PodLink(id) => {
                let born = netns_of(id).and_then(|fd| NetnsId::of(fd).ok());
                if let (false, Some(born)) = (exists, born) {
                    self.born.insert(id.clone(), born);
                }
                born.is_some()
            }
            _ => row.kind != LinkKind::Existing,
        };
        if exists || possible {
            self.node.links.insert(row.clone());
        } else {
            failures.push(failure(
                LinkRow::TABLE,
                &row.device,
                "the Pod's namespace is unknown",
            ));
        }
    }
}

impl NodeRealiser for FakeHost {
    fn observe(&mut self, planned: &Tables, _services: Services) -> Result<Observed, KernelError> {
        let kernel = self.lock();
        let mut tables = kernel.node.clone();
        let wanted = |row: &&SysctlRow| planned.sysctls.get(&row.key()).is_some();
        tables.sysctls = kernel.node.sysctls.iter().filter(wanted).cloned().collect();
        Ok(Observed {
            attachments: tables.links.iter().filter_map(owner).collect(),
            tables,
            unfinished: Vec::new(),
            strange: Vec::new(),
            dying: kernel.dying.iter().map(|(a, _)| Some(a.clone())).collect(),
        })
    }

    fn settings(&mut self, planned: &Table<SysctlRow>) -> Table<SysctlRow> {
        let kernel = self.lock();
        planned
            .iter()
            .filter_map(|row| kernel.node.sysctls.get(&row.key()).cloned())
            .collect()
    }

    fn apply(&mut self, changes: &ChangeSet, netns_of: &NetnsOf<'_>) -> Vec<RowFailure> {
        let mut kernel = self.lock();
        let mut failures = Vec::new();
        for change in &changes.links {
            match change {
                Change::Delete(row) => kernel.delete_link(row),
                Change::Upsert(row) => kernel.upsert_link(row, netns_of, &mut failures),
            }
        }
        let mut rest = changes.clone();
        rest.links.clear();
        let devices = |id: &AttachmentId| kernel.has_device(&Device::PodLink(id.clone()));
        let mut possible = rest.clone();
        possible.retain_attachments(devices);
        if possible.len() < rest.len()
            && changes.links.iter().all(|c| matches!(c, Change::Upsert(_)))
        {
            failures.push(failure("(rows)", &"(some)", "the device does not exist"));
        }
        kernel.node.apply(&possible);
        kernel.node.apply(&rest.deletions());
        failures
    }

    fn settle(&mut self, _id: &AttachmentId) -> Result<(), KernelError> {
        Ok(())
    }

    fn find(&mut self, id: &AttachmentId) -> Result<Option<Attachment>, KernelError> {
        let kernel = self.lock();
        Ok(kernel
            .node
            .links
            .get(&Device::PodLink(id.clone()))
            .and_then(owner))
    }

    fn condemn(&mut self, _indexes: &[u32]) -> Result<(), KernelError> {
        Ok(())
    }

    fn reap(&mut self) -> Result<(), KernelError> {
        let mut kernel = self.lock();
        for (attachment, born) in std::mem::take(&mut kernel.dying) {
            if kernel
                .node
                .links
                .get(&Device::PodLink(attachment.id.clone()))
                .is_none()
            {
                kernel.unlink(&attachment.id);
            }
            // The other end goes with the link, and with it all that the Pod had.
            if let Some(born) = born {
                kernel.pods.remove(&born);
            }
        }
        Ok(())
    }

    fn drops(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError> {
        Ok(Vec::new())
    }

    fn forwarded(&mut self) -> Result<(u64, u64), KernelError> {
        Ok((0, 0))
    }
}

struct FakePod {
    host: FakeHost,
    id: NetnsId,
}

impl PodRealiser for FakePod {
    fn observe(&mut self, _planned: &Tables) -> Result<Tables, KernelError> {
        Ok(self
            .host
            .lock()
            .pods
            .get(&self.id)
            .cloned()
            .unwrap_or_default())
    }

    fn apply(&mut self, changes: &ChangeSet) -> Vec<RowFailure> {
        self.host
            .lock()
            .pods
            .entry(self.id)
            .or_default()
            .apply(changes);
        Vec::new()
    }

    fn has_interface(&mut self, name: &IfName) -> Result<bool, KernelError> {
        let kernel = self.host.lock();
        let rows = kernel.pods.get(&self.id);
        Ok(rows.is_some_and(|rows| rows.links.get(&Device::Named(name.clone())).is_some()))
    }

    fn identity(&self) -> Result<PodNetns, KernelError> {
        Ok(PodNetns {
            id: self.id,
            cookie: Some(self.id.inode),
        })
    }
}
