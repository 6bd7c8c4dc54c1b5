//! Namespaces that are being deleted: their Pods go first, so that policies and the like outlive
//! those that they are about; then everything else; and when nothing is left, the Namespace is let
//! go. What is left meanwhile stands in the Namespace's conditions, in upstream's words.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::{TURN, change};
use crate::handlers::{Wish, remove};
use crate::kinds::{self, Kind};
use crate::lifecycle::{Policy, seconds};
use crate::server::Server;
use crate::store::{At, Object, Remains};

/// The finalizer in the spec of every Namespace, which stands for its content.
const CONTENT: &str = "kubernetes";
/// How long lies between two counts of what is left: a count looks at everything.
const BETWEEN: Duration = Duration::from_secs(1);

/// How far a Namespace is.
#[derive(Debug, Default)]
struct Progress {
    /// Nothing new comes into a Namespace that goes, so one sweep for each of the two is enough.
    pods_swept: bool,
    rest_swept: bool,
    failures: Vec<String>,
    counted: Option<Instant>,
}

/// Empties Namespaces that are being deleted and then lets them go, for ever.
pub(crate) async fn empty_namespaces(server: Arc<Server>) {
    let Some(kind) = kinds::find("", "v1", "namespaces") else {
        warn!("Namespaces are not served, so none can be emptied");
        return;
    };
    let mut progress: HashMap<Box<str>, Progress> = HashMap::new();
    let mut again = None;
    loop {
        tokio::select! {
            () = server.store.namespace_work() => {}
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
        }
        let Ok(snapshot) = server.store.snapshot(kind, None, At::Latest) else {
            continue;
        };
        let going = || snapshot.objects().iter().filter(|one| one.deleting);
        progress.retain(|uid, _| going().any(|namespace| namespace.uid == *uid));
        again = None;
        for namespace in going() {
            let progress = progress.entry(namespace.uid.clone()).or_default();
            let next = advance(&server, kind, namespace, progress).await;
            again = again.into_iter().chain(next).min();
        }
    }
}

/// Does what can be done for one Namespace; says when to come back even if nothing changes.
async fn advance(
    server: &Server,
    kind: &'static Kind,
    namespace: &Object,
    progress: &mut Progress,
) -> Option<Instant> {
    let name = namespace.key.name.as_ref();
    if !progress.pods_swept {
        progress.failures = sweep(server, name, true).await;
        progress.pods_swept = progress.failures.is_empty();
    }
    if progress.pods_swept && !progress.rest_swept && !has_pods(server, name) {
        progress.failures = sweep(server, name, false).await;
        progress.rest_swept = progress.failures.is_empty();
    }
    if !server.store.has_content(name) {
        release(server, kind, namespace);
        return None;
    }
    let due = progress.counted.map(|counted| counted + BETWEEN);
    if due.is_none_or(|due| due <= Instant::now()) {
        progress.counted = Some(Instant::now());
        let remains = server.store.remains(name);
        tell(server, kind, namespace, &remains, &progress.failures);
        // What failed is tried once more.
        return (!progress.failures.is_empty()).then(|| Instant::now() + BETWEEN);
    }
    due
}

fn has_pods(server: &Server, namespace: &str) -> bool {
    let pods = kinds::find("", "v1", "pods");
    pods.is_some_and(|pods| server.store.has_any(pods, namespace))
}

/// Deletes a Namespace's Pods or all of it; what has a grace period or finalizers goes later. Gives
/// what went wrong.
async fn sweep(server: &Server, namespace: &str, pods: bool) -> Vec<String> {
    // Dependents are in the Namespace too, so nothing has to wait for them.
    let wish = Wish {
        policy: Some(Policy::Background),
        ..Wish::default()
    };
    let mut failures = Vec::new();
    for (turn, (kind, object)) in server.store.content(namespace).into_iter().enumerate() {
        let is_pod = kind.group.is_empty() && kind.kind == "Pod";
        if pods && !is_pod {
            continue;
        }
        let gone = remove(server, kind, &object.key, &wish, Timestamp::now());
        if let Err(error) = gone
            && error.code != 404
        {
            warn!(%error, "the content of a Namespace cannot be deleted");
            failures.push(error.message);
        }
        if turn % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    failures
}

/// Takes the finalizer that stands for the content away.
fn release(server: &Server, kind: &'static Kind, namespace: &Object) {
    let released = change(server, kind, &namespace.key, |value| {
        let list = value.pointer_mut("/spec/finalizers");
        if let Some(list) = list.and_then(Value::as_array_mut) {
            list.retain(|finalizer| finalizer != CONTENT);
        }
    });
    if let Err(error) = released {
        debug!(%error, "a Namespace could not be released");
    }
}

/// Writes what is left into the conditions.
fn tell(
    server: &Server,
    kind: &'static Kind,
    namespace: &Object,
    remains: &Remains,
    failures: &[String],
) {
    let now = seconds(Timestamp::now());
    let told = change(server, kind, &namespace.key, |value| {
        set_conditions(value, remains, failures, &now);
    });
    if let Err(error) = told {
        debug!(%error, "the conditions of a Namespace could not be written");
    }
}

/// A condition: its type, then reason and message when it does not hold, and when it does.
type Condition = (
    &'static str,
    (&'static str, &'static str),
    Option<(&'static str, String)>,
);

fn conditions(remains: &Remains, failures: &[String]) -> [Condition; 5] {
    let texts = |counts: &BTreeMap<String, usize>, word: &str| {
        let each = counts.iter();
        let texts = each.map(|(name, count)| format!("{name} {word} {count} resource instances"));
        texts.collect::<Vec<_>>().join(", ")
    };
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            (
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            None,
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            (
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            None,
        ),
        (
            "NamespaceDeletionContentFailure",
            (
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            (!failures.is_empty()).then(|| {
                let (count, all) = (failures.len(), failures.join(", "));
                let message =
                    format!("Failed to delete all resource types, {count} remaining: {all}");
                ("ContentDeletionFailed", message)
            }),
        ),
        (
            "NamespaceContentRemaining",
            ("ContentRemoved", "All content successfully removed"),
            (!remains.resources.is_empty()).then(|| {
                let all = texts(&remains.resources, "has");
                let message = format!("Some resources are remaining: {all}");
                ("SomeResourcesRemain", message)
            }),
        ),
        (
            "NamespaceFinalizersRemaining",
            (
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
            (!remains.finalizers.is_empty()).then(|| {
                let all = texts(&remains.finalizers, "in");
                let message =
                    format!("Some content in the namespace has finalizers remaining: {all}");
                ("SomeFinalizersRemain", message)
            }),
        ),
    ]
}

pub(super) fn set_conditions(
    namespace: &mut Value,
    remains: &Remains,
    failures: &[String],
    now: &str,
) {
    let list = &mut namespace["status"]["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else {
        return;
    };
    for (name, (reason, message), holds) in conditions(remains, failures) {
        let (status, reason, message) = match holds {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", reason, message.to_owned()),
        };
        let old = list.iter().find(|one| one["type"] == name);
        let since = old
            .filter(|old| old["status"] == status)
            .map_or_else(|| now.into(), |old| old["lastTransitionTime"].clone());
        let condition = json!({
            "type": name, "status": status, "lastTransitionTime": since,
            "reason": reason, "message": message,
        });
        match list.iter_mut().find(|one| one["type"] == name) {
            Some(old) => *old = condition,
            None => list.push(condition),
        }
    }
}
