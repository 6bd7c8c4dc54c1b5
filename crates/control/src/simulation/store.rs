//! Objects of one kind as a server keeps them, and their late copy as a controller sees it.

use std::collections::{BTreeMap, VecDeque};

use kube::Resource;
use kube::runtime::watcher::Event;

use crate::meta::Key;
use crate::view::{Change, View};

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Gone,
    Conflict,
    Exists,
}

/// The server's side, and one watch on it.
#[derive(Debug)]
pub(crate) struct Store<K> {
    pub(crate) objects: BTreeMap<Key, K>,
    pub(crate) view: View<K>,
    pending: VecDeque<Event<K>>,
}

impl<K: Resource + Clone> Store<K> {
    pub(crate) fn new() -> Self {
        let store = Self {
            objects: BTreeMap::new(),
            view: View::default(),
            pending: VecDeque::new(),
        };
        store.view.apply(Event::Init);
        store.view.apply(Event::InitDone);
        store
    }

    pub(crate) fn create(&mut self, mut object: K, version: u64) -> Result<K, Refusal> {
        let key = Key::of(&object);
        if self.objects.contains_key(&key) {
            return Err(Refusal::Exists);
        }
        object.meta_mut().uid = Some(format!("{key}-{version}"));
        object.meta_mut().resource_version = Some(version.to_string());
        object.meta_mut().generation = Some(1);
        self.objects.insert(key, object.clone());
        self.pending.push_back(Event::Apply(object.clone()));
        Ok(object)
    }

    /// Changes an object; with a `base`, only if it is still that version.
    pub(crate) fn update(
        &mut self,
        key: &Key,
        base: Option<&str>,
        version: u64,
        change: impl FnOnce(&mut K),
    ) -> Result<K, Refusal> {
        let object = self.objects.get_mut(key).ok_or(Refusal::Gone)?;
        if base.is_some() && object.meta().resource_version.as_deref() != base {
            return Err(Refusal::Conflict);
        }
        change(object);
        object.meta_mut().resource_version = Some(version.to_string());
        let object = object.clone();
        self.pending.push_back(Event::Apply(object.clone()));
        Ok(object)
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Result<(), Refusal> {
        let object = self.objects.remove(key).ok_or(Refusal::Gone)?;
        self.pending.push_back(Event::Delete(object));
        Ok(())
    }

    /// Lets the watch bring so many events.
    pub(crate) fn deliver(&mut self, count: usize) -> Vec<Change<K>> {
        let count = count.min(self.pending.len());
        let events = self.pending.drain(..count);
        events.flat_map(|event| self.view.apply(event)).collect()
    }

    /// Lets the watch start anew with a listing.
    pub(crate) fn relist(&mut self) -> Vec<Change<K>> {
        self.pending.clear();
        self.view.apply(Event::Init);
        for object in self.objects.values() {
            self.view.apply(Event::InitApply(object.clone()));
        }
        self.view.apply(Event::InitDone)
    }
}
