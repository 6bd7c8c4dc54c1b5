//! Random histories: whatever order events, lists, repetitions and losses come in, the copy is what
//! a cold start would build, and nothing is lost to a server that forgot.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use seaway_api::{Change, Identity, Item, Mirror, ObjectKey, Version};

/// A server with its log of events.
#[derive(Default)]
struct Server {
    cluster: usize,
    version: u64,
    objects: BTreeMap<u8, Version>,
    log: Vec<Event>,
    /// How far the client has read the log.
    cursor: usize,
    /// The client missed something, or was not told of a restart yet.
    lost: bool,
}

#[derive(Clone)]
enum Event {
    Put(u8, Version),
    Delete(u8, Version),
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    Deliver,
    Repeat(prop::sample::Index),
    Lose,
    Relist,
    Restart,
    /// A list whose cluster cannot be told.
    RelistUntold,
}

fn key(object: u8) -> ObjectKey {
    ObjectKey::namespaced("a", object.to_string())
}

fn item(object: u8, version: &Version) -> Item<u8> {
    Item {
        key: key(object),
        version: version.clone(),
        object: Arc::new(object),
    }
}

impl Server {
    fn next(&mut self, object: u8, fresh: bool) -> Version {
        self.version += 1;
        let uid = match self.objects.get(&object) {
            Some(version) if !fresh => version.uid.clone(),
            _ => format!("{}-{}", self.cluster, self.version),
        };
        Version {
            uid,
            resource: self.version.to_string(),
        }
    }

    fn put(&mut self, object: u8) {
        let version = self.next(object, false);
        self.objects.insert(object, version.clone());
        self.log.push(Event::Put(object, version));
    }

    fn delete(&mut self, object: u8) {
        if self.objects.contains_key(&object) {
            let version = self.next(object, false);
            self.objects.remove(&object);
            self.log.push(Event::Delete(object, version));
        }
    }

    fn restart(&mut self) {
        *self = Server {
            cluster: self.cluster + 1,
            lost: true,
            ..Server::default()
        };
    }

    fn identity(&self) -> Identity {
        Identity::Known(self.cluster.to_string().into())
    }

    fn list(&mut self, mirror: &mut Mirror<u8>, identity: &Identity) -> Vec<Change<u8>> {
        let list = self.objects.iter().map(|(o, version)| item(*o, version));
        self.cursor = self.log.len();
        self.lost = false;
        mirror.relist(list.collect(), &self.version.to_string(), identity)
    }

    fn deliver(mirror: &mut Mirror<u8>, event: &Event) -> Option<Change<u8>> {
        match event {
            Event::Put(object, version) => mirror.apply(item(*object, version)),
            Event::Delete(object, version) => mirror.delete(&key(*object), version),
        }
    }
}

/// Carries out a step; gives the changes and whether the server itself deleted something.
fn step(server: &mut Server, mirror: &mut Mirror<u8>, step: &Step) -> (Vec<Change<u8>>, bool) {
    let mut explicit = false;
    let changes = match step {
        Step::Put(object) => {
            server.put(*object);
            Vec::new()
        }
        Step::Delete(object) => {
            server.delete(*object);
            Vec::new()
        }
        Step::Deliver if !server.lost && server.cursor < server.log.len() => {
            let event = server.log[server.cursor].clone();
            server.cursor += 1;
            explicit = matches!(event, Event::Delete(..));
            Server::deliver(mirror, &event).into_iter().collect()
        }
        Step::Repeat(index) if !server.lost && server.cursor > 0 => {
            let event = server.log[index.index(server.cursor)].clone();
            explicit = matches!(event, Event::Delete(..));
            Server::deliver(mirror, &event).into_iter().collect()
        }
        Step::Lose if server.cursor < server.log.len() => {
            server.cursor += 1;
            server.lost = true;
            Vec::new()
        }
        Step::Relist => {
            let identity = server.identity();
            server.list(mirror, &identity)
        }
        Step::RelistUntold => server.list(mirror, &Identity::Untold("no".to_owned())),
        Step::Restart => {
            server.restart();
            Vec::new()
        }
        Step::Deliver | Step::Repeat(_) | Step::Lose => Vec::new(),
    };
    (changes, explicit)
}

fn finish(server: &mut Server, mirror: &mut Mirror<u8>) -> Vec<Change<u8>> {
    let mut changes = Vec::new();
    if server.lost || !mirror.is_synced() {
        let identity = server.identity();
        changes.extend(server.list(mirror, &identity));
    }
    while server.cursor < server.log.len() {
        changes.extend(step(server, mirror, &Step::Deliver).0);
    }
    changes
}

/// What a consumer knows who follows the changes only.
fn replay(known: &mut BTreeMap<ObjectKey, u8>, changes: Vec<Change<u8>>) {
    for change in changes {
        match change {
            Change::Upsert(key, object) => drop(known.insert(key, *object)),
            Change::Delete(key, _) => {
                known
                    .remove(&key)
                    .expect("only what was told is taken back");
            }
            Change::Synced | Change::Problems(_) => {}
        }
    }
}

fn keys(mirror: &Mirror<u8>) -> Vec<ObjectKey> {
    mirror.iter().map(|(key, _)| key.clone()).collect()
}

fn steps(step: impl Strategy<Value = Step>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step, 0..60)
}

fn common() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8).prop_map(Step::Put),
        3 => (0..6u8).prop_map(Step::Delete),
        6 => Just(Step::Deliver),
        2 => any::<prop::sample::Index>().prop_map(Step::Repeat),
        1 => Just(Step::Lose),
        1 => Just(Step::Relist),
    ]
}

fn with_restarts() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => common(),
        1 => Just(Step::Restart),
        1 => Just(Step::RelistUntold),
    ]
}

proptest! {
    /// Scorecard row 13: the copy is what a cold start would build.
    #[test]
    fn one_cluster_leads_to_what_a_cold_start_builds(steps in steps(common())) {
        let (mut server, mut mirror) = (Server::default(), Mirror::default());
        let mut known = BTreeMap::new();
        // A watch begins with a list.
        replay(&mut known, step(&mut server, &mut mirror, &Step::Relist).0);
        for one in &steps {
            replay(&mut known, step(&mut server, &mut mirror, one).0);
        }
        replay(&mut known, finish(&mut server, &mut mirror));
        let expected: Vec<ObjectKey> = server.objects.keys().map(|o| key(*o)).collect();
        prop_assert_eq!(keys(&mirror), expected.clone());
        prop_assert_eq!(known.into_keys().collect::<Vec<_>>(), expected);
        prop_assert_eq!(mirror.kept(), 0);
    }

    /// Whatever happens to the server, an object leaves the copy only by a DELETED event, or by a
    /// list of the very cluster that confirmed it.
    #[test]
    fn nothing_vanishes_with_another_cluster(steps in steps(with_restarts())) {
        let (mut server, mut mirror) = (Server::default(), Mirror::default());
        let mut origins: BTreeMap<ObjectKey, Option<usize>> = BTreeMap::new();
        let mut known = BTreeMap::new();
        let mut told = None;
        for one in &steps {
            let before = keys(&mirror);
            let (changes, explicit) = step(&mut server, &mut mirror, one);
            replay(&mut known, changes);
            match one {
                Step::Relist => told = Some(server.cluster),
                Step::RelistUntold => told = None,
                _ => {}
            }
            let listed = matches!(one, Step::Relist | Step::RelistUntold);
            for key in before.iter().filter(|key| mirror.get(key).is_none()) {
                let same = told.is_some() && origins.get(key) == Some(&told);
                prop_assert!(explicit || (listed && same), "{} vanished by {:?}", key, one);
            }
            // Confirmed: all that the server has when it lists, and what its events bring.
            for object in server.objects.keys().map(|o| key(*o)) {
                let event = matches!(one, Step::Deliver | Step::Repeat(_));
                if listed || (event && !before.contains(&object)) {
                    origins.insert(object, told);
                }
            }
            if matches!(one, Step::Deliver)
                && server.cursor > 0
                && let Event::Put(object, _) = &server.log[server.cursor - 1]
            {
                origins.insert(key(*object), told);
            }
        }
        replay(&mut known, finish(&mut server, &mut mirror));
        for object in server.objects.keys() {
            prop_assert!(mirror.get(&key(*object)).is_some());
        }
        prop_assert_eq!(known.into_keys().collect::<Vec<_>>(), keys(&mirror));
        let extra = mirror.len() - server.objects.len();
        prop_assert!(mirror.kept() <= extra, "what the server knows is not kept but there");
    }
}

fn mirror_of(cluster: &str, objects: &[u8]) -> Mirror<u8> {
    let mut mirror = Mirror::default();
    mirror.relist(list_of(cluster, objects), "10", &known(cluster));
    mirror
}

fn list_of(cluster: &str, objects: &[u8]) -> Vec<Item<u8>> {
    let version = |object: &u8| Version {
        uid: format!("{cluster}-{object}"),
        resource: "5".to_owned(),
    };
    objects.iter().map(|o| item(*o, &version(o))).collect()
}

fn known(cluster: &str) -> Identity {
    Identity::Known(cluster.into())
}

#[test]
fn an_empty_list_of_another_cluster_deletes_nothing() {
    let mut mirror = mirror_of("one", &[1, 2, 3]);
    assert_eq!(mirror.relist(vec![], "1", &known("two")), []);
    assert_eq!((mirror.len(), mirror.kept()), (3, 3));
    // Nor does the next list of that cluster.
    assert_eq!(mirror.relist(vec![], "2", &known("two")), []);
    assert_eq!((mirror.len(), mirror.kept()), (3, 3));
}

#[test]
fn an_empty_list_of_the_same_cluster_deletes_all() {
    let mut mirror = mirror_of("one", &[1, 2]);
    assert_eq!(mirror.relist(vec![], "11", &known("one")).len(), 2);
    assert!(mirror.is_empty());
}

#[test]
fn what_registers_again_is_an_object_like_any_other() {
    let mut mirror = mirror_of("one", &[1, 2]);
    mirror.relist(list_of("two", &[1]), "5", &known("two"));
    assert_eq!(mirror.kept(), 1, "2 is kept");
    let version = |resource: &str| Version {
        uid: "two-2".to_owned(),
        resource: resource.to_owned(),
    };
    assert!(mirror.apply(item(2, &version("6"))).is_some());
    assert_eq!(mirror.kept(), 0);
    // By now the second cluster has confirmed both, and its lists count.
    assert_eq!(
        mirror
            .relist(list_of("two", &[1]), "9", &known("two"))
            .len(),
        1
    );
    assert_eq!(mirror.len(), 1);
}

#[test]
fn an_explicit_delete_counts_even_with_lower_versions() {
    let mut mirror = mirror_of("one", &[1, 2]);
    mirror.relist(vec![], "1", &known("two"));
    let version = Version {
        uid: "two-1".to_owned(),
        resource: "2".to_owned(),
    };
    assert!(mirror.delete(&key(1), &version).is_some());
    assert_eq!((mirror.len(), mirror.kept()), (1, 1));
}

#[test]
fn a_cluster_that_does_not_tell_deletes_nothing() {
    let mut mirror = mirror_of("one", &[1]);
    let untold = Identity::Untold("forbidden".to_owned());
    assert_eq!(mirror.relist(vec![], "11", &untold), []);
    assert_eq!(mirror.kept(), 1);
    // The cluster that confirmed it may say later that it is gone.
    assert_eq!(mirror.relist(vec![], "12", &known("one")).len(), 1);
}

#[test]
fn an_unchanged_object_is_told_once() {
    let mut mirror = mirror_of("one", &[1]);
    assert_eq!(mirror.relist(list_of("one", &[1]), "11", &known("one")), []);
}
