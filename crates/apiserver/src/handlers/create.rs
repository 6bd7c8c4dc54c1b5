//! POST of a new object.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{Answer, Call, Edit, author, holdings, wrap};
use crate::http;
use crate::kinds::{self, Kind};
use crate::lifecycle::{self, meta};
use crate::managed::{self, Identity, Managers};
use crate::rbac;
use crate::schema;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Change, Draft, Object, StoreError};
use crate::views;

/// How often a generated name is drawn again when it is taken.
const DRAWS: usize = 8;
/// What generated names are made of: no vowels, so that no words come out.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// How unknown fields are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// What the query asks for.
    pub(crate) fn of(call: &Call) -> Result<Self, ApiError> {
        match call.query.get("fieldValidation") {
            None | Some("Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => Err(ApiError::bad_request(format!(
                "fieldValidation={other}: must be Ignore, Warn or Strict"
            ))),
        }
    }

    /// The same if it is strict, else nothing at all.
    pub(crate) fn if_strict(self) -> Self {
        match self {
            Self::Strict => self,
            Self::Ignore | Self::Warn => Self::Ignore,
        }
    }

    /// Reads an object as its kind; unknown fields become warnings or an error.
    pub(crate) fn decode(
        self,
        kind: &'static Kind,
        value: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        check_type(kind, &value)?;
        let decoded = kind.decode(value).map_err(|error| {
            ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {}",
                kind.kind, kind.version, kind.kind, error.0
            ))
        })?;
        let complaints = decoded
            .unknown
            .iter()
            .map(|path| format!("unknown field {path:?}"));
        match self {
            Self::Ignore => {}
            Self::Warn => {
                for complaint in complaints.take(32) {
                    if !warnings.contains(&complaint) {
                        warnings.push(complaint);
                    }
                }
            }
            Self::Strict if decoded.unknown.is_empty() => {}
            Self::Strict => {
                let all: Vec<String> = complaints.take(32).collect();
                return Err(ApiError::bad_request(format!(
                    "strict decoding error: {}",
                    all.join(", ")
                )));
            }
        }
        warnings.extend(kind.warnings(&decoded.value));
        Ok(decoded.value)
    }
}

pub(super) fn check_type(kind: &Kind, value: &Value) -> Result<(), ApiError> {
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("");
    let wanted = wrap::api_version(kind);
    if field("kind").is_empty() || field("apiVersion").is_empty() {
        return Err(ApiError::bad_request(format!(
            "the object gives no apiVersion or kind; this path takes {wanted}, Kind={}",
            kind.kind
        )));
    }
    if field("kind") != kind.kind || field("apiVersion") != wanted {
        return Err(ApiError::bad_request(format!(
            "{}, Kind={} in the body does not match {wanted}, Kind={} of the path",
            field("apiVersion"),
            field("kind"),
            kind.kind
        )));
    }
    Ok(())
}

/// The namespace of the object must be the one of the path.
pub(crate) fn settle_namespace(call: &Call, value: &mut Value) -> Result<(), ApiError> {
    let given = meta(value, "namespace").to_owned();
    match &call.namespace {
        Some(namespace) if given.is_empty() => {
            lifecycle::metadata(value).insert("namespace".into(), namespace.as_str().into());
            Ok(())
        }
        Some(namespace) if given == *namespace => Ok(()),
        None if given.is_empty() => Ok(()),
        _ => Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// Handles the request.
pub(crate) fn create(call: &Call) -> Answer {
    if call.kind.namespaced && call.namespace.is_none() {
        return Err(ApiError::method_not_allowed());
    }
    let mut warnings = Vec::new();
    let value = http::decode_object(call.content, &call.body)?;
    let mut value = FieldValidation::of(call)?.decode(call.kind, value, &mut warnings)?;
    settle_namespace(call, &mut value)?;
    if !meta(&value, "resourceVersion").is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    rbac::may_give(call, &value, None)?;
    let author = author::updater(call, "")?;
    let (origin, when) = (Origin::Made(&author), (call.now, call.dry));
    let object = insert_as(&call.server, call.kind, value, origin, when)?;
    Ok(http::with_warnings(call.show(201, &object)?, &warnings))
}

/// Where a new object comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// Somebody made it and owns what is in it.
    Made(&'a Identity),
    /// Somebody applied it; these are its managers.
    Applied(&'a Managers),
}

/// Makes a decoded object as the server itself wants it.
pub(crate) fn insert(
    server: &Server,
    kind: &'static Kind,
    value: Value,
    now: Timestamp,
    dry: bool,
) -> Result<Arc<Object>, ApiError> {
    let author = author::server(kind);
    insert_as(server, kind, value, Origin::Made(&author), (now, dry))
}

/// Makes a decoded object, as a request or the server itself wants it.
pub(crate) fn insert_as(
    server: &Server,
    kind: &'static Kind,
    value: Value,
    origin: Origin<'_>,
    (now, dry): (Timestamp, bool),
) -> Result<Arc<Object>, ApiError> {
    let prefix = meta(&value, "generateName").to_owned();
    if !meta(&value, "name").is_empty() || prefix.is_empty() {
        return place(server, kind, prepared(kind, value, origin, now), now, dry);
    }
    for draw in 1.. {
        let mut named = value.clone();
        lifecycle::metadata(&mut named).insert("name".into(), generate(&prefix).into());
        match place(server, kind, prepared(kind, named, origin, now), now, dry) {
            Err(error) if error.reason == "AlreadyExists" && draw < DRAWS => {}
            outcome => return outcome,
        }
    }
    Err(ApiError::internal("no free name could be generated"))
}

/// The object with all that its author left out; its name is settled, since defaults may quote it.
fn prepared(
    kind: &Kind,
    mut value: Value,
    origin: Origin<'_>,
    now: Timestamp,
) -> (Value, Managers) {
    kind.default(&mut value);
    let managers = match origin {
        Origin::Made(author) => {
            let part = author::part(kind, Edit::Main);
            managed::created(&value, &schema::of(kind), part, author, now)
        }
        Origin::Applied(managers) => managers.clone(),
    };
    kind.on_create(&mut value);
    lifecycle::prepare_new(kind, &mut value, Uuid::new_v4().to_string(), now);
    (value, managers)
}

fn place(
    server: &Server,
    kind: &'static Kind,
    (mut value, managers): (Value, Managers),
    now: Timestamp,
    dry: bool,
) -> Result<Arc<Object>, ApiError> {
    let name = meta(&value, "name").to_owned();
    let mut faults = kinds::validate_metadata(kind, &value);
    faults.extend(kind.validate(&value, None));
    if !faults.is_empty() {
        return Err(ApiError::invalid(kind, &name, &faults));
    }
    // Who creates what exists shall hear so, rather than that its addresses are taken.
    if server
        .store
        .get(kind, &crate::store::Key::of(kind, &value))
        .is_some()
    {
        return Err(ApiError::store(kind, &name, &StoreError::Exists));
    }
    let claim = holdings::claim(server, kind, &mut value, None, (now, dry))?;
    let object = server
        .store
        .commit(
            kind,
            Draft {
                value: views::to_stored(kind, value),
                managers: Some(managers),
            },
            Change::Create,
            now,
            dry,
        )
        .map_err(|error| ApiError::store(kind, &name, &error))?;
    if !dry {
        claim.keep(&object);
    }
    Ok(object)
}

fn generate(prefix: &str) -> String {
    // A name has at most 63 characters if it shall serve as a host name.
    let mut name: String = prefix.chars().take(58).collect();
    let mut random = Uuid::new_v4().as_u128();
    for _ in 0..5 {
        let letters = LETTERS.len() as u128;
        name.push(char::from(LETTERS[(random % letters) as usize]));
        random /= letters;
    }
    name
}
