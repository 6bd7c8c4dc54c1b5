//! The sets and maps of the firewall: their keys, and which rows are which elements.
//!
//! Every element belongs to exactly one row, so that it can be added and removed alone. Rows that
//! have two elements are only there when both are.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use seaway_model::{
    ClusterNetRow, Family, HostPortKey, HostPortRow, InnerSourceRow, MacAddr, PortGuardRow,
    Protocol, VtepRow,
};

use super::words::{address_field, alias, loopback, octets};
use crate::nft::{Element, Field, SetSpec, TableFamily};

/// The name of our tables.
pub(super) const TABLE: &str = "seaway";
/// Which Ethernet addresses may be used at which ports of the bridge.
pub(super) const PORT_MACS: &str = "port-macs";

/// Which addresses, with which Ethernet address, may be used at which ports of the bridge.
pub(super) fn port_guards(family: Family) -> &'static str {
    by_family(family, ["port-guards-v4", "port-guards-v6"])
}

/// Known VTEPs.
pub(super) fn vteps(family: Family) -> &'static str {
    by_family(family, ["vteps-v4", "vteps-v6"])
}

/// What VTEPs may speak for.
pub(super) fn inner_sources(underlay: Family, inner: Family) -> &'static str {
    let v4 = ["inner-v4-by-v4", "inner-v6-by-v4"];
    let v6 = ["inner-v4-by-v6", "inner-v6-by-v6"];
    match underlay {
        Family::V4 => by_family(inner, v4),
        Family::V6 => by_family(inner, v6),
    }
}

/// Destinations inside the cluster.
pub(super) fn cluster_nets(family: Family) -> &'static str {
    by_family(family, ["cluster-v4", "cluster-v6"])
}

/// Ports of the node; those that are open on one address only when `at`.
pub(super) fn host_ports(family: Family, at: bool) -> &'static str {
    match at {
        false => by_family(family, ["host-ports-v4", "host-ports-v6"]),
        true => by_family(family, ["host-ports-at-v4", "host-ports-at-v6"]),
    }
}

/// Who reaches itself by a port of the node: source, destination, protocol and port.
pub(super) fn hairpins(family: Family, at: bool) -> &'static str {
    match at {
        false => by_family(family, ["hairpins-v4", "hairpins-v6"]),
        true => by_family(family, ["hairpins-at-v4", "hairpins-at-v6"]),
    }
}

fn by_family(family: Family, [v4, v6]: [&'static str; 2]) -> &'static str {
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

/// The sets of the table of IPv4 and IPv6.
pub(super) fn inet_sets() -> Vec<SetSpec> {
    use Field::{Length, Port, Protocol};
    let set = |name, key| SetSpec {
        name,
        key,
        value: vec![],
    };
    let mut sets = Vec::new();
    for family in Family::ALL {
        let address = address_field(family);
        sets.push(set(vteps(family), vec![address]));
        for inner in Family::ALL {
            let key = vec![address, Length, address_field(inner)];
            sets.push(set(inner_sources(family, inner), key));
        }
        sets.push(set(cluster_nets(family), vec![Length, address]));
        let ends = [address, address, Protocol, Port];
        sets.push(set(hairpins(family, false), ends.to_vec()));
        sets.push(set(
            hairpins(family, true),
            [&ends[..], &[address]].concat(),
        ));
        for (at, key) in [
            (false, vec![Protocol, Port]),
            (true, vec![address, Protocol, Port]),
        ] {
            sets.push(SetSpec {
                name: host_ports(family, at),
                key,
                value: vec![address, Port],
            });
        }
    }
    sets
}

/// The sets of the bridge's table.
pub(super) fn bridge_sets() -> Vec<SetSpec> {
    let mut sets = vec![SetSpec {
        name: PORT_MACS,
        key: vec![Field::InterfaceName, Field::Mac],
        value: vec![],
    }];
    sets.extend(Family::ALL.map(|family| SetSpec {
        name: port_guards(family),
        key: vec![Field::InterfaceName, Field::Mac, address_field(family)],
        value: vec![],
    }));
    sets
}

/// Bytes of a key, each part filled up to whole registers.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn address(self, address: IpAddr) -> Bytes {
        self.put(&octets(address))
    }

    fn length(self, length: u8) -> Bytes {
        self.put(&u32::from(length).to_ne_bytes())
    }

    fn port(self, protocol: Protocol, port: u16) -> Bytes {
        self.put(&[protocol.number()]).put(&port.to_be_bytes())
    }

    fn name(self, name: &str) -> Bytes {
        let mut padded = name.as_bytes().to_vec();
        padded.resize(16, 0);
        self.put(&padded)
    }
}

fn inet(set: &'static str, key: Bytes, value: Bytes) -> Element {
    Element {
        family: TableFamily::Inet,
        set,
        key: key.0,
        value: value.0,
    }
}

fn key() -> Bytes {
    Bytes::default()
}

/// The element of a VTEP.
pub(super) fn of_vtep(row: &VtepRow) -> Vec<Element> {
    let set = vteps(Family::of(row.address));
    vec![inet(set, key().address(row.address), key())]
}

/// The element of what a VTEP may speak for.
pub(super) fn of_inner_source(row: &InnerSourceRow) -> Vec<Element> {
    let set = inner_sources(Family::of(row.vtep), Family::of_net(&row.net));
    let key = key()
        .address(row.vtep)
        .length(row.net.prefix_len())
        .address(row.net.addr());
    vec![inet(set, key, Bytes::default())]
}

/// The element of a destination inside the cluster.
pub(super) fn of_cluster_net(row: &ClusterNetRow) -> Vec<Element> {
    let set = cluster_nets(Family::of_net(&row.net));
    let key = key().length(row.net.prefix_len()).address(row.net.addr());
    vec![inet(set, key, Bytes::default())]
}

/// The address by which a port of the node is known in a key: what stands for the loopback address
/// is there when the packet comes to the rules.
fn known_as(key: &HostPortKey) -> Option<IpAddr> {
    let looped = loopback(key.family);
    key.address
        .map(|a| if a == looped { alias(key.family) } else { a })
}

/// The elements of a port of the node: where it leads, and that the Pod may reach itself by it.
pub(super) fn of_host_port(row: &HostPortRow) -> Vec<Element> {
    let HostPortKey {
        family,
        protocol,
        port,
        ..
    } = row.key;
    let at = known_as(&row.key);
    let target = row.target.ip();
    let leads = at.map_or_else(key, |a| key().address(a));
    let ends = key().address(target).address(target).port(protocol, port);
    let ends = match at {
        Some(a) => ends.address(a),
        None => ends,
    };
    let value = key().address(target).put(&row.target.port().to_be_bytes());
    vec![
        inet(
            host_ports(family, at.is_some()),
            leads.port(protocol, port),
            value,
        ),
        inet(hairpins(family, at.is_some()), ends, key()),
    ]
}

/// The elements of an address at a port of the bridge, whose device has a name. The link-local
/// address stands for the Ethernet address, too.
pub(super) fn of_port_guard(row: &PortGuardRow, name: &str) -> Vec<Element> {
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

/// Reads the parts of a key.
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl Parts<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.0.get(..N)?.try_into().ok()?;
        self.0 = self.0.get(N.next_multiple_of(4)..)?;
        Some(taken)
    }

    pub(super) fn address(&mut self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.take::<4>().map(IpAddr::from),
            Family::V6 => self.take::<16>().map(IpAddr::from),
        }
    }

    pub(super) fn net(&mut self, family: Family) -> Option<IpNet> {
        let length = u32::from_ne_bytes(self.take()?);
        let address = self.address(family)?;
        IpNet::new(address, u8::try_from(length).ok()?).ok()
    }

    pub(super) fn port(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn protocol(&mut self) -> Option<Protocol> {
        self.take::<1>().and_then(|[n]| Protocol::of_number(n))
    }

    pub(super) fn name(&mut self) -> Option<String> {
        let bytes = self.take::<16>()?;
        let text = std::str::from_utf8(&bytes).ok()?;
        Some(text.trim_end_matches('\0').to_owned())
    }

    pub(super) fn mac(&mut self) -> Option<MacAddr> {
        self.take().map(MacAddr)
    }
}

/// The row of an element of a map of the node's ports.
pub(super) fn read_host_port(
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
    let mut parts = Parts(value);
    let target = SocketAddr::new(parts.address(family)?, parts.port()?);
    Some(HostPortRow {
        key,
        target,
        owner: None,
    })
}
