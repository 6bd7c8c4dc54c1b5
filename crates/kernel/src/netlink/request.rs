//! Requests to rtnetlink, made without IO.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo as InfoAttribute, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use seaway_model::{Family, IfName, MacAddr};

/// The protocol number by which routes and neighbours are known as ours (`rtm_protocol`); free in
/// `/etc/iproute2/rt_protos`.
pub const SEAWAY_PROTOCOL: u8 = 83;

/// One message to rtnetlink, with what it does in words.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) message: RouteNetlinkMessage,
    pub(crate) flags: u16,
    operation: &'static str,
}

/// How a request to create treats what exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusive {
    /// Refuse (`EEXIST`): the object must be new.
    Yes,
    /// Replace it: the caller knows that it is ours.
    No,
}

/// Which link.
#[derive(Clone, Copy, Debug)]
pub enum LinkTarget<'a> {
    /// By the kernel's index.
    Index(u32),
    /// By name.
    Name(&'a str),
}

/// A veth pair to make, the peer in its own namespace at once.
#[derive(Clone, Debug)]
pub struct VethSpec<'a> {
    /// This side's name.
    pub name: &'a str,
    /// This side's index; the kernel chooses when `None`.
    pub index: Option<u32>,
    /// This side's MAC address; random when `None`.
    pub mac: Option<MacAddr>,
    /// This side's MTU in bytes.
    pub mtu: Option<u32>,
    /// The link group to be born in.
    pub group: Option<u32>,
    /// Whether this side is born up (the peer cannot be).
    pub up: bool,
    /// The other side.
    pub peer: VethPeer<'a>,
}

/// The other side of a veth pair.
#[derive(Clone, Debug)]
pub struct VethPeer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index; the kernel chooses when `None`. Taken only if this side's index is given too.
    pub index: Option<u32>,
    /// Its MAC address; random when `None`.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// The namespace that it is born in.
    pub netns: BorrowedFd<'a>,
}

/// What to set on a link; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct LinkSet<'a> {
    /// Up or down.
    pub up: Option<bool>,
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Link group.
    pub group: Option<u32>,
    /// Alias.
    pub alias: Option<&'a str>,
    /// New name; only with [`LinkTarget::Index`].
    pub name: Option<&'a IfName>,
    /// The bridge to belong to.
    pub master: Option<u32>,
    /// Make no IPv6 link-local address when the link goes up.
    pub no_link_local: bool,
}

/// A route to add.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Where to.
    pub destination: IpNet,
    /// Metric; 0 leaves it to the kernel.
    pub metric: u32,
    /// The device; needed unless `gateway` or `unreachable` is set.
    pub index: Option<u32>,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The source address for own traffic.
    pub source: Option<IpAddr>,
    /// The path's MTU in bytes.
    pub mtu: Option<u32>,
    /// Refuse instead of forwarding.
    pub unreachable: bool,
}

impl RouteSpec {
    /// A route to `destination` by the device of `index`.
    pub fn by_device(destination: IpNet, index: u32) -> RouteSpec {
        RouteSpec {
            destination,
            metric: 0,
            index: Some(index),
            gateway: None,
            source: None,
            mtu: None,
            unreachable: false,
        }
    }
}

/// A veth without a word about queues is made with one a CPU and then brought down to the one that
/// it uses, which waits for two grace periods of RCU (`veth_init_queues`). Saying so at once does
/// not.
const ONE_QUEUE: [LinkAttribute; 2] =
    [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

impl Request {
    fn new(operation: &'static str, flags: u16, message: RouteNetlinkMessage) -> Request {
        Request {
            message,
            flags,
            operation,
        }
    }

    /// Makes a veth pair.
    pub fn veth(spec: VethSpec<'_>) -> Request {
        let VethPeer {
            name,
            index,
            mac,
            mtu,
            netns,
        } = spec.peer;
        let mut peer = link(index.unwrap_or(0));
        peer.attributes.push(LinkAttribute::IfName(name.to_owned()));
        peer.attributes.extend(mac.map(mac_attribute));
        peer.attributes.extend(mtu.map(LinkAttribute::Mtu));
        peer.attributes.extend(ONE_QUEUE);
        peer.attributes
            .push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        let mut host = link(spec.index.unwrap_or(0));
        if spec.up {
            set_up(&mut host, true);
        }
        host.attributes
            .push(LinkAttribute::IfName(spec.name.to_owned()));
        host.attributes.extend(spec.mac.map(mac_attribute));
        host.attributes.extend(spec.mtu.map(LinkAttribute::Mtu));
        host.attributes.extend(spec.group.map(LinkAttribute::Group));
        host.attributes.extend(ONE_QUEUE);
        host.attributes.push(LinkAttribute::LinkInfo(vec![
            InfoAttribute::Kind(InfoKind::Veth),
            InfoAttribute::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        Request::new("create link", CREATE, RouteNetlinkMessage::NewLink(host))
    }

    /// Makes a bridge, down and without ports.
    pub fn bridge(name: &str) -> Request {
        let mut message = link(0);
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let kind = vec![InfoAttribute::Kind(InfoKind::Bridge)];
        message.attributes.push(LinkAttribute::LinkInfo(kind));
        Request::new(
            "create bridge",
            CREATE,
            RouteNetlinkMessage::NewLink(message),
        )
    }

    /// Changes a link.
    pub fn set_link(target: LinkTarget<'_>, set: LinkSet<'_>) -> Request {
        let mut message = targeted(target);
        if let Some(up) = set.up {
            set_up(&mut message, up);
        }
        let attributes = &mut message.attributes;
        attributes.extend(set.mac.map(mac_attribute));
        attributes.extend(set.mtu.map(LinkAttribute::Mtu));
        attributes.extend(set.group.map(LinkAttribute::Group));
        attributes.extend(
            set.alias
                .map(|alias| LinkAttribute::IfAlias(alias.to_owned())),
        );
        attributes.extend(set.name.map(|name| LinkAttribute::IfName(name.to_string())));
        attributes.extend(set.master.map(LinkAttribute::Controller));
        if set.no_link_local {
            let mode = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
            attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(mode)]));
        }
        Request::new("set link", 0, RouteNetlinkMessage::SetLink(message))
    }

    /// Deletes a link.
    pub fn delete_link(target: LinkTarget<'_>) -> Request {
        Request::new(
            "delete link",
            0,
            RouteNetlinkMessage::DelLink(targeted(target)),
        )
    }

    /// Deletes all links of a group at once. Refused by the kernel when the group is empty.
    pub fn delete_group(group: u32) -> Request {
        let mut message = link(0);
        message.attributes.push(LinkAttribute::Group(group));
        Request::new(
            "delete link group",
            0,
            RouteNetlinkMessage::DelLink(message),
        )
    }

    /// Puts an address on a device, IPv6 without duplicate-address detection.
    pub fn add_address(index: u32, net: IpNet) -> Request {
        let mut message = address(index, net);
        if net.addr().is_ipv6() {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        Request::new(
            "add address",
            CREATE,
            RouteNetlinkMessage::NewAddress(message),
        )
    }

    /// Takes an address from a device.
    pub fn delete_address(index: u32, net: IpNet) -> Request {
        let message = RouteNetlinkMessage::DelAddress(address(index, net));
        Request::new("delete address", 0, message)
    }

    /// Adds a route of ours to the main table.
    pub fn add_route(spec: &RouteSpec, exclusive: Exclusive) -> Request {
        let flags = creation(exclusive);
        Request::new(
            "add route",
            flags,
            RouteNetlinkMessage::NewRoute(route(spec)),
        )
    }

    /// The same request in another's name: what it makes is not taken for ours. For what a lab
    /// or a test puts around a node.
    pub fn with_protocol(mut self, protocol: u8) -> Request {
        use RouteNetlinkMessage::{DelRoute, NewRoute};
        if let NewRoute(message) | DelRoute(message) = &mut self.message {
            message.header.protocol = RouteProtocol::from(protocol);
        }
        self
    }

    /// Deletes a route of ours (never a stranger's: the protocol is part of the match).
    pub fn delete_route(spec: &RouteSpec) -> Request {
        Request::new(
            "delete route",
            0,
            RouteNetlinkMessage::DelRoute(route(spec)),
        )
    }

    /// Adds or replaces a permanent neighbour entry on a device of ours.
    pub fn add_neighbour(index: u32, address: IpAddr, mac: MacAddr) -> Request {
        let mut message = neighbour(index, address);
        message.header.state = NeighbourState::Permanent;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        message
            .attributes
            .push(NeighbourAttribute::Protocol(RouteProtocol::Other(
                SEAWAY_PROTOCOL,
            )));
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        Request::new(
            "add neighbour",
            flags,
            RouteNetlinkMessage::NewNeighbour(message),
        )
    }

    /// Deletes a neighbour entry.
    pub fn delete_neighbour(index: u32, address: IpAddr) -> Request {
        let message = RouteNetlinkMessage::DelNeighbour(neighbour(index, address));
        Request::new("delete neighbour", 0, message)
    }

    /// The address that the request adds, if it adds one.
    pub(crate) fn new_address(&self) -> Option<IpAddr> {
        let RouteNetlinkMessage::NewAddress(message) = &self.message else {
            return None;
        };
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            })
    }

    /// What the request does.
    pub fn operation(&self) -> &'static str {
        self.operation
    }
}

fn creation(exclusive: Exclusive) -> u16 {
    match exclusive {
        Exclusive::Yes => CREATE,
        Exclusive::No => NLM_F_CREATE | NLM_F_REPLACE,
    }
}

fn link(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn targeted(target: LinkTarget<'_>) -> LinkMessage {
    match target {
        LinkTarget::Index(index) => link(index),
        LinkTarget::Name(name) => {
            let mut message = link(0);
            message
                .attributes
                .push(LinkAttribute::IfName(name.to_owned()));
            message
        }
    }
}

fn set_up(message: &mut LinkMessage, up: bool) {
    message.header.change_mask |= LinkFlags::Up;
    message.header.flags.set(LinkFlags::Up, up);
}

fn mac_attribute(mac: MacAddr) -> LinkAttribute {
    LinkAttribute::Address(mac.0.to_vec())
}

fn address(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_number(Family::of_net(&net));
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message
        .attributes
        .push(AddressAttribute::Address(net.addr()));
    message
}

fn route(spec: &RouteSpec) -> RouteMessage {
    let mut message = RouteMessage::default();
    let RouteHeader { scope, kind, .. } = &mut message.header;
    (*scope, *kind) = match (spec.unreachable, spec.gateway, spec.destination) {
        (true, ..) => (RouteScope::Universe, RouteType::Unreachable),
        (false, None, IpNet::V4(_)) => (RouteScope::Link, RouteType::Unicast),
        (false, ..) => (RouteScope::Universe, RouteType::Unicast),
    };
    message.header.address_family = family_number(Family::of_net(&spec.destination));
    message.header.destination_prefix_length = spec.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(SEAWAY_PROTOCOL);
    let attributes = &mut message.attributes;
    if spec.destination.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(
            spec.destination.network().into(),
        ));
    }
    attributes.extend(
        spec.gateway
            .map(|a| RouteAttribute::Gateway(RouteAddress::from(a))),
    );
    attributes.extend(
        spec.source
            .map(|a| RouteAttribute::PrefSource(RouteAddress::from(a))),
    );
    attributes.extend(spec.index.map(RouteAttribute::Oif));
    if spec.metric > 0 {
        attributes.push(RouteAttribute::Priority(spec.metric));
    }
    attributes.extend(
        spec.mtu
            .map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
    );
    message
}

fn neighbour(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_number(Family::of(address));
    message.header.ifindex = index;
    message.header.kind = RouteType::Unicast;
    let destination = match address {
        IpAddr::V4(a) => NeighbourAddress::Inet(a),
        IpAddr::V6(a) => NeighbourAddress::Inet6(a),
    };
    message
        .attributes
        .push(NeighbourAttribute::Destination(destination));
    message
}

/// The kernel's number of a family.
pub(crate) fn family_number(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.operation)?;
        match &self.message {
            RouteNetlinkMessage::NewLink(m)
            | RouteNetlinkMessage::SetLink(m)
            | RouteNetlinkMessage::DelLink(m) => write_link(f, m),
            RouteNetlinkMessage::NewAddress(m) | RouteNetlinkMessage::DelAddress(m) => {
                let local = m.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(ip) => Some(ip),
                    _ => None,
                });
                let local = local.map(ToString::to_string).unwrap_or_default();
                write!(f, "{local}/{} dev {}", m.header.prefix_len, m.header.index)
            }
            RouteNetlinkMessage::NewRoute(m) | RouteNetlinkMessage::DelRoute(m) => {
                write_route(f, m)
            }
            RouteNetlinkMessage::NewNeighbour(m) | RouteNetlinkMessage::DelNeighbour(m) => {
                write!(f, "on dev {}", m.header.ifindex)
            }
            _ => Ok(()),
        }
    }
}

fn write_link(f: &mut fmt::Formatter<'_>, message: &LinkMessage) -> fmt::Result {
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => return f.write_str(name),
            LinkAttribute::Group(group) if message.header.index == 0 => {
                return write!(f, "group {group}");
            }
            _ => {}
        }
    }
    write!(f, "{}", message.header.index)
}

fn write_route(f: &mut fmt::Formatter<'_>, message: &RouteMessage) -> fmt::Result {
    let destination = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    });
    match destination {
        Some(ip) => write!(f, "{ip}/{}", message.header.destination_prefix_length),
        None => f.write_str("default"),
    }
}
