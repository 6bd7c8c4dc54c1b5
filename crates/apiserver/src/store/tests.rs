//! The store's promises: order, refusals, the log, snapshots of the past, owners, selectors.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds;

fn limits() -> Limits {
    Limits::default()
}

fn kind(plural: &str) -> &'static Kind {
    let found = kinds::all().iter().find(|kind| kind.plural == plural);
    found.unwrap()
}

fn map(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "n", "name": name, "uid": format!("uid-{name}"), "labels": labels },
    })
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn store_with(limits: &Limits) -> Store {
    let store = Store::new(limits, 100);
    let namespace = json!({ "metadata": { "name": "n", "uid": "ns" } });
    store
        .commit(kind("namespaces"), namespace, Change::Create, now(), false)
        .unwrap();
    store
}

fn store() -> Store {
    store_with(&limits())
}

fn put(store: &Store, value: Value, change: Change) -> Result<Arc<Object>, StoreError> {
    store.commit(kind("configmaps"), value, change, now(), false)
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    let names = snapshot.objects().iter();
    names.map(|object| object.key.name.to_string()).collect()
}

fn events(store: &Store, cursor: u64) -> Option<(Vec<(EventType, String)>, u64)> {
    match store.changes(kind("configmaps"), cursor, usize::MAX, |_| true) {
        Batch::Events(events, cursor) => {
            let told = events
                .iter()
                .map(|event| (event.kind, event.object.key.name.to_string()));
            Some((told.collect(), cursor))
        }
        Batch::Expired { .. } => None,
    }
}

#[test]
fn changes_are_ordered_and_told_in_order() {
    let store = store();
    let first = put(&store, map("a", json!({})), Change::Create).unwrap();
    assert_eq!(
        first.value()["metadata"]["resourceVersion"],
        first.revision.to_string()
    );
    let second = put(
        &store,
        map("a", json!({ "x": "y" })),
        Change::Replace(first.revision),
    )
    .unwrap();
    assert!(second.revision > first.revision);
    let gone = put(&store, map("a", json!({})), Change::Remove(second.revision)).unwrap();
    let (told, cursor) = events(&store, first.revision - 1).unwrap();
    let kinds: Vec<EventType> = told.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        kinds,
        [EventType::Added, EventType::Modified, EventType::Deleted]
    );
    assert_eq!(cursor, gone.revision);
    assert_eq!(events(&store, cursor).unwrap().0, []);
}

#[test]
fn what_conflicts_is_refused_and_leaves_no_trace() {
    let store = store();
    let object = put(&store, map("a", json!({})), Change::Create).unwrap();
    let before = (store.revision(), store.bytes());
    let value = || map("a", json!({ "x": "y" }));
    assert_eq!(
        put(&store, value(), Change::Create).unwrap_err(),
        StoreError::Exists
    );
    let stale = Change::Replace(object.revision - 1);
    assert_eq!(
        put(&store, value(), stale).unwrap_err(),
        StoreError::Conflict
    );
    let other = put(&store, map("b", json!({})), Change::Remove(1));
    assert_eq!(other.unwrap_err(), StoreError::Missing);
    let mut nowhere = map("a", json!({}));
    nowhere["metadata"]["namespace"] = "m".into();
    let refused = put(&store, nowhere, Change::Create).unwrap_err();
    assert_eq!(refused, StoreError::NoNamespace("m".into()));
    let change = Change::Replace(object.revision);
    store
        .commit(kind("configmaps"), value(), change, now(), true)
        .unwrap();
    assert_eq!((store.revision(), store.bytes()), before);
}

#[test]
fn a_terminating_namespace_takes_nothing_new() {
    let store = store();
    let key = Key::new("", "n");
    let namespace = store.get(kind("namespaces"), &key).unwrap();
    let mut value = namespace.value();
    value["metadata"]["deletionTimestamp"] = "2026-11-27T14:00:00Z".into();
    let change = Change::Replace(namespace.revision);
    store
        .commit(kind("namespaces"), value, change, now(), false)
        .unwrap();
    let refused = put(&store, map("a", json!({})), Change::Create).unwrap_err();
    assert_eq!(refused, StoreError::Terminating("n".into()));
}

#[test]
fn sizes_are_bounded() {
    let store = store_with(&Limits {
        object_bytes: 3000,
        stored_bytes: 8000,
        ..limits()
    });
    let filled = |name: &str, bytes: usize| {
        let mut value = map(name, json!({}));
        value["data"] = json!({ "x": "y".repeat(bytes) });
        value
    };
    let large = put(&store, filled("a", 4000), Change::Create).unwrap_err();
    assert!(matches!(large, StoreError::TooLarge { .. }));
    let made = (0..20)
        .take_while(|at| put(&store, filled(&at.to_string(), 2000), Change::Create).is_ok())
        .count();
    assert_eq!(made, 3);
    let object = store.get(kind("configmaps"), &Key::new("n", "0")).unwrap();
    put(&store, object.value(), Change::Remove(object.revision)).unwrap();
    put(&store, filled("z", 2000), Change::Create).unwrap();
}

#[test]
fn many_little_growths_are_bounded() {
    let store = store_with(&Limits {
        stored_bytes: 16_000,
        ..limits()
    });
    let filled = |at: usize, bytes: usize| {
        let mut value = map(&at.to_string(), json!({}));
        value["data"] = json!({ "x": "y".repeat(bytes) });
        value
    };
    let made = (0..99)
        .take_while(|at| put(&store, filled(*at, 1000), Change::Create).is_ok())
        .count();
    let grow = |at: usize, bytes: usize| {
        let key = Key::new("n", &at.to_string());
        let old = store.get(kind("configmaps"), &key).unwrap();
        put(&store, filled(at, bytes), Change::Replace(old.revision))
    };
    for turn in 1..20 {
        for at in 0..made {
            let _full = grow(at, 1000 + 500 * turn).is_err();
        }
    }
    assert!(store.bytes() > 16_000 && store.bytes() <= 17_000);
    grow(0, 10).unwrap();
}

#[test]
fn those_who_look_between_two_changes_share_a_snapshot() {
    let store = store();
    put(&store, map("a", json!({})), Change::Create).unwrap();
    let at = |at| store.snapshot(kind("configmaps"), None, at).unwrap();
    let first = at(At::Latest);
    assert!(at(At::Exact(store.revision())).is_shared_with(&first));
    put(&store, map("b", json!({})), Change::Create).unwrap();
    assert_eq!(names(&at(At::Latest)), ["a", "b"]);
}

#[test]
fn a_loan_ends_when_the_log_has_moved_on() {
    let store = store_with(&Limits {
        log_events: 3,
        ..limits()
    });
    put(&store, map("a", json!({})), Change::Create).unwrap();
    let lend = || {
        let snapshot = store.snapshot(kind("configmaps"), None, At::Latest);
        store.lend(kind("configmaps"), &snapshot.unwrap())
    };
    let (early, dropped) = (lend(), lend());
    drop(dropped);
    put(&store, map("b", json!({})), Change::Create).unwrap();
    assert_eq!(names(&early.snapshot().unwrap()), ["a"]);
    for name in ["c", "d", "e"] {
        put(&store, map(name, json!({})), Change::Create).unwrap();
    }
    assert!(early.snapshot().is_none());
    let late = lend();
    assert_eq!(late.snapshot().unwrap().objects().len(), 5);
}

#[test]
fn a_selector_has_a_bounded_number_of_conditions() {
    let labels = |count: usize| parse_labels(&vec!["!a"; count].join(","));
    assert_eq!(labels(256).unwrap().len(), 256);
    assert!(labels(257).unwrap_err().contains("257 conditions"));
    let fields = vec!["metadata.name!=a"; 257].join(",");
    assert!(parse_fields(kind("pods"), &fields).is_err());
}

#[test]
fn the_metadata_is_found_in_the_json() {
    let value = json!({ "a\"": { "metadata": 1 }, "metadata": { "name": "n" }, "z": 1 });
    let object = Object::new(kind("configmaps"), value, 7);
    assert_eq!(
        &*object.metadata(),
        br#"{"name":"n","resourceVersion":"7"}"#
    );
    assert_eq!(object.value()["a\""]["metadata"], 1);
    let none = Object::new(kind("configmaps"), json!({}), 7);
    assert_eq!(&*none.metadata(), b"null");
}

#[test]
fn a_watcher_that_falls_behind_is_told() {
    let store = store_with(&Limits {
        log_events: 3,
        ..limits()
    });
    let start = store.revision();
    for name in ["a", "b", "c", "d"] {
        put(&store, map(name, json!({})), Change::Create).unwrap();
    }
    assert!(events(&store, start).is_none());
    assert_eq!(events(&store, start + 1).unwrap().0.len(), 3);
    assert!(
        events(&store, store.revision() + 1).is_none(),
        "from another run"
    );
}

#[test]
fn the_past_can_be_listed_as_it_was() {
    let store = store();
    let a = put(&store, map("a", json!({})), Change::Create).unwrap();
    let then = put(&store, map("b", json!({})), Change::Create)
        .unwrap()
        .revision;
    put(&store, map("c", json!({})), Change::Create).unwrap();
    put(
        &store,
        map("a", json!({ "x": "y" })),
        Change::Replace(a.revision),
    )
    .unwrap();
    let b = store.get(kind("configmaps"), &Key::new("n", "b")).unwrap();
    put(&store, b.value(), Change::Remove(b.revision)).unwrap();
    let past = store
        .snapshot(kind("configmaps"), Some("n"), At::Exact(then))
        .unwrap();
    assert_eq!(names(&past), ["a", "b"]);
    assert_eq!(past.objects().get(0).unwrap().label("x"), None);
    let present = store
        .snapshot(kind("configmaps"), None, At::Latest)
        .unwrap();
    assert_eq!(names(&present), ["a", "c"]);
    assert_eq!(present.after(&Key::new("n", "a")), 1);
    let early = store
        .snapshot(kind("configmaps"), None, At::Exact(1))
        .unwrap_err();
    assert_eq!(early, SnapshotError::Expired { oldest: 100 });
}

#[test]
fn one_snapshot_serves_everybody_until_a_change() {
    let store = store();
    put(&store, map("a", json!({})), Change::Create).unwrap();
    let take = || {
        store
            .snapshot(kind("configmaps"), None, At::Latest)
            .unwrap()
    };
    let (one, two) = (take(), take());
    assert!(one.is_shared_with(&two));
    put(&store, map("b", json!({})), Change::Create).unwrap();
    assert_eq!(names(&take()), ["a", "b"]);
    assert_eq!(names(&one), ["a"]);
}

fn owned(name: &str, owner: &str, uid: &str) -> Value {
    let mut value = map(name, json!({}));
    value["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid }]);
    value
}

#[test]
fn objects_are_suspects_when_an_owner_goes_or_never_was() {
    let store = store();
    let owner = put(&store, map("a", json!({})), Change::Create).unwrap();
    put(&store, owned("b", "a", "uid-a"), Change::Create).unwrap();
    assert!(store.orphans(9).is_empty());
    assert_eq!(store.dependents("uid-a", 9).len(), 1);
    put(&store, owner.value(), Change::Remove(owner.revision)).unwrap();
    let suspects = store.orphans(9);
    assert_eq!(suspects.len(), 1);
    let object = store.get(kind("configmaps"), &suspects[0].key).unwrap();
    let lost = Standing {
        lost: vec!["uid-a".to_owned()],
        ..Standing::default()
    };
    assert_eq!(store.standing(&suspects[0], &object), lost);
    // The same name with another uid is another owner.
    put(&store, map("a", json!({})), Change::Create).unwrap();
    put(&store, owned("c", "a", "uid-other"), Change::Create).unwrap();
    assert_eq!(store.orphans(9).len(), 1);
    // Nobody here can tell of kinds that are not served.
    let mut foreign = owned("d", "x", "uid-x");
    foreign["metadata"]["ownerReferences"][0]["apiVersion"] = "example.org/v1".into();
    put(&store, foreign, Change::Create).unwrap();
    assert!(store.orphans(9).is_empty());
}

/// A cluster's object cannot say in which namespace its owner is: it stays, as upstream.
#[test]
fn what_is_in_no_namespace_is_not_lost_with_an_owner_in_one() {
    let store = store();
    put(&store, map("a", json!({})), Change::Create).unwrap();
    let mut node = owned("b", "a", "uid-a");
    node["kind"] = "Node".into();
    node["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("namespace");
    store
        .commit(kind("nodes"), node, Change::Create, now(), false)
        .unwrap();
    assert!(store.orphans(9).is_empty());
}

#[test]
fn an_owner_is_a_suspect_when_the_last_that_blocks_it_is_gone() {
    let store = store();
    let owner = put(&store, map("a", json!({})), Change::Create).unwrap();
    let blocking = |name: &str| {
        let mut value = owned(name, "a", "uid-a");
        value["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into();
        value
    };
    let one = put(&store, blocking("b"), Change::Create).unwrap();
    let two = put(&store, blocking("c"), Change::Create).unwrap();
    put(&store, owned("d", "a", "uid-a"), Change::Create).unwrap();
    assert!(store.orphans(9).is_empty() && store.is_blocked("uid-a"));
    let mut marked = owner.value();
    marked["metadata"]["deletionTimestamp"] = "2026-11-27T14:00:00Z".into();
    marked["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    put(&store, marked, Change::Replace(owner.revision)).unwrap();
    let names = |suspects: Vec<Place>| {
        let names = suspects.into_iter().map(|place| place.key.name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(store.orphans(9)), ["b", "c", "d"]);
    put(&store, one.value(), Change::Remove(one.revision)).unwrap();
    assert!(store.orphans(9).is_empty() && store.is_blocked("uid-a"));
    let mut unblocking = two.value();
    unblocking["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = false.into();
    put(&store, unblocking, Change::Replace(two.revision)).unwrap();
    assert!(!store.is_blocked("uid-a"));
    assert_eq!(names(store.orphans(9)), ["a", "c"]);
}

#[test]
fn events_go_when_they_are_old_or_too_many() {
    let store = store_with(&Limits {
        events: 2,
        ..limits()
    });
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    for (name, second) in [("a", 1), ("b", 2), ("c", 3)] {
        let event = json!({ "metadata": { "namespace": "n", "name": name, "uid": name } });
        store
            .commit(kind("events"), event, Change::Create, at(second), false)
            .unwrap();
    }
    let list = || names(&store.snapshot(kind("events"), None, At::Latest).unwrap());
    assert_eq!(list(), ["b", "c"]);
    assert_eq!(store.expire_events(at(3)), 1);
    assert_eq!(list(), ["c"]);
}

fn selected(selector: &str, labels: Value) -> bool {
    let object = Object::new(kind("configmaps"), map("a", labels), 1);
    let filter = Filter {
        labels: parse_labels(selector).unwrap(),
        ..Filter::default()
    };
    filter.matches(&object)
}

#[test]
fn label_selectors_mean_what_kubernetes_says() {
    let labels = || json!({ "a": "b", "n": "5", "example.org/x": "" });
    for (selector, expected) in [
        ("", true),
        ("a=b", true),
        ("a==b", true),
        ("a = b", true),
        ("a!=b", false),
        ("c!=b", true),
        ("a in (x, b)", true),
        ("a in (x)", false),
        ("c notin (x)", true),
        ("a notin (b)", false),
        ("a", true),
        ("!a", false),
        ("!c", true),
        ("example.org/x", true),
        ("example.org/x=", true),
        ("n>4,n<6", true),
        ("n>5", false),
        ("a=b,c", false),
        ("a in (b),n in (5,6)", true),
    ] {
        assert_eq!(selected(selector, labels()), expected, "{selector}");
    }
    for wrong in [
        "a b", "a in b", "=x", "a=b=c", "a,,b", "a in (b", "n>x", "a=b c", "!",
    ] {
        assert!(parse_labels(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn field_selectors_know_their_fields() {
    let pods = kind("pods");
    let pod = json!({
        "metadata": { "namespace": "n", "name": "p" }, "spec": { "nodeName": "node" },
    });
    let object = Object::new(pods, pod, 1);
    let matches = |selector: &str| {
        let filter = Filter {
            fields: parse_fields(pods, selector).unwrap(),
            ..Filter::default()
        };
        filter.matches(&object)
    };
    assert!(matches("metadata.name=p,metadata.namespace==n"));
    assert!(matches("spec.nodeName=node"));
    assert!(!matches("spec.nodeName!=node"));
    let error = parse_fields(pods, "spec.nope=x").unwrap_err();
    assert!(
        error.contains("field label not supported: spec.nope"),
        "{error}"
    );
    assert!(parse_fields(pods, "metadata.name").is_err());
}

proptest! {
    #[test]
    fn selectors_never_panic(text in "[a-z=!<>(), ./]{0,40}|\\PC{0,40}") {
        let _labels = parse_labels(&text);
        let _fields = parse_fields(kind("pods"), &text);
    }

    /// Whatever happens: a watcher that applies all changes to an old list has the new list.
    #[test]
    fn list_and_changes_agree(steps in prop::collection::vec((0..5_u8, any::<bool>()), 1..60)) {
        let store = store();
        let configmaps = kind("configmaps");
        let start = store.revision();
        let mut seen = std::collections::BTreeMap::new();
        for (name, remove) in steps {
            let name = name.to_string();
            let current = store.get(configmaps, &Key::new("n", &name));
            let change = match (&current, remove) {
                (None, _) => Change::Create,
                (Some(object), false) => Change::Replace(object.revision),
                (Some(object), true) => Change::Remove(object.revision),
            };
            put(&store, map(&name, json!({})), change).unwrap();
        }
        let Batch::Events(events, cursor) =
            store.changes(configmaps, start, usize::MAX, |_| true)
        else {
            panic!("the log is long enough");
        };
        for event in events {
            match event.kind {
                EventType::Deleted => seen.remove(&event.object.key),
                _ => seen.insert(event.object.key.clone(), event.object.revision),
            };
            let past = store
                .snapshot(configmaps, None, At::Exact(event.revision))
                .unwrap();
            let listed: Vec<_> =
                past.objects().iter().map(|o| (o.key.clone(), o.revision)).collect();
            let followed: Vec<_> = seen.clone().into_iter().collect();
            prop_assert_eq!(listed, followed);
        }
        prop_assert_eq!(cursor, store.revision());
    }
}
