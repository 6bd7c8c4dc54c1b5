//! Requests to rtnetlink, made without IO.

mod link;
mod neighbour;
mod route;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::neighbour::NeighbourAttribute;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::RuleAttribute;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use seaway_model::{Family, is_of_every_node};

pub use link::{KindSpec, LinkSet, LinkSpec, VethPeer, VethSpec};
pub use route::RouteSpec;

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

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

impl Request {
    pub(super) fn new(
        operation: &'static str,
        flags: u16,
        message: RouteNetlinkMessage,
    ) -> Request {
        Request {
            message,
            flags,
            operation,
        }
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

    /// Puts an address on a device without the route of its prefix, IPv6 without
    /// duplicate-address detection.
    pub fn add_bare_address(index: u32, net: IpNet) -> Request {
        let mut message = address(index, net);
        let flags = match net.addr().is_ipv6() {
            true => AddressFlags::Nodad | AddressFlags::Noprefixroute,
            false => AddressFlags::Noprefixroute,
        };
        message.attributes.push(AddressAttribute::Flags(flags));
        if is_of_every_node(net.addr()) {
            seclude(&mut message);
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        Request::new("add address", CREATE, message)
    }

    /// Takes an address from a device.
    pub fn delete_address(index: u32, net: IpNet) -> Request {
        let message = RouteNetlinkMessage::DelAddress(address(index, net));
        Request::new("delete address", 0, message)
    }

    /// The same request in another's name: what it makes is not taken for ours. For what a lab
    /// or a test puts around a node.
    pub fn with_protocol(mut self, protocol: u8) -> Request {
        use RouteNetlinkMessage::{DelRoute, DelRule, NewNeighbour, NewRoute, NewRule};
        let protocol = RouteProtocol::from(protocol);
        match &mut self.message {
            NewRoute(message) | DelRoute(message) => message.header.protocol = protocol,
            NewRule(message) | DelRule(message) => {
                for attribute in &mut message.attributes {
                    if let RuleAttribute::Protocol(own) = attribute {
                        *own = protocol;
                    }
                }
            }
            NewNeighbour(message) => {
                for attribute in &mut message.attributes {
                    if let NeighbourAttribute::Protocol(own) = attribute {
                        *own = protocol;
                    }
                }
            }
            _ => {}
        }
        self
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

/// Nobody chooses the address as a source by itself: IPv4 knows it as the node's inner affair, IPv6
/// as one that goes out of use.
fn seclude(message: &mut AddressMessage) {
    message.header.scope = AddressScope::Host;
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = u32::MAX;
    lifetime.ifa_preferred = match message.header.family {
        AddressFamily::Inet6 => 0,
        _ => u32::MAX,
    };
    message
        .attributes
        .push(AddressAttribute::CacheInfo(lifetime));
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
            | RouteNetlinkMessage::DelLink(m) => link::write_link(f, m),
            RouteNetlinkMessage::NewAddress(m) | RouteNetlinkMessage::DelAddress(m) => {
                let local = m.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(ip) => Some(ip),
                    _ => None,
                });
                let local = local.map(ToString::to_string).unwrap_or_default();
                write!(f, "{local}/{} dev {}", m.header.prefix_len, m.header.index)
            }
            RouteNetlinkMessage::NewRoute(m) | RouteNetlinkMessage::DelRoute(m) => {
                route::write_route(f, m)
            }
            RouteNetlinkMessage::NewNeighbour(m) | RouteNetlinkMessage::DelNeighbour(m) => {
                write!(f, "on dev {}", m.header.ifindex)
            }
            RouteNetlinkMessage::NewQueueDiscipline(m)
            | RouteNetlinkMessage::DelQueueDiscipline(m)
            | RouteNetlinkMessage::NewTrafficFilter(m)
            | RouteNetlinkMessage::DelTrafficFilter(m) => {
                write!(f, "on dev {}", m.header.index)
            }
            _ => Ok(()),
        }
    }
}
