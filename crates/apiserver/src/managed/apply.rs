//! Server-side apply (rule 2): a configuration, the object that there is, and what comes of both.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::claims::Manager;
use super::set::Set;
use super::walk::{compare, field_set, remove};
use super::{Identity, Managers, Part, merge, name, own};
use crate::schema::Type;

/// Where `kubectl apply` without `--server-side` keeps what it wanted.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What `kubectl apply --server-side` calls itself.
const SERVER_SIDE: &str = "kubectl";
/// Who is taken to have made an object of which nothing is known.
const BEFORE: &str = "before-first-apply";
/// The most that annotations may take together, in bytes.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// One application of a configuration.
pub(crate) struct Apply<'a> {
    /// What is wanted, in canonical form and with nothing but what its author wrote.
    pub(crate) config: &'a Value,
    pub(crate) of: &'a Type,
    pub(crate) part: Part,
    pub(crate) author: &'a Identity,
    /// Whether the fields of others may be taken.
    pub(crate) force: bool,
    pub(crate) now: Timestamp,
}

/// One field that another manager owns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conflict {
    /// The manager, as messages name it.
    pub(crate) manager: String,
    /// The field, such as `.spec.replicas`.
    pub(crate) field: String,
}

/// Why a configuration cannot be applied.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Its lists cannot be merged.
    #[error("{0}")]
    Malformed(String),
    /// Others own what it would change.
    #[error("{} fields are owned by others", .0.len())]
    Conflicts(Vec<Conflict>),
}

/// The object with the configuration in it, and its managers.
pub(crate) fn apply(
    wish: &Apply<'_>,
    live: Option<(&Value, &Managers)>,
) -> Result<(Value, Managers), ApplyError> {
    merge::check(wish.config, wish.of).map_err(ApplyError::Malformed)?;
    let mut config = wish.config.clone();
    wish.part.keep_value(&mut config);
    let mut wanted = field_set(&config, wish.of);
    wish.part.keep(&mut wanted);
    let Some((live, managers)) = live else {
        let mut managers = Vec::new();
        claim(&mut managers, wish, wanted, true);
        return Ok((config, Managers::close(managers)));
    };
    let mut managers = known(wish, live, managers);
    let last = managers.iter().find(|one| one.identity.is(wish.author));
    let last = last.map(|own| own.fields.clone()).unwrap_or_default();
    let mut merged = merge::merge(live, &config, wish.of);
    prune(&mut merged, wish, &managers, &last, &wanted);
    settle(&mut managers, wish, live, &merged)?;
    let moved = last != wanted || merged != *live;
    claim(&mut managers, wish, wanted, moved);
    keep_last_applied(&mut merged, wish, live);
    Ok((merged, Managers::close(managers)))
}

/// The managers that there are; what was there before anybody was written down has one too.
fn known(wish: &Apply<'_>, live: &Value, managers: &Managers) -> Vec<Manager> {
    if !managers.is_empty() {
        return managers.open();
    }
    let mut fields = compare(&Value::Object(Map::new()), live, wish.of).added;
    Part::All.keep(&mut fields);
    let before = Identity {
        applies: false,
        manager: BEFORE.into(),
        api_version: wish.author.api_version.clone(),
        subresource: "".into(),
    };
    vec![Manager::new(before, fields, Some(wish.now.as_second()))]
}

/// Takes out what the author wanted before, wants no more, and nobody else owns.
fn prune(merged: &mut Value, wish: &Apply<'_>, managers: &[Manager], last: &Set, wanted: &Set) {
    let mut owned = wanted.clone();
    for other in managers.iter().filter(|one| !one.identity.is(wish.author)) {
        owned.add(&other.fields);
    }
    let mut gone = last.clone().with_parents(wish.of);
    gone.subtract(&owned.with_parents(wish.of));
    remove(merged, &gone, wish.of);
}

/// Takes from other managers what changes, if that is allowed.
fn settle(
    managers: &mut [Manager],
    wish: &Apply<'_>,
    live: &Value,
    merged: &Value,
) -> Result<(), ApplyError> {
    let changes = wish.part.changes(live, merged, wish.of);
    let mut touched = changes.added;
    touched.add(&changes.modified);
    let legacy = legacy(wish, live);
    let mut conflicts = Vec::new();
    for other in managers
        .iter_mut()
        .filter(|one| !one.identity.is(wish.author))
    {
        let mut taken = other.fields.common(&touched);
        other.subtract(&taken);
        other.subtract(&changes.removed);
        if let Some(legacy) = &legacy {
            taken.subtract(legacy);
        }
        conflicts.extend(taken.paths().into_iter().map(|field| Conflict {
            manager: name(&other.identity).into_owned(),
            field,
        }));
    }
    if conflicts.is_empty() || wish.force {
        return Ok(());
    }
    Err(ApplyError::Conflicts(conflicts))
}

fn last_applied(live: &Value) -> Option<&str> {
    let annotations = live.get("metadata")?.get("annotations")?;
    annotations.get(LAST_APPLIED)?.as_str()
}

/// What `kubectl apply` wrote without `--server-side` and nobody changed since: with it, it is no
/// conflict.
fn legacy(wish: &Apply<'_>, live: &Value) -> Option<Set> {
    if &*wish.author.manager != SERVER_SIDE {
        return None;
    }
    let last: Value = serde_json::from_str(last_applied(live)?).ok()?;
    let mut fields = field_set(&last, wish.of);
    let mut changed = compare(&last, live, wish.of);
    for set in changed.sets() {
        fields.subtract(set);
    }
    Some(fields)
}

/// Keeps the annotation up to date for those who go back to `kubectl apply` without `--server-side`.
fn keep_last_applied(merged: &mut Value, wish: &Apply<'_>, live: &Value) {
    if &*wish.author.manager != SERVER_SIDE || last_applied(live).is_none() {
        return;
    }
    let mut config = wish.config.clone();
    let annotations = config.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{config}\n");
    let annotations = merged.pointer_mut("/metadata/annotations");
    let Some(annotations) = annotations.and_then(Value::as_object_mut) else {
        return;
    };
    let others = annotations.iter().filter(|(name, _)| *name != LAST_APPLIED);
    let others: usize = others
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if others + LAST_APPLIED.len() + text.len() > MAX_ANNOTATIONS {
        annotations.remove(LAST_APPLIED);
    } else {
        annotations.insert(LAST_APPLIED.to_owned(), text.into());
    }
}

/// Writes down what the author owns now.
fn claim(managers: &mut Vec<Manager>, wish: &Apply<'_>, wanted: Set, moved: bool) {
    let own = own(managers, wish.author);
    let time = match own.time {
        Some(time) if !moved => time,
        _ => wish.now.as_second(),
    };
    *own = Manager::new(wish.author.clone(), wanted, Some(time));
}
