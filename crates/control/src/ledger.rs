//! What this process asked for and has not seen yet: objects being made and objects being deleted.
//!
//! A watch is late. Without a memory of its own requests a controller would make a Pod twice, or forget
//! a set that it just made. Names of new objects are chosen by us and written down *before* the
//! request, so that the object may show up, and even vanish again, before the answer does. An entry ends
//! when the watch shows the object, or when a listing that began after the answer does not.

use std::collections::BTreeMap;

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use crate::cluster::Heard;
use crate::meta::{self, Key};

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No answer yet.
    Asked,
    /// Answered; listings with a greater number show the effect.
    Answered(u64),
    /// The answer got lost: the request may or may not have had effect.
    Doubtful,
}

/// The memory for one owner.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    creating: BTreeMap<String, Stage>,
    deleting: BTreeMap<String, Stage>,
}

impl Ledger {
    /// The number of objects that were asked for and not seen.
    pub(crate) fn creating(&self) -> usize {
        self.creating.len()
    }

    /// Whether the deletion of this object was asked for.
    pub(crate) fn is_deleting(&self, uid: &str) -> bool {
        self.deleting.contains_key(uid)
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_empty(&self) -> bool {
        self.creating.is_empty() && self.deleting.is_empty()
    }

    /// Notes an object that is about to be asked for.
    pub(crate) fn will_create(&mut self, name: &str) {
        self.creating.insert(name.to_owned(), Stage::Asked);
    }

    /// Notes how the request went; None: it had no effect.
    pub(crate) fn created(&mut self, name: &str, stage: Option<Stage>) {
        answer(&mut self.creating, name, stage);
    }

    /// Notes a deletion that is about to be asked for.
    pub(crate) fn will_delete(&mut self, uid: &str) {
        self.deleting.insert(uid.to_owned(), Stage::Asked);
    }

    /// Notes how the request went; None: it had no effect.
    pub(crate) fn deleted(&mut self, uid: &str, stage: Option<Stage>) {
        answer(&mut self.deleting, uid, stage);
    }

    /// The names of objects that may exist or not, for the driver to ask about.
    pub(crate) fn doubtful(&self) -> Vec<String> {
        let doubtful = self
            .creating
            .iter()
            .filter(|(_, stage)| **stage == Stage::Doubtful);
        doubtful.map(|(name, _)| name.clone()).collect()
    }

    /// The watch showed an object (`new`), or that it is gone.
    pub(crate) fn seen(&mut self, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) {
        for object in old.iter().chain(new.iter()) {
            self.creating.remove(meta::name(object));
        }
        let replaced = match (old, new) {
            (Some(old), Some(new)) => old.uid != new.uid,
            _ => new.is_none(),
        };
        if replaced && let Some(old) = old {
            self.deleting.remove(meta::uid(old));
        }
        if let Some(new) = new
            && meta::is_terminating(new)
        {
            self.deleting.remove(meta::uid(new));
        }
    }

    /// A listing with this number is in the view: what was answered before it began is in there.
    pub(crate) fn listed(&mut self, number: u64) {
        let pending = |stage: &Stage| !matches!(stage, Stage::Answered(at) if *at < number);
        self.creating.retain(|_, stage| pending(stage));
        self.deleting.retain(|_, stage| pending(stage));
    }
}

/// The memories of all owners, by their uids.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    ledgers: Mutex<BTreeMap<String, (Key, Ledger)>>,
}

impl Ledgers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Key, Ledger)>> {
        // Every change of a ledger is one step, so a poisoned lock still guards good data.
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory for an owner, as it is now.
    pub(crate) fn of(&self, owner: &ObjectMeta) -> Ledger {
        let ledgers = self.lock();
        let known = ledgers.get(meta::uid(owner));
        known.map(|(_, ledger)| ledger.clone()).unwrap_or_default()
    }

    /// Changes the memory for an owner.
    pub(crate) fn remember(&self, owner: &ObjectMeta, change: impl FnOnce(&mut Ledger)) {
        let mut ledgers = self.lock();
        let uid = meta::uid(owner);
        let entry = ledgers.entry(uid.to_owned());
        let (_, ledger) = entry.or_insert_with(|| (Key::of_meta(owner), Ledger::default()));
        change(ledger);
        if ledger.is_empty() {
            ledgers.remove(uid);
        }
    }

    /// An owner is gone.
    pub(crate) fn forget(&self, owner: &ObjectMeta) {
        self.lock().remove(meta::uid(owner));
    }

    /// A watch told of objects that are owned; answers the owners that waited for a listing.
    pub(crate) fn hear<K: Resource>(&self, heard: &Heard<K>, listed: u64) -> Vec<Key> {
        let mut ledgers = self.lock();
        for change in heard.changes() {
            let old = change.old.as_ref().map(|object| object.meta());
            let new = change.new.as_ref().map(|object| object.meta());
            let owner = old.or(new).and_then(meta::controller_of);
            if let Some((_, ledger)) = owner.and_then(|owner| ledgers.get_mut(&owner.uid)) {
                ledger.seen(old, new);
            }
        }
        let mut owners = Vec::new();
        if matches!(heard, Heard::Listed(_)) {
            for (key, ledger) in ledgers.values_mut() {
                ledger.listed(listed);
                owners.push(key.clone());
            }
        }
        ledgers.retain(|_, (_, ledger)| !ledger.is_empty());
        owners
    }
}

/// An entry that the watch has ended meanwhile stays ended.
fn answer(entries: &mut BTreeMap<String, Stage>, key: &str, stage: Option<Stage>) {
    match stage {
        None => {
            entries.remove(key);
        }
        Some(stage) => {
            if let Some(entry) = entries.get_mut(key) {
                *entry = stage;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, terminating: bool) -> ObjectMeta {
        let now = meta::to_time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            deletion_timestamp: terminating.then_some(now),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_pod_may_be_seen_and_vanish_before_the_answer() {
        let mut ledger = Ledger::default();
        ledger.will_create("a");
        ledger.seen(None, Some(&pod("a", false)));
        ledger.seen(Some(&pod("a", false)), None);
        ledger.created("a", Some(Stage::Answered(1)));
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_later_listing_settles_what_was_answered_before_it() {
        let mut ledger = Ledger::default();
        ledger.will_create("a");
        ledger.listed(5);
        assert_eq!(ledger.creating(), 1, "no answer yet");
        ledger.created("a", Some(Stage::Answered(5)));
        ledger.listed(5);
        assert_eq!(ledger.creating(), 1, "that listing began before the answer");
        ledger.listed(6);
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_deletion_ends_when_the_pod_is_seen_to_go() {
        let mut ledger = Ledger::default();
        ledger.will_delete("a");
        ledger.deleted("a", Some(Stage::Answered(1)));
        ledger.seen(Some(&pod("a", false)), Some(&pod("a", false)));
        assert!(ledger.is_deleting("a"));
        ledger.seen(Some(&pod("a", false)), Some(&pod("a", true)));
        assert!(ledger.is_empty());
    }

    #[test]
    fn doubtful_creations_count_until_asked_about() {
        let mut ledger = Ledger::default();
        ledger.will_create("a");
        ledger.created("a", Some(Stage::Doubtful));
        ledger.listed(9);
        assert_eq!(ledger.doubtful(), ["a"]);
        ledger.created("a", None);
        assert!(ledger.is_empty());
    }
}
