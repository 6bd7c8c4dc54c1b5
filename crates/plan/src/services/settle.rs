//! Planning one Service again, and who gets what when several ask for it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::{Service, ServiceName};

use super::Ground;
use super::Services;
use super::contest::Claimant;
use super::judge::Judge;
use super::rows::{Edit, holder, holder_of_ip};
use super::spots::{Point, is_balanced, spots};
use super::wanted::{Claim, Wanted, groups, wanted};
use crate::ledger::Owner;
use crate::table::{ChangeSet, Tables};

impl Services {
    /// Plans a Service again whose object did not change.
    pub(super) fn renew(&mut self, name: &ServiceName, tables: &mut Tables) -> ChangeSet {
        let mut edit = Edit::of(tables);
        self.replan_all_of(BTreeSet::from([name.clone()]), &mut edit);
        edit.changes
    }

    /// Plans Services again whose objects did not change, and those that follow from them.
    pub(super) fn replan_all_of(&mut self, mut names: BTreeSet<ServiceName>, edit: &mut Edit<'_>) {
        if self.ground.is_none() {
            return;
        }
        // Who follows from cluster addresses has other addresses, so this comes to an end.
        while let Some(name) = names.pop_first() {
            let ground = self.ground.clone();
            names.extend(self.replan_as_is(&name, ground.as_deref(), edit));
        }
    }

    /// Plans a Service again whose object did not change, on the ground `before`.
    pub(super) fn replan_as_is(
        &mut self,
        name: &ServiceName,
        before: Option<&Ground>,
        edit: &mut Edit<'_>,
    ) -> BTreeSet<ServiceName> {
        let entry = self.store.entry(name);
        let service = entry.and_then(|entry| entry.service.clone());
        self.replan(name, service.as_deref(), before, edit)
    }

    /// Plans a Service again that was `old` on the ground `before`; gives those that must be
    /// planned again because of it.
    pub(super) fn replan(
        &mut self,
        name: &ServiceName,
        old: Option<&Service>,
        before: Option<&Ground>,
        edit: &mut Edit<'_>,
    ) -> BTreeSet<ServiceName> {
        let Some(owner) = self.store.owner(name) else {
            return BTreeSet::new();
        };
        let now = self.wanted(name, edit.tables);
        let again = self.set_cluster_ips(name, old, &now.cluster_ips, &owner, edit);
        self.set_groups(name, old, &now, &owner, edit);
        let points = |service: Option<&Service>, ground: Option<&Ground>| -> Vec<Point> {
            match (service, ground) {
                (Some(service), Some(ground)) => spots(service, ground)
                    .iter()
                    .map(|spot| spot.point)
                    .collect(),
                _ => Vec::new(),
            }
        };
        for point in points(old, before) {
            let kept = now.claims.binary_search_by_key(&point, |(point, _)| *point);
            if kept.is_err() {
                self.release(point, name, edit);
            }
        }
        for (point, claim) in &now.claims {
            self.claim(*point, name, claim, &owner, edit);
        }
        self.set_note(name, now);
        again
    }

    fn set_note(&mut self, name: &ServiceName, now: Wanted) {
        match now.note.findings {
            Some(_) => self.noted.insert(name.clone()),
            None => self.noted.remove(name),
        };
        if let Some(entry) = self.store.entry_mut(name) {
            entry.note.take_from(&mut self.sum);
            entry.note = now.note;
            entry.note.add_to(&mut self.sum);
        }
    }

    pub(super) fn judge<'a>(&'a self, ground: &'a Ground, tables: &'a Tables) -> Judge<'a> {
        Judge {
            ground,
            places: &self.places,
            cluster_ips: &tables.cluster_ips,
            contests: &self.contests,
        }
    }

    fn wanted(&self, name: &ServiceName, tables: &Tables) -> Wanted {
        match (self.store.named(name), &self.ground) {
            (Some((name, entry)), Some(ground)) => {
                let judge = self.judge(ground, tables);
                wanted(name, entry, judge, &self.affinities)
            }
            _ => Wanted::default(),
        }
    }

    /// What a Service asks for at one point.
    fn wanted_at(&self, name: &ServiceName, point: Point, tables: &Tables) -> Option<Claim> {
        let claims = self.wanted(name, tables).claims;
        let mut found = claims.into_iter().filter(|(at, _)| *at == point);
        found.next().map(|(_, claim)| claim)
    }

    fn claimant(&self, name: &ServiceName, claim: &Claim) -> Claimant {
        Claimant {
            class: claim.class,
            created: self.service(name).map_or(i64::MAX, |s| s.created),
            name: name.clone(),
        }
    }

    fn claim(
        &mut self,
        point: Point,
        name: &ServiceName,
        claim: &Claim,
        owner: &Arc<Owner>,
        edit: &mut Edit<'_>,
    ) {
        let me = self.claimant(name, claim);
        let Some(all) = self.contests.point(point) else {
            let other = holder(edit.tables, point).filter(|other| *other != name);
            let Some(other) = other.cloned() else {
                return edit.give(point, owner, claim);
            };
            // One that asks for it no more is about to be planned again.
            let Some(theirs) = self.wanted_at(&other, point, edit.tables) else {
                return edit.give(point, owner, claim);
            };
            let them = self.claimant(&other, &theirs);
            let mine = me < them;
            self.contests.open(point, [me, them]);
            if mine {
                edit.give(point, owner, claim);
            }
            return;
        };
        all.retain(|claimant| claimant.name != *name);
        all.insert(me);
        if all.first().is_some_and(|first| first.name == *name) {
            edit.give(point, owner, claim);
        } else if holder(edit.tables, point) == Some(name) {
            self.give_to_first(point, edit);
        }
    }

    fn release(&mut self, point: Point, name: &ServiceName, edit: &mut Edit<'_>) {
        let is_mine = holder(edit.tables, point) == Some(name);
        match self.contests.point(point) {
            Some(all) => all.retain(|claimant| claimant.name != *name),
            None if is_mine => return edit.clear(point),
            None => return,
        }
        if is_mine {
            self.give_to_first(point, edit);
        }
        self.contests.close(point);
    }

    /// Gives a contested point to the first that still asks for it.
    fn give_to_first(&mut self, point: Point, edit: &mut Edit<'_>) {
        let names: Vec<ServiceName> = match self.contests.point(point) {
            Some(all) => all.iter().map(|claimant| claimant.name.clone()).collect(),
            None => Vec::new(),
        };
        for name in names {
            let owner = self.store.owner(&name);
            if let (Some(owner), Some(claim)) = (owner, self.wanted_at(&name, point, edit.tables)) {
                return edit.give(point, &owner, &claim);
            }
        }
        edit.clear(point);
    }

    fn set_groups(
        &self,
        name: &ServiceName,
        old: Option<&Service>,
        now: &Wanted,
        owner: &Arc<Owner>,
        edit: &mut Edit<'_>,
    ) {
        let service = self.service(name);
        let both = [old, service];
        let mut ids: Vec<_> = both.into_iter().flatten().flat_map(groups).collect();
        ids.sort_unstable();
        ids.dedup();
        let keeps = both.into_iter().flatten().any(|s| s.affinity.is_some());
        for id in ids {
            let start = now.backends.partition_point(|row| row.key.group < id);
            let end = now.backends.partition_point(|row| row.key.group <= id);
            edit.set_backends(id, &now.backends[start..end], owner);
            if keeps {
                let start = now.members.partition_point(|row| row.group < id);
                let end = now.members.partition_point(|row| row.group <= id);
                edit.set_members(id, &now.members[start..end], owner);
            }
        }
    }

    /// Brings a Service's cluster addresses into force; gives the Services that may or may not
    /// have an address outside the cluster because of that.
    fn set_cluster_ips(
        &mut self,
        name: &ServiceName,
        old: Option<&Service>,
        now: &[IpAddr],
        owner: &Arc<Owner>,
        edit: &mut Edit<'_>,
    ) -> BTreeSet<ServiceName> {
        let mut again = BTreeSet::new();
        let before = old.filter(|s| is_balanced(s)).into_iter();
        let gone = before.flat_map(|s| &s.cluster_ips);
        for address in gone.filter(|address| !now.contains(address)) {
            if self.release_ip(*address, name, edit) {
                again.extend(self.externals.get(address).into_iter().flatten().cloned());
            }
        }
        for address in now {
            if self.claim_ip(*address, name, owner, edit) {
                again.extend(self.externals.get(address).into_iter().flatten().cloned());
            }
        }
        again
    }

    fn claim_ip(
        &mut self,
        address: IpAddr,
        name: &ServiceName,
        owner: &Arc<Owner>,
        edit: &mut Edit<'_>,
    ) -> bool {
        match holder_of_ip(edit.tables, address) {
            None => edit.give_ip(address, owner),
            Some(holder) if holder == name => return false,
            Some(holder) => {
                let all = self.contests.cluster_ip(address);
                if all.is_some_and(|all| all.contains(name)) {
                    return false;
                }
                self.contests.share(address, &holder.clone(), name);
            }
        }
        true
    }

    fn release_ip(&mut self, address: IpAddr, name: &ServiceName, edit: &mut Edit<'_>) -> bool {
        let is_mine = holder_of_ip(edit.tables, address) == Some(name);
        let is_shared = self.contests.cluster_ip(address);
        if !is_mine && is_shared.is_none_or(|all| !all.contains(name)) {
            return false;
        }
        let next = self.contests.leave(address, name);
        let next = next.and_then(|next| self.store.owner(&next));
        match next {
            Some(owner) if is_mine => edit.give_ip(address, &owner),
            Some(_) => {}
            None => edit.clear_ip(address),
        }
        true
    }
}
