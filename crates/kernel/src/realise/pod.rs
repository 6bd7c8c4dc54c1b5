//! The Linux realiser of a Pod's namespace: one socket born there, one batch for everything.

use std::collections::HashMap;

use seaway_model::{
    AddressRow, Device, IfName, LinkKind, LinkRow, NeighbourRow, Reachability, RouteRow, Row,
};
use seaway_plan::{Change, ChangeSet, Tables};

use super::{PodNetns, PodRealiser, RowFailure, observe, sysctls};
use crate::error::KernelError;
use crate::netlink::{Exclusive, LinkInfo, LinkSet, LinkTarget, Netlink, Request, RouteSpec};
use crate::netns::Netns;

/// The loopback device's index is 1 in every namespace.
const LOOPBACK_INDEX: u32 = 1;

pub(super) struct LinuxPod<'a> {
    netns: &'a Netns,
    netlink: Netlink,
}

impl LinuxPod<'_> {
    pub(super) fn open(netns: &Netns) -> Result<LinuxPod<'_>, KernelError> {
        Ok(LinuxPod {
            netns,
            netlink: Netlink::open_in(netns)?,
        })
    }

    /// The indexes of the devices that the changes name.
    fn indexes(&mut self, changes: &ChangeSet) -> Result<HashMap<IfName, u32>, KernelError> {
        let mut indexes = HashMap::new();
        for change in &changes.links {
            if let Change::Upsert(LinkRow {
                device: Device::Named(name),
                ..
            }) = change
                && let Some(index) = self.netlink.link_index(name.as_str())?
            {
                indexes.insert(name.clone(), index);
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
        let index_of = |device: &Device| match device {
            Device::Loopback => Some(LOOPBACK_INDEX),
            Device::Named(name) => indexes.get(name).copied(),
            _ => None,
        };
        let (requests, keys) = requests(changes, &index_of);
        match self.netlink.send(&requests) {
            Err(error) => failures.push(RowFailure::whole(&error)),
            Ok(answers) => {
                for ((request, (table, key)), answer) in requests.iter().zip(keys).zip(answers) {
                    match answer {
                        Err(error) if !error.already_exists() => {
                            failures.push(RowFailure::of(table, &key, &error.of(request)));
                        }
                        _ => {}
                    }
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

/// One batch in the order that the kernel needs: links up, addresses, neighbours, routes with the
/// narrow ones (the gateway's own) before those that lead through them.
fn requests(
    changes: &ChangeSet,
    index_of: &dyn Fn(&Device) -> Option<u32>,
) -> (Vec<Request>, Vec<Keyed>) {
    let mut batch: Vec<(Request, Keyed)> = Vec::new();
    for row in upserts(&changes.links) {
        if let Some(index) = index_of(&row.device) {
            let set = LinkSet {
                up: Some(row.up),
                mtu: row.mtu,
                ..LinkSet::default()
            };
            batch.push((Request::set_link(LinkTarget::Index(index), set), keyed(row)));
        }
    }
    for row in upserts(&changes.addresses) {
        if let Some(index) = index_of(&row.device) {
            batch.push((Request::add_address(index, row.net), keyed(row)));
        }
    }
    for row in upserts(&changes.neighbours) {
        if let Some(index) = index_of(&row.device) {
            batch.push((
                Request::add_neighbour(index, row.address, row.mac),
                keyed::<NeighbourRow>(row),
            ));
        }
    }
    let mut routes: Vec<&RouteRow> = upserts(&changes.routes).collect();
    routes.sort_by_key(|row| std::cmp::Reverse(row.destination.prefix_len()));
    for row in routes {
        if let Reachability::Via {
            device,
            gateway,
            source,
            mtu,
        } = &row.reach
            && let Some(index) = index_of(device)
        {
            let spec = RouteSpec {
                metric: row.metric,
                gateway: *gateway,
                source: *source,
                mtu: *mtu,
                ..RouteSpec::by_device(row.destination, index)
            };
            batch.push((Request::add_route(&spec, Exclusive::No), keyed(row)));
        }
    }
    batch.into_iter().unzip()
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
