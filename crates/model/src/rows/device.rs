//! Devices by role.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{AttachmentId, IfName};

/// A device by its role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The loopback device of the namespace.
    Loopback,
    /// The node's device towards the other nodes.
    Uplink,
    /// The host side of a Pod's link.
    PodLink(AttachmentId),
    /// The device through which passes what a Pod sends, when its rate is limited (an `ifb`).
    Shaper(AttachmentId),
    /// The node's bridge, in `bridge` wiring.
    Bridge,
    /// The node's VXLAN device.
    Vxlan,
    /// A device by its name: only where the name is the contract, inside a Pod.
    Named(IfName),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Loopback => f.pad("lo"),
            Device::Uplink => f.pad("uplink"),
            Device::PodLink(id) => f.pad(&format!("pod {id}")),
            Device::Shaper(id) => f.pad(&format!("shaper {id}")),
            Device::Bridge => f.pad("bridge"),
            Device::Vxlan => f.pad("vxlan"),
            Device::Named(name) => name.fmt(f),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Device {
    /// The attachment that the device belongs to, if it does to one.
    pub fn attachment(&self) -> Option<&AttachmentId> {
        match self {
            Device::PodLink(id) | Device::Shaper(id) => Some(id),
            _ => None,
        }
    }
}
