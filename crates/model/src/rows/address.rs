//! Addresses.

use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use super::{Device, Row};
use crate::AttachmentId;

/// An address on a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AddressRow {
    /// Which device.
    pub device: Device,
    /// The address with its prefix length. IPv6 addresses are set without duplicate-address
    /// detection (K14).
    pub net: IpNet,
}

impl Row for AddressRow {
    type Key = AddressRow;
    const TABLE: &'static str = "addresses";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.device.attachment()
    }

    fn key(&self) -> AddressRow {
        self.clone()
    }
}

impl fmt::Display for AddressRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.net, self.device)
    }
}
