//! Server-side apply: PATCH of a configuration, which creates what is missing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::author::{self, part};
use super::create::{FieldValidation, Origin, check_type, insert_as, settle_namespace};
use super::subresource::{self, ScaleParts};
use super::update::modify_as;
use super::{Answer, Call, Edit, access, wrap};
use crate::http::{self, ContentType};
use crate::lifecycle::{self, meta};
use crate::managed::{self, Apply, ApplyError, Conflict, Identity, Managers};
use crate::rbac;
use crate::schema;
use crate::status::ApiError;
use crate::store::{Draft, Object};

/// How often an object that comes and goes meanwhile is tried.
const ATTEMPTS: usize = 8;

/// PATCH with a configuration of the object or its status.
pub(super) fn apply(call: &Call, edit: Edit) -> Answer {
    let subresource = match edit {
        Edit::Status => "status",
        Edit::Main | Edit::Direct => "",
    };
    let wish = Wish {
        config: read(call)?,
        author: author::applier(call, subresource)?,
        edit,
        force: call.query.flag("force") == Some(true),
    };
    let (code, object) = wish.write(call)?;
    call.show(code, &object)
}

/// Applies the replicas of a Scale: what it says as a configuration of its object.
pub(super) fn apply_scale(call: &Call) -> Result<Arc<Object>, ApiError> {
    let scale = parse(call)?;
    subresource::check_scale(&scale)?;
    check_unmanaged(&scale)?;
    let mut config = json!({
        "apiVersion": wrap::api_version(call.kind),
        "kind": call.kind.kind,
        "metadata": { "name": call.name },
    });
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        let given = meta(&scale, field);
        if !given.is_empty() {
            lifecycle::metadata(&mut config).insert(field.into(), given.into());
        }
    }
    if let Some(replicas) = subresource::replicas(call, &scale)? {
        ScaleParts::set(call.kind, &mut config, replicas);
    }
    settle_namespace(call, &mut config)?;
    let wish = Wish {
        config,
        author: author::applier(call, "scale")?,
        edit: Edit::Main,
        force: call.query.flag("force") == Some(true),
    };
    wish.update(call, |merged| {
        // Whoever wants none any more does not want the default of the kind.
        if !ScaleParts::is_set(call.kind, merged) {
            ScaleParts::set(call.kind, merged, 0);
        }
    })
}

/// What shall be applied by whom.
struct Wish {
    config: Value,
    author: Identity,
    edit: Edit,
    force: bool,
}

impl Wish {
    fn write(&self, call: &Call) -> Result<(u16, Arc<Object>), ApiError> {
        for _ in 0..ATTEMPTS {
            match self.update(call, |_| {}) {
                Err(error) if error.code == 404 && self.edit == Edit::Main => {}
                outcome => return outcome.map(|object| (200, object)),
            }
            match self.create(call) {
                Err(error) if error.reason == "AlreadyExists" => {}
                outcome => return outcome.map(|object| (201, object)),
            }
        }
        let name = call.name.as_deref().unwrap_or("");
        Err(ApiError::modified(call.kind, name))
    }

    /// Changes the object; `complete` has the last word on what comes of it.
    fn update(&self, call: &Call, complete: impl Fn(&mut Value)) -> Result<Arc<Object>, ApiError> {
        let (key, when) = (call.key(), (call.now, call.dry));
        let hand = (self.edit, None);
        modify_as(&call.server, call.kind, &key, hand, when, |current, old| {
            let live = Some((old, &current.managers));
            let (mut merged, managers) = self.merged(call, live)?;
            complete(&mut merged);
            let value = FieldValidation::Ignore.decode(call.kind, merged, &mut Vec::new())?;
            rbac::may_give(call, &value, Some(old))?;
            Ok(Draft {
                value,
                managers: Some(managers),
            })
        })
    }

    fn create(&self, call: &Call) -> Result<Arc<Object>, ApiError> {
        let uid = meta(&self.config, "uid");
        let name = call.name.as_deref().unwrap_or("");
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was \
                 found"
            );
            return Err(ApiError::conflict(call.kind, name, &why));
        }
        if !meta(&self.config, "resourceVersion").is_empty() {
            return Err(ApiError::not_found(call.kind, name));
        }
        let (merged, managers) = self.merged(call, None)?;
        let value = FieldValidation::Ignore.decode(call.kind, merged, &mut Vec::new())?;
        access::to_create(call)?;
        rbac::may_give(call, &value, None)?;
        let origin = Origin::Applied(&managers);
        insert_as(&call.server, call.kind, value, origin, (call.now, call.dry))
    }

    fn merged(
        &self,
        call: &Call,
        live: Option<(&Value, &Managers)>,
    ) -> Result<(Value, Managers), ApiError> {
        let wish = Apply {
            config: &self.config,
            of: &schema::of(call.kind),
            part: part(call.kind, self.edit),
            author: &self.author,
            force: self.force,
            now: call.now,
        };
        managed::apply(&wish, live).map_err(|error| match error {
            ApplyError::Malformed(why) => untyped(call, &self.config, &why),
            ApplyError::Conflicts(conflicts) => conflicting(&conflicts),
        })
    }
}

fn parse(call: &Call) -> Result<Value, ApiError> {
    // JSON is YAML, but its own reader is stricter and faster.
    http::decode_object(ContentType::Json, &call.body)
        .or_else(|_| http::decode_object(ContentType::Yaml, &call.body))
}

/// Who manages what comes of an apply and cannot be applied.
fn check_unmanaged(given: &Value) -> Result<(), ApiError> {
    match given.pointer("/metadata/managedFields") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(ApiError::bad_request("metadata.managedFields must be nil")),
    }
}

/// The configuration in canonical form, with nothing but what its author wrote.
fn read(call: &Call) -> Result<Value, ApiError> {
    let given = parse(call)?;
    check_type(call.kind, &given)?;
    check_unmanaged(&given)?;
    let url = call.name.as_deref().unwrap_or("");
    match meta(&given, "name") {
        "" => {
            let why =
                "the name of the object (based on URL) was undeterminable: name must be provided";
            return Err(ApiError::bad_request(why));
        }
        name if name != url => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({url})"
            )));
        }
        _ => {}
    }
    let strict = FieldValidation::of(call)?.if_strict();
    strict.decode(call.kind, given.clone(), &mut Vec::new())?;
    let decoded = call.kind.decode(given.clone());
    let decoded = decoded.map_err(|error| untyped(call, &given, &error.0))?;
    if !decoded.unknown.is_empty() {
        let unknown: Vec<String> = decoded
            .unknown
            .iter()
            .take(32)
            .map(|path| format!(".{path}: field not declared in schema"))
            .collect();
        return Err(untyped(call, &given, &unknown.join("\n")));
    }
    let mut config = restrict(decoded.value, &given);
    settle_namespace(call, &mut config)?;
    lifecycle::metadata(&mut config).remove("creationTimestamp");
    Ok(config)
}

/// Leaves of a decoded value what was given: a type also has fields that it cannot be without.
fn restrict(decoded: Value, given: &Value) -> Value {
    match (decoded, given) {
        (Value::Object(fields), Value::Object(given)) => fields
            .into_iter()
            .filter_map(|(name, value)| {
                let given = given.get(&name).filter(|given| !given.is_null())?;
                Some((name, restrict(value, given)))
            })
            .collect(),
        (Value::Array(items), Value::Array(given)) if items.len() == given.len() => {
            let pairs = items.into_iter().zip(given);
            pairs.map(|(item, given)| restrict(item, given)).collect()
        }
        (decoded, _) => decoded,
    }
}

/// The configuration does not fit the type.
fn untyped(call: &Call, config: &Value, why: &str) -> ApiError {
    let namespace = call.namespace.as_deref().unwrap_or("");
    ApiError::bad_request(format!(
        "failed to create typed patch object ({namespace}/{}; {}, Kind={}): {why}",
        meta(config, "name"),
        wrap::api_version(call.kind),
        call.kind.kind,
    ))
}

/// Others own what would change.
fn conflicting(conflicts: &[Conflict]) -> ApiError {
    let message = match conflicts {
        [one] => format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager, one.field
        ),
        many => {
            let mut managers: Vec<&str> = many.iter().map(|one| one.manager.as_str()).collect();
            managers.sort_unstable();
            managers.dedup();
            let mut lines = Vec::new();
            for manager in managers {
                lines.push(format!("conflicts with {manager}:"));
                let theirs = many.iter().filter(|one| one.manager == manager);
                lines.extend(theirs.map(|one| format!("- {}", one.field)));
            }
            format!(
                "Apply failed with {} conflicts: {}",
                many.len(),
                lines.join("\n")
            )
        }
    };
    let cause = |conflict: &Conflict| {
        json!({
            "reason": "FieldManagerConflict",
            "message": format!("conflict with {}", conflict.manager),
            "field": conflict.field,
        })
    };
    let causes: Vec<Value> = conflicts.iter().map(cause).collect();
    let mut error = ApiError::new(409, "Conflict", message);
    error.details = Some(Box::new(json!({ "causes": causes })));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_no_more_than_its_author_wrote() {
        let given = json!({"spec": {"cpu": 1, "list": [{"a": 1}, {}], "gone": null}});
        let decoded = json!({"spec": {"cpu": "1", "list": [{"a": 1, "b": ""}, {"b": ""}],
            "containers": [], "gone": ""}, "status": {}});
        assert_eq!(
            restrict(decoded, &given),
            json!({"spec": {"cpu": "1", "list": [{"a": 1}, {}]}})
        );
    }
}
