//! What may enter at the ports of the bridge.

use std::net::IpAddr;

use seaway_model::{Family, PortGuardRow};

use super::super::parts::address_field;
use super::{Bytes, by_family, key, set};
use crate::nft::{Element, Field, SetSpec, TableFamily};

/// Which Ethernet addresses may be used at which ports of the bridge.
pub(in crate::realise::firewall) const PORT_MACS: &str = "port-macs";

/// Which addresses, with which Ethernet address, may be used at which ports of the bridge.
pub(in crate::realise::firewall) fn port_guards(family: Family) -> &'static str {
    by_family(family, ["port-guards-v4", "port-guards-v6"])
}

/// The sets of the bridge's table.
pub(in crate::realise::firewall) fn bridge_sets() -> Vec<SetSpec> {
    let mut sets = vec![set(PORT_MACS, vec![Field::InterfaceName, Field::Mac])];
    sets.extend(Family::ALL.map(|family| {
        let key = vec![Field::InterfaceName, Field::Mac, address_field(family)];
        set(port_guards(family), key)
    }));
    sets
}

/// The elements of an address at a port of the bridge, whose device has a name. The link-local
/// address stands for the Ethernet address, too.
pub(in crate::realise::firewall) fn of_port_guard(row: &PortGuardRow, name: &str) -> Vec<Element> {
    let element = |set, key: Bytes| Element {
        family: TableFamily::Bridge,
        set,
        key: key.0,
        value: vec![],
    };
    let port = || key().name(name).put(&row.mac.0);
    let set = port_guards(Family::of(row.address));
    let mut all = vec![element(set, port().address(row.address))];
    if row.address == IpAddr::V6(row.mac.link_local()) {
        all.push(element(PORT_MACS, port()));
    }
    all
}
