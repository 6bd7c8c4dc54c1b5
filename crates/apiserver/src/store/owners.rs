//! Who owns whom, by uid, kept up with every change.
//!
//! It only points out suspects: objects one of whose owners went or waits for them, objects that
//! named an owner that does not exist, and owners that may have nothing left to wait for. The
//! collector (`gc`) looks at each and decides.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::kinds::Served;
use crate::lifecycle::{FOREGROUND, ORPHAN};

use super::object::{Key, Object, Owner};

/// A shelf (see [`Kind::shelf`]) and a key.
///
/// [`Kind::shelf`]: crate::kinds::Kind::shelf
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) shelf: usize,
    pub(crate) key: Key,
}

/// How an object stands with its owners.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The uids of owners that do not exist.
    pub(crate) lost: Vec<String>,
    /// The uids of owners that wait for the object to go.
    pub(crate) waiting: Vec<String>,
    /// Whether an owner is there to stay.
    pub(crate) kept: bool,
}

/// The index of owners.
#[derive(Debug, Default)]
pub(super) struct Owners {
    alive: HashMap<Box<str>, Place>,
    dependents: BTreeMap<Box<str>, BTreeSet<Place>>,
    /// How many references hold up the deletion in the foreground of each owner.
    blocking: HashMap<Box<str>, usize>,
    /// Who is being deleted in the foreground.
    waiting: HashSet<Box<str>>,
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
            self.note(served, shelf, new);
        }
        !self.suspects.is_empty()
    }

    fn note(&mut self, served: &Served, shelf: usize, new: &Object) {
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
            if owner.blocks && owner.uid != new.uid {
                *self.blocking.entry(owner.uid.clone()).or_default() += 1;
            }
        }
        if new.is_held_by(FOREGROUND) {
            if self.waiting.insert(new.uid.clone()) {
                let all = self.dependents.get(&new.uid).into_iter().flatten();
                self.suspects.extend(all.cloned());
            }
            if !self.is_blocked(&new.uid) {
                self.suspects.insert(place.clone());
            }
        } else {
            self.waiting.remove(&new.uid);
        }
        let standing = self.standing(served, &place, new);
        if new.is_held_by(ORPHAN) || !standing.lost.is_empty() || !standing.waiting.is_empty() {
            self.suspects.insert(place);
        }
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
            if owner.blocks && owner.uid != old.uid {
                self.unblock(&owner.uid);
            }
        }
        if gone {
            self.alive.remove(&old.uid);
            self.waiting.remove(&old.uid);
            self.suspects.remove(&place);
            let all = self.dependents.get(&old.uid).into_iter().flatten();
            self.suspects.extend(all.cloned());
        }
    }

    /// One reference less holds up an owner's deletion.
    fn unblock(&mut self, owner: &str) {
        let Some(count) = self.blocking.get_mut(owner) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.blocking.remove(owner);
        if self.waiting.contains(owner)
            && let Some(place) = self.alive.get(owner)
        {
            self.suspects.insert(place.clone());
        }
    }

    /// Whether any object holds up the owner's deletion in the foreground.
    pub(super) fn is_blocked(&self, uid: &str) -> bool {
        self.blocking.contains_key(uid)
    }

    /// Where the object with this uid is.
    pub(super) fn place(&self, uid: &str) -> Option<Place> {
        self.alive.get(uid).cloned()
    }

    /// Whether the object with this uid waits for what it owns.
    pub(super) fn is_waiting(&self, uid: &str) -> bool {
        self.waiting.contains(uid)
    }

    /// How an object stands with its owners.
    pub(super) fn standing(&self, served: &Served, place: &Place, object: &Object) -> Standing {
        let mut standing = Standing::default();
        for owner in &object.owners {
            if self.is_waiting(&owner.uid) {
                standing.waiting.push(owner.uid.to_string());
            } else if self.is_lost(served, place, owner) {
                standing.lost.push(owner.uid.to_string());
            } else {
                standing.kept = true;
            }
        }
        standing
    }

    /// Whether it is certain that there is no such owner.
    fn is_lost(&self, served: &Served, place: &Place, owner: &Owner) -> bool {
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let Some(kind) = served.named(group, &owner.kind) else {
            return false; // nobody here can say whether it exists
        };
        if kind.namespaced && place.key.namespace.is_empty() {
            return false; // in which namespace it would be is not said
        }
        !self.alive.get(&owner.uid).is_some_and(|at| {
            served.at(at.shelf).is_some_and(|kind| {
                kind.group == group
                    && kind.kind == owner.kind.as_ref()
                    && at.key.name == owner.name
                    && (!kind.namespaced || at.key.namespace == place.key.namespace)
            })
        })
    }

    /// The objects that name `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Place> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// Has an object looked at again.
    pub(super) fn suspect(&mut self, place: Place) {
        self.suspects.insert(place);
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
