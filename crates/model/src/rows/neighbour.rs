//! Who is where on a link: permanent neighbour entries, proxies, forwarding entries.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::{Device, Row};
use crate::{AttachmentId, MacAddr};

/// A permanent neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeighbourRow {
    /// The device behind which the neighbour is.
    pub device: Device,
    /// Its IP address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: MacAddr,
}

/// What identifies a neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NeighbourKey {
    /// The device behind which the neighbour is.
    pub device: Device,
    /// Its IP address.
    pub address: IpAddr,
}

impl fmt::Display for NeighbourKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.device)
    }
}

impl Row for NeighbourRow {
    type Key = NeighbourKey;
    const TABLE: &'static str = "neighbours";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.device.attachment()
    }

    fn key(&self) -> NeighbourKey {
        NeighbourKey {
            device: self.device.clone(),
            address: self.address,
        }
    }
}

impl fmt::Display for NeighbourRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mac {}", self.key(), self.mac)
    }
}

/// An address for which the node answers on a device on behalf of a Pod of its own (`l2`): a proxy
/// neighbour entry, for ARP and ND.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyRow {
    /// The device on which it answers.
    pub device: Device,
    /// The Pod's address.
    pub address: IpAddr,
    /// Whose address it is; `None` when observed and not known.
    pub owner: Option<AttachmentId>,
}

/// What identifies a proxy entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProxyKey {
    /// The device on which the node answers.
    pub device: Device,
    /// The address that it answers for.
    pub address: IpAddr,
}

impl fmt::Display for ProxyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.device)
    }
}

impl Row for ProxyRow {
    type Key = ProxyKey;
    const TABLE: &'static str = "proxies";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.owner.as_ref()
    }

    fn key(&self) -> ProxyKey {
        ProxyKey {
            device: self.device.clone(),
            address: self.address,
        }
    }

    fn in_force(&self, observed: &ProxyRow) -> bool {
        self.key() == observed.key()
    }
}

impl fmt::Display for ProxyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {}", self.key())
    }
}

/// A static forwarding entry: where frames for an Ethernet address go. On a VXLAN device to a
/// VTEP, on a bridge port to that port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FdbRow {
    /// The VXLAN device, or the bridge port.
    pub device: Device,
    /// The Ethernet address.
    pub mac: MacAddr,
    /// The VTEP, on a VXLAN device.
    pub vtep: Option<IpAddr>,
}

/// What identifies a forwarding entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FdbKey {
    /// The device.
    pub device: Device,
    /// The Ethernet address.
    pub mac: MacAddr,
}

impl fmt::Display for FdbKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.mac, self.device)
    }
}

impl Row for FdbRow {
    type Key = FdbKey;
    const TABLE: &'static str = "fdb";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.device.attachment()
    }

    fn key(&self) -> FdbKey {
        FdbKey {
            device: self.device.clone(),
            mac: self.mac,
        }
    }
}

impl fmt::Display for FdbRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key())?;
        self.vtep.map_or(Ok(()), |vtep| write!(f, " vtep {vtep}"))
    }
}
