//! One tracked flow as conntrack's netlink interface writes it, and the filter of a dump.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use seaway_model::Family;

use super::Reading;
use crate::netfilter::{Writer, find, u16_be};

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;

const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;

const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;

const FILTER_ORIG_FLAGS: u16 = 1;
/// Bits of the filter: which parts of the tuple count.
const COUNT_DESTINATION: u32 = 1 << 1;
const COUNT_PROTOCOL: u32 = 1 << 3;
const COUNT_DESTINATION_PORT: u32 = 1 << 5;

/// What matters of a tracked flow.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) protocol: u8,
    /// Where the first packet was sent to.
    pub(super) destination: SocketAddr,
    /// Where answers come from before they are translated back.
    pub(super) answers_from: SocketAddr,
}

impl Entry {
    /// `None` for flows without ports.
    pub(super) fn read(family: u8, attributes: &[u8]) -> Option<Entry> {
        let original = find(attributes, TUPLE_ORIG)?;
        let reply = find(attributes, TUPLE_REPLY)?;
        let protocol = find(find(original, TUPLE_PROTO)?, PROTO_NUM)?;
        Some(Entry {
            protocol: *protocol.first()?,
            destination: end(family, original, End::Destination)?,
            answers_from: end(family, reply, End::Source)?,
        })
    }
}

/// The attributes by which the kernel finds this flow, and none that took its place.
pub(super) fn identity(attributes: &[u8]) -> Option<Writer> {
    let mut identity = Writer::default();
    identity.put_nest(TUPLE_ORIG, find(attributes, TUPLE_ORIG)?);
    for kind in [ID, ZONE] {
        if let Some(value) = find(attributes, kind) {
            identity.put(kind, value);
        }
    }
    Some(identity)
}

#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// The address and port of one end of a tuple.
fn end(family: u8, tuple: &[u8], end: End) -> Option<SocketAddr> {
    let (v4, v6, port) = match end {
        End::Source => (IP_V4_SRC, IP_V6_SRC, PROTO_SRC_PORT),
        End::Destination => (IP_V4_DST, IP_V6_DST, PROTO_DST_PORT),
    };
    let addresses = find(tuple, TUPLE_IP)?;
    let address = if i32::from(family) == libc::AF_INET {
        let bytes: [u8; 4] = find(addresses, v4)?.try_into().ok()?;
        IpAddr::V4(Ipv4Addr::from(bytes))
    } else {
        let bytes: [u8; 16] = find(addresses, v6)?.try_into().ok()?;
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    let port = u16_be(find(find(tuple, TUPLE_PROTO)?, port)?)?;
    Some(SocketAddr::new(address, port))
}

/// Lets the kernel leave out flows of other protocols, ports and destinations. Kernels before 5.8
/// do not know it and show all: what is read has to be looked at all the same.
pub(super) fn filter(reading: &Reading) -> Writer {
    let mut filter = Writer::default();
    let mut flags = COUNT_PROTOCOL;
    filter.nest(TUPLE_ORIG, |tuple| {
        // For IPv6 the kernel leaves out those that match, and shows those that do not.
        if let Some(IpAddr::V4(address)) = reading.destination {
            flags |= COUNT_DESTINATION;
            tuple.nest(TUPLE_IP, |addresses| {
                addresses.put(IP_V4_DST, &address.octets());
            });
        }
        tuple.nest(TUPLE_PROTO, |proto| {
            proto.put(PROTO_NUM, &[reading.protocol.number()]);
            if let Some(port) = reading.port {
                flags |= COUNT_DESTINATION_PORT;
                proto.put(PROTO_DST_PORT, &port.to_be_bytes());
            }
        });
    });
    filter.nest(FILTER, |filter| {
        filter.put(FILTER_ORIG_FLAGS, &flags.to_ne_bytes());
    });
    filter
}

/// The kernel's number of a family.
pub(super) fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}
