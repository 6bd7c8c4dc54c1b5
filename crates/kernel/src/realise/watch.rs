//! Notifications in terms of rows: what was seen to change, on which planned device.
//!
//! Whether a sighting contradicts the plan is the caller's to judge. Keeps [`Devices`] up to date
//! on the way.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::{
    AttachmentId, Device, IfName, LinkRow, NeighbourKey, NeighbourRow, RouteKey, RouteRow,
};

use super::{DYING_GROUP, Devices, LIVE_GROUP, observe};
use crate::error::KernelError;
use crate::netlink::{LinkInfo, Monitor, Notice, NoticeSource, RouteInfo};

/// Something was seen to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A Pod's link is now like this.
    Link(LinkRow),
    /// A Pod's link is gone.
    LinkGone(AttachmentId),
    /// A live link of ours that is not known here.
    UnknownLink(u32),
    /// A route of the main table is now like this; `None` where it leads to no device of ours.
    Route(RouteKey, Option<RouteRow>),
    /// A route is gone.
    RouteGone(RouteKey),
    /// A neighbour entry of a Pod's link is now like this.
    Neighbour(NeighbourRow),
    /// A neighbour entry of a Pod's link is gone.
    NeighbourGone(NeighbourKey),
    /// A setting changed: of a device of ours, or of the whole namespace.
    Setting(Option<Device>),
    /// A link or an address that is not a Pod's changed: the uplink may be concerned.
    Surroundings,
    /// Something changed inside a Pod.
    Pod(AttachmentId, PodSighting),
    /// Sightings were lost.
    Overflow,
}

/// Something was seen to change inside a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodSighting {
    /// An address is gone.
    AddressGone(IpNet),
    /// A route is gone.
    RouteGone(RouteKey),
    /// A neighbour entry is gone.
    NeighbourGone(IpAddr),
    /// A link is now up or down.
    Link(IfName, bool),
}

/// Watches the node's namespace and those behind its Pod links.
pub struct Watch {
    monitor: Monitor,
    devices: Arc<Devices>,
}

impl Watch {
    /// Starts to watch the calling thread's namespace.
    pub fn open(devices: Arc<Devices>) -> Result<Watch, KernelError> {
        Ok(Watch {
            monitor: Monitor::open()?,
            devices,
        })
    }

    /// Hands every sighting that waits to `each`.
    pub fn drain(&mut self, mut each: impl FnMut(Sighting)) -> Result<(), KernelError> {
        let devices = &self.devices;
        self.monitor.drain(|source, notice| match source {
            NoticeSource::Own => own(devices, notice).into_iter().for_each(&mut each),
            NoticeSource::Peer(number) => {
                pod(devices, number, notice).into_iter().for_each(&mut each);
            }
        })
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }
}

fn own(devices: &Devices, notice: Notice) -> Option<Sighting> {
    let neighbour = |entry| observe::neighbour_row(&entry, &|index| pod_device(devices, index));
    match notice {
        Notice::Link(link) => link_seen(devices, &link),
        Notice::LinkGone(link) => link_gone(devices, &link),
        // A default route is never ours: it may be what the uplink is chosen by.
        Notice::Route(route) | Notice::RouteGone(route) if route.destination.prefix_len() == 0 => {
            Some(Sighting::Surroundings)
        }
        Notice::Route(route) => {
            let row = observe::route_row(&route, &|index| devices.of_index(index));
            Some(Sighting::Route(key(&route), row))
        }
        Notice::RouteGone(route) => Some(Sighting::RouteGone(key(&route))),
        Notice::Neighbour(entry) => neighbour(entry).map(Sighting::Neighbour),
        Notice::NeighbourGone(entry) => {
            let device = pod_device(devices, entry.index)?;
            Some(Sighting::NeighbourGone(NeighbourKey {
                device,
                address: entry.address,
            }))
        }
        Notice::Address(address) | Notice::AddressGone(address) => {
            pod_device(devices, address.index)
                .is_none()
                .then_some(Sighting::Surroundings)
        }
        Notice::Setting(None) => Some(Sighting::Setting(None)),
        Notice::Setting(Some(index)) => devices
            .of_index(index)
            .map(|device| Sighting::Setting(Some(device))),
        Notice::Overflow => Some(Sighting::Overflow),
    }
}

fn link_seen(devices: &Devices, link: &LinkInfo) -> Option<Sighting> {
    match devices.learn(link) {
        Some(Device::PodLink(id)) => observe::link_row(link, &id).map(Sighting::Link),
        Some(_) => Some(Sighting::Surroundings),
        None if link.group == LIVE_GROUP => Some(Sighting::UnknownLink(link.index)),
        None => (link.group != DYING_GROUP).then_some(Sighting::Surroundings),
    }
}

fn link_gone(devices: &Devices, link: &LinkInfo) -> Option<Sighting> {
    let device = devices.of_index(link.index);
    match device {
        Some(Device::PodLink(ref id)) => {
            devices.forget(&Device::PodLink(id.clone()));
            Some(Sighting::LinkGone(id.clone()))
        }
        _ => (link.group != DYING_GROUP).then_some(Sighting::Surroundings),
    }
}

fn pod_device(devices: &Devices, index: u32) -> Option<Device> {
    devices
        .of_index(index)
        .filter(|device| matches!(device, Device::PodLink(_)))
}

fn pod(devices: &Devices, number: i32, notice: Notice) -> Vec<Sighting> {
    let Some(sighting) = pod_sighting(notice) else {
        return Vec::new();
    };
    let ids = devices.of_peer_netns(number).into_iter();
    ids.map(|id| Sighting::Pod(id, sighting.clone())).collect()
}

fn pod_sighting(notice: Notice) -> Option<PodSighting> {
    Some(match notice {
        Notice::AddressGone(address) => PodSighting::AddressGone(address.net),
        Notice::RouteGone(route) => PodSighting::RouteGone(key(&route)),
        Notice::NeighbourGone(entry) => PodSighting::NeighbourGone(entry.address),
        Notice::Link(link) => PodSighting::Link(IfName::new(link.name).ok()?, link.up),
        _ => return None,
    })
}

fn key(route: &RouteInfo) -> RouteKey {
    RouteKey {
        destination: route.destination,
        metric: route.metric,
    }
}
