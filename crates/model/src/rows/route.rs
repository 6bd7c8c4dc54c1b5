//! Routes and the rules that choose a routing table.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Device, Row};
use crate::{AttachmentId, Family};

/// The priority of our rules, before the main table (32766).
pub const RULE_PRIORITY: u32 = 5083;

/// Which routing table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteTable {
    /// The main table.
    #[default]
    Main,
    /// Looked into first for what Pods of this node send: it holds the ways to other *nodes*
    /// through the overlay, so that a Pod's address never appears on the underlay.
    FromPods,
}

impl RouteTable {
    /// Both tables.
    pub const ALL: [RouteTable; 2] = [RouteTable::Main, RouteTable::FromPods];

    /// The kernel's number.
    pub fn id(self) -> u32 {
        match self {
            RouteTable::Main => 254,
            RouteTable::FromPods => 0x5ea1,
        }
    }

    /// The table of a number, if it is one of these.
    pub fn of_id(id: u32) -> Option<RouteTable> {
        RouteTable::ALL.into_iter().find(|table| table.id() == id)
    }
}

/// A rule: what comes from these addresses looks into [`RouteTable::FromPods`] first, at
/// [`RULE_PRIORITY`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleRow {
    /// Where from.
    pub source: IpNet,
}

impl Row for RuleRow {
    type Key = IpNet;
    const TABLE: &'static str = "rules";

    fn key(&self) -> IpNet {
        self.source
    }
}

impl fmt::Display for RuleRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = RouteTable::FromPods.id();
        write!(f, "from {} lookup {table}", self.source)
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// In which table.
    pub table: RouteTable,
    /// Where to.
    pub destination: IpNet,
    /// Its metric; the kernel's own default where nothing speaks for another
    /// ([`RouteRow::default_metric`]).
    pub metric: u32,
    /// How to get there.
    pub reach: Reachability,
}

/// How a route's destination is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reachability {
    /// Through a device.
    Via {
        /// The device to send by.
        device: Device,
        /// The next hop; `None` when the destination itself is on the link. Behind
        /// [`Device::Vxlan`] it is on the link whatever the addresses of the device.
        gateway: Option<IpAddr>,
        /// The source address for what the namespace itself sends.
        source: Option<IpAddr>,
        /// The largest packet in bytes that the path takes, when it is less than the device's.
        mtu: Option<u32>,
    },
    /// Refused with an ICMP error.
    Unreachable,
}

/// What identifies a route in its table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RouteKey {
    /// In which table.
    pub table: RouteTable,
    /// Where to.
    pub destination: IpNet,
    /// Its metric.
    pub metric: u32,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if self.table != RouteTable::Main {
            write!(f, " table {}", self.table.id())?;
        }
        match RouteRow::default_metric(Family::of_net(&self.destination)) == self.metric {
            true => Ok(()),
            false => write!(f, " metric {}", self.metric),
        }
    }
}

impl RouteRow {
    /// The metric that Linux gives a route that names none.
    pub fn default_metric(family: Family) -> u32 {
        match family {
            Family::V4 => 0,
            Family::V6 => 1024,
        }
    }

    /// A route with the default metric.
    pub fn to(destination: IpNet, reach: Reachability) -> RouteRow {
        let metric = RouteRow::default_metric(Family::of_net(&destination));
        RouteRow {
            table: RouteTable::Main,
            destination,
            metric,
            reach,
        }
    }
}

impl Row for RouteRow {
    type Key = RouteKey;
    const TABLE: &'static str = "routes";

    fn attachment(&self) -> Option<&AttachmentId> {
        match &self.reach {
            Reachability::Via { device, .. } => device.attachment(),
            Reachability::Unreachable => None,
        }
    }

    fn key(&self) -> RouteKey {
        RouteKey {
            table: self.table,
            destination: self.destination,
            metric: self.metric,
        }
    }
}

impl fmt::Display for RouteRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reach {
            Reachability::Unreachable => write!(f, "unreachable {}", self.key()),
            Reachability::Via {
                device,
                gateway,
                source,
                mtu,
            } => {
                write!(f, "{}", self.key())?;
                if let Some(gateway) = gateway {
                    write!(f, " via {gateway}")?;
                }
                write!(f, " dev {device}")?;
                if let Some(source) = source {
                    write!(f, " src {source}")?;
                }
                mtu.map_or(Ok(()), |mtu| write!(f, " mtu {mtu}"))
            }
        }
    }
}
