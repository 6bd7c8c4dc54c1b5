//! Ports of the node that lead to Pods.

use std::net::IpAddr;

use seaway_model::{Family, HostPortKey, HostPortRow};

use super::super::parts::address_field;
use super::super::words::{alias, loopback};
use super::{Parts, by_family, inet, key, map};
use crate::nft::{Element, Field, SetSpec};

/// Ports of the node; those that are open on one address only when `at`.
pub(in crate::realise::firewall) fn host_ports(family: Family, at: bool) -> &'static str {
    match at {
        false => by_family(family, ["host-ports-v4", "host-ports-v6"]),
        true => by_family(family, ["host-ports-at-v4", "host-ports-at-v6"]),
    }
}

pub(super) fn sets(family: Family) -> Vec<SetSpec> {
    let address = address_field(family);
    let value = || vec![address, Field::Port];
    let port = [Field::Protocol, Field::Port];
    let at = [&[address][..], &port].concat();
    vec![
        map(host_ports(family, false), port.to_vec(), value()),
        map(host_ports(family, true), at, value()),
    ]
}

/// The address by which a port of the node is known in a key: what stands for the loopback address
/// is there when the packet comes to the rules.
fn known_as(key: &HostPortKey) -> Option<IpAddr> {
    let looped = loopback(key.family);
    key.address
        .map(|a| if a == looped { alias(key.family) } else { a })
}

/// The element of a port of the node: where it leads.
pub(in crate::realise::firewall) fn of_host_port(row: &HostPortRow) -> Vec<Element> {
    let HostPortKey {
        family,
        protocol,
        port,
        ..
    } = row.key;
    let at = known_as(&row.key);
    let leads = at.map_or_else(key, |a| key().address(a));
    let value = key().socket(row.target);
    let set = host_ports(family, at.is_some());
    vec![inet(set, leads.port(protocol, port), value)]
}

/// The row of an element of a map of the node's ports.
pub(in crate::realise::firewall) fn read_host_port(
    family: Family,
    at: bool,
    key: &[u8],
    value: &[u8],
) -> Option<HostPortRow> {
    let mut parts = Parts(key);
    let address = match at {
        true => Some(parts.address(family)?),
        false => None,
    };
    let key = HostPortKey {
        family,
        protocol: parts.protocol()?,
        port: parts.port()?,
        address: address.map(|a| {
            if a == alias(family) {
                loopback(family)
            } else {
                a
            }
        }),
    };
    let target = Parts(value).socket(family)?;
    Some(HostPortRow {
        key,
        target,
        owner: None,
    })
}
