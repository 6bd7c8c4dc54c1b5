//! What is known of one kind of objects: the latest of each, kept by a watch.
//!
//! A `View` is plain data behind a lock. It tells what changed (old and new), so that a controller
//! knows whom an object concerned before as well as after. It says which listing it stems from, so
//! that a controller can drop a memory that a later listing has answered. It never talks to a server.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Resource;
use kube::runtime::watcher::Event;

use crate::meta::Key;

/// What became of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change<K> {
    /// What was known before.
    pub(crate) old: Option<Arc<K>>,
    /// What is known now; None when it is gone.
    pub(crate) new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// Old and new, as far as there are such.
    pub(crate) fn both(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(self.new.iter())
    }
}

#[derive(Debug)]
struct Contents<K> {
    /// What the watch has told.
    objects: BTreeMap<Key, Arc<K>>,
    /// What our own writes have told ahead of the watch. Kept apart, so that the watch still tells
    /// everybody of the change when it comes to it.
    learned: BTreeMap<Key, Arc<K>>,
    /// What a running listing has brought so far.
    listing: Option<BTreeMap<Key, Arc<K>>>,
    /// Counts listings that began, and the last that ended.
    begun: u64,
    listed: u64,
}

impl<K> Contents<K> {
    fn latest(&self, key: &Key) -> Option<&Arc<K>> {
        let object = self.objects.get(key)?;
        Some(self.learned.get(key).unwrap_or(object))
    }

    fn all(&self) -> impl Iterator<Item = (&Key, &Arc<K>)> {
        let objects = self.objects.iter();
        objects.map(|(key, object)| (key, self.learned.get(key).unwrap_or(object)))
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(crate) struct View<K> {
    contents: RwLock<Contents<K>>,
}

impl<K> Default for View<K> {
    fn default() -> Self {
        Self {
            contents: RwLock::new(Contents {
                objects: BTreeMap::new(),
                learned: BTreeMap::new(),
                listing: None,
                begun: 0,
                listed: 0,
            }),
        }
    }
}

impl<K: Resource> View<K> {
    fn read(&self) -> RwLockReadGuard<'_, Contents<K>> {
        // Every write leaves the contents whole, so a poisoned lock still guards good data.
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents<K>> {
        self.contents
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a watch brings and says what changed by it.
    pub(crate) fn apply(&self, event: Event<K>) -> Vec<Change<K>> {
        let mut contents = self.write();
        match event {
            Event::Init => {
                contents.begun += 1;
                contents.listing = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let key = Key::of(&object);
                if let Some(listing) = &mut contents.listing {
                    listing.insert(key, Arc::new(object));
                }
                Vec::new()
            }
            Event::InitDone => {
                contents.listed = contents.begun;
                let listing = contents.listing.take().unwrap_or_default();
                contents.learned.retain(|key, learned| {
                    let listed = listing.get(key);
                    listed.is_some_and(|listed| is_older(listed.as_ref(), learned.as_ref()))
                });
                let before = std::mem::replace(&mut contents.objects, listing);
                differences(before, &contents.objects)
            }
            Event::Apply(object) => {
                let key = Key::of(&object);
                let learned = contents.learned.get(&key);
                if learned.is_some_and(|learned| !is_older(&object, learned.as_ref())) {
                    contents.learned.remove(&key);
                }
                let object = Arc::new(object);
                let old = contents.objects.insert(key, object.clone());
                vec![Change {
                    old,
                    new: Some(object),
                }]
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                contents.learned.remove(&key);
                let old = contents.objects.remove(&key);
                vec![Change {
                    old: old.or_else(|| Some(Arc::new(object))),
                    new: None,
                }]
            }
        }
    }

    /// Takes in the answer to our own write, if the view still holds what the write was based on.
    /// A write that demanded `base` has no writes of others in between, so this never goes back.
    pub(crate) fn learn(&self, base: Option<&str>, object: K) {
        let mut contents = self.write();
        let key = Key::of(&object);
        let known = contents.latest(&key);
        if known.is_some_and(|known| {
            known.meta().resource_version.as_deref() == base
                && known.meta().uid == object.meta().uid
        }) {
            contents.learned.insert(key, Arc::new(object));
        }
    }

    /// One object.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().latest(key).cloned()
    }

    /// The objects of a namespace with these names, as far as there are such.
    pub(crate) fn named<'a>(
        &self,
        namespace: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<Arc<K>> {
        let contents = self.read();
        let mut key = Key {
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let mut found = Vec::new();
        for name in names {
            key.name.clear();
            key.name.push_str(name);
            found.extend(contents.latest(&key).cloned());
        }
        found
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// All objects, by namespace and name.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read()
            .all()
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects of a namespace that a test picks.
    pub(crate) fn in_namespace(&self, namespace: &str, pick: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let first = Key {
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let contents = self.read();
        contents
            .objects
            .range(first..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(key, object)| (key, contents.learned.get(key).unwrap_or(object)))
            .filter(|(_, object)| pick(object))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The number of listings that have begun. Whatever was true when this was read is in the first
    /// listing with a greater number.
    pub(crate) fn begun(&self) -> u64 {
        self.read().begun
    }

    /// The number of the listing that the objects stem from.
    pub(crate) fn listed(&self) -> u64 {
        self.read().listed
    }
}

/// Whether an object is an earlier version of what is known: the watch brings what `learn` has
/// overtaken. Versions of one object can be compared as numbers; those that are none are taken as news.
fn is_older<K: Resource>(object: &K, known: &K) -> bool {
    let version = |object: &K| -> Option<u64> {
        let version = object.meta().resource_version.as_deref();
        version.and_then(|version| version.parse().ok())
    };
    let versions = version(object).zip(version(known));
    object.meta().uid == known.meta().uid && versions.is_some_and(|(new, known)| new < known)
}

fn differences<K: Resource>(
    mut before: BTreeMap<Key, Arc<K>>,
    after: &BTreeMap<Key, Arc<K>>,
) -> Vec<Change<K>> {
    let mut changes = Vec::new();
    for (key, new) in after {
        let old = before.remove(key);
        let same = old.as_ref().is_some_and(|old| {
            old.meta().uid == new.meta().uid
                && old.meta().resource_version == new.meta().resource_version
        });
        if !same {
            changes.push(Change {
                old,
                new: Some(new.clone()),
            });
        }
    }
    changes.extend(before.into_values().map(|old| Change {
        old: Some(old),
        new: None,
    }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn object(name: &str, version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("a".into()),
                name: Some(name.into()),
                uid: Some(format!("uid-{name}")),
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn listed(view: &View<ConfigMap>, objects: &[(&str, &str)]) -> Vec<Change<ConfigMap>> {
        view.apply(Event::Init);
        for (name, version) in objects {
            view.apply(Event::InitApply(object(name, version)));
        }
        view.apply(Event::InitDone)
    }

    #[test]
    fn a_new_listing_tells_only_what_differs() {
        let view = View::default();
        assert_eq!(
            listed(&view, &[("x", "1"), ("y", "1"), ("z", "1")]).len(),
            3
        );
        let changes = listed(&view, &[("x", "1"), ("y", "2")]);
        let names: Vec<_> = changes
            .iter()
            .map(|change| {
                (
                    change
                        .both()
                        .next()
                        .and_then(|object| object.metadata.name.clone()),
                    change.new.is_some(),
                )
            })
            .collect();
        assert_eq!(names, [(Some("y".into()), true), (Some("z".into()), false)]);
        assert_eq!(view.listed(), 2);
    }

    #[test]
    fn objects_stay_visible_while_a_listing_runs() {
        let view = View::default();
        listed(&view, &[("x", "1")]);
        view.apply(Event::Init);
        assert_eq!(view.all().len(), 1);
        assert!(view.begun() > view.listed());
    }

    #[test]
    fn own_writes_are_learned_only_on_top_of_their_base() {
        let view = View::default();
        listed(&view, &[("x", "5")]);
        view.learn(Some("4"), object("x", "9"));
        let version = |view: &View<ConfigMap>| view.all()[0].metadata.resource_version.clone();
        assert_eq!(version(&view), Some("5".into()));
        view.learn(Some("5"), object("x", "9"));
        assert_eq!(version(&view), Some("9".into()));
        view.learn(None, object("new", "1"));
        assert_eq!(view.all().len(), 1);
    }

    #[test]
    fn what_was_learned_is_not_undone_by_the_watch_behind() {
        let view = View::default();
        listed(&view, &[("x", "5")]);
        view.learn(Some("5"), object("x", "7"));
        view.learn(Some("7"), object("x", "9"));
        let version = |object: &Option<Arc<ConfigMap>>| {
            let object = object.as_ref();
            object.and_then(|object| object.metadata.resource_version.clone())
        };
        for event in ["7", "9", "11"] {
            let changes = view.apply(Event::Apply(object("x", event)));
            assert_eq!(
                version(&changes[0].new).as_deref(),
                Some(event),
                "everybody is told"
            );
            assert_ne!(version(&changes[0].old), version(&changes[0].new));
            let seen = version(&view.all().first().cloned());
            assert_eq!(
                seen.as_deref(),
                Some(if event == "11" { "11" } else { "9" })
            );
        }
        view.learn(Some("11"), object("x", "13"));
        assert!(listed(&view, &[("x", "11")]).is_empty());
        assert_eq!(version(&view.all().first().cloned()).as_deref(), Some("13"));
        let mut another = object("x", "2");
        another.metadata.uid = Some("another".into());
        assert_eq!(view.apply(Event::Apply(another)).len(), 1);
    }

    #[test]
    fn a_namespace_is_one_range() {
        let view = View::default();
        listed(&view, &[("x", "1"), ("y", "1")]);
        let mut other = object("x", "1");
        other.metadata.namespace = Some("b".into());
        view.apply(Event::Apply(other));
        assert_eq!(view.in_namespace("a", |_| true).len(), 2);
        assert_eq!(view.in_namespace("b", |_| true).len(), 1);
        assert_eq!(view.in_namespace("c", |_| true).len(), 0);
    }
}
