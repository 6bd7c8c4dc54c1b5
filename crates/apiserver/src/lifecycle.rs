//! The rules of an object's metadata and life, the same for all kinds: what a new object gets, what
//! an update may not touch, how a deletion proceeds through grace period and finalizers.
//!
//! Pure functions over JSON; `handlers` commits what they decide. What differs from kind to kind
//! is in `kinds`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::crd;
use crate::kinds::{FieldError, Kind};

/// A point in time as Kubernetes writes it: whole seconds.
pub(crate) fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The object's metadata, made if it is missing.
pub(crate) fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let object = value
        .as_object_mut()
        .expect("it was just made an object if it was none");
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata
        .as_object_mut()
        .expect("it was just made an object if it was none")
}

/// A string of the object's metadata.
pub(crate) fn meta<'a>(value: &'a Value, field: &str) -> &'a str {
    value
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or("")
}

fn list_is_empty(value: &Value, pointer: &str) -> bool {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
}

/// Gives a new object what the server decides.
pub(crate) fn prepare_new(kind: &Kind, value: &mut Value, uid: String, now: Timestamp) {
    let metadata = metadata(value);
    for field in [
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), seconds(now).into());
    if kind.bumps_generation {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Carries over what an update cannot change.
pub(crate) fn keep_identity(value: &mut Value, old: &Value) {
    let metadata = metadata(value);
    for field in ["managedFields", "selfLink"] {
        metadata.remove(field);
    }
    for field in [
        "name",
        "generateName",
        "namespace",
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match old.get("metadata").and_then(|metadata| metadata.get(field)) {
            Some(kept) => metadata.insert(field.into(), kept.clone()),
            None => metadata.remove(field),
        };
    }
}

/// What the user wants: the fields besides metadata and status.
fn wanted(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
}

/// Counts a change of what the user wants.
pub(crate) fn bump_generation(kind: &Kind, value: &mut Value, old: &Value) {
    if !kind.bumps_generation {
        return;
    }
    if !wanted(value).eq(wanted(old)) {
        let before = generation(old);
        metadata(value).insert("generation".into(), (before + 1).into());
    }
}

fn generation(value: &Value) -> i64 {
    value
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

fn finalizer_list(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.pointer("/metadata/finalizers");
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str)
}

fn finalizers(value: &Value) -> BTreeSet<&str> {
    finalizer_list(value).collect()
}

/// An object that is being deleted gets no new finalizers.
pub(crate) fn check_finalizers(value: &Value, old: &Value) -> Option<FieldError> {
    old.pointer("/metadata/deletionTimestamp")?;
    let before = finalizers(old);
    let added: Vec<String> = finalizers(value)
        .difference(&before)
        .map(|finalizer| format!("{finalizer:?}"))
        .collect();
    (!added.is_empty()).then(|| FieldError {
        field: "metadata.finalizers".into(),
        reason: "FieldValueForbidden",
        message: format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers []string{{{}}}",
            added.join(", ")
        ),
    })
}

/// What becomes of the objects that a deleted object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// They go when their owner is gone.
    Background,
    /// They go first, and their owner waits for those that say so.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// The finalizer of an object that waits for what it owns to be deleted.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that waits for what it owns to forget it.
pub(crate) const ORPHAN: &str = "orphan";

/// The finalizers of an object that is deleted with a policy; without one they say it themselves.
fn finalizers_for(kind: &Kind, object: &Value, policy: Option<Policy>) -> Vec<String> {
    // Events own nothing, and go when they are old whatever they say.
    let policy = if is_event(kind) {
        Some(Policy::Background)
    } else {
        policy
    };
    let of_policy = |name: &str| matches!(name, FOREGROUND | ORPHAN);
    let kept = finalizer_list(object).filter(|name| policy.is_none() || !of_policy(name));
    let added = match policy {
        Some(Policy::Foreground) => Some(FOREGROUND),
        Some(Policy::Orphan) => Some(ORPHAN),
        Some(Policy::Background) | None => None,
    };
    let mut held: Vec<String> = kept.chain(added).map(str::to_owned).collect();
    // Its objects go first, whatever was done to its finalizers before.
    let begins = object.pointer("/metadata/deletionTimestamp").is_none();
    if is_definition(kind) && begins && !held.iter().any(|one| one == crd::FINALIZER) {
        held.push(crd::FINALIZER.to_owned());
    }
    held
}

/// How a client wants an object to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Seconds that it may take, if it is of a kind that takes time.
    pub(crate) grace: Option<i64>,
    pub(crate) policy: Option<Policy>,
}

/// What comes next in a deletion.
#[derive(Debug, PartialEq)]
pub(crate) enum Deletion {
    /// The object goes now.
    Now,
    /// The object stays, marked like this, until its finalizers are gone or its keeper says so.
    Mark(Box<Value>),
    /// It is marked already, as early as asked.
    Pending,
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Pod"
}

fn is_event(kind: &Kind) -> bool {
    matches!(kind.group, "" | "events.k8s.io") && kind.kind == "Event"
}

fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Namespace"
}

fn is_definition(kind: &Kind) -> bool {
    kind.group == "apiextensions.k8s.io" && kind.kind == "CustomResourceDefinition"
}

/// How long the object may take to go.
fn grace_period(kind: &Kind, object: &Value, asked: Option<i64>) -> i64 {
    if !is_pod(kind) {
        return 0;
    }
    let text = |pointer| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let terminal = matches!(text("/status/phase"), "Succeeded" | "Failed");
    if text("/spec/nodeName").is_empty() || terminal {
        return 0;
    }
    let own = object
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(30);
    match asked.unwrap_or(own) {
        0 => 0,
        // Negative ones mean one second, as in Kubernetes.
        period => period.max(1),
    }
}

/// Decides what a delete request does to an object.
pub(crate) fn delete(kind: &Kind, object: &Value, asked: Asked, now: Timestamp) -> Deletion {
    let marked = object.pointer("/metadata/deletionTimestamp").is_some();
    let left = object
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let over = marked && left == 0;
    let grace = if over {
        0
    } else {
        grace_period(kind, object, asked.grace)
    };
    let finalizers = finalizers_for(kind, object, asked.policy);
    if grace == 0 && finalizers.is_empty() && !is_namespace(kind) {
        return Deletion::Now;
    }
    // While the time runs, a later wish can only shorten it; then it may still change what becomes
    // of the dependents.
    let pending = if over {
        finalizer_list(object).eq(finalizers.iter().map(String::as_str))
    } else {
        marked && (asked.grace.is_none() || left <= grace)
    };
    if pending {
        return Deletion::Pending;
    }
    let mut next = object.clone();
    let generation = generation(object);
    let metadata = metadata(&mut next);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
    if !over {
        let until = now
            .checked_add(SignedDuration::from_secs(grace))
            .unwrap_or(now);
        metadata.insert("deletionTimestamp".into(), seconds(until).into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    }
    if generation > 0 && !marked {
        metadata.insert("generation".into(), (generation + 1).into());
    }
    if is_namespace(kind) {
        next["status"]["phase"] = "Terminating".into();
    }
    Deletion::Mark(Box::new(next))
}

/// Whether a marked object has nothing left that holds it.
///
/// A namespace without finalizers of its own still waits for its content, see `gc`.
pub(crate) fn is_finished(kind: &Kind, object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
        && object
            .pointer("/metadata/deletionGracePeriodSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(0)
            == 0
        && list_is_empty(object, "/metadata/finalizers")
        && (!is_namespace(kind) || list_is_empty(object, "/spec/finalizers"))
}

/// Takes a finalizer out.
pub(crate) fn drop_finalizer(object: &mut Value, finalizer: &str) {
    let metadata = metadata(object);
    if let Some(list) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        list.retain(|one| one != finalizer);
        if list.is_empty() {
            metadata.remove("finalizers");
        }
    }
}

/// Lets no owner's deletion wait for the object any more.
pub(crate) fn unblock_owners(object: &mut Value) {
    let owners = metadata(object)
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut);
    for owner in owners.into_iter().flatten() {
        if let Some(blocks) = owner.get_mut("blockOwnerDeletion") {
            *blocks = false.into();
        }
    }
}

/// Takes the references to owners with these uids out; gives false if there were none.
pub(crate) fn drop_owners(object: &mut Value, uids: &[String]) -> bool {
    let metadata = metadata(object);
    let Some(owners) = metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
    else {
        return false;
    };
    let before = owners.len();
    let gone: BTreeSet<&str> = uids.iter().map(String::as_str).collect();
    owners.retain(|owner| {
        let uid = owner.get("uid").and_then(Value::as_str).unwrap_or("");
        !gone.contains(uid)
    });
    let changed = owners.len() < before;
    if owners.is_empty() {
        metadata.remove("ownerReferences");
    }
    changed
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
