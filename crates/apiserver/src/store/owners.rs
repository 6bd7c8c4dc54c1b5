//! Who owns whom, by uid, kept up with every change.
//!
//! It only points out suspects: objects one of whose owners went, or that named an owner that does
//! not exist. The collector (`gc`) looks at each and decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::kinds::Served;

use super::object::{Key, Object};

/// A shelf (see [`Kind::shelf`]) and a key.
///
/// [`Kind::shelf`]: crate::kinds::Kind::shelf
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) shelf: usize,
    pub(crate) key: Key,
}

/// The index of owners.
#[derive(Debug, Default)]
pub(super) struct Owners {
    alive: HashMap<Box<str>, Place>,
    dependents: BTreeMap<Box<str>, BTreeSet<Place>>,
    suspects: BTreeSet<Place>,
}

impl Owners {
    /// Takes a change in; true if there are suspects now.
    pub(super) fn change(
        &mut self,
        served: &Served,
        shelf: usize,
        old: Option<&Object>,
        new: Option<&Object>,
    ) -> bool {
        if let Some(old) = old {
            self.forget(shelf, old, new.is_none());
        }
        if let Some(new) = new {
            let place = Place {
                shelf,
                key: new.key.clone(),
            };
            self.alive.insert(new.uid.clone(), place.clone());
            for owner in &new.owners {
                self.dependents
                    .entry(owner.uid.clone())
                    .or_default()
                    .insert(place.clone());
            }
            if !self.lost(served, &place, new).0.is_empty() {
                self.suspects.insert(place);
            }
        }
        !self.suspects.is_empty()
    }

    fn forget(&mut self, shelf: usize, old: &Object, gone: bool) {
        let place = Place {
            shelf,
            key: old.key.clone(),
        };
        for owner in &old.owners {
            if let Some(places) = self.dependents.get_mut(&owner.uid) {
                places.remove(&place);
                if places.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        if gone {
            self.alive.remove(&old.uid);
            self.suspects.remove(&place);
            if let Some(places) = self.dependents.get(&old.uid) {
                self.suspects.extend(places.iter().cloned());
            }
        }
    }

    /// The uids of owners that do not exist, and whether at least one does.
    pub(super) fn lost(
        &self,
        served: &Served,
        place: &Place,
        object: &Object,
    ) -> (Vec<String>, bool) {
        let mut lost = Vec::new();
        for owner in &object.owners {
            let group = owner
                .api_version
                .split_once('/')
                .map_or("", |(group, _)| group);
            if !served.knows(group, &owner.kind) {
                continue; // nobody here can say whether it exists
            }
            let alive = self.alive.get(&owner.uid).is_some_and(|at| {
                let Some(kind) = served.at(at.shelf) else {
                    return false;
                };
                kind.group == group
                    && kind.kind == owner.kind.as_ref()
                    && at.key.name == owner.name
                    && (!kind.namespaced || at.key.namespace == place.key.namespace)
            });
            if !alive {
                lost.push(owner.uid.to_string());
            }
        }
        let left = lost.len() < object.owners.len();
        (lost, left)
    }

    /// The objects that name `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> BTreeSet<Place> {
        self.dependents.get(uid).cloned().unwrap_or_default()
    }

    /// Takes up to `most` suspects.
    pub(super) fn take_suspects(&mut self, most: usize) -> Vec<Place> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(place) = self.suspects.pop_first() else {
                break;
            };
            taken.push(place);
        }
        taken
    }
}
