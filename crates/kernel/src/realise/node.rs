//! The Linux realiser of the node's own namespace.
//!
//! State outside the process: links in [`LIVE_GROUP`] and [`DYING_GROUP`] with the owner in their
//! alias; routes and neighbours of protocol 83 ([`SEAWAY_PROTOCOL`](crate::netlink::SEAWAY_PROTOCOL))
//! and permanent neighbours on our links.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use seaway_model::{
    Alias, Attachment, AttachmentId, Device, IfName, LinkKind, LinkRow, NeighbourRow, PodLink,
    Reachability, RouteRow, Row, SysctlRow, host_link_name,
};
use seaway_plan::{Change, ChangeSet, Table, Tables};

use super::devices::{DeviceInfo, Devices};
use super::pod::LinuxPod;
use super::work::{Origin, Work, adjust, bare_route, create_request, dying, in_the_way};
use super::{
    DYING_GROUP, Host, LIVE_GROUP, NetnsOf, NodeRealiser, Observed, PodRealiser, RowFailure,
    observe, sysctls,
};
use crate::error::KernelError;
use crate::fault::{FaultPoint, reach};
use crate::netlink::{
    Exclusive, LinkInfo, LinkSet, LinkTarget, Netlink, NetlinkError, Request, RouteSpec,
    SEAWAY_PROTOCOL,
};
use crate::netns::Netns;

/// How often a link is tried anew with another index when the chosen one is taken.
const INDEX_TRIES: usize = 8;

/// The Linux host.
#[derive(Clone, Debug, Default)]
pub struct LinuxHost {
    devices: Arc<Devices>,
}

impl LinuxHost {
    /// The host in the namespace of the threads that will use it.
    pub fn new(devices: Arc<Devices>) -> LinuxHost {
        LinuxHost { devices }
    }
}

impl Host for LinuxHost {
    fn node(&self) -> Result<Box<dyn NodeRealiser>, KernelError> {
        Ok(Box::new(LinuxNode {
            netlink: Netlink::open()?,
            devices: self.devices.clone(),
        }))
    }

    fn pod<'a>(&self, netns: &'a Netns) -> Result<Box<dyn PodRealiser + 'a>, KernelError> {
        Ok(Box::new(LinuxPod::open(netns)?))
    }
}

struct LinuxNode {
    netlink: Netlink,
    devices: Arc<Devices>,
}

impl NodeRealiser for LinuxNode {
    fn observe(&mut self, planned: &Tables) -> Result<Observed, KernelError> {
        let mut observed = Observed::default();
        let links = self.netlink.links()?;
        self.devices.learn_all(&links);
        let names: HashMap<u32, &str> = links.iter().map(|l| (l.index, l.name.as_str())).collect();
        let ours = |index| self.devices.of_index(index);
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
        let pod_link = |index| ours(index).filter(|device| matches!(device, Device::PodLink(_)));
        let entries = self.netlink.neighbours()?;
        tables.neighbours = entries
            .iter()
            .filter_map(|n| observe::neighbour_row(n, &pod_link))
            .collect();
        tables.sysctls = self.settings(&planned.sysctls);
        Ok(observed)
    }

    fn settings(&mut self, planned: &Table<SysctlRow>) -> Table<SysctlRow> {
        sysctls::observe(planned, &|device| self.name_of(device))
    }

    fn apply(&mut self, changes: &ChangeSet, netns_of: &NetnsOf<'_>) -> Vec<RowFailure> {
        let mut failures = Vec::new();
        let mut work = Work::default();
        self.plan_deletions(changes, &mut work);
        for change in &changes.links {
            if let Change::Upsert(row) = change {
                self.upsert_link(row, netns_of, &mut work, &mut failures);
            }
        }
        self.plan_additions(changes, &mut work, &mut failures);
        self.carry_out(work, netns_of, &mut failures);
        sysctls::apply(
            &changes.sysctls,
            &|device| self.name_of(device),
            &mut failures,
        );
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
    fn index_of(&mut self, device: &Device) -> Option<u32> {
        match device {
            Device::Named(name) => self.netlink.link_index(name.as_str()).ok().flatten(),
            _ => self.devices.get(device).map(|info| info.index),
        }
    }

    /// The link that a device is; a device whose link is gone is forgotten.
    fn existing(&mut self, device: &Device) -> Result<Option<LinkInfo>, KernelError> {
        let Some(info) = self.devices.get(device) else {
            return Ok(None);
        };
        let found = self.netlink.link(LinkTarget::Index(info.index))?;
        if found.is_none() {
            self.devices.forget(device);
        }
        Ok(found)
    }

    /// The index of a Pod's link, also if the device is not known (any more).
    fn index_to_delete(&mut self, device: &Device) -> Option<u32> {
        if let (None, Some(id)) = (self.devices.get(device), device.attachment()) {
            // It teaches the device as a side effect. What cannot be found is not there.
            let _ = self.find(id);
        }
        self.index_of(device)
    }

    fn name_of(&self, device: &Device) -> Option<String> {
        self.devices.get(device).map(|info| info.name)
    }

    fn plan_deletions<'a>(&mut self, changes: &'a ChangeSet, work: &mut Work<'a>) {
        for change in &changes.routes {
            if let Change::Delete(row) = change {
                let spec = self
                    .route_spec(row, false)
                    .unwrap_or_else(|| bare_route(row));
                work.push(
                    Request::delete_route(&spec),
                    Origin::Delete(RouteRow::TABLE, row),
                );
            }
        }
        for change in &changes.neighbours {
            if let Change::Delete(row) = change
                && let Some(index) = self.index_of(&row.device)
            {
                let request = Request::delete_neighbour(index, row.address);
                work.push(request, Origin::Delete(NeighbourRow::TABLE, row));
            }
        }
        for change in &changes.links {
            if let Change::Delete(row) = change
                && let Some(index) = self.index_to_delete(&row.device)
            {
                work.push(dying(index), Origin::DeleteLink(row));
            }
        }
    }

    fn upsert_link<'a>(
        &mut self,
        row: &'a LinkRow,
        netns_of: &NetnsOf<'_>,
        work: &mut Work<'a>,
        failures: &mut Vec<RowFailure>,
    ) {
        let existing = match self.existing(&row.device) {
            Ok(existing) => existing,
            Err(error) => {
                failures.push(RowFailure::of(LinkRow::TABLE, &row.key(), &error));
                return;
            }
        };
        match (&row.kind, &row.device, existing) {
            (_, _, Some(found)) => adjust(row, &found, work),
            (LinkKind::Pod(pod), Device::PodLink(id), None) => match netns_of(id) {
                Some(netns) => self.create(row, pod, netns, work),
                None => failures.push(RowFailure::absent(
                    LinkRow::TABLE,
                    &row.key(),
                    "the Pod's namespace",
                )),
            },
            (_, device, None) => {
                failures.push(RowFailure::absent(LinkRow::TABLE, device, "the link"));
            }
        }
    }

    fn create<'a>(
        &mut self,
        row: &'a LinkRow,
        pod: &'a PodLink,
        netns: BorrowedFd<'_>,
        work: &mut Work<'a>,
    ) {
        let index = self.devices.reserve_index();
        let info = DeviceInfo {
            index,
            name: pod.name.to_string(),
            peer_netns: None,
        };
        self.devices.set(row.device.clone(), info);
        work.push(
            create_request(row, pod, index, netns),
            Origin::NewLink(row, index),
        );
        let set = LinkSet {
            up: Some(true),
            alias: Some(pod.alias.as_str()),
            no_link_local: true,
            ..LinkSet::default()
        };
        work.push(
            Request::set_link(LinkTarget::Index(index), set),
            Origin::LinkPart(row),
        );
    }

    fn plan_additions<'a>(
        &mut self,
        changes: &'a ChangeSet,
        work: &mut Work<'a>,
        failures: &mut Vec<RowFailure>,
    ) {
        for change in &changes.neighbours {
            if let Change::Upsert(row) = change {
                match self.index_of(&row.device) {
                    Some(index) => work.push(
                        Request::add_neighbour(index, row.address, row.mac),
                        Origin::Add(NeighbourRow::TABLE, row),
                    ),
                    None => failures.push(RowFailure::absent(
                        NeighbourRow::TABLE,
                        &row.key(),
                        "the device",
                    )),
                }
            }
        }
        for change in &changes.routes {
            if let Change::Upsert(row) = change {
                match self.route_spec(row, true) {
                    Some(spec) => {
                        let request = Request::add_route(&spec, Exclusive::Yes);
                        work.push(request, Origin::AddRoute(row));
                    }
                    None => failures.push(RowFailure::absent(
                        RouteRow::TABLE,
                        &row.key(),
                        "the device",
                    )),
                }
            }
        }
    }

    /// What the kernel is asked for a route; `None` if its device does not exist.
    fn route_spec(&mut self, row: &RouteRow, complete: bool) -> Option<RouteSpec> {
        let mut spec = bare_route(row);
        if let Reachability::Via {
            device,
            gateway,
            source,
            mtu,
        } = &row.reach
        {
            spec.index = Some(self.index_of(device)?);
            spec.gateway = *gateway;
            if complete {
                spec.source = *source;
                spec.mtu = *mtu;
            }
        }
        Some(spec)
    }

    fn carry_out(
        &mut self,
        work: Work<'_>,
        netns_of: &NetnsOf<'_>,
        failures: &mut Vec<RowFailure>,
    ) {
        if work.requests.is_empty() {
            return;
        }
        let answers = match self.netlink.send(&work.requests) {
            Ok(answers) => answers,
            Err(error) => {
                failures.push(RowFailure::whole(&error));
                return;
            }
        };
        if work
            .origins
            .iter()
            .any(|origin| matches!(origin, Origin::NewLink(..)))
        {
            reach(FaultPoint::AddLinkMade);
        }
        let mut broken: Option<&Device> = None;
        let mut met: Vec<&RouteRow> = Vec::new();
        for ((request, origin), answer) in work.requests.iter().zip(&work.origins).zip(answers) {
            if let Origin::DeleteLink(row) = origin
                && answer.as_ref().err().is_none_or(NetlinkError::is_absent)
            {
                self.devices.forget(&row.device);
                continue;
            }
            let Err(error) = answer else { continue };
            match origin {
                Origin::Delete(..) if error.is_absent() => {}
                Origin::DeleteLink(row) => {
                    failures.push(RowFailure::of(
                        LinkRow::TABLE,
                        &row.key(),
                        &error.of(request),
                    ));
                }
                Origin::NewLink(row, index) if error.errno == libc::EBUSY => {
                    if let Err(error) = self.retry_link(row, *index, netns_of) {
                        broken = Some(&row.device);
                        failures.push(RowFailure::of(LinkRow::TABLE, &row.key(), &error));
                    }
                }
                Origin::NewLink(row, _) => {
                    self.devices.forget(&row.device);
                    broken = Some(&row.device);
                    failures.push(RowFailure::of(
                        LinkRow::TABLE,
                        &row.key(),
                        &error.of(request),
                    ));
                }
                Origin::LinkPart(row) if broken == Some(&row.device) => {}
                Origin::LinkPart(row) => {
                    failures.push(RowFailure::of(
                        LinkRow::TABLE,
                        &row.key(),
                        &error.of(request),
                    ));
                }
                Origin::AddRoute(row) if error.already_exists() => met.push(row),
                Origin::AddRoute(row) => {
                    failures.push(RowFailure::of(
                        RouteRow::TABLE,
                        &row.key(),
                        &error.of(request),
                    ));
                }
                Origin::Delete(table, row) | Origin::Add(table, row) => {
                    failures.push(RowFailure::of(table, row, &error.of(request)));
                }
            }
        }
        self.meet(&met, failures);
    }

    /// The chosen index was taken by a link that we did not know of: tries others. What else was
    /// asked for the link failed with it, and is reported so that the caller asks again.
    fn retry_link(
        &mut self,
        row: &LinkRow,
        taken: u32,
        netns_of: &NetnsOf<'_>,
    ) -> Result<(), KernelError> {
        self.devices.forget(&row.device);
        let busy = || io::Error::from_raw_os_error(libc::EBUSY);
        let (LinkKind::Pod(pod), Device::PodLink(id)) = (&row.kind, &row.device) else {
            return Err(KernelError::new(
                "create link",
                row.key().to_string(),
                busy(),
            ));
        };
        for _ in 0..INDEX_TRIES {
            let Some(netns) = netns_of(id) else { break };
            let mut work = Work::default();
            self.create(row, pod, netns, &mut work);
            match self.netlink.send_all(&work.requests) {
                Err(error) if error.errno() == Some(libc::EBUSY) => {}
                result => return result,
            }
            self.devices.forget(&row.device);
        }
        Err(KernelError::new(
            "create link",
            format!("with index {taken} or near"),
            busy(),
        ))
    }

    /// Routes of the same destination and metric are there: ours are replaced, a stranger's is left
    /// alone and reported.
    fn meet(&mut self, rows: &[&RouteRow], failures: &mut Vec<RowFailure>) {
        if rows.is_empty() {
            return;
        }
        let routes = match self.netlink.routes() {
            Ok(routes) => routes,
            Err(error) => {
                failures.push(RowFailure::whole(&error));
                return;
            }
        };
        let strangers: HashMap<_, _> = routes
            .iter()
            .filter(|route| route.protocol != SEAWAY_PROTOCOL)
            .map(|route| ((route.destination, route.metric), route.protocol))
            .collect();
        for row in rows {
            let result = match strangers.get(&(row.destination, row.metric)) {
                Some(protocol) => Err(in_the_way(row, *protocol)),
                None => match self.route_spec(row, true) {
                    Some(spec) => self
                        .netlink
                        .send_all(&[Request::add_route(&spec, Exclusive::No)]),
                    None => Ok(()),
                },
            };
            if let Err(error) = result {
                failures.push(RowFailure::of(RouteRow::TABLE, &row.key(), &error));
            }
        }
    }
}
