//! From changes of rows to requests, in the order that the kernel needs: what goes, links, who is
//! where, addresses, routes, rules, queues.

use std::collections::BTreeSet;
use std::net::IpAddr;

use seaway_model::{
    Device, LinkRow, RULE_PRIORITY, Reachability, RouteRow, RouteTable, Row, RuleRow,
};
use seaway_plan::{Change, ChangeSet};

use super::node::LinuxNode;
use super::work::{self, Origin, Work, bare_route, whole_route};
use super::{NodeRealiser, RowFailure};
use crate::netlink::{Exclusive, Request, RouteSpec};

/// The rows of a table that are to be there.
fn upserts<R>(changes: &[Change<R>]) -> impl Iterator<Item = &R> {
    changes.iter().filter_map(|change| match change {
        Change::Upsert(row) => Some(row),
        Change::Delete(_) => None,
    })
}

/// The rows of a table that are to go.
fn deletions<R>(changes: &[Change<R>]) -> impl Iterator<Item = &R> {
    changes.iter().filter_map(|change| match change {
        Change::Delete(row) => Some(row),
        Change::Upsert(_) => None,
    })
}

fn from_pods(row: &RuleRow, make: fn(ipnet::IpNet, RouteTable, u32) -> Request) -> Request {
    make(row.source, RouteTable::FromPods, RULE_PRIORITY)
}

impl LinuxNode {
    pub(super) fn plan_deletions<'a>(&mut self, changes: &'a ChangeSet, work: &mut Work<'a>) {
        for row in deletions(&changes.rules) {
            let request = from_pods(row, Request::delete_rule);
            work.push(request, Origin::Delete(row));
        }
        for row in deletions(&changes.routes) {
            let spec = self
                .route_spec(row)
                // What a route carries is not what it is found by.
                .map(|spec| RouteSpec {
                    source: None,
                    mtu: None,
                    ..spec
                })
                .unwrap_or_else(|| bare_route(row));
            work.push(Request::delete_route(&spec), Origin::Delete(row));
        }
        for row in deletions(&changes.proxies) {
            if let Some(index) = self.index_of(&row.device) {
                let request = Request::delete_proxy(index, row.address);
                work.push(request, Origin::Delete(row));
            }
        }
        for row in deletions(&changes.neighbours) {
            if let Some(index) = self.index_of(&row.device) {
                let request = Request::delete_neighbour(index, row.address);
                work.push(request, Origin::Delete(row));
            }
        }
        self.plan_address_deletions(changes, true, work);
        self.plan_link_deletions(changes, work);
    }

    /// The last address of a family takes routes and neighbours of its device along: an address
    /// goes when others have come, unless it makes room for itself with another length (`early`).
    fn plan_address_deletions<'a>(
        &mut self,
        changes: &'a ChangeSet,
        early: bool,
        work: &mut Work<'a>,
    ) {
        let coming: BTreeSet<IpAddr> = upserts(&changes.addresses)
            .map(|row| row.net.addr())
            .collect();
        for row in deletions(&changes.addresses) {
            if coming.contains(&row.net.addr()) == early
                && let Some(index) = self.index_of(&row.device)
            {
                let request = Request::delete_address(index, row.net);
                work.push(request, Origin::Delete(row));
            }
        }
    }

    /// What hangs on a link that goes too goes with it.
    fn plan_link_deletions<'a>(&mut self, changes: &'a ChangeSet, work: &mut Work<'a>) {
        let going: BTreeSet<&Device> = deletions(&changes.links).map(|row| &row.device).collect();
        for row in deletions(&changes.fdb) {
            if let Some(index) = self
                .index_of(&row.device)
                .filter(|_| !going.contains(&row.device))
            {
                let request = Request::delete_fdb(index, row.mac, row.vtep);
                work.push(request, Origin::Delete(row));
            }
        }
        for row in deletions(&changes.shapes) {
            if let Some(index) = self
                .index_of(&row.device)
                .filter(|_| !going.contains(&row.device))
            {
                let request = Request::unlimit_rate(index);
                work.push(request, Origin::Delete(row));
            }
        }
        for row in deletions(&changes.redirects) {
            if let Some(index) = self
                .index_of(&row.from)
                .filter(|_| !going.contains(&row.from))
            {
                work.push(Request::redirect_no_more(index), Origin::Clear);
                work.push(Request::leave_arriving(index), Origin::Clear);
            }
        }
        for row in deletions(&changes.links) {
            if let Some(index) = self.index_to_delete(&row.device) {
                let request = work::removal(&row.device, index);
                work.push(request, Origin::DeleteLink(row));
            }
        }
    }

    /// The index of a Pod's link, also if the device is not known (any more).
    fn index_to_delete(&mut self, device: &Device) -> Option<u32> {
        if let (None, Device::PodLink(id)) = (self.devices.get(device), device) {
            // It teaches the device as a side effect. What cannot be found is not there.
            let _ = self.find(id);
        }
        self.index_of(device)
    }

    pub(super) fn plan_additions<'a>(
        &mut self,
        changes: &'a ChangeSet,
        work: &mut Work<'a>,
        failures: &mut Vec<RowFailure>,
    ) {
        for row in upserts(&changes.fdb) {
            self.add(row, &row.device, work, failures, |index| {
                Request::add_fdb(index, row.mac, row.vtep)
            });
        }
        for row in upserts(&changes.neighbours) {
            self.add(row, &row.device, work, failures, |index| {
                Request::add_neighbour(index, row.address, row.mac)
            });
        }
        for row in upserts(&changes.addresses) {
            self.add(row, &row.device, work, failures, |index| {
                Request::add_bare_address(index, row.net)
            });
        }
        for row in upserts(&changes.routes) {
            match self.route_spec(row) {
                Some(spec) => {
                    let request = Request::add_route(&spec, Exclusive::Yes);
                    work.push(request, Origin::AddRoute(row));
                }
                None => failures.push(device_absent(row)),
            }
        }
        for row in upserts(&changes.rules) {
            let request = from_pods(row, Request::add_rule);
            work.push(request, Origin::Add(row));
        }
        for row in upserts(&changes.proxies) {
            self.add(row, &row.device, work, failures, |index| {
                Request::add_proxy(index, row.address)
            });
        }
        self.plan_queues(changes, work, failures);
        self.plan_address_deletions(changes, false, work);
    }

    fn plan_queues<'a>(
        &mut self,
        changes: &'a ChangeSet,
        work: &mut Work<'a>,
        failures: &mut Vec<RowFailure>,
    ) {
        for row in upserts(&changes.shapes) {
            self.add(row, &row.device, work, failures, |index| {
                Request::limit_rate(index, row.rate)
            });
        }
        for row in upserts(&changes.redirects) {
            match (self.index_of(&row.from), self.index_of(&row.through)) {
                (Some(from), Some(through)) => {
                    work.push(Request::take_arriving(from), Origin::Clear);
                    work.push(Request::redirect_no_more(from), Origin::Clear);
                    let request = Request::redirect(from, through);
                    work.push(request, Origin::Add(row));
                }
                _ => failures.push(device_absent(row)),
            }
        }
    }

    /// A row of a device that there must be.
    fn add<'a, R: Row>(
        &mut self,
        row: &'a R,
        device: &Device,
        work: &mut Work<'a>,
        failures: &mut Vec<RowFailure>,
        request: impl FnOnce(u32) -> Request,
    ) {
        match self.index_of(device) {
            Some(index) => work.push(request(index), Origin::Add(row)),
            None => failures.push(device_absent(row)),
        }
    }

    /// What the kernel is asked for a route; `None` if its device does not exist.
    pub(super) fn route_spec(&mut self, row: &RouteRow) -> Option<RouteSpec> {
        let index = match &row.reach {
            Reachability::Via { device, .. } => Some(self.index_of(device)?),
            Reachability::Unreachable => None,
        };
        Some(whole_route(row, index))
    }

    /// The rows of links to make or to change.
    pub(super) fn links_of(changes: &ChangeSet) -> impl Iterator<Item = &LinkRow> {
        upserts(&changes.links)
    }
}

fn device_absent<R: Row>(row: &R) -> RowFailure {
    RowFailure::missing(row, "the device")
}
