//! The rows of Services in their tables: puts what is wanted into force, and tells what changed.
//! What is wanted, and of whom, is not decided here.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::{
    BackendKey, BackendRow, ClusterIpRow, Family, FrontendRow, GroupId, MemberRow, Row,
    ServiceName, SourceRangeRow, View,
};

use super::spots::Point;
use super::wanted::Claim;
use crate::ledger::Owner;
use crate::table::{Change, ChangeSet, Table, Tables};

/// The Service on whose behalf a row is there.
fn service(owner: Option<&Arc<Owner>>) -> Option<&ServiceName> {
    match owner.map(Arc::as_ref) {
        Some(Owner::Service(name)) => Some(name),
        _ => None,
    }
}

/// Who has a point.
pub(super) fn holder(tables: &Tables, point: Point) -> Option<&ServiceName> {
    let (_, owner) = tables.frontends.owned(&point.key(View::Everyone))?;
    service(owner)
}

/// Who has a cluster address.
pub(super) fn holder_of_ip(tables: &Tables, address: IpAddr) -> Option<&ServiceName> {
    let (_, owner) = tables.cluster_ips.owned(&address)?;
    service(owner)
}

/// Tables that change, and what changes in them.
pub(super) struct Edit<'a> {
    pub(super) tables: &'a mut Tables,
    pub(super) changes: ChangeSet,
}

impl<'a> Edit<'a> {
    pub(super) fn of(tables: &'a mut Tables) -> Edit<'a> {
        let changes = ChangeSet::default();
        Edit { tables, changes }
    }

    /// Gives a point to a Service, whoever has it now.
    pub(super) fn give(&mut self, point: Point, owner: &Arc<Owner>, claim: &Claim) {
        let row = |view, action| FrontendRow {
            key: point.key(view),
            action,
            guarded: claim.ranges.is_some(),
        };
        let now = row(View::Everyone, claim.everyone);
        let (table, changes) = (&mut self.tables.frontends, &mut self.changes.frontends);
        let before = table.owned(&now.key);
        let is_new = before.is_none();
        let was_guarded = before.is_some_and(|(row, _)| row.guarded);
        let same = before.is_some_and(|(row, _)| *row == now);
        if !same || before.is_some_and(|(_, holder)| holder != Some(owner)) {
            if !same {
                changes.push(Change::Upsert(now.clone()));
            }
            table.insert_owned(now, owner.clone());
        }
        match claim.outside {
            Some(action) => put(table, row(View::Outside, action), owner, changes),
            // There is none without one for everybody.
            None if is_new => {}
            None => take(table, &point.key(View::Outside), changes),
        }
        if was_guarded || claim.ranges.is_some() {
            let nets = claim.ranges.as_deref().unwrap_or_default();
            self.set_ranges(point, nets, owner);
        }
    }

    /// Takes a point from whoever has it.
    pub(super) fn clear(&mut self, point: Point) {
        if self.is_guarded(point) {
            self.set_ranges(point, &[], &Arc::new(Owner::Base));
        }
        let (table, changes) = (&mut self.tables.frontends, &mut self.changes.frontends);
        take(table, &point.key(View::Everyone), changes);
        take(table, &point.key(View::Outside), changes);
    }

    fn is_guarded(&self, point: Point) -> bool {
        let row = self.tables.frontends.get(&point.key(View::Everyone));
        row.is_some_and(|row| row.guarded)
    }

    fn set_ranges(&mut self, point: Point, nets: &[IpNet], owner: &Arc<Owner>) {
        let row = |net| SourceRangeRow {
            address: point.address,
            protocol: point.protocol,
            port: point.port,
            net,
        };
        let now: Vec<_> = nets.iter().map(|net| row(*net)).collect();
        let first = row(Family::V4.default_net());
        let is_here = |row: &SourceRangeRow| {
            (row.address, row.protocol, row.port) == (point.address, point.protocol, point.port)
        };
        let (table, changes) = (
            &mut self.tables.source_ranges,
            &mut self.changes.source_ranges,
        );
        set_run(table, first, is_here, &now, owner, changes);
    }

    /// Makes the slots of a group what they are to be.
    pub(super) fn set_backends(&mut self, group: GroupId, rows: &[BackendRow], owner: &Arc<Owner>) {
        let first = BackendKey { group, slot: 0 };
        let is_here = |row: &BackendRow| row.key.group == group;
        let (table, changes) = (&mut self.tables.backends, &mut self.changes.backends);
        set_run(table, first, is_here, rows, owner, changes);
    }

    /// Makes the members of a group what they are to be.
    pub(super) fn set_members(&mut self, group: GroupId, rows: &[MemberRow], owner: &Arc<Owner>) {
        let target = (IpAddr::from([0, 0, 0, 0]), 0).into();
        let first = MemberRow { group, target };
        let is_here = |row: &MemberRow| row.group == group;
        let (table, changes) = (&mut self.tables.members, &mut self.changes.members);
        set_run(table, first, is_here, rows, owner, changes);
    }

    /// Gives a cluster address to a Service.
    pub(super) fn give_ip(&mut self, address: IpAddr, owner: &Arc<Owner>) {
        let row = ClusterIpRow { address };
        let (table, changes) = (&mut self.tables.cluster_ips, &mut self.changes.cluster_ips);
        put(table, row, owner, changes);
    }

    /// Takes a cluster address from whoever has it.
    pub(super) fn clear_ip(&mut self, address: IpAddr) {
        let (table, changes) = (&mut self.tables.cluster_ips, &mut self.changes.cluster_ips);
        take(table, &address, changes);
    }
}

fn put<R: Row>(table: &mut Table<R>, row: R, owner: &Arc<Owner>, changes: &mut Vec<Change<R>>) {
    let before = table.owned(&row.key());
    let same = before.is_some_and(|(before, _)| *before == row);
    let is_owned = before.is_some_and(|(_, holder)| holder == Some(owner));
    if same && is_owned {
        return;
    }
    if !same {
        changes.push(Change::Upsert(row.clone()));
    }
    table.insert_owned(row, owner.clone());
}

fn take<R: Row>(table: &mut Table<R>, key: &R::Key, changes: &mut Vec<Change<R>>) {
    changes.extend(table.remove(key).map(Change::Delete));
}

/// Makes a run of rows what it is to be: those from `first` on that are `here`.
fn set_run<R: Row>(
    table: &mut Table<R>,
    first: R::Key,
    is_here: impl Fn(&R) -> bool,
    now: &[R],
    owner: &Arc<Owner>,
    changes: &mut Vec<Change<R>>,
) {
    let run = table.iter_from(first).take_while(|row| is_here(row));
    let before: Vec<R> = run.cloned().collect();
    let there = |rows: &[R], key: &R::Key| {
        let found = rows.binary_search_by(|row| row.key().cmp(key));
        found.ok()
    };
    for row in &before {
        let key = row.key();
        if there(now, &key).is_none() {
            take(table, &key, changes);
        }
    }
    for row in now {
        let at = there(&before, &row.key());
        if at.is_none_or(|at| before[at] != *row) {
            changes.push(Change::Upsert(row.clone()));
            table.insert_owned(row.clone(), owner.clone());
        }
    }
}
