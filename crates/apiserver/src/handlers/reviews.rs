//! Answers reviews: who somebody is and what they may do.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use serde_json::{Map, Value, json};

use super::Answer;
use crate::auth::{AUDIENCE, User};
use crate::decode::typed;
use crate::http;
use crate::kinds::{FieldError, read};
use crate::lifecycle::meta;
use crate::rbac::{Ask, On, Rule, Thing};
use crate::reviews::{Review, VERSION};
use crate::server::Server;
use crate::status::ApiError;

/// Answers one review, whose creation is allowed.
pub(crate) fn answer(
    server: &Server,
    user: &User,
    review: &'static Review,
    namespace: &str,
    given: Value,
) -> Answer {
    let version = format!("{}/{VERSION}", review.group);
    let said = |field: &str, wanted: &str| matches!(read::text(&given, field), text if text == wanted || text.is_empty());
    if !said("kind", review.kind) || !said("apiVersion", &version) {
        return Err(ApiError::bad_request(format!(
            "the body is not a {version}, Kind={} as the path says",
            review.kind
        )));
    }
    let mut object = decoded(review, given)?;
    let status = match review.kind {
        "SelfSubjectReview" => json!({ "userInfo": shown(user) }),
        "TokenReview" => token(server, review, &object)?,
        "SelfSubjectRulesReview" => rules(server, user, &object)?,
        "SelfSubjectAccessReview" => access(server, user, review, &object)?,
        _ => {
            let subject = subject(review, &object)?;
            if review.namespaced {
                local(review, &object, namespace)?;
            }
            access(server, &subject, review, &object)?
        }
    };
    object["kind"] = review.kind.into();
    object["apiVersion"] = version.into();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"]["creationTimestamp"] = Value::Null;
    object["status"] = status;
    Ok(http::json(201, &object))
}

fn decoded(review: &Review, given: Value) -> Result<Value, ApiError> {
    let decoded = match review.kind {
        "SelfSubjectReview" => typed::<SelfSubjectReview>(given),
        "TokenReview" => typed::<TokenReview>(given),
        "SelfSubjectRulesReview" => typed::<SelfSubjectRulesReview>(given),
        "SelfSubjectAccessReview" => typed::<SelfSubjectAccessReview>(given),
        "LocalSubjectAccessReview" => typed::<LocalSubjectAccessReview>(given),
        _ => typed::<SubjectAccessReview>(given),
    };
    decoded.map(|decoded| decoded.value).map_err(|error| {
        ApiError::bad_request(format!(
            "{} in version {VERSION:?} cannot be handled as a {}: {}",
            review.kind, review.kind, error.0
        ))
    })
}

fn invalid(review: &Review, field: &str, value: &str, detail: &str) -> ApiError {
    let error = FieldError::bad_text(field.to_owned(), value, detail);
    ApiError::invalid_object(review.kind, review.group, "", &[error])
}

/// A user as people see it.
fn shown(user: &User) -> Value {
    let mut shown = json!({ "username": user.name, "groups": user.groups });
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        shown["extra"] = json!(user.extra);
    }
    shown
}

/// Whom a review of somebody else is about.
fn subject(review: &Review, object: &Value) -> Result<User, ApiError> {
    let spec = &object["spec"];
    let texts = |value: &Value| {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let user = User {
        name: read::text(spec, "user").to_owned(),
        uid: read::text(spec, "uid").to_owned(),
        groups: texts(&spec["groups"]),
        extra: (spec["extra"].as_object().into_iter().flatten())
            .map(|(key, values)| (key.clone(), texts(values)))
            .collect(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let detail = "at least one of user or group must be specified";
        return Err(invalid(review, "spec.user", "", detail));
    }
    Ok(user)
}

/// A local review is about its own namespace.
fn local(review: &Review, object: &Value, namespace: &str) -> Result<(), ApiError> {
    let given = meta(object, "namespace");
    let about = read::text(&object["spec"]["resourceAttributes"], "namespace");
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if about != namespace {
        let field = "spec.resourceAttributes.namespace";
        let detail = format!("must match the namespace of the request, {namespace}");
        return Err(invalid(review, field, about, &detail));
    }
    Ok(())
}

fn access(
    server: &Server,
    user: &User,
    review: &Review,
    object: &Value,
) -> Result<Value, ApiError> {
    let spec = &object["spec"];
    let (object, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |field: &str| read::text(object, field);
    let ask = match (object.is_object(), path.is_object()) {
        (true, false) => Ask::on(
            text("verb"),
            Thing {
                group: text("group"),
                resource: text("resource"),
                part: text("subresource"),
                namespace: text("namespace"),
                name: text("name"),
            },
        ),
        (false, true) => Ask {
            verb: read::text(path, "verb"),
            on: On::Path(read::text(path, "path")),
        },
        _ => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be \
                          specified";
            return Err(invalid(review, "spec.resourceAttributes", "", detail));
        }
    };
    let verdict = server.rbac.explain(&server.store, user, &ask);
    let mut status = json!({ "allowed": verdict.allowed });
    if !verdict.reason.is_empty() {
        status["reason"] = verdict.reason.into();
    }
    Ok(status)
}

fn rules(server: &Server, user: &User, object: &Value) -> Result<Value, ApiError> {
    let namespace = read::text(&object["spec"], "namespace");
    if namespace.is_empty() {
        return Err(ApiError::bad_request(
            "no namespace on request: spec.namespace is required",
        ));
    }
    let rules = server.rbac.rules_of(&server.store, user, namespace);
    let (mut objects, mut paths) = (Vec::new(), Vec::new());
    for rule in &rules {
        match rule.urls.is_empty() {
            true => objects.push(Rule::shown(rule)),
            false => paths.push(Rule::shown(rule)),
        }
    }
    Ok(json!({ "resourceRules": objects, "nonResourceRules": paths, "incomplete": false }))
}

fn token(server: &Server, review: &Review, object: &Value) -> Result<Value, ApiError> {
    let spec = &object["spec"];
    let token = read::text(spec, "token");
    if token.is_empty() {
        let error = FieldError::required("spec.token".to_owned(), "");
        return Err(ApiError::invalid_object(
            review.kind,
            review.group,
            "",
            &[error],
        ));
    }
    let mut wanted = read::texts(spec, "audiences");
    if wanted.is_empty() {
        wanted.push(AUDIENCE);
    }
    let known = match server.tokens.named(token) {
        Some(user) => Some((shown(&user), vec![AUDIENCE.to_owned()])),
        None => (server.tokens.issuer.user(token, &server.store))
            .map(|(user, audiences)| (shown(&user), audiences)),
    };
    let refused = |why: &str| json!({ "user": Map::new(), "error": why });
    let Some((user, audiences)) = known else {
        return Ok(refused("the token is not known, or good no more"));
    };
    wanted.retain(|audience| audiences.iter().any(|one| one == audience));
    if wanted.is_empty() {
        return Ok(refused(
            "the token is for none of the audiences that were asked for",
        ));
    }
    Ok(json!({ "authenticated": true, "user": user, "audiences": wanted }))
}
