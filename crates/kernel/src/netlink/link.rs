//! What rtnetlink tells of links, in our terms: the few fields that Seaway compares.

use std::net::IpAddr;

use netlink_packet_core::Nla;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVxlan,
    LinkAttribute, LinkFlags, LinkInfo as InfoAttribute, LinkMessage, LinkProtoInfoBridge,
};
use seaway_model::MacAddr;

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
    /// How it is a port of that bridge.
    pub port: Option<PortInfo>,
    /// What it is as a bridge.
    pub bridge: Option<BridgeInfo>,
    /// What it is as a VXLAN device.
    pub vxlan: Option<VxlanInfo>,
}

/// How a link is a port of a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortInfo {
    /// What enters may leave by the same port.
    pub hairpin: bool,
    /// Source addresses of what enters are learned.
    pub learning: bool,
    /// Frames for unknown addresses leave here.
    pub unicast_flood: bool,
    /// So do multicast frames.
    pub multicast_flood: bool,
    /// So do broadcast frames.
    pub broadcast_flood: bool,
    /// The bridge answers ARP for what is behind the port.
    pub proxy_arp: bool,
    /// Frames to other isolated ports are dropped.
    pub isolated: bool,
}

/// What a link is as a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Multicast goes only where somebody asked for it.
    pub multicast_snooping: bool,
    /// The spanning tree protocol runs.
    pub stp: bool,
    /// What it forwards passes the IPv4 filters; `None` where the kernel has no such thing.
    pub filters_v4: Option<bool>,
    /// What it forwards passes the IPv6 filters; `None` where the kernel has no such thing.
    pub filters_v6: Option<bool>,
}

/// What a link is as a VXLAN device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VxlanInfo {
    /// The network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The address that it sends from.
    pub local: Option<IpAddr>,
    /// Where frames for unknown addresses go.
    pub remote: Option<IpAddr>,
    /// It learns which VTEP an address is behind.
    pub learning: bool,
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
                LinkAttribute::LinkInfo(parts) => info.read_parts(parts),
                _ => {}
            }
        }
        info
    }

    fn read_parts(&mut self, parts: &[InfoAttribute]) {
        for part in parts {
            match part {
                InfoAttribute::Kind(InfoKind::Other(name)) => self.kind = Some(name.clone()),
                InfoAttribute::Kind(kind) => self.kind = Some(kind.to_string()),
                InfoAttribute::Data(InfoData::Bridge(data)) => {
                    self.bridge = Some(BridgeInfo::of(data));
                }
                InfoAttribute::Data(InfoData::Vxlan(data)) => {
                    self.vxlan = Some(VxlanInfo::of(data));
                }
                InfoAttribute::PortData(InfoPortData::BridgePort(data)) => {
                    self.port = Some(PortInfo::of(data));
                }
                _ => {}
            }
        }
    }
}

impl PortInfo {
    /// A port of the node's bridge: what enters may go back to the Pod that it came from, nothing
    /// is learned, and frames for unknown addresses do not leave.
    pub const POD: PortInfo = PortInfo {
        hairpin: true,
        learning: false,
        unicast_flood: false,
        multicast_flood: true,
        broadcast_flood: true,
        proxy_arp: false,
        isolated: false,
    };

    fn of(data: &[InfoBridgePort]) -> PortInfo {
        let mut port = PortInfo::default();
        for attribute in data {
            match attribute {
                InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
                InfoBridgePort::Learning(on) => port.learning = *on,
                InfoBridgePort::UnicastFlood(on) => port.unicast_flood = *on,
                InfoBridgePort::MulticastFlood(on) => port.multicast_flood = *on,
                InfoBridgePort::BroadcastFlood(on) => port.broadcast_flood = *on,
                InfoBridgePort::ProxyARP(on) => port.proxy_arp = *on,
                InfoBridgePort::Isolated(on) => port.isolated = *on,
                _ => {}
            }
        }
        port
    }

    /// What the request to make a port so says.
    pub(super) fn attributes(self) -> Vec<InfoBridgePort> {
        vec![
            InfoBridgePort::HairpinMode(self.hairpin),
            InfoBridgePort::Learning(self.learning),
            InfoBridgePort::UnicastFlood(self.unicast_flood),
            InfoBridgePort::MulticastFlood(self.multicast_flood),
            InfoBridgePort::BroadcastFlood(self.broadcast_flood),
            InfoBridgePort::ProxyARP(self.proxy_arp),
            InfoBridgePort::Isolated(self.isolated),
        ]
    }
}

/// The port that a bridge reports in its own family: its index and how it is now.
pub(super) fn reported_port(message: &LinkMessage) -> Option<(u32, PortInfo)> {
    if message.header.interface_family != AddressFamily::Bridge {
        return None;
    }
    let parts = message.attributes.iter().find_map(|a| match a {
        LinkAttribute::ProtoInfoBridge(parts) => Some(parts),
        _ => None,
    })?;
    let mut port = PortInfo::default();
    for part in parts {
        if let Some((kind, on)) = flag_of(part) {
            port.set(kind, on);
        }
    }
    Some((message.header.index, port))
}

/// A flag of one byte among the attributes of a port (`IFLA_BRPORT_*`).
fn flag_of(part: &LinkProtoInfoBridge) -> Option<(u16, bool)> {
    let LinkProtoInfoBridge::Other(attribute) = part else {
        return None;
    };
    let mut value = [0];
    (attribute.value_len() == value.len()).then(|| {
        attribute.emit_value(&mut value);
        (attribute.kind(), value[0] != 0)
    })
}

impl PortInfo {
    /// Sets the flag of a kernel number.
    fn set(&mut self, kind: u16, on: bool) {
        match kind {
            4 => self.hairpin = on,
            8 => self.learning = on,
            9 => self.unicast_flood = on,
            10 => self.proxy_arp = on,
            27 => self.multicast_flood = on,
            30 => self.broadcast_flood = on,
            33 => self.isolated = on,
            _ => {}
        }
    }
}

impl BridgeInfo {
    /// The node's bridge: see [`seaway_model::BridgeLink`].
    pub const NODE: BridgeInfo = BridgeInfo {
        multicast_snooping: false,
        stp: false,
        filters_v4: Some(true),
        filters_v6: Some(true),
    };

    fn of(data: &[InfoBridge]) -> BridgeInfo {
        let mut bridge = BridgeInfo::default();
        for attribute in data {
            match attribute {
                InfoBridge::MulticastSnooping(on) => bridge.multicast_snooping = *on,
                InfoBridge::StpState(state) => bridge.stp = *state != BridgeStpState::Disabled,
                InfoBridge::NfCallIpTables(on) => bridge.filters_v4 = Some(*on),
                InfoBridge::NfCallIp6Tables(on) => bridge.filters_v6 = Some(*on),
                _ => {}
            }
        }
        bridge
    }

    /// Whether a bridge that is to be like this is so, as far as its kernel can.
    pub(crate) fn is_met_by(&self, found: &BridgeInfo) -> bool {
        let met = |wanted: Option<bool>, found: Option<bool>| found.is_none() || wanted == found;
        self.multicast_snooping == found.multicast_snooping
            && self.stp == found.stp
            && met(self.filters_v4, found.filters_v4)
            && met(self.filters_v6, found.filters_v6)
    }

    pub(super) fn attributes(self) -> Vec<InfoBridge> {
        let stp = match self.stp {
            true => BridgeStpState::KernelStp,
            false => BridgeStpState::Disabled,
        };
        let mut attributes = vec![
            InfoBridge::StpState(stp),
            InfoBridge::MulticastSnooping(self.multicast_snooping),
        ];
        attributes.extend(self.filters_v4.map(InfoBridge::NfCallIpTables));
        attributes.extend(self.filters_v6.map(InfoBridge::NfCallIp6Tables));
        attributes
    }
}

impl VxlanInfo {
    fn of(data: &[InfoVxlan]) -> VxlanInfo {
        let mut vxlan = VxlanInfo::default();
        for attribute in data {
            match attribute {
                InfoVxlan::Id(vni) => vxlan.vni = *vni,
                InfoVxlan::Port(port) => vxlan.port = *port,
                InfoVxlan::Local(ip) => vxlan.local = Some(IpAddr::V4(*ip)),
                InfoVxlan::Local6(ip) => vxlan.local = Some(IpAddr::V6(*ip)),
                InfoVxlan::Group(ip) => vxlan.remote = Some(IpAddr::V4(*ip)),
                InfoVxlan::Group6(ip) => vxlan.remote = Some(IpAddr::V6(*ip)),
                InfoVxlan::Learning(on) => vxlan.learning = *on,
                _ => {}
            }
        }
        vxlan
    }

    /// What the request to change such a device says, of what can change.
    pub(super) fn changes(self) -> Vec<InfoVxlan> {
        let mut attributes = self.attributes();
        attributes.retain(|attribute| !matches!(attribute, InfoVxlan::Port(_)));
        attributes
    }

    /// What the request to make such a device says. Checksums are left to the kernel: it fills in
    /// the outer one, and takes none but a right one over IPv6.
    pub(super) fn attributes(self) -> Vec<InfoVxlan> {
        let address = |ip, v4: fn(_) -> _, v6: fn(_) -> _| match ip {
            IpAddr::V4(ip) => v4(ip),
            IpAddr::V6(ip) => v6(ip),
        };
        let mut attributes = vec![
            InfoVxlan::Id(self.vni),
            InfoVxlan::Port(self.port),
            InfoVxlan::Learning(self.learning),
        ];
        let local = self
            .local
            .map(|ip| address(ip, InfoVxlan::Local, InfoVxlan::Local6));
        attributes.extend(local);
        let remote = self
            .remote
            .map(|ip| address(ip, InfoVxlan::Group, InfoVxlan::Group6));
        attributes.extend(remote);
        attributes
    }
}
