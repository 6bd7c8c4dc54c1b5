//! Parts of objects: status, scale, binding, eviction, finalize; and clear words about those that
//! this server does not have.

use serde_json::{Value, json};

use super::create::FieldValidation;
use super::update::{modify_as, read_patch, replace};
use super::{Answer, Call, Edit, apply, author, delete, modify, tokens, update};
use crate::crd::custom::Custom;
use crate::http::{self, ContentType};
use crate::kinds::{self, FieldError, Kind, read};
use crate::lifecycle::{self, meta, seconds};
use crate::status::ApiError;
use crate::store::Key;

/// Handles a request for a part of an object.
pub(crate) fn dispatch(call: &Call, part: &str) -> Answer {
    let pod = call.kind.kind == "Pod" && call.kind.group.is_empty();
    let namespace = call.kind.kind == "Namespace" && call.kind.group.is_empty();
    let account = call.kind.kind == "ServiceAccount" && call.kind.group.is_empty();
    let first = part.split('/').next().unwrap_or(part);
    match (first, call.method.as_str()) {
        ("status", method) if call.kind.has_status && part == first => match method {
            "GET" => call.show(200, &*call.object()?),
            "PUT" => replace(call, Edit::Status),
            "PATCH" => update::patch_part(call, Edit::Status),
            _ => Err(ApiError::method_not_allowed()),
        },
        ("scale", method) if call.kind.has_scale && part == first => match method {
            "GET" => Ok(http::json(
                200,
                &scale_of(call.kind, &call.object()?.value()),
            )),
            "PUT" => put_scale(call),
            "PATCH" => patch_scale(call),
            _ => Err(ApiError::method_not_allowed()),
        },
        ("binding", "POST") if pod && part == first => bind(call),
        ("eviction", "POST") if pod && part == first => delete::evict(call),
        ("finalize", "PUT") if namespace && part == first => finalize(call),
        ("binding" | "eviction", _) if pod => Err(ApiError::method_not_allowed()),
        ("finalize", _) if namespace => Err(ApiError::method_not_allowed()),
        ("portforward" | "proxy" | "ephemeralcontainers" | "resize", _) if pod => {
            Err(ApiError::not_served(&format!("pods/{first}")))
        }
        ("proxy", _)
            if call.kind.custom.is_none() && matches!(call.kind.plural, "services" | "nodes") =>
        {
            Err(ApiError::not_served(&format!("{}/proxy", call.kind.plural)))
        }
        ("token", "POST") if account && part == first => tokens::create(call),
        ("token", _) if account => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::no_route()),
    }
}

fn selector_text(selector: Option<&Value>) -> String {
    let mut parts = Vec::new();
    let labels = selector.and_then(|selector| selector.get("matchLabels"));
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or("")));
    }
    let expressions = selector.and_then(|selector| selector.get("matchExpressions"));
    for expression in expressions.and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or("");
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let (key, values) = (text("key"), values.join(","));
        parts.push(match text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

/// What a Scale shows of an object.
pub(super) struct ScaleParts {
    wanted: Value,
    actual: Value,
    selector: String,
}

impl ScaleParts {
    fn of(kind: &Kind, object: &Value) -> Self {
        let number = |value: Option<&Value>| value.cloned().unwrap_or(0.into());
        match kind.custom.and_then(Custom::scale) {
            Some(scale) => Self {
                wanted: number(scale.wanted.get(object)),
                actual: number(scale.actual.get(object)),
                selector: scale
                    .selector
                    .as_ref()
                    .and_then(|path| path.get(object)?.as_str())
                    .unwrap_or("")
                    .to_owned(),
            },
            None => Self {
                wanted: number(object.pointer("/spec/replicas")),
                actual: number(object.pointer("/status/replicas")),
                selector: selector_text(object.pointer("/spec/selector")),
            },
        }
    }

    /// Whether an object says how many replicas it wants.
    pub(super) fn is_set(kind: &Kind, object: &Value) -> bool {
        let wanted = match kind.custom.and_then(Custom::scale) {
            Some(scale) => scale.wanted.get(object),
            None => object.pointer("/spec/replicas"),
        };
        wanted.is_some_and(|wanted| !wanted.is_null())
    }

    pub(super) fn set(kind: &Kind, object: &mut Value, replicas: i64) {
        let fields = match kind.custom.and_then(Custom::scale) {
            Some(scale) => scale.wanted.fields().unwrap_or_default(),
            None => vec!["spec", "replicas"],
        };
        let Some((last, way)) = fields.split_last() else {
            return;
        };
        let parent = way.iter().try_fold(object, |at, name| {
            read::child(at, name)?;
            at.get_mut(*name)
        });
        if let Some(parent) = parent {
            read::put(parent, last, replicas);
        }
    }
}

fn scale_of(kind: &Kind, object: &Value) -> Value {
    let parts = ScaleParts::of(kind, object);
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        metadata[field] = object["metadata"][field].clone();
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": { "replicas": parts.wanted },
        "status": { "replicas": parts.actual, "selector": parts.selector },
    })
}

/// The replicas of a Scale, if it says how many.
pub(super) fn replicas(call: &Call, scale: &Value) -> Result<Option<i64>, ApiError> {
    let replicas = match scale.pointer("/spec/replicas").unwrap_or(&Value::Null) {
        Value::Null => return Ok(None),
        other => other.as_i64().ok_or_else(|| {
            ApiError::bad_request("spec.replicas of the Scale is not a whole number")
        })?,
    };
    if (0..=i64::from(i32::MAX)).contains(&replicas) {
        return Ok(Some(replicas));
    }
    let error = FieldError {
        field: "spec.replicas".into(),
        reason: "FieldValueInvalid",
        message: format!(
            "Invalid value: {replicas}: must be greater than or equal to 0 and fit 31 bits"
        ),
    };
    let name = call.name.as_deref().unwrap_or("");
    let error = ApiError::invalid_object("Scale", "autoscaling", name, &[error]);
    Err(error)
}

/// Refuses what is no Scale.
pub(super) fn check_scale(scale: &Value) -> Result<(), ApiError> {
    if scale.get("kind").and_then(Value::as_str) == Some("Scale") {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "the body is not an autoscaling/v1, Kind=Scale",
    ))
}

/// The object with the replicas of a Scale.
fn scaled(call: &Call, old: &Value, scale: &Value) -> Result<Value, ApiError> {
    let mut next = old.clone();
    let replicas = replicas(call, scale)?.unwrap_or(0);
    ScaleParts::set(call.kind, &mut next, replicas);
    for field in ["name", "uid", "resourceVersion"] {
        let given = meta(scale, field);
        if !given.is_empty() {
            lifecycle::metadata(&mut next).insert(field.into(), given.into());
        } else if field == "resourceVersion" {
            lifecycle::metadata(&mut next).remove(field);
        }
    }
    Ok(next)
}

fn put_scale(call: &Call) -> Answer {
    let scale = http::decode_object(call.content, &call.body)?;
    check_scale(&scale)?;
    write_scale(call, |_| Ok(scale.clone()))
}

fn patch_scale(call: &Call) -> Answer {
    if call.content == ContentType::Apply {
        let object = apply::apply_scale(call)?;
        return Ok(http::json(200, &scale_of(call.kind, &object.value())));
    }
    let (patch_kind, patch) = read_patch(call)?;
    let named = patch.pointer("/metadata/resourceVersion").is_some();
    write_scale(call, |old| {
        let mut scale = patch_kind.apply(call.kind, &scale_of(call.kind, old), patch.clone())?;
        if !named {
            lifecycle::metadata(&mut scale).remove("resourceVersion");
        }
        Ok(scale)
    })
}

fn write_scale(call: &Call, scale: impl Fn(&Value) -> Result<Value, ApiError>) -> Answer {
    let when = (call.now, call.dry);
    let author = author::updater(call, "scale")?;
    let hand = (Edit::Main, Some(&author));
    let object = modify_as(
        &call.server,
        call.kind,
        &call.key(),
        hand,
        when,
        |_, old| scaled(call, old, &scale(old)?).map(Into::into),
    )?;
    Ok(http::json(200, &scale_of(call.kind, &object.value())))
}

/// POST of a Binding: the Pod gets its node.
fn bind(call: &Call) -> Answer {
    let binding = http::decode_object(call.content, &call.body)?;
    let text = |pointer: &str| {
        binding
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let name = call
        .name
        .as_deref()
        .unwrap_or_else(|| meta(&binding, "name"));
    let (node, target) = (text("/target/name"), text("/target/kind"));
    if node.is_empty() || !matches!(target, "" | "Node") {
        let error = FieldError {
            field: if node.is_empty() {
                "target.name"
            } else {
                "target.kind"
            }
            .into(),
            reason: "FieldValueRequired",
            message: "Required value: a Binding names the Node that the Pod shall run on".into(),
        };
        return Err(ApiError::invalid_object("Binding", "", name, &[error]));
    }
    let key = Key::new(call.namespace.as_deref().unwrap_or(""), name);
    let when = (call.now, call.dry);
    modify(&call.server, call.kind, &key, Edit::Direct, when, |old| {
        bound(call, old, &binding, node)
    })?;
    Ok(http::json(
        201,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        }),
    ))
}

fn bound(call: &Call, old: &Value, binding: &Value, node: &str) -> Result<Value, ApiError> {
    let name = meta(old, "name");
    if old.pointer("/metadata/deletionTimestamp").is_some() {
        let why = format!("pod {name} is being deleted, cannot be assigned to a host");
        return Err(ApiError::conflict(call.kind, name, &why));
    }
    if let Some(taken) = old.pointer("/spec/nodeName").and_then(Value::as_str)
        && !taken.is_empty()
    {
        let why = format!("pod {name} is already assigned to node {taken:?}");
        return Err(ApiError::conflict(call.kind, name, &why));
    }
    let uid = meta(binding, "uid");
    if !uid.is_empty() && uid != meta(old, "uid") {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta(old, "uid")
        );
        return Err(ApiError::conflict(call.kind, name, &why));
    }
    let mut next = old.clone();
    next["spec"]["nodeName"] = node.into();
    for field in ["annotations", "labels"] {
        let given = binding
            .pointer(&format!("/metadata/{field}"))
            .and_then(Value::as_object);
        for (key, value) in given.into_iter().flatten() {
            next["metadata"][field][key] = value.clone();
        }
    }
    set_scheduled(&mut next, &seconds(call.now));
    checked(call.kind, next)
}

/// An object into which a client's words were put unread, if it still is one of its kind.
fn checked(kind: &'static Kind, value: Value) -> Result<Value, ApiError> {
    let value = FieldValidation::Ignore.decode(kind, value, &mut Vec::new())?;
    let mut faults = kinds::validate_metadata(kind, &value);
    faults.extend(kind.validate(&value, None));
    if faults.is_empty() {
        Ok(value)
    } else {
        Err(ApiError::invalid(kind, meta(&value, "name"), &faults))
    }
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": now,
    });
    let conditions = &mut pod["status"]["conditions"];
    match conditions.as_array_mut() {
        Some(list) => {
            list.retain(|one| one["type"] != "PodScheduled");
            list.push(condition);
        }
        None => *conditions = json!([condition]),
    }
}

/// PUT of a Namespace with other finalizers in its spec.
fn finalize(call: &Call) -> Answer {
    let given = http::decode_object(call.content, &call.body)?;
    let when = (call.now, call.dry);
    let object = modify(
        &call.server,
        call.kind,
        &call.key(),
        Edit::Direct,
        when,
        |old| {
            let mut next = old.clone();
            let finalizers = given.pointer("/spec/finalizers").cloned();
            next["spec"]["finalizers"] = finalizers.unwrap_or_else(|| json!([]));
            let revision = meta(&given, "resourceVersion");
            lifecycle::metadata(&mut next).insert("resourceVersion".into(), revision.into());
            checked(call.kind, next)
        },
    )?;
    call.show(200, &object)
}
