//! The store: every object as compact JSON, one resourceVersion for all, and a bounded log of
//! changes per kind that watchers read by cursor.
//!
//! It is synchronous and does no IO; one mutex guards it and nothing slow happens under it. It
//! knows nothing of HTTP and decides nothing about objects (see `lifecycle` for that): it keeps
//! them, orders changes, refuses what conflicts, and indexes owners for the collector.

mod log;
mod object;
mod owners;
mod selector;
mod sheet;
mod shelf;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::config::Limits;
use crate::kinds::{Kind, Registry, Served, Serving};
use crate::managed::Managers;
use crate::views;

pub(crate) use log::{Event, EventType};
pub(crate) use object::{Key, Object, Owner};
pub(crate) use owners::{Place, Standing};
pub(crate) use selector::{Filter, parse_fields, parse_labels};
pub(crate) use shelf::{Loan, Objects, Snapshot};

/// Why a change was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// The name is taken.
    #[error("the object exists already")]
    Exists,
    /// There is no such object (any more).
    #[error("there is no such object")]
    Missing,
    /// The object changed since the caller read it.
    #[error("the object has been modified")]
    Conflict,
    /// The namespace does not exist.
    #[error("namespace {0} does not exist")]
    NoNamespace(String),
    /// The namespace is going away.
    #[error("namespace {0} is being terminated")]
    Terminating(String),
    /// The kind is no longer served, or soon will not be.
    #[error("its CustomResourceDefinition is being deleted")]
    NotServed,
    /// The object is too large.
    #[error("the object has {size} bytes, more than {limit}")]
    TooLarge { size: usize, limit: usize },
    /// All objects together are too large.
    #[error("the store is full ({limit} bytes)")]
    Full { limit: usize },
}

/// The next state of an object.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The object without its managers.
    pub(crate) value: Value,
    /// Who manages its fields; if not said, those who did before.
    pub(crate) managers: Option<Managers>,
}

impl From<Value> for Draft {
    fn from(value: Value) -> Self {
        Self {
            value,
            managers: None,
        }
    }
}

/// What to do with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It must not exist yet.
    Create,
    /// It must exist at this resourceVersion.
    Replace(u64),
    /// It must exist at this resourceVersion and goes.
    Remove(u64),
}

/// What a watcher gets when it asks for more.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Changes after the cursor, oldest first, and where to go on from.
    Events(Vec<Event>, u64),
    /// The log does not reach back to the cursor.
    Expired { oldest: u64 },
}

/// Where a list stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Now.
    Latest,
    /// Exactly at this resourceVersion.
    Exact(u64),
}

/// Why a snapshot cannot be given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SnapshotError {
    /// The log does not reach back that far.
    Expired { oldest: u64 },
    /// That lies in the future.
    Ahead { current: u64 },
}

/// How much is in a namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Objects by resource and group.
    pub(crate) resources: BTreeMap<String, usize>,
    /// Objects by the finalizers that hold them.
    pub(crate) finalizers: BTreeMap<String, usize>,
}

/// All objects of the cluster.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<state::State>,
    kinds: Registry,
    collect: Notify,
    namespaces: Notify,
}

impl Store {
    /// An empty store whose first change gets the resourceVersion after `start`.
    ///
    /// A start that grows from one run to the next makes watchers of an earlier run see `Expired`.
    pub(crate) fn new(limits: &Limits, start: u64) -> Self {
        Self {
            state: Mutex::new(state::State::new(limits, start)),
            kinds: Registry::default(),
            collect: Notify::new(),
            namespaces: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, state::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kinds that are served.
    pub(crate) fn kinds(&self) -> Arc<Served> {
        self.kinds.served()
    }

    /// Serves these custom kinds instead of those before; what is stored is from now on read as the
    /// version that is stored now.
    pub(crate) fn serve(&self, custom: Vec<Serving>) {
        let before = self.kinds();
        self.kinds.serve(custom);
        for kind in self.kinds().stored() {
            let was = before.at(kind.shelf());
            if was.is_none_or(|was| !std::ptr::eq(was, kind)) {
                self.lock().refresh(kind);
            }
        }
    }

    /// Ends the watches of a shelf whose kind is gone.
    pub(crate) fn close(&self, shelf: usize) {
        self.lock().close(shelf);
    }

    /// The newest resourceVersion.
    pub(crate) fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Bytes of all objects.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// One object.
    pub(crate) fn get(&self, kind: &'static Kind, key: &Key) -> Option<Arc<Object>> {
        self.lock().shelf(kind).objects.get(key).cloned()
    }

    /// Makes one change; with `dry` everything is checked and nothing kept.
    ///
    /// A removal writes the draft as the object's last state.
    pub(crate) fn commit(
        &self,
        kind: &'static Kind,
        draft: impl Into<Draft>,
        change: Change,
        now: Timestamp,
        dry: bool,
    ) -> Result<Arc<Object>, StoreError> {
        let kind = views::stored_as(kind);
        let mut state = self.lock();
        // Under the lock: what comes after a definition began to go would be left over.
        let served = self.kinds();
        let (object, effects) = state.commit(&served, kind, draft.into(), change, now, dry)?;
        let (revision, wake) = (state.revision, state.shelf(kind).wake.clone());
        drop(state);
        if !dry {
            wake.send_replace(revision);
            if effects.collect {
                self.collect.notify_one();
            }
            if effects.namespaces || effects.trimmed {
                self.namespaces.notify_one();
            }
        }
        Ok(object)
    }

    /// The objects of a kind, in one namespace or in all, at one resourceVersion.
    pub(crate) fn snapshot(
        &self,
        kind: &'static Kind,
        namespace: Option<&str>,
        at: At,
    ) -> Result<Snapshot, SnapshotError> {
        let mut state = self.lock();
        let revision = state.revision;
        let shelf = state.shelf(kind);
        match at {
            At::Latest => Ok(shelf.snapshot(namespace, revision)),
            At::Exact(wanted) if wanted > revision => {
                Err(SnapshotError::Ahead { current: revision })
            }
            At::Exact(wanted) => shelf.snapshot_at(namespace, wanted, revision),
        }
    }

    /// Lends a snapshot of a kind to somebody who takes a while.
    pub(crate) fn lend(&self, kind: &'static Kind, snapshot: &Snapshot) -> Loan {
        self.lock().shelf(kind).lend(snapshot)
    }

    /// Changes of a kind after `cursor` that pass `wanted`, until about `budget` bytes.
    pub(crate) fn changes(
        &self,
        kind: &'static Kind,
        cursor: u64,
        budget: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Batch {
        let mut state = self.lock();
        let revision = state.revision;
        let log = &state.shelf(kind).log;
        log.after(cursor, revision, budget, wanted)
    }

    /// Tells of changes of a kind: its value is the newest resourceVersion.
    pub(crate) fn subscribe(&self, kind: &'static Kind) -> watch::Receiver<u64> {
        self.lock().shelf(kind).wake.subscribe()
    }

    /// Objects that may have to go or to be let go since the last call, at most `most` of them.
    pub(crate) fn orphans(&self, most: usize) -> Vec<Place> {
        self.lock().owners.take_suspects(most)
    }

    /// How an object stands with its owners.
    pub(crate) fn standing(&self, place: &Place, object: &Object) -> Standing {
        let served = self.kinds();
        self.lock().owners.standing(&served, place, object)
    }

    /// Whether the deletion of an owner in the foreground has to wait.
    pub(crate) fn is_blocked(&self, uid: &str) -> bool {
        self.lock().owners.is_blocked(uid)
    }

    /// Where the object with this uid is.
    pub(crate) fn place(&self, uid: &str) -> Option<Place> {
        self.lock().owners.place(uid)
    }

    /// Has [`Self::orphans`] give an object once more.
    pub(crate) fn suspect(&self, place: Place) {
        self.lock().owners.suspect(place);
        self.collect.notify_one();
    }

    /// The objects that name `uid` as an owner, at most `most` of them.
    pub(crate) fn dependents(&self, uid: &str, most: usize) -> Vec<Place> {
        let state = self.lock();
        let all = state.owners.dependents(uid);
        all.take(most).cloned().collect()
    }

    /// Waits until [`Self::orphans`] may have something.
    pub(crate) async fn collectable(&self) {
        self.collect.notified().await;
    }

    /// Waits until a terminating namespace may have become empty or a namespace began to go.
    pub(crate) async fn namespace_work(&self) {
        self.namespaces.notified().await;
    }

    /// Counts what is in a namespace.
    pub(crate) fn remains(&self, namespace: &str) -> Remains {
        let (served, mut state) = (self.kinds(), self.lock());
        let mut remains = Remains::default();
        for kind in served.stored().filter(|kind| kind.namespaced) {
            for object in state.shelf(kind).range(namespace) {
                let resource = format!("{}.{}", kind.plural, kind.group);
                *remains.resources.entry(resource).or_default() += 1;
                for finalizer in &object.finalizers {
                    *remains.finalizers.entry(finalizer.to_string()).or_default() += 1;
                }
            }
        }
        remains
    }

    /// Whether there is anything in a namespace.
    pub(crate) fn has_content(&self, namespace: &str) -> bool {
        let (served, mut state) = (self.kinds(), self.lock());
        let mut namespaced = served.stored().filter(|kind| kind.namespaced);
        namespaced.any(|kind| state.shelf(kind).range(namespace).next().is_some())
    }

    /// Whether there is an object of this kind in a namespace.
    pub(crate) fn has_any(&self, kind: &'static Kind, namespace: &str) -> bool {
        self.lock().shelf(kind).range(namespace).next().is_some()
    }

    /// The objects in a namespace, of all kinds.
    pub(crate) fn content(&self, namespace: &str) -> Vec<(&'static Kind, Arc<Object>)> {
        let (served, mut state) = (self.kinds(), self.lock());
        let mut found = Vec::new();
        for kind in served.stored().filter(|kind| kind.namespaced) {
            let shelf = state.shelf(kind);
            let objects = shelf.range(namespace);
            found.extend(objects.map(|object| (kind, Arc::clone(object))));
        }
        found
    }

    /// Removes Events that were last written before `limit`; gives how many went.
    pub(crate) fn expire_events(&self, limit: Timestamp) -> usize {
        let (served, mut state) = (self.kinds(), self.lock());
        let gone = state.expire_events(&served, limit);
        let wake = state.shelf(state::event_kind()).wake.clone();
        let revision = state.revision;
        drop(state);
        if gone > 0 {
            wake.send_replace(revision);
            self.namespaces.notify_one();
        }
        gone
    }
}
