//! Rows: what a network namespace must have in its kernel, as plain data in keyed tables.
//!
//! A row names its device by role ([`Device`]), never by a kernel index or a name that somebody
//! may change. A field that is `None` means "not ours to say": it is neither set nor compared.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::{Alias, AttachmentId, Family, IfName, MacAddr};

/// The IPv4 gateway of every Pod in `routed` wiring: link-local, the same everywhere.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 gateway of every Pod in `routed` wiring.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The gateway of `family` that a Pod in `routed` wiring uses.
pub fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => GATEWAY_V4.into(),
        Family::V6 => GATEWAY_V6.into(),
    }
}

/// A row of a table: keyed, comparable, printable.
pub trait Row: Clone + Eq + fmt::Debug + fmt::Display {
    /// What identifies the row in its table.
    type Key: Ord + Clone + fmt::Debug + fmt::Display;
    /// The table's name as people see it.
    const TABLE: &'static str;
    /// The row's key.
    fn key(&self) -> Self::Key;
    /// The attachment of this node that the row is for, if it is for one.
    fn attachment(&self) -> Option<&AttachmentId> {
        None
    }
    /// Whether `observed`, of the same key, is what this planned row asks for.
    fn in_force(&self, observed: &Self) -> bool {
        self == observed
    }
}

/// A device by its role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The loopback device of the namespace.
    Loopback,
    /// The node's device towards the other nodes.
    Uplink,
    /// The host side of a Pod's link.
    PodLink(AttachmentId),
    /// A device by its name: only where the name is the contract, inside a Pod.
    Named(IfName),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Loopback => f.pad("lo"),
            Device::Uplink => f.pad("uplink"),
            Device::PodLink(id) => f.pad(&format!("pod {id}")),
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
    /// The attachment whose host side this is, if so.
    pub fn attachment(&self) -> Option<&AttachmentId> {
        match self {
            Device::PodLink(id) => Some(id),
            _ => None,
        }
    }
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkRow {
    /// Which device.
    pub device: Device,
    /// Its Ethernet address.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// What must be made when it does not exist.
    pub kind: LinkKind,
}

/// Whether a link is ours to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// Made by somebody else; only its attributes are set.
    Existing,
    /// The host side of a veth pair whose other end is born in the Pod's namespace.
    Pod(PodLink),
}

/// What a Pod's veth pair needs beyond its host side's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodLink {
    /// The host side's name (K13).
    pub name: IfName,
    /// The host side's alias: the owner.
    pub alias: Alias,
    /// The Pod side's name.
    pub peer_name: IfName,
    /// The Pod side's MAC address; not visible from the host, so `None` when observed.
    pub peer_mac: Option<MacAddr>,
}

impl Row for LinkRow {
    type Key = Device;
    const TABLE: &'static str = "links";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.device.attachment()
    }

    fn key(&self) -> Device {
        self.device.clone()
    }

    fn in_force(&self, observed: &LinkRow) -> bool {
        let said =
            |planned: Option<u64>, observed: Option<u64>| planned.is_none() || planned == observed;
        let mac = |m: Option<MacAddr>| m.map(|m| m.0.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        let kind = match (&self.kind, &observed.kind) {
            (LinkKind::Existing, _) => true,
            (LinkKind::Pod(a), LinkKind::Pod(b)) => a.name == b.name && a.alias == b.alias,
            (LinkKind::Pod(_), LinkKind::Existing) => false,
        };
        kind && self.up == observed.up
            && said(mac(self.mac), mac(observed.mac))
            && said(self.mtu.map(u64::from), observed.mtu.map(u64::from))
    }
}

impl fmt::Display for LinkRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.up { "up" } else { "down" })?;
        if let Some(mac) = self.mac {
            write!(f, " mac {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        match &self.kind {
            LinkKind::Existing => Ok(()),
            LinkKind::Pod(pod) => write!(f, " name {} alias {}", pod.name, pod.alias),
        }
    }
}

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

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteRow {
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
        /// The next hop; `None` when the destination itself is on the link.
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
    /// Where to.
    pub destination: IpNet,
    /// Its metric.
    pub metric: u32,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
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

/// A kernel setting of the network namespace, below `net.`.
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
        }
    }
}

impl Row for SysctlRow {
    type Key = SysctlKey;
    const TABLE: &'static str = "sysctls";

    fn attachment(&self) -> Option<&AttachmentId> {
        match &self.key.scope {
            SysctlScope::Device(device) => device.attachment(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_print_as_people_write_them() {
        let route = RouteRow::to(
            "10.244.2.0/24".parse().expect("valid"),
            Reachability::Via {
                device: Device::Uplink,
                gateway: Some("192.168.0.2".parse().expect("valid")),
                source: None,
                mtu: Some(1450),
            },
        );
        assert_eq!(
            route.to_string(),
            "10.244.2.0/24 via 192.168.0.2 dev uplink mtu 1450"
        );
        let net = "fd00::/64".parse().expect("valid");
        assert_eq!(
            RouteRow::to(net, Reachability::Unreachable).to_string(),
            "unreachable fd00::/64"
        );
    }

    #[test]
    fn unsaid_fields_are_not_compared() {
        let observed = LinkRow {
            device: Device::Loopback,
            mac: Some(MacAddr([0; 6])),
            mtu: Some(65536),
            up: true,
            kind: LinkKind::Existing,
        };
        let planned = LinkRow {
            mac: None,
            mtu: None,
            ..observed.clone()
        };
        assert!(planned.in_force(&observed));
        assert!(
            !LinkRow {
                mtu: Some(1500),
                ..planned.clone()
            }
            .in_force(&observed)
        );
        assert!(
            !LinkRow {
                up: false,
                ..planned
            }
            .in_force(&observed)
        );
    }
}
