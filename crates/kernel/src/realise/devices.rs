//! The devices by role: which index and name a planned device has in the kernel right now.
//!
//! Shared by all realisers of a node; kept up to date by creation, by dumps and by notices.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use seaway_model::{Alias, AttachmentId, Device, MacAddr};

use super::{
    BRIDGE_GROUP, LIVE_GROUP, NODE_GROUP, SHAPER_GROUP, is_bridge_alias, is_vxlan_alias, work,
};
use crate::netlink::LinkInfo;

/// Where the indexes that we choose begin: far above those that the kernel gives out one by one.
const FIRST_INDEX: u32 = 1 << 20;
const INDEX_RANGE: u32 = 1 << 28;

/// A device as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The kernel's index.
    pub index: u32,
    /// Its name now.
    pub name: String,
    /// The number by which the namespace of its other end is known.
    pub peer_netns: Option<i32>,
}

impl DeviceInfo {
    fn of(link: &LinkInfo) -> DeviceInfo {
        DeviceInfo {
            index: link.index,
            name: link.name.clone(),
            peer_netns: link.peer_netns,
        }
    }
}

/// The devices of a node.
#[derive(Debug)]
pub struct Devices {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    by_device: HashMap<Device, DeviceInfo>,
    by_index: HashMap<u32, Device>,
    by_peer: HashMap<i32, BTreeSet<AttachmentId>>,
    next_index: u32,
}

impl Inner {
    /// Removes what leads to `device` by the numbers that it had.
    fn unlink(&mut self, device: &Device, info: &DeviceInfo) {
        if self.by_index.get(&info.index) == Some(device) {
            self.by_index.remove(&info.index);
        }
        if let (Some(number), Some(id)) = (info.peer_netns, device.attachment())
            && let Some(ids) = self.by_peer.get_mut(&number)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.by_peer.remove(&number);
            }
        }
    }
}

impl Default for Devices {
    fn default() -> Self {
        Devices {
            inner: Mutex::new(Inner {
                by_device: HashMap::new(),
                by_index: HashMap::new(),
                by_peer: HashMap::new(),
                next_index: start_index(),
            }),
        }
    }
}

/// A start that differs from process to process, so that a restarted agent does not run into the
/// links of its predecessor one by one.
fn start_index() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    FIRST_INDEX + u32::try_from(random % u64::from(INDEX_RANGE)).expect("less than the range")
}

impl Devices {
    /// An index for a new link that no device known here has.
    pub fn reserve_index(&self) -> u32 {
        let mut inner = self.lock();
        loop {
            let index = inner.next_index;
            inner.next_index = if index >= FIRST_INDEX + INDEX_RANGE {
                FIRST_INDEX
            } else {
                index + 1
            };
            if !inner.by_index.contains_key(&index) {
                return index;
            }
        }
    }

    /// Notes which link a device is.
    pub fn set(&self, device: Device, info: DeviceInfo) {
        let mut inner = self.lock();
        if let Some(old) = inner.by_device.insert(device.clone(), info.clone()) {
            inner.unlink(&device, &old);
        }
        if let (Some(number), Some(id)) = (info.peer_netns, device.attachment()) {
            inner.by_peer.entry(number).or_default().insert(id.clone());
        }
        inner.by_index.insert(info.index, device);
    }

    /// Forgets a device.
    pub fn forget(&self, device: &Device) {
        let mut inner = self.lock();
        if let Some(info) = inner.by_device.remove(device) {
            inner.unlink(device, &info);
        }
    }

    /// The link that a device is.
    pub fn get(&self, device: &Device) -> Option<DeviceInfo> {
        self.lock().by_device.get(device).cloned()
    }

    /// The device that a link is.
    pub fn of_index(&self, index: u32) -> Option<Device> {
        self.lock().by_index.get(&index).cloned()
    }

    /// The attachments whose other ends are in the namespace of this number.
    pub fn of_peer_netns(&self, number: i32) -> BTreeSet<AttachmentId> {
        self.lock()
            .by_peer
            .get(&number)
            .cloned()
            .unwrap_or_default()
    }

    /// Takes in how a link is now; gives the device that it is, if it is ours. A device that is
    /// known as another link stays that: news of a predecessor may come late.
    pub fn learn(&self, link: &LinkInfo) -> Option<Device> {
        let device = self.of_index(link.index).or_else(|| role(link))?;
        if self
            .get(&device)
            .is_some_and(|known| known.index != link.index)
        {
            return None;
        }
        self.set(device.clone(), DeviceInfo::of(link));
        Some(device)
    }

    /// Takes in all links as they are. A device that is known as a link that is not among them
    /// becomes the link that now carries its alias.
    pub(super) fn learn_all(&self, links: &[LinkInfo]) {
        let indexes: HashSet<u32> = links.iter().map(|link| link.index).collect();
        for link in links {
            if self.learn(link).is_none()
                && let Some(device) = role(link)
                && self
                    .get(&device)
                    .is_some_and(|known| !indexes.contains(&known.index))
            {
                self.set(device, DeviceInfo::of(link));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every update is one insertion or removal, so a panic elsewhere leaves no torn state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The device that a link is by its group and alias, and by what it is.
fn role(link: &LinkInfo) -> Option<Device> {
    if link.name == "lo" && link.mac == Some(MacAddr([0; 6])) {
        return Some(Device::Loopback);
    }
    let alias = link.alias.as_deref()?;
    match (link.group, link.kind.as_deref()) {
        (LIVE_GROUP, _) => {
            let attachment = Alias::raw(alias).parse().ok()?;
            Some(Device::PodLink(attachment.id))
        }
        (SHAPER_GROUP, Some("ifb")) => work::shaper_owner(alias).map(Device::Shaper),
        (BRIDGE_GROUP, Some("bridge")) if is_bridge_alias(alias) => Some(Device::Bridge),
        (NODE_GROUP, Some("vxlan")) if is_vxlan_alias(alias) => Some(Device::Vxlan),
        _ => None,
    }
}
