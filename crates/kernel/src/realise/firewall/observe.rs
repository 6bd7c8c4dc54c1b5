//! Tables read back as rows.

use std::collections::{BTreeSet, HashMap, HashSet};

use seaway_model::{
    ClusterIpRow, ClusterNetRow, Device, Family, FirewallRow, IfName, InnerSourceRow, LinkRow,
    PortGuardRow, Row, View, VtepRow, host_link_name,
};
use seaway_plan::{Table, Tables};

use super::sets::{Parts, TABLE, guards, host_ports, peers, services};
use super::{NOTED, States, rules, tag};
use crate::error::KernelError;
use crate::nft::{Element, Reader, TableFamily};

/// The row that the tables stand for. When they are not exactly what it says, it is not in force:
/// then it is no row if one is planned (so that it is made again), and any row otherwise (so that
/// the tables are deleted).
pub(super) fn firewall_row(
    states: &States,
    planned: &Tables,
    no_strays: bool,
) -> Option<FirewallRow> {
    let planned = planned.firewall.iter().next();
    let (family, chain) = NOTED;
    let note = states.get(&family).and_then(|state| state.note(chain));
    let found = note.and_then(|note| tag::read(note, planned));
    let whole = no_strays && found.as_ref().is_some_and(|row| is_whole(states, row));
    match (found, planned) {
        (Some(row), _) if whole => Some(row),
        (_, Some(_)) => None,
        (found, None) => Some(found.unwrap_or_else(nothing)),
    }
}

fn is_whole(states: &States, row: &FirewallRow) -> bool {
    let specs = rules::tables(row);
    let expected: BTreeSet<TableFamily> = specs.iter().map(|spec| spec.family).collect();
    if !states.keys().eq(&expected) {
        tracing::warn!("nftables: somebody else made or deleted a table of ours");
        return false;
    }
    let difference = specs
        .iter()
        .find_map(|spec| states.get(&spec.family)?.difference(spec));
    if let Some(difference) = &difference {
        tracing::warn!(%difference, "nftables: our rules are not as they were made");
    }
    difference.is_none()
}

fn nothing() -> FirewallRow {
    FirewallRow {
        wiring: seaway_model::Wiring::default(),
        own_nets: BTreeSet::new(),
        vxlan: None,
        masquerade: false,
        cluster_lengths: BTreeSet::new(),
        services: None,
    }
}

/// Reads the elements of all sets into `tables` but those that grow with the cluster's Services, and
/// gives those that are no row's.
pub(super) fn elements(
    reader: &mut Reader,
    states: &States,
    planned: &Tables,
    tables: &mut Tables,
) -> Result<Vec<Element>, KernelError> {
    let mut found = Found {
        reader,
        strays: Vec::new(),
    };
    if states.contains_key(&TableFamily::Inet) {
        for family in Family::ALL {
            found.peers(family, tables)?;
            for at in [false, true] {
                found.host_ports(family, at, planned, tables)?;
            }
            found.local_pods(family, planned, tables)?;
        }
    }
    if states.contains_key(&TableFamily::Bridge) {
        found.port_guards(planned, &mut tables.port_guards)?;
    }
    Ok(found.strays)
}

/// Reads the tables that grow with the cluster's Services, and gives the elements that are no row's.
pub(super) fn services(
    reader: &mut Reader,
    states: &States,
    tables: &mut Tables,
) -> Result<Vec<Element>, KernelError> {
    let mut found = Found {
        reader,
        strays: Vec::new(),
    };
    if states.contains_key(&TableFamily::Inet) {
        for family in Family::ALL {
            found.services(family, tables)?;
        }
    }
    Ok(found.strays)
}

/// Takes the tables that grow with the cluster's Services as planned. They share their rows.
pub(super) fn take_services(planned: &Tables, tables: &mut Tables) {
    tables.backends = planned.backends.clone();
    tables.members = planned.members.clone();
    tables.source_ranges = planned.source_ranges.clone();
    tables.frontends = planned.frontends.clone();
    tables.cluster_ips = planned.cluster_ips.clone();
}

/// Elements that were read.
struct Found<'a> {
    reader: &'a mut Reader,
    strays: Vec<Element>,
}

impl Found<'_> {
    fn read(
        &mut self,
        family: TableFamily,
        set: &'static str,
    ) -> Result<Vec<Element>, KernelError> {
        let all = self.reader.elements(family, TABLE, set)?;
        let element = |(key, value)| Element {
            family,
            set,
            key,
            value,
        };
        Ok(all.into_iter().map(element).collect())
    }

    /// The rows of a set, one by one: those of which `row` makes none are strays.
    fn each<R: Row>(
        &mut self,
        set: &'static str,
        rows: &mut Table<R>,
        row: impl Fn(&Element) -> Option<R>,
    ) -> Result<(), KernelError> {
        for element in self.read(TableFamily::Inet, set)? {
            match row(&element) {
                Some(row) => drop(rows.insert(row)),
                None => self.strays.push(element),
            }
        }
        Ok(())
    }

    /// The rows of a set that all they say is in the key.
    fn plain<R: Row>(
        &mut self,
        set: &'static str,
        rows: &mut Table<R>,
        row: impl Fn(&mut Parts<'_>) -> Option<R>,
    ) -> Result<(), KernelError> {
        self.each(set, rows, |element| row(&mut Parts(&element.key)))
    }

    fn peers(&mut self, family: Family, tables: &mut Tables) -> Result<(), KernelError> {
        self.plain(peers::vteps(family), &mut tables.vteps, |parts| {
            let address = parts.address(family)?;
            Some(VtepRow { address })
        })?;
        for inner in Family::ALL {
            let set = peers::inner_sources(family, inner);
            self.plain(set, &mut tables.inner_sources, |parts| {
                let vtep = parts.address(family)?;
                let net = parts.net(inner)?;
                Some(InnerSourceRow { vtep, net })
            })?;
        }
        let set = peers::cluster_nets(family);
        self.plain(set, &mut tables.cluster_nets, |parts| {
            let net = parts.net(family)?;
            Some(ClusterNetRow { net })
        })
    }

    fn host_ports(
        &mut self,
        family: Family,
        at: bool,
        planned: &Tables,
        tables: &mut Tables,
    ) -> Result<(), KernelError> {
        let set = host_ports::host_ports(family, at);
        self.each(set, &mut tables.host_ports, |element| {
            let mut row = host_ports::read_host_port(family, at, &element.key, &element.value)?;
            let known = planned.host_ports.get(&row.key);
            row.owner = known.and_then(|known| known.owner.clone());
            Some(row)
        })
    }

    fn services(&mut self, family: Family, tables: &mut Tables) -> Result<(), KernelError> {
        self.each(services::backends(family), &mut tables.backends, |e| {
            services::read_backend(family, e)
        })?;
        self.plain(services::members(family), &mut tables.members, |parts| {
            services::read_member(family, parts)
        })?;
        let set = services::source_ranges(family);
        self.plain(set, &mut tables.source_ranges, |parts| {
            services::read_source_range(family, parts)
        })?;
        for view in [View::Everyone, View::Outside] {
            let set = services::frontends(view, family);
            self.each(set, &mut tables.frontends, |e| {
                services::read_frontend(view, family, e)
            })?;
        }
        let set = services::cluster_ips(family);
        self.plain(set, &mut tables.cluster_ips, |parts| {
            let address = parts.address(family)?;
            Some(ClusterIpRow { address })
        })
    }

    fn local_pods(
        &mut self,
        family: Family,
        planned: &Tables,
        tables: &mut Tables,
    ) -> Result<(), KernelError> {
        let set = services::local_pods(family);
        self.plain(set, &mut tables.local_pods, |parts| {
            let mut row = services::read_local_pod(family, parts)?;
            let known = planned.local_pods.get(&row.address);
            row.owner = known.and_then(|known| known.owner.clone());
            Some(row)
        })
    }

    fn port_guards(
        &mut self,
        planned: &Tables,
        rows: &mut Table<PortGuardRow>,
    ) -> Result<(), KernelError> {
        let devices = devices(planned);
        let macs = self.read(TableFamily::Bridge, guards::PORT_MACS)?;
        let mut macs: HashSet<Element> = macs.into_iter().collect();
        for family in Family::ALL {
            for element in self.read(TableFamily::Bridge, guards::port_guards(family))? {
                let row = read_port_guard(family, &element.key, &devices);
                let Some((row, name)) = row.filter(|(row, _)| is_the_one(row, planned)) else {
                    self.strays.push(element);
                    continue;
                };
                let others = &guards::of_port_guard(&row, &name)[1..];
                let known = planned.port_guards.get(&row.key());
                match (others.iter().all(|e| macs.remove(e)), known) {
                    (true, _) => drop(rows.insert(row)),
                    (false, Some(_)) => {}
                    (false, None) => self.strays.push(element),
                }
            }
        }
        self.strays.extend(macs);
        Ok(())
    }
}

/// The Ethernet address is part of the key: an element of another one than planned is a stray.
fn is_the_one(row: &PortGuardRow, planned: &Tables) -> bool {
    let known = planned.port_guards.get(&row.key());
    known.is_none_or(|known| known.mac == row.mac)
}

/// The planned Pod links by their name.
fn devices(planned: &Tables) -> HashMap<String, Device> {
    let links = planned.links.iter().map(LinkRow::key);
    let guards = planned.port_guards.iter().map(|row| row.device.clone());
    let named = |device: Device| match &device {
        Device::PodLink(id) => Some((host_link_name(id).to_string(), device)),
        _ => None,
    };
    links.chain(guards).filter_map(named).collect()
}

fn read_port_guard(
    family: Family,
    key: &[u8],
    devices: &HashMap<String, Device>,
) -> Option<(PortGuardRow, String)> {
    let mut parts = Parts(key);
    let name = parts.name()?;
    let (mac, address) = (parts.mac()?, parts.address(family)?);
    let device = match devices.get(&name) {
        Some(device) => device.clone(),
        None => Device::Named(IfName::new(name.clone()).ok()?),
    };
    let row = PortGuardRow {
        device,
        address,
        mac,
    };
    Some((row, name))
}
