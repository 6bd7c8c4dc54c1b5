//! Kernel settings.

use std::fmt;

use serde::Serialize;

use super::{Device, Row};
use crate::{AttachmentId, Family};

/// A kernel setting of the network namespace, below `net.`. A setting of [`Device::Uplink`] is not
/// on a device of ours: its value before us is kept, and given back when the row goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SysctlRow {
    /// Which setting.
    pub key: SysctlKey,
    /// Its value as the kernel prints it.
    pub value: String,
}

/// Which kernel setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SysctlKey {
    /// Of which family.
    pub family: Family,
    /// What it applies to.
    pub scope: SysctlScope,
    /// The last part of its name, for example `accept_ra`.
    pub name: &'static str,
}

/// What a kernel setting applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SysctlScope {
    /// The whole family: `net.ipv4.NAME`.
    Family,
    /// All devices: `net.ipv4.conf.all.NAME`.
    All,
    /// One device: `net.ipv4.conf.DEVICE.NAME`.
    Device(Device),
    /// The neighbours of one device: `net.ipv4.neigh.DEVICE.NAME`.
    Neighbours(Device),
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        match &self.scope {
            SysctlScope::Family => write!(f, "net.{family}.{}", self.name),
            SysctlScope::All => write!(f, "net.{family}.conf.all.{}", self.name),
            SysctlScope::Device(device) => write!(f, "net.{family}.conf.[{device}].{}", self.name),
            SysctlScope::Neighbours(device) => {
                write!(f, "net.{family}.neigh.[{device}].{}", self.name)
            }
        }
    }
}

impl Row for SysctlRow {
    type Key = SysctlKey;
    const TABLE: &'static str = "sysctls";

    fn attachment(&self) -> Option<&AttachmentId> {
        match &self.key.scope {
            SysctlScope::Device(device) | SysctlScope::Neighbours(device) => device.attachment(),
            SysctlScope::Family | SysctlScope::All => None,
        }
    }

    fn key(&self) -> SysctlKey {
        self.key.clone()
    }
}

impl fmt::Display for SysctlRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)
    }
}
