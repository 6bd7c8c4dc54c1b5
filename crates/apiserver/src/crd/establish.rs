//! The loop that serves what is defined.
//!
//! It alone changes the registry: each change of a definition leads to one look at all of them,
//! whose outcome is served as a whole and then written into their status.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::select_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::FINALIZER;
use super::custom;
use super::definition::{Definition, Version};
use crate::handlers::{Edit, Wish, modify, remove};
use crate::kinds::{self, Kind, Serving, read};
use crate::lifecycle::{metadata, seconds};
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{At, Key, Object};

/// How many objects are deleted before other tasks get a turn.
const TURN: usize = 64;

/// One definition as it is now.
struct Entry {
    key: Key,
    uid: Box<str>,
    revision: u64,
    generation: i64,
    created: String,
    definition: Arc<Definition>,
    deleting: bool,
    /// Whether its names were accepted before.
    accepted: bool,
    held: bool,
}

impl Entry {
    fn read(object: &Object, before: Option<&Entry>) -> Self {
        let value = object.value();
        let generation = read::int(&value["metadata"], "generation").unwrap_or(0);
        let same =
            before.filter(|before| before.uid == object.uid && before.generation == generation);
        Self {
            key: object.key.clone(),
            uid: object.uid.clone(),
            revision: object.revision,
            generation,
            created: read::text(&value["metadata"], "creationTimestamp").to_owned(),
            definition: match same {
                Some(before) => Arc::clone(&before.definition),
                None => Arc::new(Definition::of(&value)),
            },
            deleting: object.deleting,
            accepted: condition(&value, "NamesAccepted")
                .is_some_and(|condition| condition["status"] == "True"),
            held: read::texts(&value["metadata"], "finalizers").contains(&FINALIZER),
        }
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = read::list(&object["status"], "conditions");
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// What became of a definition.
struct Verdict {
    /// Why its names are not accepted: reason and message.
    refused: Option<(&'static str, String)>,
    /// Why it is not served all the same.
    failed: Option<(&'static str, String)>,
}

/// Serves what is defined, for ever.
pub(crate) async fn establish(server: Arc<Server>) {
    let Some(kind) = kinds::find("apiextensions.k8s.io", "v1", "customresourcedefinitions") else {
        warn!("CustomResourceDefinitions are not served, so none can be established");
        return;
    };
    let mut changes = server.store.subscribe(kind);
    let mut known: HashMap<Key, Entry> = HashMap::new();
    let mut serving: HashSet<usize> = HashSet::new();
    loop {
        changes.borrow_and_update();
        let Ok(snapshot) = server.store.snapshot(kind, None, At::Latest) else {
            continue;
        };
        let mut now = HashMap::new();
        for object in snapshot.objects().iter() {
            let entry = match known.remove(&object.key) {
                Some(entry) if entry.revision == object.revision => entry,
                before => Entry::read(object, before.as_ref()),
            };
            now.insert(object.key.clone(), entry);
        }
        known = now;
        let (kinds, verdicts) = judge(&known);
        let shelves = kinds.iter().map(|one| one.kind.shelf()).collect();
        server.store.serve(kinds);
        for gone in serving.difference(&shelves) {
            server.store.close(*gone);
        }
        serving = shelves;
        for (key, verdict) in &verdicts {
            tell(&server, kind, &known[key], verdict);
        }
        let emptied = empty(&server, kind, &known).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = emptied => {}
        }
    }
}

/// Which kinds are served, in the order of discovery, and what is to be said of each definition.
fn judge(known: &HashMap<Key, Entry>) -> (Vec<Serving>, Vec<(Key, Verdict)>) {
    let mut order: Vec<&Entry> = known.values().collect();
    // Who has a name keeps it; else who came first.
    order.sort_by_key(|entry| (!entry.accepted, &entry.created, entry.revision, &entry.key));
    let (mut taken, mut taken_kinds) = (HashSet::new(), HashSet::new());
    let (mut serving, mut verdicts) = (Vec::new(), Vec::new());
    for entry in order {
        let of = &entry.definition;
        let refused = conflict(of, &taken, &taken_kinds);
        let mut failed = None;
        if refused.is_none() {
            taken.extend(
                of.names()
                    .into_iter()
                    .map(|name| (of.group.clone(), name.to_owned())),
            );
            for kind in [&of.kind, &of.list_kind] {
                taken_kinds.insert((of.group.clone(), kind.clone()));
            }
            match kinds_of(entry) {
                Ok(kinds) => serving.extend(kinds),
                Err(full) => failed = Some(("TooManyDefinitions", full.to_string())),
            }
        }
        verdicts.push((entry.key.clone(), Verdict { refused, failed }));
    }
    serving.sort_by(|one, other| {
        let place = |serving: &Serving| {
            (
                serving.kind.group,
                std::cmp::Reverse(priority(serving.kind.version)),
                serving.kind.plural,
            )
        };
        place(one).cmp(&place(other))
    });
    (serving, verdicts)
}

fn kinds_of(entry: &Entry) -> Result<Vec<Serving>, custom::Full> {
    let of = &entry.definition;
    let needed = of
        .versions
        .iter()
        .filter(|version| version.served || version.storage);
    let serving = needed.map(|version: &Version| {
        Ok(Serving {
            kind: custom::kind(of, version)?,
            served: version.served,
            going: entry.deleting,
            definition: Arc::clone(of),
        })
    });
    serving.collect()
}

fn conflict(
    of: &Definition,
    taken: &HashSet<(String, String)>,
    taken_kinds: &HashSet<(String, String)>,
) -> Option<(&'static str, String)> {
    let is_taken = |name: &str| taken.contains(&(of.group.clone(), name.to_owned()));
    let has_kind = |name: &str| taken_kinds.contains(&(of.group.clone(), name.to_owned()));
    let short = of.short_names.iter().find(|name| is_taken(name));
    let (reason, name) = match short {
        _ if is_taken(&of.plural) => ("PluralConflict", &of.plural),
        _ if is_taken(&of.singular) => ("SingularConflict", &of.singular),
        Some(short) => ("ShortNamesConflict", short),
        None if has_kind(&of.kind) => ("KindConflict", &of.kind),
        None if has_kind(&of.list_kind) => ("ListKindConflict", &of.list_kind),
        None => return None,
    };
    Some((reason, format!("{name:?} is already in use")))
}

/// The order of versions: `v2` before `v1` before `v1beta1`, others last.
pub(super) fn priority(version: &str) -> (u8, u64, u64, std::cmp::Reverse<&str>) {
    let last = (0, 0, 0, std::cmp::Reverse(version));
    let Some(rest) = version.strip_prefix('v') else {
        return last;
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits);
    let Ok(major) = major.parse() else {
        return last;
    };
    for (word, rank) in [("beta", 2), ("alpha", 1)] {
        if let Some(minor) = rest.strip_prefix(word).and_then(|minor| minor.parse().ok()) {
            return (rank, major, minor, std::cmp::Reverse(""));
        }
    }
    match rest {
        "" => (3, major, 0, std::cmp::Reverse("")),
        _ => last,
    }
}

/// Writes into the status what became of a definition.
fn tell(server: &Server, kind: &'static Kind, entry: &Entry, verdict: &Verdict) {
    let now = Timestamp::now();
    let told = modify(
        server,
        kind,
        &entry.key,
        Edit::Direct,
        (now, false),
        |old| {
            let mut next = old.clone();
            write(&mut next, entry, verdict, &seconds(now));
            Ok(next)
        },
    );
    if let Err(error) = told
        && error.code != 404
    {
        warn!(definition = %entry.key.name, %error, "a status could not be written");
    }
}

fn write(object: &mut Value, entry: &Entry, verdict: &Verdict, now: &str) {
    if !read::has(object, "status") {
        read::put(object, "status", json!({}));
    }
    let names = object["spec"]["names"].clone();
    let status = &mut object["status"];
    let stored = entry
        .definition
        .storage()
        .map_or("", |version| &version.name);
    let mut versions: Vec<Value> = read::list(status, "storedVersions").to_vec();
    if !versions.iter().any(|version| version == stored) {
        versions.push(stored.into());
    }
    read::put(status, "storedVersions", versions);
    let (accepted, established) = match (&verdict.refused, &verdict.failed) {
        (None, None) => (
            ("True", "NoConflicts", "no conflicts found".to_owned()),
            (
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted".to_owned(),
            ),
        ),
        (None, Some((reason, why))) => (
            ("True", "NoConflicts", "no conflicts found".to_owned()),
            ("False", *reason, why.clone()),
        ),
        (Some((reason, why)), _) => (
            ("False", *reason, why.clone()),
            (
                "False",
                "NotAccepted",
                "not all names are accepted".to_owned(),
            ),
        ),
    };
    if accepted.0 == "True" {
        read::put(status, "acceptedNames", names);
    } else if !read::has(status, "acceptedNames") {
        read::put(status, "acceptedNames", json!({ "plural": "", "kind": "" }));
    }
    set(status, "NamesAccepted", accepted, now);
    set(status, "Established", established, now);
    if entry.deleting && entry.held {
        let what = "CustomResource deletion is in progress".to_owned();
        set(
            status,
            "Terminating",
            ("True", "InstanceDeletionInProgress", what),
            now,
        );
    }
}

fn set(status: &mut Value, kind: &str, (is, reason, message): (&str, &str, String), now: &str) {
    let mut conditions = read::list(status, "conditions").to_vec();
    let before = conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind);
    let moved = before.as_ref().is_none_or(|before| before["status"] != is);
    let next = json!({
        "type": kind, "status": is, "reason": reason, "message": message,
        "lastTransitionTime": match &before {
            Some(before) if !moved => before["lastTransitionTime"].clone(),
            _ => now.into(),
        },
    });
    match before {
        Some(before) => *before = next,
        None => conditions.push(next),
    }
    read::put(status, "conditions", conditions);
}

/// Deletes the objects of definitions that are being deleted and lets those go that are empty.
///
/// What it gives waits until another look is worth it.
async fn empty(
    server: &Arc<Server>,
    kind: &'static Kind,
    known: &HashMap<Key, Entry>,
) -> impl Future<Output = ()> + use<> {
    let mut waiting = Vec::new();
    for entry in known.values().filter(|entry| entry.deleting && entry.held) {
        let stored = entry.definition.storage();
        let objects = stored.and_then(|version| custom::kind(&entry.definition, version).ok());
        if let Some(objects) = objects
            && server
                .store
                .kinds()
                .at(objects.shelf())
                .is_some_and(|own| std::ptr::eq(own, objects))
        {
            let mut changes = server.store.subscribe(objects);
            changes.borrow_and_update();
            if !sweep(server, objects).await {
                waiting.push(Box::pin(async move {
                    // An error means that the shelf was closed: worth a look, too.
                    let _closed = changes.changed().await.is_err();
                }));
                continue;
            }
        }
        if let Err(error) = release(server, kind, &entry.key) {
            debug!(definition = %entry.key.name, %error, "a definition could not be released");
        }
    }
    async move {
        match waiting.is_empty() {
            true => std::future::pending().await,
            false => drop(select_all(waiting).await),
        }
    }
}

/// Deletes all objects of a kind; true if none is left.
async fn sweep(server: &Server, kind: &'static Kind) -> bool {
    let Ok(snapshot) = server.store.snapshot(kind, None, At::Latest) else {
        return false;
    };
    for (turn, object) in snapshot.objects().iter().enumerate() {
        if !object.deleting {
            let gone = remove(
                server,
                kind,
                &object.key,
                &Wish::default(),
                Timestamp::now(),
            );
            if let Err(error) = gone
                && error.code != 404
            {
                warn!(%error, "an object of a deleted definition could not be deleted");
            }
        }
        if turn % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    let left = server.store.snapshot(kind, None, At::Latest);
    left.is_ok_and(|left| left.objects().is_empty())
}

/// Takes the finalizer away.
fn release(server: &Server, kind: &'static Kind, key: &Key) -> Result<(), ApiError> {
    let when = (Timestamp::now(), false);
    modify(server, kind, key, Edit::Direct, when, |old| {
        let mut value = old.clone();
        let mut held = read::list(&old["metadata"], "finalizers").to_vec();
        held.retain(|one| one != FINALIZER);
        metadata(&mut value).insert("finalizers".into(), held.into());
        Ok(value)
    })
    .map(|_| ())
}
