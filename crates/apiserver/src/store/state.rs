//! What the store's mutex guards, and how one change is made.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::Value;

use crate::config::Limits;
use crate::kinds;

use super::log::{Event, EventType, Log};
use super::object::{Key, Object, Shared};
use super::owners::Owners;
use super::shelf::Shelf;
use super::{Change, StoreError};

/// What a change means to the background tasks.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) collect: bool,
    pub(super) namespaces: bool,
    /// Old Events had to go.
    pub(super) trimmed: bool,
    /// Snapshots that nobody may have any more; their end may be the end of many objects.
    pub(super) outdated: Vec<Arc<[Shared]>>,
}

/// Everything that is stored.
#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) shelves: Vec<Shelf>,
    pub(super) bytes: usize,
    pub(super) owners: Owners,
    /// Events by their last write.
    ages: BTreeMap<u64, (usize, Key, Timestamp)>,
    max_events: usize,
    object_bytes: usize,
    stored_bytes: usize,
}

fn find(group: &str, name: &str) -> usize {
    kinds::all()
        .iter()
        .position(|kind| kind.group == group && kind.kind == name)
        .unwrap_or(usize::MAX)
}

/// Whether objects of the kind live only for a while.
pub(super) fn is_event(at: usize) -> bool {
    kinds::all()[at].kind == "Event"
}

fn namespace_kind() -> usize {
    static AT: OnceLock<usize> = OnceLock::new();
    *AT.get_or_init(|| find("", "Namespace"))
}

impl State {
    pub(super) fn new(limits: &Limits, start: u64) -> Self {
        Self {
            revision: start,
            shelves: kinds::all()
                .iter()
                .map(|_| Shelf::new(Log::new(limits.log_events, limits.log_bytes, start)))
                .collect(),
            bytes: 0,
            owners: Owners::default(),
            ages: BTreeMap::new(),
            max_events: limits.events,
            object_bytes: limits.object_bytes,
            stored_bytes: limits.stored_bytes,
        }
    }

    /// Checks and makes one change.
    pub(super) fn commit(
        &mut self,
        at: usize,
        value: Value,
        change: Change,
        now: Timestamp,
        dry: bool,
    ) -> Result<(Shared, Effects), StoreError> {
        let kind = &kinds::all()[at];
        let key = Key::of(kind, &value);
        let old = self.shelves[at].objects.get(&key).cloned();
        self.check(at, &key, old.as_deref(), change)?;
        let revision = if dry {
            self.revision
        } else {
            self.revision + 1
        };
        let object = Arc::new(Object::new(kind, value, revision));
        if !matches!(change, Change::Remove(_)) {
            self.check_size(&object, old.as_deref())?;
        }
        let mut effects = Effects::default();
        if !dry {
            self.apply(at, Arc::clone(&object), old, change, now, &mut effects);
        }
        Ok((object, effects))
    }

    fn check(
        &self,
        at: usize,
        key: &Key,
        old: Option<&Object>,
        change: Change,
    ) -> Result<(), StoreError> {
        match (change, old) {
            (Change::Create, Some(_)) => return Err(StoreError::Exists),
            (Change::Replace(_) | Change::Remove(_), None) => return Err(StoreError::Missing),
            (Change::Replace(expected) | Change::Remove(expected), Some(old))
                if old.revision != expected =>
            {
                return Err(StoreError::Conflict);
            }
            _ => {}
        }
        if change == Change::Create && kinds::all()[at].namespaced {
            let namespace = self.shelves[namespace_kind()]
                .objects
                .get(&Key::new("", &key.namespace));
            match namespace {
                None => return Err(StoreError::NoNamespace(key.namespace.to_string())),
                Some(namespace) if namespace.deleting => {
                    return Err(StoreError::Terminating(key.namespace.to_string()));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check_size(&self, object: &Object, old: Option<&Object>) -> Result<(), StoreError> {
        let (size, before) = (object.size(), old.map_or(0, Object::size));
        if size > self.object_bytes {
            return Err(StoreError::TooLarge {
                size,
                limit: self.object_bytes,
            });
        }
        // A little growth of what exists stays possible, so that a full store can still be
        // emptied in order (deletionTimestamp, status); but no more than a sixteenth of all, or
        // many little growths would be without bound.
        let growth = size.saturating_sub(before);
        let after = self.bytes + growth;
        let little = before > 0 && growth <= 1024 && after <= self.stored_bytes / 16 * 17;
        if growth > 0 && after > self.stored_bytes && !little {
            return Err(StoreError::Full {
                limit: self.stored_bytes,
            });
        }
        Ok(())
    }

    fn apply(
        &mut self,
        at: usize,
        object: Shared,
        old: Option<Shared>,
        change: Change,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.revision = object.revision;
        self.bytes -= old.as_ref().map_or(0, |old| old.size());
        let removed = matches!(change, Change::Remove(_));
        let shelf = &mut self.shelves[at];
        if removed {
            shelf.objects.remove(&object.key);
        } else {
            self.bytes += object.size();
            shelf
                .objects
                .insert(object.key.clone(), Arc::clone(&object));
        }
        shelf.log.push(Event {
            revision: object.revision,
            kind: match change {
                Change::Create => EventType::Added,
                Change::Replace(_) => EventType::Modified,
                Change::Remove(_) => EventType::Deleted,
            },
            object: Arc::clone(&object),
            previous: old.clone(),
        });
        effects.outdated = shelf.changed();
        let kept = (!removed).then_some(object.as_ref());
        effects.collect = self.owners.change(at, old.as_deref(), kept);
        effects.namespaces = removed || (at == namespace_kind() && object.deleting);
        if is_event(at) {
            self.age(at, &object, old.as_deref(), removed, now, effects);
        }
    }

    fn age(
        &mut self,
        at: usize,
        object: &Object,
        old: Option<&Object>,
        removed: bool,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        if let Some(old) = old {
            self.ages.remove(&old.revision);
        }
        if !removed {
            self.ages
                .insert(object.revision, (at, object.key.clone(), now));
            if self.ages.len() > self.max_events {
                self.drop_oldest_event(now);
                effects.trimmed = true;
            }
        }
    }

    fn drop_oldest_event(&mut self, now: Timestamp) {
        let Some((revision, (at, key, _))) = self.ages.pop_first() else {
            return;
        };
        if let Some(object) = self.shelves[at].objects.get(&key).cloned() {
            let removal = Change::Remove(revision);
            // It is there at this revision, so the removal cannot be refused.
            let _removed = self.commit(at, object.value(), removal, now, false);
        }
    }

    /// Removes Events that were last written before `limit`.
    pub(super) fn expire_events(&mut self, limit: Timestamp) -> usize {
        let mut gone = 0;
        while self
            .ages
            .first_key_value()
            .is_some_and(|(_, (_, _, written))| *written < limit)
        {
            self.drop_oldest_event(limit);
            gone += 1;
        }
        gone
    }
}
