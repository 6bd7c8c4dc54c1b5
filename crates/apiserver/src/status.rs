//! What a client is told when a request fails: a Kubernetes `Status`.
//!
//! Wording follows kube-apiserver where clients and people know it; where this server does not do
//! something, the message says so.

use serde_json::{Value, json};

use crate::kinds::{FieldError, Kind};
use crate::store::StoreError;

/// A failed request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// `Status.details`, if there is something to say.
    pub(crate) details: Option<Box<Value>>,
    /// `Status.metadata.continue`.
    pub(crate) go_on: Option<String>,
}

/// `pods`, or `deployments.apps`.
pub(crate) fn resource_name(kind: &Kind) -> String {
    qualified(kind.plural, kind.group)
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

fn details(kind: &Kind, name: &str, uid: Option<&str>) -> Value {
    let mut details = json!({ "kind": kind.plural });
    for (key, text) in [
        ("name", name),
        ("group", kind.group),
        ("uid", uid.unwrap_or("")),
    ] {
        if !text.is_empty() {
            details[key] = text.into();
        }
    }
    details
}

impl ApiError {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            go_on: None,
        }
    }

    fn with(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The object does not exist.
    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource_name(kind));
        Self::new(404, "NotFound", message).with(details(kind, name, None))
    }

    /// There is nothing at this path.
    pub(crate) fn no_route() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with(json!({}))
    }

    /// The name is taken.
    pub(crate) fn exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource_name(kind));
        Self::new(409, "AlreadyExists", message).with(details(kind, name, None))
    }

    /// The change is not based on the current state.
    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            resource_name(kind)
        );
        Self::new(409, "Conflict", message).with(details(kind, name, None))
    }

    /// Somebody else changed the object meanwhile.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        )
    }

    /// The object breaks rules.
    pub(crate) fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_object(kind.kind, kind.group, name, errors)
    }

    /// Something that is not a stored kind (options, subresources) breaks rules.
    pub(crate) fn invalid_object(
        kind: &str,
        group: &str,
        name: &str,
        errors: &[FieldError],
    ) -> Self {
        let texts: Vec<String> = errors
            .iter()
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect();
        let all = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| json!({ "reason": error.reason, "message": error.message, "field": error.field }))
            .collect();
        let mut details = json!({ "name": name, "kind": kind, "causes": causes });
        if !group.is_empty() {
            details["group"] = group.into();
        }
        let message = format!("{} {name:?} is invalid: {all}", qualified(kind, group));
        Self::new(422, "Invalid", message).with(details)
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The request may not be made.
    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource_name(kind));
        Self::new(403, "Forbidden", message).with(details(kind, name, None))
    }

    /// The user may not do this with a resource (group, plural) that need not be served.
    pub(crate) fn forbidden_resource((group, plural): (&str, &str), name: &str, why: &str) -> Self {
        let resource = qualified(plural, group);
        let message = match name {
            "" => format!("{resource} is forbidden: {why}"),
            name => format!("{resource} {name:?} is forbidden: {why}"),
        };
        let mut details = json!({ "kind": plural });
        for (key, text) in [("name", name), ("group", group)] {
            if !text.is_empty() {
                details[key] = text.into();
            }
        }
        Self::new(403, "Forbidden", message).with(details)
    }

    /// The user may not do this with a path that leads to no objects.
    pub(crate) fn forbidden_path(why: &str) -> Self {
        Self::new(403, "Forbidden", format!("forbidden: {why}")).with(json!({}))
    }

    /// The verb is not served here.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with(json!({}))
    }

    /// Kubernetes has it, this server does not.
    pub(crate) fn not_served(what: &str) -> Self {
        let message = format!("{what} is not implemented by this server (Seaway's lab API)");
        Self::new(501, "NotImplemented", message)
    }

    /// The change stream does not reach back that far.
    pub(crate) fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(
            410,
            "Expired",
            format!("too old resource version: {asked} ({oldest})"),
        )
    }

    /// The asked state lies in the future.
    pub(crate) fn ahead(asked: u64, current: u64) -> Self {
        Self::new(
            504,
            "Timeout",
            format!("Too large resource version: {asked}, current: {current}"),
        )
        .with(json!({
            "causes": [{
                "reason": "ResourceVersionTooLarge",
                "message": "Too large resource version",
            }],
            "retryAfterSeconds": 1,
        }))
    }

    /// The request is larger than the server takes.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The client shall come back.
    pub(crate) fn too_many(message: &str) -> Self {
        Self::new(429, "TooManyRequests", message).with(json!({ "retryAfterSeconds": 1 }))
    }

    /// A defect of the server.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self::new(500, "InternalError", message)
    }

    /// What the store refused.
    pub(crate) fn store(kind: &Kind, name: &str, error: &StoreError) -> Self {
        match error {
            StoreError::Exists => Self::exists(kind, name),
            StoreError::Missing => Self::not_found(kind, name),
            StoreError::Conflict => Self::modified(kind, name),
            StoreError::NoNamespace(namespace) => Self::new(
                404,
                "NotFound",
                format!("namespaces {namespace:?} not found"),
            )
            .with(json!({ "name": namespace, "kind": "namespaces" })),
            StoreError::Terminating(namespace) => {
                let why = format!(
                    "unable to create new content in namespace {namespace} because it is being \
                     terminated"
                );
                let mut error = Self::forbidden(kind, name, &why);
                if let Some(details) = &mut error.details {
                    details["causes"] = json!([{
                        "reason": "NamespaceTerminating",
                        "message": format!("namespace {namespace} is being terminated"),
                        "field": "metadata.namespace",
                    }]);
                }
                error
            }
            StoreError::NotServed => Self::new(
                405,
                "MethodNotAllowed",
                format!(
                    "create not allowed while custom resource definition is terminating ({})",
                    resource_name(kind)
                ),
            ),
            StoreError::TooLarge { .. } => Self::too_large(format!(
                "{} {name:?} is too large: {error}",
                resource_name(kind)
            )),
            StoreError::Full { .. } => Self::new(
                507,
                "InsufficientStorage",
                format!("{error}: delete objects before creating more"),
            ),
        }
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = (**details).clone();
        }
        if let Some(token) = &self.go_on {
            status["metadata"]["continue"] = token.as_str().into();
        }
        status
    }

    /// How long the client shall wait, in seconds.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }
}

/// The `Status` of something that went well.
pub(crate) fn success(kind: &Kind, name: &str, uid: Option<&str>) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details(kind, name, uid),
    })
}
