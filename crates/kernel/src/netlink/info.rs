//! What rtnetlink tells of addresses, routes, rules and neighbours, in our terms: the few fields
//! that Seaway compares.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use seaway_model::{Family, MacAddr, RouteTable};

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

/// A route of one of the tables that Seaway knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// In which table.
    pub table: RouteTable,
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
        let table = RouteTable::of_id(table)?;
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
            table,
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

/// A rule that chooses a routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its family.
    pub family: Family,
    /// Where packets come from.
    pub source: IpNet,
    /// The table that is looked into.
    pub table: u32,
    /// Its priority.
    pub priority: u32,
    /// Who made it.
    pub protocol: u8,
    /// It asks for nothing else than the source.
    pub plain: bool,
}

impl RuleInfo {
    /// `None` for rules that lead to no table.
    pub(super) fn of(message: &RuleMessage) -> Option<RuleInfo> {
        let family = match message.header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        if message.header.action != RuleAction::ToTable {
            return None;
        }
        let mut info = RuleInfo {
            family,
            source: family.default_net(),
            table: message.header.table.into(),
            priority: 0,
            protocol: 0,
            plain: message.header.dst_len == 0 && message.header.tos == 0,
        };
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Source(ip) => {
                    info.source = IpNet::new(*ip, message.header.src_len).ok()?;
                }
                RuleAttribute::Table(table) => info.table = *table,
                RuleAttribute::Priority(priority) => info.priority = *priority,
                RuleAttribute::Protocol(protocol) => info.protocol = (*protocol).into(),
                RuleAttribute::Destination(_)
                | RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::FwMark(_)
                | RuleAttribute::UidRange(_)
                | RuleAttribute::IpProtocol(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_) => info.plain = false,
                _ => {}
            }
        }
        Some(info)
    }
}

/// A neighbour entry.
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
    /// The node answers for this address on the device.
    pub proxy: bool,
    /// Who made it, where the kernel was told.
    pub protocol: u8,
}

impl NeighbourInfo {
    pub(super) fn of(message: &NeighbourMessage) -> Option<NeighbourInfo> {
        let fields = NeighbourFields::of(message);
        let address = match fields.destination? {
            NeighbourAddress::Inet(ip) => IpAddr::V4(*ip),
            NeighbourAddress::Inet6(ip) => IpAddr::V6(*ip),
            _ => return None,
        };
        Some(NeighbourInfo {
            index: message.header.ifindex,
            address,
            mac: fields.mac.unwrap_or(MacAddr([0; 6])),
            permanent: message.header.state == NeighbourState::Permanent,
            proxy: message.header.flags.contains(NeighbourFlags::Proxy),
            protocol: fields.protocol,
        })
    }
}

/// A forwarding entry of a bridge or a VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbInfo {
    /// The index of the VXLAN device, or of the bridge's port.
    pub index: u32,
    /// The Ethernet address.
    pub mac: MacAddr,
    /// The entry is of the bridge that the device is a port of, not of the device itself.
    pub of_bridge: bool,
    /// The VTEP.
    pub destination: Option<IpAddr>,
    /// Set by hand and lasting: on a device itself a permanent one, on a bridge a static one that
    /// leads to the port (a permanent one leads to the bridge).
    pub fixed: bool,
}

impl FdbInfo {
    /// `None` for entries of other families, and of a VLAN.
    pub(super) fn of(message: &NeighbourMessage) -> Option<FdbInfo> {
        if message.header.family != AddressFamily::Bridge {
            return None;
        }
        let fields = NeighbourFields::of(message);
        let destination = match fields.destination {
            Some(NeighbourAddress::Other(bytes)) => address_of(bytes),
            _ => None,
        };
        let of_bridge = fields.of_bridge;
        let lasting = match of_bridge {
            true => NeighbourState::Noarp,
            false => NeighbourState::Permanent,
        };
        (!fields.vlan).then_some(())?;
        Some(FdbInfo {
            index: message.header.ifindex,
            mac: fields.mac?,
            of_bridge,
            destination,
            fixed: message.header.state == lasting,
        })
    }
}

#[derive(Default)]
struct NeighbourFields<'a> {
    destination: Option<&'a NeighbourAddress>,
    mac: Option<MacAddr>,
    protocol: u8,
    of_bridge: bool,
    vlan: bool,
}

impl NeighbourFields<'_> {
    fn of(message: &NeighbourMessage) -> NeighbourFields<'_> {
        let mut fields = NeighbourFields::default();
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(address) => fields.destination = Some(address),
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    fields.mac = MacAddr::from_slice(bytes);
                }
                NeighbourAttribute::Protocol(protocol) => {
                    fields.protocol = u8::from(RouteProtocol::clone(protocol));
                }
                NeighbourAttribute::Controller(_) => fields.of_bridge = true,
                NeighbourAttribute::Vlan(_) => fields.vlan = true,
                _ => {}
            }
        }
        fields
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = |bytes: &[u8]| Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?));
    let v6 = |bytes: &[u8]| Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?));
    v4(bytes).or_else(|| v6(bytes))
}
