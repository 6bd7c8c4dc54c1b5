//! What goes in the background: objects whose owners are gone, and the content of Namespaces that
//! are being deleted.
//!
//! Both loops are woken by changes and look only at what a change touched. Deletion in the
//! foreground is treated as in the background: nothing waits for dependents.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tracing::{debug, warn};

use crate::handlers::{Edit, Wish, modify, remove};
use crate::kinds::{self, Kind};
use crate::lifecycle;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{At, Object, Place};

/// How many objects are looked at before other tasks get a turn.
const TURN: usize = 64;

/// Deletes objects whose owners are gone, for ever.
pub(crate) async fn collect(server: Arc<Server>) {
    loop {
        let suspects = server.store.orphans(TURN);
        if suspects.is_empty() {
            server.store.collectable().await;
            continue;
        }
        for place in suspects {
            if let Err(error) = judge(&server, &place) {
                debug!(?place, %error, "could not collect");
            }
        }
        tokio::task::yield_now().await;
    }
}

fn judge(server: &Server, place: &Place) -> Result<(), ApiError> {
    let Some(kind) = server.store.kinds().at(place.shelf) else {
        return Ok(());
    };
    let Some(object) = server.store.get(kind, &place.key) else {
        return Ok(());
    };
    let (lost, left) = server.store.lost_owners(place, &object);
    let now = Timestamp::now();
    if lost.is_empty() {
        return Ok(());
    }
    if left {
        modify(
            server,
            kind,
            &place.key,
            Edit::Direct,
            (now, false),
            |old| {
                let mut value = old.clone();
                lifecycle::drop_owners(&mut value, &lost);
                Ok(value)
            },
        )?;
        return Ok(());
    }
    if object.deleting {
        return Ok(());
    }
    let wish = Wish {
        uid: Some(object.uid.to_string()),
        ..Wish::default()
    };
    remove(server, kind, &place.key, &wish, now).map(|_| ())
}

/// Empties Namespaces that are being deleted and then lets them go, for ever.
pub(crate) async fn empty_namespaces(server: Arc<Server>) {
    let Some(kind) = kinds::find("", "v1", "namespaces") else {
        warn!("Namespaces are not served, so none can be emptied");
        return;
    };
    // Nothing new comes into a Namespace that goes, so one sweep of each is enough.
    let mut swept: HashSet<Box<str>> = HashSet::new();
    loop {
        server.store.namespace_work().await;
        let Ok(snapshot) = server.store.snapshot(kind, None, At::Latest) else {
            continue;
        };
        let going = || snapshot.objects().iter().filter(|one| one.deleting);
        swept.retain(|uid| going().any(|namespace| namespace.uid == *uid));
        for namespace in going() {
            if !swept.contains(&namespace.uid) {
                match sweep(&server, &namespace.key.name).await {
                    Ok(()) => {
                        swept.insert(namespace.uid.clone());
                    }
                    Err(error) => warn!(%error, "a Namespace could not be swept"),
                }
            }
            if !server.store.has_content(&namespace.key.name)
                && let Err(error) = release(&server, kind, namespace)
            {
                debug!(%error, "a Namespace could not be released");
            }
        }
    }
}

/// Deletes everything in a Namespace; what has a grace period or finalizers goes later.
async fn sweep(server: &Server, namespace: &str) -> Result<(), ApiError> {
    for (turn, (kind, object)) in server.store.content(namespace).into_iter().enumerate() {
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
                return Err(error);
            }
        }
        if turn % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Takes the finalizers of an empty Namespace away.
fn release(server: &Server, kind: &'static Kind, namespace: &Object) -> Result<(), ApiError> {
    let when = (Timestamp::now(), false);
    modify(server, kind, &namespace.key, Edit::Direct, when, |old| {
        let mut value = old.clone();
        value["spec"]["finalizers"] = json!([]);
        Ok(value)
    })
    .map(|_| ())
}
