//! What rtnetlink tells, in our terms: the few fields that Seaway compares.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo as InfoAttribute, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteType,
};
use seaway_model::{Family, MacAddr};

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkInfo {
    /// The kernel's index.
    pub index: u32,
    /// Its name now.
    pub name: String,
    /// Its MAC address, if it is an Ethernet device.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Its group; 0 is the default.
    pub group: u32,
    /// Its alias.
    pub alias: Option<String>,
    /// Its kind, for example `veth`; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// The number by which this namespace knows the one that the other end of a veth is in.
    pub peer_netns: Option<i32>,
    /// The bridge that it belongs to.
    pub master: Option<u32>,
}

impl LinkInfo {
    pub(super) fn of(message: &LinkMessage) -> LinkInfo {
        let mut info = LinkInfo {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..LinkInfo::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => info.name.clone_from(name),
                LinkAttribute::Address(bytes) => info.mac = MacAddr::from_slice(bytes),
                LinkAttribute::Mtu(mtu) => info.mtu = *mtu,
                LinkAttribute::Group(group) => info.group = *group,
                LinkAttribute::IfAlias(alias) => info.alias = Some(alias.clone()),
                LinkAttribute::LinkNetNsId(id) => info.peer_netns = Some(*id),
                LinkAttribute::Controller(index) => info.master = Some(*index),
                LinkAttribute::LinkInfo(parts) => info.kind = kind_of(parts),
                _ => {}
            }
        }
        info
    }
}

fn kind_of(parts: &[InfoAttribute]) -> Option<String> {
    parts.iter().find_map(|part| match part {
        InfoAttribute::Kind(InfoKind::Other(name)) => Some(name.clone()),
        InfoAttribute::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// The device's index.
    pub index: u32,
    /// The address with its prefix length.
    pub net: IpNet,
}

impl AddressInfo {
    pub(super) fn of(message: &AddressMessage) -> Option<AddressInfo> {
        let pick = |want_local: bool| {
            message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(ip) if want_local => Some(*ip),
                AddressAttribute::Address(ip) if !want_local => Some(*ip),
                _ => None,
            })
        };
        let ip = pick(true).or_else(|| pick(false))?;
        let net = IpNet::new(ip, message.header.prefix_len).ok()?;
        Some(AddressInfo {
            index: message.header.index,
            net,
        })
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Through a device.
    Via {
        /// The device's index.
        index: u32,
        /// The next hop.
        gateway: Option<IpAddr>,
        /// The preferred source address.
        source: Option<IpAddr>,
        /// The path's MTU.
        mtu: Option<u32>,
    },
    /// Refused with an ICMP error.
    Unreachable,
    /// Something that Seaway never makes (several next hops, black hole, …).
    Other,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Where to.
    pub destination: IpNet,
    /// Its metric.
    pub metric: u32,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// Where it leads.
    pub target: RouteTarget,
}

impl RouteInfo {
    /// `None` for routes of other tables and of kinds that are not made by anybody (local,
    /// broadcast, multicast, cached).
    pub(super) fn of(message: &RouteMessage) -> Option<RouteInfo> {
        let family = match message.header.address_family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        let fields = RouteFields::of(message);
        let table = fields.table.unwrap_or(message.header.table.into());
        if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
            return None;
        }
        let target = match message.header.kind {
            RouteType::Unicast => fields.target(),
            RouteType::Unreachable => RouteTarget::Unreachable,
            RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => {
                return None;
            }
            _ => RouteTarget::Other,
        };
        let address = fields.destination.unwrap_or(family.default_net().addr());
        let prefix = message.header.destination_prefix_length;
        Some(RouteInfo {
            destination: IpNet::new(address, prefix).ok()?,
            metric: fields.metric,
            protocol: message.header.protocol.into(),
            target,
        })
    }
}

#[derive(Default)]
struct RouteFields {
    destination: Option<IpAddr>,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    index: Option<u32>,
    metric: u32,
    mtu: Option<u32>,
    table: Option<u32>,
    several_hops: bool,
}

impl RouteFields {
    fn of(message: &RouteMessage) -> RouteFields {
        let mut fields = RouteFields::default();
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(a) => fields.destination = ip_of(a),
                RouteAttribute::Gateway(a) => fields.gateway = ip_of(a),
                RouteAttribute::PrefSource(a) => fields.source = ip_of(a),
                RouteAttribute::Oif(index) => fields.index = Some(*index),
                RouteAttribute::Priority(metric) => fields.metric = *metric,
                RouteAttribute::Table(table) => fields.table = Some(*table),
                RouteAttribute::MultiPath(_) => fields.several_hops = true,
                RouteAttribute::Metrics(metrics) => {
                    fields.mtu = metrics.iter().find_map(|m| match m {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        fields
    }

    fn target(&self) -> RouteTarget {
        match self.index {
            Some(index) if !self.several_hops => RouteTarget::Via {
                index,
                gateway: self.gateway,
                source: self.source,
                mtu: self.mtu,
            },
            _ => RouteTarget::Other,
        }
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// A permanent neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// The device's index.
    pub index: u32,
    /// The neighbour's IP address.
    pub address: IpAddr,
    /// Its MAC address; all zero when the entry has none.
    pub mac: MacAddr,
    /// Set by hand, not learned.
    pub permanent: bool,
}

impl NeighbourInfo {
    pub(super) fn of(message: &NeighbourMessage) -> Option<NeighbourInfo> {
        let address = message.attributes.iter().find_map(|a| match a {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
            _ => None,
        })?;
        let mac = message.attributes.iter().find_map(|a| match a {
            NeighbourAttribute::LinkLayerAddress(bytes) => MacAddr::from_slice(bytes),
            _ => None,
        });
        Some(NeighbourInfo {
            index: message.header.ifindex,
            address,
            mac: mac.unwrap_or(MacAddr([0; 6])),
            permanent: message.header.state == NeighbourState::Permanent,
        })
    }
}
