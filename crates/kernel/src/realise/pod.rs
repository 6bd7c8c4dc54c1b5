//! The Linux realiser of a Pod's namespace: one socket born there, one batch for everything.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use seaway_model::{
    AddressRow, Device, IfName, LinkKind, LinkRow, NeighbourRow, Reachability, RouteRow, Row,
};
use seaway_plan::{Change, ChangeSet, Tables};

use super::work::whole_route;
use super::{PodNetns, PodRealiser, RowFailure, observe, sysctls};
use crate::error::KernelError;
use crate::netlink::{
    Arrivals, Exclusive, LinkInfo, LinkSet, LinkTarget, Netlink, NetlinkError, Request,
};
use crate::netns::Netns;

/// The loopback device's index is 1 in every namespace.
const LOOPBACK_INDEX: u32 = 1;

pub(super) struct LinuxPod<'a> {
    netns: &'a Netns,
    netlink: Netlink,
    arrivals: Arrivals,
}

impl LinuxPod<'_> {
    pub(super) fn open(netns: &Netns) -> Result<LinuxPod<'_>, KernelError> {
        let (netlink, arrivals) = netns.enter(|| (Netlink::open(), Arrivals::open()))?;
        Ok(LinuxPod {
            netns,
            netlink: netlink?,
            arrivals: arrivals?,
        })
    }

    /// The indexes of the devices that the changes name, as far as these exist.
    fn indexes(&mut self, changes: &ChangeSet) -> Result<HashMap<Device, u32>, KernelError> {
        let links = upserts(&changes.links).map(|row| &row.device);
        let addresses = upserts(&changes.addresses).map(|row| &row.device);
        let neighbours = upserts(&changes.neighbours).map(|row| &row.device);
        let routes = upserts(&changes.routes).filter_map(|row| match &row.reach {
            Reachability::Via { device, .. } => Some(device),
            Reachability::Unreachable => None,
        });
        let devices: HashSet<&Device> = links
            .chain(addresses)
            .chain(neighbours)
            .chain(routes)
            .collect();
        let mut indexes = HashMap::from([(Device::Loopback, LOOPBACK_INDEX)]);
        for device in devices {
            if let Device::Named(name) = device
                && let Some(index) = self.netlink.link_index(name.as_str())?
            {
                indexes.insert(device.clone(), index);
            }
        }
        Ok(indexes)
    }

    fn apply_sysctls(&mut self, changes: &ChangeSet, failures: &mut Vec<RowFailure>) {
        if changes.sysctls.is_empty() {
            return;
        }
        let work = || sysctls::apply(&changes.sysctls, &name_of, failures);
        if let Err(error) = self.netns.enter(work) {
            failures.push(RowFailure::of("sysctls", &"(all)", &error));
        }
    }
}

impl PodRealiser for LinuxPod<'_> {
    fn observe(&mut self, planned: &Tables) -> Result<Tables, KernelError> {
        let links = self.netlink.links()?;
        let device_of = |index: u32| device_of(&links, index);
        let mut tables = Tables {
            links: links.iter().filter_map(link_row).collect(),
            ..Tables::default()
        };
        let planned_on = |device: &Device| planned.links.get(device).is_some();
        tables.addresses = self
            .netlink
            .addresses()?
            .into_iter()
            .filter_map(|a| {
                Some(AddressRow {
                    device: device_of(a.index)?,
                    net: a.net,
                })
            })
            .filter(|row| planned_on(&row.device) && planned.addresses.get(row).is_some())
            .collect();
        let routes = self.netlink.routes()?;
        tables.routes = routes
            .iter()
            .filter_map(|r| observe::any_route_row(r, &device_of))
            .filter(|row| planned.routes.get(&row.key()).is_some())
            .collect();
        let entries = self.netlink.neighbours()?;
        tables.neighbours = entries
            .iter()
            .filter_map(|n| observe::neighbour_row(n, &device_of))
            .filter(|row| planned.neighbours.get(&row.key()).is_some())
            .collect();
        tables.sysctls = self
            .netns
            .enter(|| sysctls::observe(&planned.sysctls, &name_of))?;
        tables.links = tables
            .links
            .iter()
            .filter(|l| planned_on(&l.device))
            .cloned()
            .collect();
        Ok(tables)
    }

    fn apply(&mut self, changes: &ChangeSet) -> Vec<RowFailure> {
        let mut failures = Vec::new();
        self.apply_sysctls(changes, &mut failures);
        let indexes = match self.indexes(changes) {
            Ok(indexes) => indexes,
            Err(error) => return vec![RowFailure::whole(&error)],
        };
        let Batch { requests, keys } = Batch::of(changes, &indexes, &mut failures);
        match self.netlink.send(&requests) {
            Err(error) => failures.push(RowFailure::whole(&error)),
            Ok(answers) => {
                let added = added_addresses(&requests, &answers);
                for ((request, (table, key)), answer) in requests.iter().zip(keys).zip(answers) {
                    match answer {
                        Err(error) if !error.already_exists() => {
                            failures.push(RowFailure::of(table, &key, &error.of(request)));
                        }
                        _ => {}
                    }
                }
                if let Err(error) = self.arrivals.wait_for(&added) {
                    failures.push(RowFailure::of(AddressRow::TABLE, &"(new)", &error));
                }
            }
        }
        failures
    }

    fn has_interface(&mut self, name: &IfName) -> Result<bool, KernelError> {
        Ok(self.netlink.link_index(name.as_str())?.is_some())
    }

    fn identity(&self) -> Result<PodNetns, KernelError> {
        Ok(PodNetns {
            id: self.netns.identity()?,
            cookie: self.netlink.netns_cookie(),
        })
    }
}

/// The addresses that are new to the kernel.
fn added_addresses(requests: &[Request], answers: &[Result<(), NetlinkError>]) -> Vec<IpAddr> {
    let acknowledged = requests
        .iter()
        .zip(answers)
        .filter(|(_, answer)| answer.is_ok());
    acknowledged
        .filter_map(|(request, _)| request.new_address())
        .collect()
}

fn name_of(device: &Device) -> Option<String> {
    match device {
        Device::Loopback => Some("lo".to_owned()),
        Device::Named(name) => Some(name.to_string()),
        _ => None,
    }
}

fn device_of(links: &[LinkInfo], index: u32) -> Option<Device> {
    if index == LOOPBACK_INDEX {
        return Some(Device::Loopback);
    }
    let link = links.iter().find(|link| link.index == index)?;
    Some(Device::Named(IfName::new(&link.name).ok()?))
}

fn link_row(link: &LinkInfo) -> Option<LinkRow> {
    let device = match link.index {
        LOOPBACK_INDEX => Device::Loopback,
        _ => Device::Named(IfName::new(&link.name).ok()?),
    };
    Some(LinkRow {
        device,
        mac: link.mac,
        mtu: Some(link.mtu),
        up: link.up,
        kind: LinkKind::Existing,
    })
}

type Keyed = (&'static str, String);

/// Requests with the rows that they are for.
#[derive(Default)]
struct Batch {
    requests: Vec<Request>,
    keys: Vec<Keyed>,
}

impl Batch {
    /// One batch in the order that the kernel needs: links up, addresses, neighbours, routes with
    /// the narrow ones (the gateway's own) before those that lead through them.
    fn of(
        changes: &ChangeSet,
        indexes: &HashMap<Device, u32>,
        failures: &mut Vec<RowFailure>,
    ) -> Batch {
        let mut batch = Batch::default();
        let mut add =
            |device: &Device, (table, key): Keyed, request: &dyn Fn(u32) -> Request| match indexes
                .get(device)
            {
                Some(index) => {
                    batch.requests.push(request(*index));
                    batch.keys.push((table, key));
                }
                None => failures.push(RowFailure::absent(table, &key, "the device in the Pod")),
            };
        for row in upserts(&changes.links) {
            let set = LinkSet {
                up: Some(row.up),
                mtu: row.mtu,
                ..LinkSet::default()
            };
            add(&row.device, keyed(row), &|index| {
                Request::set_link(LinkTarget::Index(index), set.clone())
            });
        }
        for row in upserts(&changes.addresses) {
            add(&row.device, keyed(row), &|index| {
                Request::add_address(index, row.net)
            });
        }
        for row in upserts(&changes.neighbours) {
            add(&row.device, keyed::<NeighbourRow>(row), &|index| {
                Request::add_neighbour(index, row.address, row.mac)
            });
        }
        let mut routes: Vec<&RouteRow> = upserts(&changes.routes).collect();
        routes.sort_by_key(|row| std::cmp::Reverse(row.destination.prefix_len()));
        for row in routes {
            if let Reachability::Via { device, .. } = &row.reach {
                add(device, keyed(row), &|index| {
                    Request::add_route(&whole_route(row, Some(index)), Exclusive::No)
                });
            }
        }
        batch
    }
}

fn upserts<R>(changes: &[Change<R>]) -> impl Iterator<Item = &R> {
    changes.iter().filter_map(|change| match change {
        Change::Upsert(row) => Some(row),
        Change::Delete(_) => None,
    })
}

fn keyed<R: Row>(row: &R) -> Keyed {
    (R::TABLE, row.key().to_string())
}
