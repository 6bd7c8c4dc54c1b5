//! The Linux realiser of the node's own namespace.
//!
//! State outside the process: links in our groups ([`LIVE_GROUP`] and the others) with their role or
//! owner in their alias; routes, rules and proxies of protocol 83
//! ([`SEAWAY_PROTOCOL`](crate::netlink::SEAWAY_PROTOCOL)); permanent neighbours, forwarding entries,
//! addresses and queues on our links; our tables in nftables; the file of settings before us.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use seaway_model::{
    Alias, Attachment, AttachmentId, Device, DropReason, IfName, SysctlRow, host_link_name,
};
use seaway_plan::{Change, ChangeSet, Table, Tables};

use super::devices::Devices;
use super::firewall::Firewall;
use super::pod::LinuxPod;
use super::saved::Saved;
use super::work::{Work, dying};
use super::{
    DYING_GROUP, Host, LIVE_GROUP, NetnsOf, NodeRealiser, Observed, PodRealiser, RowFailure,
    Services, observe, sysctls,
};
use crate::error::KernelError;
use crate::netlink::{LinkTarget, Netlink, NetlinkError, Request};
use crate::netns::Netns;

/// The Linux host.
#[derive(Clone, Debug)]
pub struct LinuxHost {
    devices: Arc<Devices>,
    saved: Arc<Mutex<Saved>>,
}

impl LinuxHost {
    /// The host in the namespace of the threads that will use it. What settings of the uplink were
    /// before us is kept in the file `saved`.
    pub fn new(devices: Arc<Devices>, saved: PathBuf) -> LinuxHost {
        LinuxHost {
            devices,
            saved: Arc::new(Mutex::new(Saved::new(saved))),
        }
    }
}

impl Host for LinuxHost {
    fn node(&self) -> Result<Box<dyn NodeRealiser>, KernelError> {
        Ok(Box::new(LinuxNode {
            netlink: Netlink::open_quiet()?,
            devices: self.devices.clone(),
            firewall: Firewall::default(),
            saved: self.saved.clone(),
        }))
    }

    fn pod<'a>(&self, netns: &'a Netns) -> Result<Box<dyn PodRealiser + 'a>, KernelError> {
        Ok(Box::new(LinuxPod::open(netns)?))
    }
}

pub(super) struct LinuxNode {
    pub(super) netlink: Netlink,
    pub(super) devices: Arc<Devices>,
    firewall: Firewall,
    saved: Arc<Mutex<Saved>>,
}

impl NodeRealiser for LinuxNode {
    fn observe(&mut self, planned: &Tables, services: Services) -> Result<Observed, KernelError> {
        let mut observed = Observed::default();
        let links = self.netlink.links()?;
        self.devices.learn_all(&links);
        let names: HashMap<u32, &str> = links.iter().map(|l| (l.index, l.name.as_str())).collect();
        let devices = self.devices.clone();
        let ours = |index| devices.of_index(index);
        let any = |index| {
            ours(index).or_else(|| Some(Device::Named(IfName::new(*names.get(&index)?).ok()?)))
        };
        observe::links(&links, &ours, &mut observed);
        let tables = &mut observed.tables;
        let routes = self.netlink.routes()?;
        tables.routes = routes
            .iter()
            .filter_map(|r| observe::route_row(r, &any))
            .collect();
        let rules = self.netlink.rules()?;
        tables.rules = rules.iter().filter_map(observe::rule_row).collect();
        let entries = self.netlink.neighbours()?;
        tables.neighbours = entries
            .iter()
            .filter_map(|n| observe::neighbour_row(n, &observe::made_by_us(&ours)))
            .collect();
        let proxies = self.netlink.proxies()?;
        tables.proxies = proxies
            .iter()
            .filter_map(|n| observe::proxy_row(n, &any))
            .collect();
        let addresses = self.netlink.addresses()?;
        tables.addresses = addresses
            .iter()
            .filter_map(|a| observe::address_row(a, &ours))
            .collect();
        if observe::has_fdb(&devices) {
            let fdb = self.netlink.fdb()?;
            tables.fdb = fdb
                .iter()
                .filter_map(|f| observe::fdb_row(f, &ours))
                .collect();
        }
        self.observe_queues(planned, &any, tables)?;
        tables.sysctls = self.settings(&planned.sysctls);
        self.firewall.observe(planned, services, tables)?;
        Ok(observed)
    }

    fn settings(&mut self, planned: &Table<SysctlRow>) -> Table<SysctlRow> {
        let mut found = sysctls::observe(planned, &|device| self.name_of(device));
        if let Some(uplink) = self.devices.get(&Device::Uplink) {
            let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = sysctls::observe_saved(&mut saved, &uplink, &mut found) {
                tracing::warn!(%error, "what settings were before us is not known");
            }
        }
        found
    }

    fn apply(&mut self, changes: &ChangeSet, netns_of: &NetnsOf<'_>) -> Vec<RowFailure> {
        let mut failures = Vec::new();
        let beyond = self.clear_node_links(changes, &mut failures);
        self.firewall.apply_before(changes, &mut failures);
        self.make_node_links(changes, &beyond, &mut failures);
        let mut work = Work::default();
        self.plan_deletions(changes, &mut work);
        for row in LinuxNode::links_of(changes) {
            self.upsert_link(row, netns_of, &mut work, &mut failures);
        }
        self.plan_additions(changes, &mut work, &mut failures);
        self.carry_out(work, netns_of, &mut failures);
        self.apply_sysctls(changes, &mut failures);
        self.firewall.apply_after(changes, &mut failures);
        failures
    }

    fn settle(&mut self, id: &AttachmentId) -> Result<(), KernelError> {
        // Asking for one link makes the kernel finish what follows from a new carrier
        // (rtnl_getlink → linkwatch_sync_dev); until then the host side drops what it is to send.
        match self.devices.get(&Device::PodLink(id.clone())) {
            Some(info) => self.netlink.link(LinkTarget::Index(info.index)).map(drop),
            None => Ok(()),
        }
    }

    fn find(&mut self, id: &AttachmentId) -> Result<Option<Attachment>, KernelError> {
        let name = host_link_name(id);
        let Some(link) = self.netlink.link(LinkTarget::Name(name.as_str()))? else {
            return Ok(None);
        };
        let alias = Alias::raw(link.alias.as_deref().unwrap_or_default());
        let attachment = alias
            .parse()
            .ok()
            .filter(|a| a.id == *id && link.group == LIVE_GROUP);
        if attachment.is_some() {
            self.devices.learn(&link);
        }
        Ok(attachment)
    }

    fn condemn(&mut self, indexes: &[u32]) -> Result<(), KernelError> {
        let requests: Vec<Request> = indexes.iter().map(|index| dying(*index)).collect();
        let answers = self.netlink.send(&requests)?;
        first_error(&requests, answers, NetlinkError::is_absent)
    }

    fn reap(&mut self) -> Result<(), KernelError> {
        let requests = [Request::delete_group(DYING_GROUP)];
        let answers = self.netlink.send(&requests)?;
        first_error(&requests, answers, NetlinkError::is_absent)
    }

    fn drops(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError> {
        self.firewall.drops()
    }

    fn forwarded(&mut self) -> Result<(u64, u64), KernelError> {
        self.firewall.forwarded()
    }
}

fn first_error(
    requests: &[Request],
    answers: Vec<Result<(), NetlinkError>>,
    tolerated: fn(&NetlinkError) -> bool,
) -> Result<(), KernelError> {
    for (request, answer) in requests.iter().zip(answers) {
        match answer {
            Err(error) if !tolerated(&error) => return Err(error.of(request)),
            _ => {}
        }
    }
    Ok(())
}

impl LinuxNode {
    fn observe_queues(
        &mut self,
        planned: &Tables,
        device_of: &dyn Fn(u32) -> Option<Device>,
        tables: &mut Tables,
    ) -> Result<(), KernelError> {
        let of_pods = |index| device_of(index).filter(|device| device.attachment().is_some());
        for queue in self.netlink.queues()? {
            let Some(device) = of_pods(queue.index) else {
                continue;
            };
            if queue.takes_arriving()
                && let Some(through) = self.netlink.redirect(queue.index)?
            {
                tables
                    .redirects
                    .extend_with(observe::redirect_row(device, through, device_of));
            } else if queue.root {
                let row = observe::shape_row(&device, &queue, planned.shapes.get(&device));
                tables.shapes.extend_with(row);
            }
        }
        Ok(())
    }

    fn apply_sysctls(&mut self, changes: &ChangeSet, failures: &mut Vec<RowFailure>) {
        let of_uplink = |change: &&Change<SysctlRow>| {
            sysctls::device_of(&change.row().key) == Some(&Device::Uplink)
        };
        let (saved, plain): (Vec<_>, Vec<_>) = changes.sysctls.iter().partition(of_uplink);
        // The uplink's first: a node that begins to forward forgets the routers that it learned of,
        // unless it is told before to go on listening.
        match self.devices.get(&Device::Uplink) {
            Some(uplink) => {
                let mut kept = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
                sysctls::apply_saved(saved, &uplink, &mut kept, failures);
                sysctls::release_others(&mut kept, &uplink, failures);
            }
            None => {
                let wanted = saved
                    .into_iter()
                    .filter(|change| matches!(change, Change::Upsert(_)));
                failures.extend(wanted.map(|c| RowFailure::missing(c.row(), "the uplink")));
            }
        }
        sysctls::apply(plain, &|device| self.name_of(device), failures);
    }

    /// Brings the settings of a device that was just made into force.
    pub(super) fn set_up_device(
        &mut self,
        device: &Device,
        changes: &ChangeSet,
        failures: &mut Vec<RowFailure>,
    ) {
        let of_device =
            |change: &&Change<SysctlRow>| sysctls::device_of(&change.row().key) == Some(device);
        let wanted = changes.sysctls.iter().filter(of_device);
        sysctls::apply(wanted, &|device| self.name_of(device), failures);
    }
}
