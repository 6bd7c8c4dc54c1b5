//! What goes in the background: objects whose owners are gone or wait for them, and (`namespaces`)
//! the content of Namespaces that are being deleted.
//!
//! Both loops are woken by changes and look only at what a change touched.

mod namespaces;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::handlers::{Edit, Wish, modify, remove};
use crate::kinds::Kind;
use crate::lifecycle::{self, FOREGROUND, ORPHAN, Policy};
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Key, Object, Place, Store};

pub(crate) use namespaces::empty_namespaces;

/// How many objects are looked at before other tasks get a turn.
const TURN: usize = 64;
/// After what time that is tried again which could not be done.
const AGAIN: Duration = Duration::from_secs(5);
/// How many owners of owners are looked at in search of a circle.
const FAR: usize = 256;

/// Deletes objects whose owners are gone or wait for that, and lets go of owners that nothing holds
/// up any more, for ever.
pub(crate) async fn collect(server: Arc<Server>) {
    let mut failed = BTreeSet::new();
    let mut again = Instant::now();
    loop {
        if !failed.is_empty() && Instant::now() >= again {
            for place in std::mem::take(&mut failed) {
                server.store.suspect(place);
            }
        }
        let suspects = server.store.orphans(TURN);
        if suspects.is_empty() {
            let more = server.store.collectable();
            if failed.is_empty() {
                more.await;
            } else {
                let _ = timeout_at(again, more).await;
            }
            continue;
        }
        for place in suspects {
            if let Err(error) = judge(&server, &place) {
                warn!(?place, %error, "could not collect; trying again");
                if failed.is_empty() {
                    again = Instant::now() + AGAIN;
                }
                failed.insert(place);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// What has to be done about an object.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    /// What it owns shall forget it.
    Orphan,
    /// It has waited for all that it owns.
    Release,
    /// It forgets these owners.
    Forget(Vec<String>),
    /// It waits for its owner, which waits for it.
    Untangle,
    Delete(Option<Policy>),
}

fn verdict(store: &Store, place: &Place, object: &Object) -> Verdict {
    if object.is_held_by(ORPHAN) {
        return Verdict::Orphan;
    }
    let waits = object.is_held_by(FOREGROUND);
    if waits && !store.is_blocked(&object.uid) {
        return Verdict::Release;
    }
    let standing = store.standing(place, object);
    if standing.waiting.is_empty() && standing.lost.is_empty() {
        return Verdict::Nothing;
    }
    if standing.kept && !object.deleting {
        let mut owners = standing.lost;
        owners.extend(standing.waiting);
        return Verdict::Forget(owners);
    }
    if !standing.waiting.is_empty() && is_circle(store, object, &standing.waiting) {
        return Verdict::Untangle;
    }
    if object.deleting {
        return Verdict::Nothing;
    }
    let foreground = !standing.waiting.is_empty() && !store.dependents(&object.uid, 1).is_empty();
    Verdict::Delete(foreground.then_some(Policy::Foreground))
}

/// Whether an object that holds up these owners is held up by them.
fn is_circle(store: &Store, object: &Object, waiting: &[String]) -> bool {
    let blocks = |owner: &&crate::store::Owner| owner.blocks && owner.uid != object.uid;
    let first = object.owners.iter().filter(blocks);
    let mut next: Vec<Box<str>> = first
        .filter(|owner| waiting.iter().any(|uid| **uid == *owner.uid))
        .map(|owner| owner.uid.clone())
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(uid) = next.pop() {
        if uid == object.uid {
            return true;
        }
        if seen.len() == FAR || !seen.insert(uid.clone()) {
            continue;
        }
        if let Some((_, owner)) = find(store, &uid) {
            let blocked = owner.owners.iter().filter(|owner| owner.blocks);
            next.extend(blocked.map(|owner| owner.uid.clone()));
        }
    }
    false
}

fn find(store: &Store, uid: &str) -> Option<(&'static Kind, Arc<Object>)> {
    let place = store.place(uid)?;
    let kind = store.kinds().at(place.shelf)?;
    Some((kind, store.get(kind, &place.key)?))
}

fn judge(server: &Server, place: &Place) -> Result<(), ApiError> {
    let Some(kind) = server.store.kinds().at(place.shelf) else {
        return Ok(());
    };
    let Some(object) = server.store.get(kind, &place.key) else {
        return Ok(());
    };
    match verdict(&server.store, place, &object) {
        Verdict::Nothing => Ok(()),
        Verdict::Orphan => orphan(server, kind, place, &object),
        Verdict::Release => change(server, kind, &place.key, |value| {
            lifecycle::drop_finalizer(value, FOREGROUND);
        }),
        Verdict::Forget(owners) => change(server, kind, &place.key, |value| {
            lifecycle::drop_owners(value, &owners);
        }),
        Verdict::Untangle => {
            change(server, kind, &place.key, lifecycle::unblock_owners)?;
            server.store.suspect(place.clone());
            Ok(())
        }
        Verdict::Delete(policy) => {
            let wish = Wish {
                uid: Some(object.uid.to_string()),
                policy,
                ..Wish::default()
            };
            remove(server, kind, &place.key, &wish, Timestamp::now()).map(|_| ())
        }
    }
}

/// Makes what an object owns forget it, some at a time, and lets it go when nothing does any more.
fn orphan(
    server: &Server,
    kind: &'static Kind,
    place: &Place,
    owner: &Object,
) -> Result<(), ApiError> {
    let dependents = server.store.dependents(&owner.uid, TURN + 1);
    for dependent in dependents.iter().take(TURN) {
        let Some(kind) = server.store.kinds().at(dependent.shelf) else {
            continue;
        };
        change(server, kind, &dependent.key, |value| {
            lifecycle::drop_owners(value, &[owner.uid.to_string()]);
        })?;
    }
    if dependents.len() > TURN {
        server.store.suspect(place.clone());
        return Ok(());
    }
    change(server, kind, &place.key, |value| {
        lifecycle::drop_finalizer(value, ORPHAN);
    })
}

/// Changes an object; one that is gone needs no change.
fn change(
    server: &Server,
    kind: &'static Kind,
    key: &Key,
    edit: impl Fn(&mut Value),
) -> Result<(), ApiError> {
    let when = (Timestamp::now(), false);
    let changed = modify(server, kind, key, Edit::Direct, when, |old| {
        let mut value = old.clone();
        edit(&mut value);
        Ok(value)
    });
    match changed {
        Err(error) if error.code != 404 => Err(error),
        _ => Ok(()),
    }
}
