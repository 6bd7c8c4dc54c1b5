//! Addresses that are the same on every node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Family;

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

/// What stands for 127.0.0.1 while a packet of the node to a port of its own loopback address is
/// translated: an address of `lo` that nobody else can reach.
pub const LOOPBACK_ALIAS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 83, 83);
/// What stands for ::1 likewise.
pub const LOOPBACK_ALIAS_V6: Ipv6Addr = Ipv6Addr::new(0xfd5e, 0xa83, 0, 0, 0, 0, 0, 0x83);

/// The stand-in for the loopback address of `family`.
pub fn loopback_alias(family: Family) -> IpAddr {
    match family {
        Family::V4 => LOOPBACK_ALIAS_V4.into(),
        Family::V6 => LOOPBACK_ALIAS_V6.into(),
    }
}

/// Where the Pods of a node ask for names: an address of the node's `lo`, the same on every node.
pub const DNS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 83, 53);
/// Likewise for IPv6.
pub const DNS_V6: Ipv6Addr = Ipv6Addr::new(0xfd5e, 0xa83, 0, 0, 0, 0, 0, 0x53);

/// Where the Pods of a node ask for names, in `family`.
pub fn dns_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => DNS_V4.into(),
        Family::V6 => DNS_V6.into(),
    }
}

/// Whether a node puts the address on its own `lo`, as every other node does: others must neither
/// choose it as a source nor reach it.
pub fn is_of_every_node(address: IpAddr) -> bool {
    let family = Family::of(address);
    address == loopback_alias(family) || address == dns_address(family)
}
