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
use super::names::{Claims, Names, Refusal};
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
    held: bool,
    /// The names that it has.
    names: Names,
    /// Whether it was ever served; then it stays so until it goes.
    established: bool,
    /// What is served of it.
    kinds: Vec<Serving>,
}

impl Entry {
    fn read(object: &Object, before: Option<&Entry>) -> Self {
        let value = object.value();
        let generation = read::int(&value["metadata"], "generation").unwrap_or(0);
        let before = before.filter(|before| before.uid == object.uid);
        let same = before.filter(|before| before.generation == generation);
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
            held: read::texts(&value["metadata"], "finalizers").contains(&FINALIZER),
            names: before
                .map(|before| before.names.clone())
                .unwrap_or_default(),
            established: before.is_some_and(|before| before.established),
            kinds: before
                .map(|before| before.kinds.clone())
                .unwrap_or_default(),
        }
    }

    /// Who is asked first which names it wants: who is served, else who came first.
    fn rank(&self) -> (bool, &str, u64, &Key) {
        (!self.established, &self.created, self.revision, &self.key)
    }

    /// As what its objects are stored, also those that are left of a time when it was served.
    fn stored(&self) -> Option<&'static Kind> {
        let mut kinds = self.kinds.iter().map(|serving| serving.kind);
        let served = kinds.find(|kind| kind.custom.is_some_and(custom::Custom::is_stored));
        served.or_else(|| custom::stored(&self.definition))
    }

    /// Decides its names and what is served of it.
    ///
    /// What is served stays so, if need be as it was before.
    fn settle(&mut self, claims: &mut Claims, make: Make) -> Verdict {
        let (of, wanted) = (&self.definition, self.definition.names());
        let (names, refused) = claims.settle(&of.group, &self.key, (&self.names, &wanted));
        let mut failed = None;
        if refused.is_none() || self.established {
            let called = match names == wanted {
                true => Arc::clone(of),
                false => Arc::new(of.called(&names)),
            };
            match kinds_of(&called, make) {
                Ok(kinds) => (self.kinds, self.established) = (kinds, true),
                Err(full) => failed = Some(("TooManyDefinitions", full.to_string())),
            }
        }
        if failed.is_none() || !self.established {
            claims.give(&of.group, &self.key, (&self.names, &names));
            self.names = names;
        }
        for serving in &mut self.kinds {
            serving.going = self.deleting;
        }
        Verdict { refused, failed }
    }
}

/// Makes the kind of a version.
type Make = fn(&Definition, &Version) -> Result<&'static Kind, custom::Full>;

/// What became of a definition.
struct Verdict {
    /// Why its names are not accepted.
    refused: Option<Refusal>,
    /// Why it is not served as it is written.
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
        let (kinds, verdicts) = judge(&mut known, custom::kind);
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
fn judge(known: &mut HashMap<Key, Entry>, make: Make) -> (Vec<Serving>, Vec<(Key, Verdict)>) {
    let mut claims = Claims::default();
    let nothing = Names::default();
    for entry in known.values() {
        claims.give(
            &entry.definition.group,
            &entry.key,
            (&nothing, &entry.names),
        );
    }
    let mut order: Vec<&mut Entry> = known.values_mut().collect();
    order.sort_by(|one, other| one.rank().cmp(&other.rank()));
    let (mut serving, mut verdicts) = (Vec::new(), Vec::new());
    for entry in order {
        let verdict = entry.settle(&mut claims, make);
        serving.extend(entry.kinds.iter().cloned());
        verdicts.push((entry.key.clone(), verdict));
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

fn kinds_of(of: &Arc<Definition>, make: Make) -> Result<Vec<Serving>, custom::Full> {
    let needed = of
        .versions
        .iter()
        .filter(|version| version.served || version.storage);
    let serving = needed.map(|version: &Version| {
        Ok(Serving {
            kind: make(of, version)?,
            served: version.served,
            going: false,
            definition: Arc::clone(of),
        })
    });
    serving.collect()
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
    let accepted = match &verdict.refused {
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
        Some((reason, why)) => ("False", *reason, why.clone()),
    };
    let established = match (&verdict.failed, entry.established) {
        (None, true) => (
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted".to_owned(),
        ),
        (None, false) => (
            "False",
            "NotAccepted",
            "not all names are accepted".to_owned(),
        ),
        (Some((reason, why)), true) => {
            let what = format!("it is served as it was before its last change: {why}");
            ("True", *reason, what)
        }
        (Some((reason, why)), false) => ("False", *reason, why.clone()),
    };
    read::put(status, "acceptedNames", entry.names.json());
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
        if let Some(objects) = entry.stored() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::tests::definition;

    #[test]
    fn what_is_served_stays_so_when_there_is_room_for_no_more() {
        let full: Make = |_, _| Err(custom::Full);
        let kind = kinds::find("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
        let mut value = definition(&json!({ "type": "object" }));
        value["metadata"]["uid"] = "u".into();
        let first = Entry::read(&Object::new(kind, value.clone(), 1), None);
        let key = first.key.clone();
        let mut known = HashMap::from([(key.clone(), first)]);
        let established = |known: &HashMap<Key, Entry>, verdict: &Verdict| {
            let mut object = json!({});
            write(&mut object, &known[&key], verdict, "now");
            let conditions = read::list(&object["status"], "conditions");
            let told = conditions.iter().find(|one| one["type"] == "Established");
            [&told.unwrap()["status"], &told.unwrap()["reason"]].map(Clone::clone)
        };
        let (none, verdicts) = judge(&mut known, full);
        assert!(none.is_empty());
        let told = established(&known, &verdicts[0].1);
        assert_eq!(told, ["False", "TooManyDefinitions"]);
        let (before, verdicts) = judge(&mut known, custom::kind);
        let told = established(&known, &verdicts[0].1);
        assert_eq!(told, ["True", "InitialNamesAccepted"]);
        value["metadata"]["generation"] = 2.into();
        value["spec"]["names"]["shortNames"] = json!(["wdg"]);
        let changed = Entry::read(&Object::new(kind, value, 2), known.get(&key));
        known.insert(key.clone(), changed);
        let (after, verdicts) = judge(&mut known, full);
        assert!(std::ptr::eq(before[0].kind, after[0].kind));
        assert_eq!(known[&key].names.short, ["wd"]);
        let told = established(&known, &verdicts[0].1);
        assert_eq!(told, ["True", "TooManyDefinitions"]);
    }
}
