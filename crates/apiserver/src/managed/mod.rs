//! Who manages which fields (`metadata.managedFields`), and server-side apply, which goes by it.
//!
//! Rules, as upstream:
//! 1. Whoever updates an object owns what it added and changed, and nobody owns what it removed.
//! 2. Whoever applies a configuration owns the fields in it and no others. It may not change what
//!    another manager owns, unless it forces that. What it no longer mentions is removed, if nobody
//!    else owns it.
//! 3. What the server itself decides has no owner: identity, allocated addresses, defaults of an
//!    applied configuration.
//! 4. Times move when a manager's own fields change, in value or number.
//! 5. Only updates of objects that have managers are written down: a client may do without by
//!    resetting the list to `[{}]`.
//!
//! Nothing here knows of the store, of requests or of validity.

mod apply;
mod claims;
mod merge;
mod set;
#[cfg(test)]
mod tests;
mod walk;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub(crate) use apply::{Apply, ApplyError, Conflict, apply};
pub(crate) use claims::{Identity, Managers};

use crate::schema::Type;
use claims::Manager;
use set::Set;
use walk::{Changes, compare};

/// How many updaters an object remembers; older ones become one.
const MAX_UPDATERS: usize = 10;
/// The one that older ones become.
const ANCIENT: &str = "ancient-changes";

/// Fields that nobody owns.
const UNOWNED: [&[&str]; 11] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// Which part of an object a request can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: the kind has no status of its own.
    All,
    /// All but the status.
    Main,
    /// Status and metadata.
    Status,
}

impl Part {
    /// Leaves of a set what the request can change and somebody can own.
    fn keep(self, set: &mut Set) {
        for path in UNOWNED {
            set.forget(path);
        }
        match self {
            Self::All => {}
            Self::Main => set.cut(&["f:status"]),
            Self::Status => set
                .children
                .retain(|step, _| matches!(step.as_ref(), "f:metadata" | "f:status")),
        }
    }

    /// Leaves of a configuration what the request can change.
    fn keep_value(self, config: &mut Value) {
        let Some(fields) = config.as_object_mut() else {
            return;
        };
        let kept = |name: &str| match self {
            Self::All => true,
            Self::Main => name != "status",
            Self::Status => matches!(name, "apiVersion" | "kind" | "metadata" | "status"),
        };
        fields.retain(|name, _| kept(name));
    }

    fn changes(self, old: &Value, new: &Value, of: &Type) -> Changes {
        let mut changes = compare(old, new, of);
        for set in changes.sets() {
            self.keep(set);
        }
        changes
    }
}

/// Takes `metadata.managedFields` out of an object.
pub(crate) fn take(object: &mut Value) -> Option<Value> {
    object
        .get_mut("metadata")
        .and_then(Value::as_object_mut)?
        .remove("managedFields")
}

/// The managers that an update starts from: those that its author gives, if it gives any that make
/// sense, else those that there are.
pub(crate) fn given(current: &Managers, given: Option<&Value>) -> Managers {
    match given {
        Some(Value::Array(list)) if is_reset(list) => Managers::default(),
        Some(given @ Value::Array(list)) if !list.is_empty() => {
            Managers::read(given).map_or_else(|_| current.clone(), Managers::close)
        }
        _ => current.clone(),
    }
}

/// A list of one empty entry: nothing shall be remembered.
fn is_reset(list: &[Value]) -> bool {
    let empty = |entry: &Value| entry.as_object().is_some_and(Map::is_empty);
    list.len() == 1 && list.iter().all(empty)
}

/// The managers of a new object.
pub(crate) fn created(
    new: &Value,
    of: &Type,
    part: Part,
    author: &Identity,
    now: Timestamp,
) -> Managers {
    let nothing = Value::Object(Map::new());
    let fields = part.changes(&nothing, new, of).added;
    let author = Manager::new(author.clone(), fields, Some(now.as_second()));
    Managers::close(vec![author])
}

/// The managers after an update (rule 1).
pub(crate) fn updated(
    before: &Managers,
    (old, new): (&Value, &Value),
    of: &Type,
    part: Part,
    author: &Identity,
    now: Timestamp,
) -> Managers {
    if before.is_empty() {
        return Managers::default();
    }
    let mut changes = part.changes(old, new, of);
    if changes.is_empty() {
        return before.clone();
    }
    let mut managers = before.open();
    for manager in managers.iter_mut().filter(|one| !one.identity.is(author)) {
        for set in changes.sets() {
            manager.subtract(set);
        }
    }
    let own = own(&mut managers, author);
    own.add(&changes.added);
    own.add(&changes.modified);
    own.subtract(&changes.removed);
    own.time = Some(now.as_second());
    cap(&mut managers);
    Managers::close(managers)
}

/// The entry of an author, which may be new.
fn own<'a>(managers: &'a mut Vec<Manager>, author: &Identity) -> &'a mut Manager {
    let at = managers.iter().position(|one| one.identity.is(author));
    let at = at.unwrap_or_else(|| {
        managers.push(Manager::new(author.clone(), Set::default(), None));
        managers.len() - 1
    });
    &mut managers[at]
}

/// Makes one of the oldest updaters where there are too many, by version.
fn cap(managers: &mut Vec<Manager>) {
    managers.retain(|manager| !manager.fields.is_empty());
    let updater = |one: &Manager| !one.identity.applies && &*one.identity.manager != ANCIENT;
    let mut excess = managers
        .iter()
        .filter(|one| !one.identity.applies)
        .count()
        .saturating_sub(MAX_UPDATERS);
    while excess > 0 {
        let oldest = (0..managers.len())
            .filter(|at| updater(&managers[*at]))
            .min_by_key(|at| managers[*at].time);
        let Some(oldest) = oldest else {
            return;
        };
        let old = managers.swap_remove(oldest);
        let ancient = Identity {
            manager: ANCIENT.into(),
            subresource: "".into(),
            ..old.identity
        };
        let known = managers.iter().any(|one| one.identity.is(&ancient));
        let into = own(managers, &ancient);
        into.add(&old.fields);
        into.time = into.time.max(old.time);
        // The first one only changes its name.
        excess -= usize::from(known);
        if !known && excess > 0 && managers.iter().filter(|one| updater(one)).count() == 0 {
            return;
        }
    }
}

/// A short text for a manager in messages.
fn name(identity: &Identity) -> Cow<'_, str> {
    let mut text = format!("{:?}", identity.manager);
    if !identity.subresource.is_empty() {
        text += &format!(" with subresource {:?}", identity.subresource);
    }
    if !identity.applies {
        text += &format!(" using {}", identity.api_version);
    }
    text.into()
}
