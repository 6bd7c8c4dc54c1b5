//! A copy of a server's objects, and the rules for what may be deleted from it. Pure: no clock, no
//! IO, no async.
//!
//! An object leaves the copy for two reasons only:
//!
//! 1. The server says so: a DELETED event.
//! 2. A complete list does not have it, and the list comes from the cluster that last confirmed the
//!    object. A cluster's identity is the uid of its Namespace `kube-system`.
//!
//! A list from another cluster, such as a server that restarted with an empty store, or from one
//! whose identity cannot be read, deletes nothing: what it omits is *kept*. A kept object that is
//! reported again, by a list or an event, is an object like any other.
//!
//! Events that are not newer than the copy are duplicates and change nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Arc;

use crate::{ObjectKey, Problem};

/// Which cluster a server speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The uid of its Namespace `kube-system`.
    Known(Arc<str>),
    /// The server does not tell, and this is why.
    Untold(String),
}

impl Identity {
    /// Whether both say the same of the cluster, in whatever words they refuse.
    pub(crate) fn is(&self, other: &Identity) -> bool {
        match (self, other) {
            (Identity::Known(one), Identity::Known(two)) => one == two,
            (Identity::Untold(_), Identity::Untold(_)) => true,
            _ => false,
        }
    }
}

/// What tells two states of an object apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource: String,
}

impl Version {
    fn number(&self) -> Option<u64> {
        self.resource.parse().ok()
    }
}

/// An object as a server reports it.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// What it is called.
    pub key: ObjectKey,
    /// Which state of it this is.
    pub version: Version,
    /// The object.
    pub object: Arc<T>,
}

/// A change of the copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T> {
    /// An object appeared or changed.
    Upsert(ObjectKey, Arc<T>),
    /// An object is gone; this was its last state.
    Delete(ObjectKey, Arc<T>),
    /// The first complete list has been told.
    Synced,
    /// All that is wrong at present; empty when nothing is any more.
    Problems(Vec<Problem>),
}

#[derive(Clone, Debug)]
struct Entry<T> {
    version: Version,
    object: Arc<T>,
    /// The cluster that confirmed it last.
    origin: Option<Arc<str>>,
    /// A list omitted it, and did not count.
    kept: bool,
}

/// A copy of the objects of one kind.
#[derive(Clone, Debug)]
pub struct Mirror<T> {
    entries: BTreeMap<ObjectKey, Entry<T>>,
    identity: Option<Arc<str>>,
    /// The highest version seen, when versions are numbers.
    seen: u64,
    kept: usize,
    synced: bool,
}

impl<T> Default for Mirror<T> {
    fn default() -> Mirror<T> {
        Mirror {
            entries: BTreeMap::new(),
            identity: None,
            seen: 0,
            kept: 0,
            synced: false,
        }
    }
}

impl<T> Mirror<T> {
    /// Takes in a complete list and its version. `identity` must have been read before and after
    /// it, with the same outcome: otherwise the server might have been replaced in between, and
    /// what an earlier cluster listed would count as confirmed by the later one.
    pub fn relist(
        &mut self,
        list: Vec<Item<T>>,
        version: &str,
        identity: &Identity,
    ) -> Vec<Change<T>> {
        let origin = match identity {
            Identity::Known(uid) => Some(uid.clone()),
            Identity::Untold(_) => None,
        };
        self.identity.clone_from(&origin);
        self.seen = version.parse().unwrap_or_default();
        let mut omitted = std::mem::take(&mut self.entries);
        let mut changes = Vec::new();
        for item in list {
            let item = match omitted.remove(&item.key) {
                // What was told stays, for its content may have been handed on.
                Some(before) if before.version == item.version => Item {
                    object: before.object,
                    ..item
                },
                _ => {
                    changes.push(Change::Upsert(item.key.clone(), item.object.clone()));
                    item
                }
            };
            self.insert(item, origin.clone());
        }
        for (key, mut entry) in omitted {
            if origin.is_some() && entry.origin == origin {
                changes.push(Change::Delete(key, entry.object));
            } else {
                entry.kept = true;
                self.entries.insert(key, entry);
            }
        }
        self.kept = self.entries.values().filter(|entry| entry.kept).count();
        if !std::mem::replace(&mut self.synced, true) {
            changes.push(Change::Synced);
        }
        changes
    }

    /// Takes in an ADDED or MODIFIED event.
    pub fn apply(&mut self, item: Item<T>) -> Option<Change<T>> {
        if !self.is_news(&item.version) {
            return None;
        }
        let known = self.entries.get(&item.key);
        let same = known.filter(|entry| entry.version == item.version);
        let (item, change) = match same.map(|entry| entry.object.clone()) {
            Some(object) => (Item { object, ..item }, None),
            None => {
                let change = Change::Upsert(item.key.clone(), item.object.clone());
                (item, Some(change))
            }
        };
        self.insert(item, self.identity.clone());
        change
    }

    /// Takes in a DELETED event.
    pub fn delete(&mut self, key: &ObjectKey, version: &Version) -> Option<Change<T>> {
        self.seen = self.seen.max(version.number().unwrap_or_default());
        let entry = self.entries.get(key)?;
        // A repeated event must not delete a later object of the same name.
        let other = entry.version.uid != version.uid && entry.origin == self.identity;
        if other && version.number() < entry.version.number() {
            return None;
        }
        let entry = self.entries.remove(key)?;
        self.kept -= usize::from(entry.kept);
        Some(Change::Delete(key.clone(), entry.object))
    }

    /// Events of one server come in the order of their versions, so a lower one is a repetition.
    fn is_news(&mut self, version: &Version) -> bool {
        match version.number() {
            Some(number) if number <= self.seen => false,
            Some(number) => {
                self.seen = number;
                true
            }
            None => true,
        }
    }

    fn insert(&mut self, item: Item<T>, origin: Option<Arc<str>>) {
        let new = Entry {
            version: item.version,
            object: item.object,
            origin,
            kept: false,
        };
        match self.entries.entry(item.key) {
            MapEntry::Vacant(place) => drop(place.insert(new)),
            MapEntry::Occupied(mut place) => {
                self.kept -= usize::from(place.insert(new).kept);
            }
        }
    }

    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.entries.get(key).map(|entry| &entry.object)
    }

    /// All objects in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<T>)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.object))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a complete list has been taken in.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// How many objects are kept although the server does not know them.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// The cluster that the last list came from, if it told.
    pub fn identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }
}
