//! Requests about who is where on a link: neighbours, proxies, forwarding entries.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use seaway_model::{Family, MacAddr};

use super::{Request, SEAWAY_PROTOCOL, family_number};

const PUT: u16 = NLM_F_CREATE | NLM_F_REPLACE;

impl Request {
    /// Adds or replaces a permanent neighbour entry on a device of ours.
    pub fn add_neighbour(index: u32, address: IpAddr, mac: MacAddr) -> Request {
        let mut message = neighbour(index, address);
        message.header.state = NeighbourState::Permanent;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        message.attributes.push(ours());
        Request::new(
            "add neighbour",
            PUT,
            RouteNetlinkMessage::NewNeighbour(message),
        )
    }

    /// Deletes a neighbour entry.
    pub fn delete_neighbour(index: u32, address: IpAddr) -> Request {
        let message = RouteNetlinkMessage::DelNeighbour(neighbour(index, address));
        Request::new("delete neighbour", 0, message)
    }

    /// Answers for an address on a device, in our name.
    pub fn add_proxy(index: u32, address: IpAddr) -> Request {
        let mut message = neighbour(index, address);
        message.header.flags = NeighbourFlags::Proxy;
        message.attributes.push(ours());
        Request::new("add proxy", PUT, RouteNetlinkMessage::NewNeighbour(message))
    }

    /// No longer answers for an address on a device.
    pub fn delete_proxy(index: u32, address: IpAddr) -> Request {
        let mut message = neighbour(index, address);
        message.header.flags = NeighbourFlags::Proxy;
        let message = RouteNetlinkMessage::DelNeighbour(message);
        Request::new("delete proxy", 0, message)
    }

    /// Adds or replaces a forwarding entry: on a VXLAN device with the VTEP that it leads to, or,
    /// without one, of the bridge that the device is a port of, to that port for good.
    pub fn add_fdb(index: u32, mac: MacAddr, vtep: Option<IpAddr>) -> Request {
        let mut message = forwarding(index, mac, vtep);
        if vtep.is_none() {
            message.header.state = NeighbourState::Noarp;
            message.header.flags |= NeighbourFlags::Sticky;
        }
        message.attributes.extend(vtep.map(|vtep| {
            NeighbourAttribute::Destination(match vtep {
                IpAddr::V4(a) => NeighbourAddress::Inet(a),
                IpAddr::V6(a) => NeighbourAddress::Inet6(a),
            })
        }));
        let message = RouteNetlinkMessage::NewNeighbour(message);
        Request::new("add forwarding entry", PUT, message)
    }

    /// Deletes a forwarding entry; `vtep` tells of which kind it is.
    pub fn delete_fdb(index: u32, mac: MacAddr, vtep: Option<IpAddr>) -> Request {
        let message = RouteNetlinkMessage::DelNeighbour(forwarding(index, mac, vtep));
        Request::new("delete forwarding entry", 0, message)
    }
}

fn ours() -> NeighbourAttribute {
    NeighbourAttribute::Protocol(RouteProtocol::Other(SEAWAY_PROTOCOL))
}

fn forwarding(index: u32, mac: MacAddr, vtep: Option<IpAddr>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = match vtep {
        Some(_) => NeighbourFlags::Own,
        None => NeighbourFlags::Controller,
    };
    let mac = NeighbourAttribute::LinkLayerAddress(mac.0.to_vec());
    message.attributes.push(mac);
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
