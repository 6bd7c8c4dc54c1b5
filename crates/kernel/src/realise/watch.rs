//! Notifications in terms of rows: what was seen to change, on which planned device.
//!
//! Whether a sighting contradicts the plan is the caller's to judge. Keeps [`Devices`] up to date
//! on the way. What the realiser itself does to routes and neighbours is not told. The kernel tells nothing of proxy entries and of most settings: only a comparison
//! finds what happened to these.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use seaway_model::{Device, FdbKey, IfName, NeighbourKey, RouteKey};

use super::{DYING_GROUP, Devices, LIVE_GROUP, PodSighting, Sighting, is_our_group, observe};
use crate::error::KernelError;
use crate::netlink::{
    AddressInfo, FdbInfo, LinkInfo, Monitor, Notice, NoticeSource, QueueInfo, RouteInfo,
};

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
    let ours = |index| devices.of_index(index);
    let neighbour = |entry| observe::neighbour_row(&entry, &observe::made_by_us(&ours));
    match notice {
        Notice::Link(link) => link_seen(devices, &link),
        Notice::LinkGone(link) => link_gone(devices, &link),
        Notice::Port(index, port) => match ours(index)? {
            Device::PodLink(id) => Some(Sighting::Port(id, observe::is_good_port(Some(port)))),
            _ => None,
        },
        // A default route is never ours: it may be what the uplink is chosen by.
        Notice::Route(route) | Notice::RouteGone(route) if route.destination.prefix_len() == 0 => {
            Some(Sighting::Surroundings)
        }
        Notice::Route(route) => {
            let row = observe::route_row(&route, &ours);
            Some(Sighting::Route(key(&route), row))
        }
        Notice::RouteGone(route) => Some(Sighting::RouteGone(key(&route))),
        Notice::Rule(rule) => observe::rule_row(&rule).map(Sighting::Rule),
        Notice::RuleGone(rule) => observe::rule_row(&rule).map(Sighting::RuleGone),
        Notice::Neighbour(entry) => neighbour(entry).map(Sighting::Neighbour),
        Notice::NeighbourGone(entry) => {
            let device = observe::made_by_us(&ours)(entry.index)?;
            Some(Sighting::NeighbourGone(NeighbourKey {
                device,
                address: entry.address,
            }))
        }
        Notice::Fdb(entry) => match observe::fdb_row(&entry, &ours) {
            Some(row) => Some(Sighting::Fdb(row)),
            None => fdb_gone(devices, &entry),
        },
        Notice::FdbGone(entry) => fdb_gone(devices, &entry),
        Notice::Queue(queue) => queue_seen(devices, &queue, true),
        Notice::QueueGone(queue) => queue_seen(devices, &queue, false),
        Notice::Redirect(index, to) => {
            let from = ours(index).filter(|device| device.attachment().is_some())?;
            Some(Sighting::Redirect(from, to.and_then(ours)))
        }
        Notice::Address(address) => address_seen(devices, &address, Sighting::Address),
        Notice::AddressGone(address) => address_seen(devices, &address, Sighting::AddressGone),
        Notice::Setting(None) => Some(Sighting::Setting(None)),
        Notice::Setting(Some(index)) => ours(index).map(|device| Sighting::Setting(Some(device))),
        Notice::Overflow => Some(Sighting::Overflow),
    }
}

fn link_seen(devices: &Devices, link: &LinkInfo) -> Option<Sighting> {
    match devices.learn(link) {
        Some(Device::Loopback | Device::Uplink | Device::Named(_)) => Some(Sighting::Surroundings),
        Some(device) => {
            let ours = |index| devices.of_index(index);
            observe::link_row(link, &device, &ours).map(Sighting::Link)
        }
        None if link.group == LIVE_GROUP => Some(Sighting::UnknownLink(link.index)),
        None => (!is_our_group(link.group)).then_some(Sighting::Surroundings),
    }
}

fn link_gone(devices: &Devices, link: &LinkInfo) -> Option<Sighting> {
    match devices.of_index(link.index) {
        Some(
            device @ (Device::PodLink(_) | Device::Shaper(_) | Device::Bridge | Device::Vxlan),
        ) => {
            devices.forget(&device);
            Some(Sighting::LinkGone(device))
        }
        _ => (link.group != DYING_GROUP).then_some(Sighting::Surroundings),
    }
}

/// An address of a device of ours is told only where it counts as ours; that of another device may
/// concern the uplink.
fn address_seen(
    devices: &Devices,
    address: &AddressInfo,
    ours: fn(seaway_model::AddressRow) -> Sighting,
) -> Option<Sighting> {
    let row = observe::address_row(address, &|index| devices.of_index(index));
    match (row, devices.of_index(address.index)) {
        (Some(row), _) => Some(ours(row)),
        (None, Some(Device::PodLink(_) | Device::Shaper(_) | Device::Bridge | Device::Vxlan)) => {
            None
        }
        (None, _) => Some(Sighting::Surroundings),
    }
}

/// An entry that does not count as ours takes the place of one that does.
fn fdb_gone(devices: &Devices, entry: &FdbInfo) -> Option<Sighting> {
    let device = devices.of_index(entry.index)?;
    let counts = match device {
        Device::Vxlan => !entry.of_bridge,
        Device::PodLink(_) => entry.of_bridge,
        _ => false,
    };
    counts.then_some(Sighting::FdbGone(FdbKey {
        device,
        mac: entry.mac,
    }))
}

fn queue_seen(devices: &Devices, queue: &QueueInfo, there: bool) -> Option<Sighting> {
    let device = devices
        .of_index(queue.index)
        .filter(|device| device.attachment().is_some())?;
    if queue.root {
        let bucket = queue.bucket.filter(|_| there);
        return Some(Sighting::Queue(device, bucket));
    }
    (queue.takes_arriving() && !there).then_some(Sighting::Redirect(device, None))
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
        table: route.table,
        destination: route.destination,
        metric: route.metric,
    }
}
