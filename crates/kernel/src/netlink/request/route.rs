//! Requests about routes and the rules that choose a table.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use seaway_model::{Family, RouteTable};

use super::{CREATE, Exclusive, Request, SEAWAY_PROTOCOL, family_number};

/// A route to add.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// In which table.
    pub table: RouteTable,
    /// Where to.
    pub destination: IpNet,
    /// Metric; 0 leaves it to the kernel.
    pub metric: u32,
    /// The device; needed unless `gateway` or `unreachable` is set.
    pub index: Option<u32>,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The next hop is on the link whatever the addresses of the device.
    pub on_link: bool,
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
            table: RouteTable::Main,
            destination,
            metric: 0,
            index: Some(index),
            gateway: None,
            on_link: false,
            source: None,
            mtu: None,
            unreachable: false,
        }
    }
}

impl Request {
    /// Adds a route of ours .
    pub fn add_route(spec: &RouteSpec, exclusive: Exclusive) -> Request {
        let flags = creation(exclusive);
        Request::new(
            "add route",
            flags,
            RouteNetlinkMessage::NewRoute(route(spec)),
        )
    }

    /// Deletes a route of ours (never a stranger's: the protocol is part of the match).
    pub fn delete_route(spec: &RouteSpec) -> Request {
        Request::new(
            "delete route",
            0,
            RouteNetlinkMessage::DelRoute(route(spec)),
        )
    }

    /// Adds a rule of ours: what comes from `source` looks into `table` at `priority`.
    pub fn add_rule(source: IpNet, table: RouteTable, priority: u32) -> Request {
        let message = RouteNetlinkMessage::NewRule(rule(source, table, priority));
        Request::new("add rule", CREATE, message)
    }

    /// Deletes a rule of ours (never a stranger's: the protocol is part of the match).
    pub fn delete_rule(source: IpNet, table: RouteTable, priority: u32) -> Request {
        let message = RouteNetlinkMessage::DelRule(rule(source, table, priority));
        Request::new("delete rule", 0, message)
    }
}

fn creation(exclusive: Exclusive) -> u16 {
    match exclusive {
        Exclusive::Yes => CREATE,
        Exclusive::No => NLM_F_CREATE | NLM_F_REPLACE,
    }
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
    // A number beyond one byte has an attribute of its own.
    message.header.table = u8::try_from(spec.table.id()).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.protocol = RouteProtocol::Other(SEAWAY_PROTOCOL);
    if spec.on_link {
        message.header.flags |= RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    if message.header.table == RouteHeader::RT_TABLE_UNSPEC {
        attributes.push(RouteAttribute::Table(spec.table.id()));
    }
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

fn rule(source: IpNet, table: RouteTable, priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family_number(Family::of_net(&source));
    message.header.src_len = source.prefix_len();
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(source.network()),
        RuleAttribute::Table(table.id()),
        RuleAttribute::Priority(priority),
        RuleAttribute::Protocol(RouteProtocol::Other(SEAWAY_PROTOCOL)),
    ];
    message
}

pub(super) fn write_route(f: &mut fmt::Formatter<'_>, message: &RouteMessage) -> fmt::Result {
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
