//! What the store's mutex guards, and how one change is made.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::config::Limits;
use crate::kinds::{self, Kind, Served};
use crate::views;

use super::log::{Event, EventType, Log};
use super::object::{Key, Object, Shared};
use super::owners::Owners;
use super::sheet::Sheet;
use super::shelf::Shelf;
use super::{Change, Draft, StoreError};

/// What a change means to the background tasks.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) collect: bool,
    pub(super) namespaces: bool,
    /// Old Events had to go.
    pub(super) trimmed: bool,
    /// Snapshots that nobody may have any more; their end may be the end of many objects.
    pub(super) outdated: Vec<Arc<Sheet>>,
}

/// Everything that is stored.
#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    /// By [`Kind::shelf`], made when first used.
    shelves: Vec<Shelf>,
    pub(super) bytes: usize,
    pub(super) owners: Owners,
    /// Events by their last write.
    ages: BTreeMap<u64, (Key, Timestamp)>,
    max_events: usize,
    log_events: usize,
    log_bytes: usize,
    object_bytes: usize,
    stored_bytes: usize,
}

fn find(plural: &str) -> &'static Kind {
    kinds::find("", "v1", plural).expect("every server has Namespaces and Events")
}

/// The kind whose objects live only for a while.
pub(super) fn event_kind() -> &'static Kind {
    static KIND: OnceLock<&Kind> = OnceLock::new();
    KIND.get_or_init(|| find("events"))
}

fn namespace_kind() -> &'static Kind {
    static KIND: OnceLock<&Kind> = OnceLock::new();
    KIND.get_or_init(|| find("namespaces"))
}

impl State {
    pub(super) fn new(limits: &Limits, start: u64) -> Self {
        Self {
            revision: start,
            shelves: Vec::new(),
            bytes: 0,
            owners: Owners::default(),
            ages: BTreeMap::new(),
            max_events: limits.events,
            log_events: limits.log_events,
            log_bytes: limits.log_bytes,
            object_bytes: limits.object_bytes,
            stored_bytes: limits.stored_bytes,
        }
    }

    /// The objects of a kind.
    pub(super) fn shelf(&mut self, kind: &'static Kind) -> &mut Shelf {
        let at = kind.shelf();
        while self.shelves.len() <= at {
            let log = Log::new(self.log_events, self.log_bytes, self.revision);
            self.shelves.push(Shelf::new(log));
        }
        &mut self.shelves[at]
    }

    /// Reads the objects of a shelf as another definition of their kind.
    pub(super) fn refresh(&mut self, kind: &'static Kind) {
        let shelf = self.shelf(kind);
        let (mut less, mut more) = (0, 0);
        shelf.objects.replace_all(|object| {
            let value = views::to_view(kind, object.value());
            let next =
                Object::new(kind, value, object.revision).managed_by(object.managers.clone());
            less += object.size();
            more += next.size();
            Arc::new(next)
        });
        let outdated = shelf.changed();
        self.bytes = self.bytes - less + more;
        drop(outdated);
    }

    /// Ends the watches of a shelf.
    pub(super) fn close(&mut self, shelf: usize) {
        let revision = self.revision;
        if let Some(shelf) = self.shelves.get_mut(shelf) {
            shelf.wake = watch::Sender::new(revision);
        }
    }

    /// Checks and makes one change.
    pub(super) fn commit(
        &mut self,
        served: &Served,
        kind: &'static Kind,
        draft: Draft,
        change: Change,
        now: Timestamp,
        dry: bool,
    ) -> Result<(Shared, Effects), StoreError> {
        let key = Key::of(kind, &draft.value);
        let old = self.shelf(kind).objects.get(&key).cloned();
        if change == Change::Create && !served.takes(kind.shelf()) {
            return Err(StoreError::NotServed);
        }
        self.check(kind, &key, old.as_deref(), change)?;
        let revision = if dry {
            self.revision
        } else {
            self.revision + 1
        };
        let managers = draft.managers.unwrap_or_else(|| {
            let old = old.as_ref();
            old.map(|old| old.managers.clone()).unwrap_or_default()
        });
        let object = Arc::new(Object::new(kind, draft.value, revision).managed_by(managers));
        if !matches!(change, Change::Remove(_)) {
            self.check_size(&object, old.as_deref())?;
        }
        let mut effects = Effects::default();
        if !dry {
            let changed = (Arc::clone(&object), old);
            self.apply(served, kind, changed, change, now, &mut effects);
        }
        Ok((object, effects))
    }

    fn check(
        &mut self,
        kind: &Kind,
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
        if change == Change::Create && kind.namespaced {
            let namespaces = &self.shelf(namespace_kind()).objects;
            let namespace = namespaces.get(&Key::new("", &key.namespace));
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
        served: &Served,
        kind: &'static Kind,
        (object, old): (Shared, Option<Shared>),
        change: Change,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.revision = object.revision;
        self.bytes -= old.as_ref().map_or(0, |old| old.size());
        let removed = matches!(change, Change::Remove(_));
        if !removed {
            self.bytes += object.size();
        }
        let shelf = self.shelf(kind);
        if removed {
            shelf.objects.remove(&object.key);
        } else {
            shelf.objects.insert(Arc::clone(&object));
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
        effects.collect = self
            .owners
            .change(served, kind.shelf(), old.as_deref(), kept);
        effects.namespaces = removed || (std::ptr::eq(kind, namespace_kind()) && object.deleting);
        if std::ptr::eq(kind, event_kind()) {
            self.age(served, &object, old.as_deref(), removed, now, effects);
        }
    }

    fn age(
        &mut self,
        served: &Served,
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
            self.ages.insert(object.revision, (object.key.clone(), now));
            if self.ages.len() > self.max_events {
                self.drop_oldest_event(served, now);
                effects.trimmed = true;
            }
        }
    }

    fn drop_oldest_event(&mut self, served: &Served, now: Timestamp) {
        let Some((revision, (key, _))) = self.ages.pop_first() else {
            return;
        };
        if let Some(object) = self.shelf(event_kind()).objects.get(&key).cloned() {
            let removal = Change::Remove(revision);
            // It is there at this revision, so the removal cannot be refused.
            let value = object.value();
            let _removed = self.commit(served, event_kind(), value.into(), removal, now, false);
        }
    }

    /// Removes Events that were last written before `limit`.
    pub(super) fn expire_events(&mut self, served: &Served, limit: Timestamp) -> usize {
        let mut gone = 0;
        while self
            .ages
            .first_key_value()
            .is_some_and(|(_, (_, written))| *written < limit)
        {
            self.drop_oldest_event(served, limit);
            gone += 1;
        }
        gone
    }
}
