//! PUT and PATCH, and the one way in which objects are changed.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::create::{FieldValidation, settle_namespace};
use super::{Answer, Call, apply, author, holdings};
use crate::alloc;
use crate::http::{self, ContentType, unsupported};
use crate::kinds::{self, Kind};
use crate::lifecycle::{self, meta};
use crate::managed::{self, Identity, Managers};
use crate::patch::{self, PatchError, PatchType};
use crate::rbac;
use crate::schema;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Change, Draft, Key, Object, StoreError};
use crate::views;

/// What a change may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// What users want: everything but the status.
    Main,
    /// The status alone.
    Status,
    /// Whatever the server itself decides.
    Direct,
}

/// Changes an object: `change` gets its current state and gives the next; nobody owns what changes.
///
/// If somebody else changes the object meanwhile, `change` is asked again with the newer state,
/// unless the state that it gives names the resourceVersion that it is based on.
pub(crate) fn modify(
    server: &Server,
    kind: &'static Kind,
    key: &Key,
    edit: Edit,
    when: (Timestamp, bool),
    mut change: impl FnMut(&Value) -> Result<Value, ApiError>,
) -> Result<Arc<Object>, ApiError> {
    modify_as(server, kind, key, (edit, None), when, |_, old| {
        change(old).map(Draft::from)
    })
}

/// The same for somebody who owns what changes, or for who knows the managers that come of it.
pub(crate) fn modify_as(
    server: &Server,
    kind: &'static Kind,
    key: &Key,
    (edit, author): (Edit, Option<&Identity>),
    (now, dry): (Timestamp, bool),
    mut change: impl FnMut(&Object, &Value) -> Result<Draft, ApiError>,
) -> Result<Arc<Object>, ApiError> {
    loop {
        let current = server
            .store
            .get(kind, key)
            .ok_or_else(|| ApiError::not_found(kind, &key.name))?;
        let old = views::to_view(kind, current.value());
        let draft = change(&current, &old)?;
        let mut new = draft.value;
        let given = managed::take(&mut new);
        check_identity(kind, &current, &new)?;
        apply_rules(kind, edit, &mut new, &old)?;
        let managers = match (draft.managers, author) {
            (Some(managers), _) => managers,
            (None, Some(author)) => {
                let before = managers_before(&current.managers, author, given.as_ref());
                let part = author::part(kind, edit);
                managed::updated(&before, (&old, &new), &schema::of(kind), part, author, now)
            }
            (None, None) => current.managers.clone(),
        };
        let claim = match edit {
            Edit::Main => {
                let when = (now, dry);
                let claim = holdings::claim(server, kind, &mut new, Some(&old), when)?;
                Some(claim)
            }
            Edit::Status | Edit::Direct => None,
        };
        // What a write leaves as it was is none, though its author said it again.
        if new == old && managers.say_as(&current.managers) {
            return Ok(current);
        }
        let change = if lifecycle::is_finished(kind, &new) {
            Change::Remove(current.revision)
        } else {
            Change::Replace(current.revision)
        };
        let draft = Draft {
            value: views::to_stored(kind, new),
            managers: Some(managers),
        };
        match server.store.commit(kind, draft, change, now, dry) {
            Ok(object) => {
                if !dry {
                    if let Some(claim) = claim {
                        claim.keep(&object);
                    }
                    if matches!(change, Change::Remove(_)) {
                        holdings::gone(server, kind, &old, now);
                    }
                }
                return Ok(object);
            }
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(ApiError::store(kind, &key.name, &error)),
        }
    }
}

/// Managers can be given with the object itself, not with a part of it.
fn managers_before(current: &Managers, author: &Identity, given: Option<&Value>) -> Managers {
    match author.subresource.is_empty() {
        true => managed::given(current, given),
        false => current.clone(),
    }
}

fn check_identity(kind: &Kind, current: &Object, new: &Value) -> Result<(), ApiError> {
    let name = current.key.name.as_ref();
    let given = meta(new, "name");
    if given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let uid = meta(new, "uid");
    if !uid.is_empty() && uid != current.uid.as_ref() {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            current.uid
        );
        return Err(ApiError::conflict(kind, name, &why));
    }
    let revision = meta(new, "resourceVersion");
    if !revision.is_empty() && revision != "0" && revision != current.revision.to_string() {
        return Err(ApiError::modified(kind, name));
    }
    Ok(())
}

fn apply_rules(kind: &Kind, edit: Edit, new: &mut Value, old: &Value) -> Result<(), ApiError> {
    match edit {
        Edit::Main => {
            kind.default(new);
            kind.on_update(new, old);
            alloc::carry_over(kind, new, old);
        }
        Edit::Status => kind.on_status(new, old),
        Edit::Direct => {}
    }
    lifecycle::keep_identity(new, old);
    let mut faults: Vec<_> = lifecycle::check_finalizers(new, old).into_iter().collect();
    match edit {
        Edit::Main => {
            faults.extend(kinds::validate_metadata(kind, new));
            faults.extend(kind.validate(new, Some(old)));
        }
        Edit::Status => {
            faults.extend(kinds::validate_metadata(kind, new));
            faults.extend(kind.validate_status(new, old));
        }
        Edit::Direct => {}
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid(kind, meta(old, "name"), &faults));
    }
    lifecycle::bump_generation(kind, new, old);
    Ok(())
}

/// PUT of the whole object.
pub(crate) fn put(call: &Call) -> Answer {
    replace(call, Edit::Main)
}

/// PUT of the whole object or its status.
pub(crate) fn replace(call: &Call, edit: Edit) -> Answer {
    let mut warnings = Vec::new();
    let value = http::decode_object(call.content, &call.body)?;
    let mut value = FieldValidation::of(call)?.decode(call.kind, value, &mut warnings)?;
    settle_namespace(call, &mut value)?;
    let when = (call.now, call.dry);
    let author = author::updater(call, subresource(edit))?;
    let hand = (edit, Some(&author));
    let object = modify_as(
        &call.server,
        call.kind,
        &call.key(),
        hand,
        when,
        |_, old| {
            rbac::may_give(call, &value, Some(old))?;
            Ok(value.clone().into())
        },
    )?;
    Ok(http::with_warnings(call.show(200, &object)?, &warnings))
}

/// PATCH of the whole object.
pub(crate) fn patch(call: &Call) -> Answer {
    patch_part(call, Edit::Main)
}

/// The patch that the request carries.
pub(crate) fn read_patch(call: &Call) -> Result<(PatchKind, Value), ApiError> {
    let kind = match call.content {
        ContentType::JsonPatch => PatchKind::Json,
        ContentType::MergePatch => PatchKind::Merge,
        ContentType::StrategicPatch if call.kind.custom.is_some() => {
            return Err(unsupported(&[PATCHES[0], PATCHES[1]]));
        }
        ContentType::StrategicPatch => PatchKind::Strategic,
        _ => return Err(unsupported(&PATCHES)),
    };
    let patch = serde_json::from_slice(&call.body)
        .map_err(|error| ApiError::bad_request(format!("the patch is not valid JSON: {error}")))?;
    Ok((kind, patch))
}

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// [`PatchType`], which is used up by each attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PatchKind {
    Json,
    Merge,
    Strategic,
}

impl PatchKind {
    /// The patched object.
    pub(crate) fn apply(
        self,
        kind: &Kind,
        original: &Value,
        patch: Value,
    ) -> Result<Value, ApiError> {
        let patch_type = match self {
            Self::Json => PatchType::Json,
            Self::Merge => PatchType::Merge,
            Self::Strategic => PatchType::Strategic,
        };
        patch::apply(kind, patch_type, original, patch).map_err(|error| match error {
            PatchError::TooManyOperations { .. } => ApiError::too_large(error.to_string()),
            PatchError::Operation { .. } => ApiError::new(422, "Invalid", error.to_string()),
            PatchError::Malformed(_) | PatchError::Strategic { .. } => {
                ApiError::bad_request(error.to_string())
            }
        })
    }
}

fn subresource(edit: Edit) -> &'static str {
    match edit {
        Edit::Status => "status",
        Edit::Main | Edit::Direct => "",
    }
}

/// PATCH of the whole object or its status.
pub(crate) fn patch_part(call: &Call, edit: Edit) -> Answer {
    if call.content == ContentType::Apply {
        return apply::apply(call, edit);
    }
    let author = author::updater(call, subresource(edit))?;
    let (patch_kind, patch) = read_patch(call)?;
    let validation = FieldValidation::of(call)?;
    let named = names(patch_kind, &patch, "resourceVersion");
    let manages = names(patch_kind, &patch, "managedFields");
    let mut warnings = Vec::new();
    let when = (call.now, call.dry);
    let hand = (edit, Some(&author));
    let key = call.key();
    let object = modify_as(&call.server, call.kind, &key, hand, when, |current, old| {
        let mut base = Cow::Borrowed(old);
        if manages {
            let managers = current.managers.value();
            lifecycle::metadata(base.to_mut()).insert("managedFields".into(), managers);
        }
        let patched = patch_kind.apply(call.kind, &base, patch.clone())?;
        let mut value = validation.decode(call.kind, patched, &mut warnings)?;
        if !named {
            // It came from the current state, not from the client: no precondition.
            lifecycle::metadata(&mut value).remove("resourceVersion");
        }
        rbac::may_give(call, &value, Some(old))?;
        Ok(value.into())
    })?;
    Ok(http::with_warnings(call.show(200, &object)?, &warnings))
}

/// Whether a patch speaks of a field of the metadata.
fn names(kind: PatchKind, patch: &Value, field: &str) -> bool {
    match kind {
        PatchKind::Merge | PatchKind::Strategic => {
            let metadata = patch.get("metadata");
            metadata.is_some_and(|metadata| metadata.get(field).is_some())
        }
        PatchKind::Json => patch.as_array().is_some_and(|steps| {
            steps.iter().any(|step| {
                let path = step.get("path").and_then(Value::as_str).unwrap_or("");
                let rest = path.strip_prefix("/metadata/");
                let rest = rest.and_then(|rest| rest.strip_prefix(field));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        }),
    }
}
