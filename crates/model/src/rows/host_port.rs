//! Ports of the node that lead to a Pod (CNI capability `portMappings`, K9).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::Row;
use crate::{AttachmentId, Family, Protocol};

/// A port of the node that leads to a Pod. Only packets to the node itself match, whatever the
/// way they come (CVE-2025-67499): from outside, from the node, from a Pod, over loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostPortRow {
    /// Which port.
    pub key: HostPortKey,
    /// The Pod's end.
    pub target: SocketAddr,
    /// Whose it is; `None` when observed and not known.
    pub owner: Option<AttachmentId>,
}

/// What identifies a port of the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostPortKey {
    /// The family of both ends.
    pub family: Family,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The one address of the node on which it is open; all when `None`.
    pub address: Option<IpAddr>,
}

impl fmt::Display for HostPortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(
                f,
                "{} {}",
                self.protocol,
                SocketAddr::new(address, self.port)
            ),
            None => write!(f, "{} {} port {}", self.family, self.protocol, self.port),
        }
    }
}

impl Row for HostPortRow {
    type Key = HostPortKey;
    const TABLE: &'static str = "host-ports";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.owner.as_ref()
    }

    fn key(&self) -> HostPortKey {
        self.key.clone()
    }

    fn in_force(&self, observed: &HostPortRow) -> bool {
        self.key == observed.key && self.target == observed.target
    }
}

impl fmt::Display for HostPortRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.key, self.target)
    }
}
