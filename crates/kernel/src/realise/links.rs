//! Links of the node's namespace: found, made, made anew.

use std::io;
use std::os::fd::BorrowedFd;

use seaway_model::{Device, LinkKind, LinkRow, PodLink, Row};
use seaway_plan::{Change, ChangeSet};

use super::devices::DeviceInfo;
use super::node::LinuxNode;
use super::work::{self, Origin, Work};
use super::{NetnsOf, RowFailure};
use crate::error::KernelError;
use crate::netlink::{LinkInfo, LinkTarget, Request};

/// How often a link is tried anew with another index when the chosen one is taken.
const INDEX_TRIES: usize = 8;

impl LinuxNode {
    pub(super) fn index_of(&mut self, device: &Device) -> Option<u32> {
        match device {
            Device::Named(name) => self.netlink.link_index(name.as_str()).ok().flatten(),
            _ => self.devices.get(device).map(|info| info.index),
        }
    }

    pub(super) fn name_of(&self, device: &Device) -> Option<String> {
        self.devices.get(device).map(|info| info.name)
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

    /// Deletes the node's own links that are to go, or that cannot become what is planned, while the
    /// filters are still those that guard them; gives the latter.
    pub(super) fn clear_node_links<'a>(
        &mut self,
        changes: &'a ChangeSet,
        failures: &mut Vec<RowFailure>,
    ) -> Vec<&'a Device> {
        let mut beyond = Vec::new();
        let of_node = |row: &LinkRow| matches!(row.device, Device::Bridge | Device::Vxlan);
        for change in changes.links.iter().filter(|change| of_node(change.row())) {
            match self.clear_node_link(change) {
                Ok(false) => {}
                Ok(true) => beyond.push(&change.row().device),
                Err(error) => failures.push(RowFailure::for_row(change.row(), &error)),
            }
        }
        beyond
    }

    /// Whether the link had to go although there is to be one.
    fn clear_node_link(&mut self, change: &Change<LinkRow>) -> Result<bool, KernelError> {
        let row = change.row();
        let Some(found) = self.existing(&row.device)? else {
            return Ok(false);
        };
        let wanted = matches!(change, Change::Upsert(_));
        if wanted && !work::is_beyond(row, &found) {
            return Ok(false);
        }
        let request = Request::delete_link(LinkTarget::Index(found.index));
        match self.netlink.send_all(&[request]) {
            Err(error) if !error.is_absent() => return Err(error),
            _ => self.devices.forget(&row.device),
        }
        Ok(wanted)
    }

    /// Makes the node's own links that do not exist, before everything else and down: their
    /// settings are in force before packets can pass. Those of `beyond` take the place of others.
    pub(super) fn make_node_links(
        &mut self,
        changes: &ChangeSet,
        beyond: &[&Device],
        failures: &mut Vec<RowFailure>,
    ) {
        for change in &changes.links {
            if let Change::Upsert(row) = change
                && matches!(row.kind, LinkKind::Bridge(_) | LinkKind::Vxlan(_))
            {
                match self.make_node_link(row) {
                    Ok(false) => {}
                    Ok(true) => self.set_up_device(&row.device, changes, failures),
                    Err(error) => failures.push(RowFailure::for_row(row, &error)),
                }
                if beyond.contains(&&row.device) {
                    failures.push(made_anew(row));
                }
            }
        }
    }

    /// Whether the link was not there.
    fn make_node_link(&mut self, row: &LinkRow) -> Result<bool, KernelError> {
        if self.existing(&row.device)?.is_some() {
            return Ok(false);
        }
        for _ in 0..INDEX_TRIES {
            let index = self.devices.reserve_index();
            let mut work = Work::default();
            self.create_link(row, index, false, &mut work);
            match self.netlink.send_all(&work.requests) {
                Ok(()) => return Ok(true),
                Err(error) => {
                    self.devices.forget(&row.device);
                    match error.errno() {
                        Some(libc::EBUSY) => {}
                        Some(libc::EEXIST) => return Err(self.explain(row, error)),
                        _ => return Err(error),
                    }
                }
            }
        }
        Err(no_index(row))
    }

    /// Why a link cannot be made, if it is that its name is taken.
    pub(super) fn explain(&mut self, row: &LinkRow, error: KernelError) -> KernelError {
        let Some(name) = work::name(row) else {
            return error;
        };
        match self.netlink.link(LinkTarget::Name(name.as_str())) {
            Ok(Some(link)) => {
                let kind = link.kind.as_deref().unwrap_or("device");
                let why = format!(
                    "a {kind} called {name} that is not ours (group {:#x}, alias \"{}\") is in the \
                     way; remove or rename it",
                    link.group,
                    link.alias.unwrap_or_default()
                );
                KernelError::new("create link", name.to_string(), io::Error::other(why))
            }
            _ => error,
        }
    }

    pub(super) fn upsert_link<'a>(
        &mut self,
        row: &'a LinkRow,
        netns_of: &NetnsOf<'_>,
        work: &mut Work<'a>,
        failures: &mut Vec<RowFailure>,
    ) {
        let existing = match self.existing(&row.device) {
            Ok(existing) => existing,
            Err(error) => {
                failures.push(RowFailure::for_row(row, &error));
                return;
            }
        };
        let bridge = self.devices.get(&Device::Bridge).map(|info| info.index);
        if work::is_port(row) && bridge.is_none() {
            let failure = RowFailure::missing(row, "the node's bridge");
            failures.push(failure);
            return;
        }
        match (&row.kind, &row.device, existing) {
            (_, _, Some(found)) => {
                work::adjust(row, &found, bridge, work);
                self.note_name(row, &found);
            }
            (LinkKind::Pod(pod), Device::PodLink(id), None) => match netns_of(id) {
                Some(netns) => self.create_pod_link(row, pod, netns, work),
                None => failures.push(RowFailure::missing(row, "the Pod's namespace")),
            },
            (LinkKind::Shaper(_), _, None) => {
                let index = self.devices.reserve_index();
                self.create_link(row, index, row.up, work);
            }
            // It could not be made, which is told already.
            (LinkKind::Bridge(_) | LinkKind::Vxlan(_), _, None) => {}
            (_, _, None) => failures.push(RowFailure::missing(row, "the link")),
        }
    }

    /// What is written by name after a rename goes by the new one.
    fn note_name(&self, row: &LinkRow, found: &LinkInfo) {
        if let Some(name) = work::name(row).filter(|name| name.as_str() != found.name) {
            let info = DeviceInfo {
                index: found.index,
                name: name.to_string(),
                peer_netns: found.peer_netns,
            };
            self.devices.set(row.device.clone(), info);
        }
    }

    pub(super) fn create_pod_link<'a>(
        &mut self,
        row: &'a LinkRow,
        pod: &PodLink,
        netns: BorrowedFd<'_>,
        work: &mut Work<'a>,
    ) {
        let bridge = self.devices.get(&Device::Bridge).map(|info| info.index);
        let bridge = bridge.filter(|_| pod.bridge_port);
        let index = self.devices.reserve_index();
        self.note_new(row, index);
        let request = work::create_veth(row, pod, index, netns, bridge);
        work.push(request, Origin::NewLink(row));
        work::finish(row, index, true, work);
    }

    fn create_link<'a>(&self, row: &'a LinkRow, index: u32, up: bool, work: &mut Work<'a>) {
        if let Some(request) = work::create_link(row, index) {
            self.note_new(row, index);
            work.push(request, Origin::NewLink(row));
            work::finish(row, index, up, work);
        }
    }

    fn note_new(&self, row: &LinkRow, index: u32) {
        if let Some(name) = work::name(row) {
            let info = DeviceInfo {
                index,
                name: name.to_string(),
                peer_netns: None,
            };
            self.devices.set(row.device.clone(), info);
        }
    }

    /// The chosen index was taken by a link that we did not know of: tries others. What else was
    /// asked for the link failed with it, and is reported so that the caller asks again.
    pub(super) fn retry_link(
        &mut self,
        row: &LinkRow,
        netns_of: &NetnsOf<'_>,
    ) -> Result<(), KernelError> {
        for _ in 0..INDEX_TRIES {
            self.devices.forget(&row.device);
            let mut work = Work::default();
            match (&row.kind, &row.device) {
                (LinkKind::Pod(pod), Device::PodLink(id)) => {
                    let Some(netns) = netns_of(id) else { break };
                    self.create_pod_link(row, pod, netns, &mut work);
                }
                _ => {
                    let index = self.devices.reserve_index();
                    self.create_link(row, index, row.up, &mut work);
                }
            }
            match self.netlink.send_all(&work.requests) {
                Err(error) if error.errno() == Some(libc::EBUSY) => {}
                result => return result,
            }
        }
        self.devices.forget(&row.device);
        Err(no_index(row))
    }
}

fn made_anew(row: &LinkRow) -> RowFailure {
    RowFailure {
        table: LinkRow::TABLE,
        key: row.key().to_string(),
        error: "made anew, because the kernel cannot change what differed; what hung on it follows"
            .to_owned(),
        errno: None,
    }
}

fn no_index(row: &LinkRow) -> KernelError {
    let busy = io::Error::from_raw_os_error(libc::EBUSY);
    KernelError::new("find a free index for", row.key().to_string(), busy)
}
