//! DELETE of one object and of collections.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Call, holdings, list, wrap};
use crate::http;
use crate::kinds::{FieldError, Kind};
use crate::lifecycle::{self, Asked, Deletion, Policy, meta};
use crate::server::Server;
use crate::status::{self, ApiError};
use crate::store::{At, Change, Key, Object, StoreError};

/// Namespaces that every cluster has.
const ETERNAL: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What a client may say about a deletion.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteOptions {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Option<Preconditions>,
    dry_run: Vec<String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// What becomes of the dependents, if it is said.
    fn policy(&self) -> Result<Option<Policy>, ApiError> {
        let field = "propagationPolicy";
        let fault = match (self.propagation_policy.as_deref(), self.orphan_dependents) {
            (None, None) => return Ok(None),
            (None, Some(true)) => return Ok(Some(Policy::Orphan)),
            (None, Some(false)) | (Some("Background"), None) => {
                return Ok(Some(Policy::Background));
            }
            (Some("Foreground"), None) => return Ok(Some(Policy::Foreground)),
            (Some("Orphan"), None) => return Ok(Some(Policy::Orphan)),
            (Some(other), None) => {
                FieldError::not_supported(field, other, &["Background", "Foreground", "Orphan"])
            }
            (Some(policy), Some(_)) => FieldError::bad_text(
                field,
                policy,
                "orphanDependents and deletionPropagation cannot be both set",
            ),
        };
        let faults = [fault];
        Err(ApiError::invalid_object(
            "DeleteOptions",
            "meta.k8s.io",
            "",
            &faults,
        ))
    }
}

/// How an object shall go.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wish {
    pub(crate) grace: Option<i64>,
    /// What becomes of what it owns; its finalizers say so otherwise.
    pub(crate) policy: Option<Policy>,
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) dry: bool,
}

impl Wish {
    /// Reads options from the body, else from the query.
    pub(crate) fn of(call: &Call) -> Result<Self, ApiError> {
        let mut options = DeleteOptions::default();
        if !call.body.is_empty() {
            let body = http::decode_object(call.content, &call.body)?;
            // An Eviction wraps the options.
            let body = body.get("deleteOptions").cloned().unwrap_or(body);
            options = serde_json::from_value(body).map_err(|error| {
                ApiError::bad_request(format!("the body is not DeleteOptions: {error}"))
            })?;
        }
        if options.grace_period_seconds.is_none() {
            options.grace_period_seconds = call.query.number("gracePeriodSeconds")?;
        }
        if options.propagation_policy.is_none() {
            options.propagation_policy = call.query.get("propagationPolicy").map(str::to_owned);
        }
        if options.orphan_dependents.is_none() {
            options.orphan_dependents = call.query.flag("orphanDependents");
        }
        if let Some(other) = options.dry_run.iter().find(|value| *value != "All") {
            return Err(ApiError::bad_request(format!(
                "dryRun {other:?}: the only value that is supported is All"
            )));
        }
        let policy = options.policy()?;
        let preconditions = options.preconditions.unwrap_or_default();
        Ok(Self {
            grace: options.grace_period_seconds,
            policy,
            uid: preconditions.uid,
            revision: preconditions.resource_version,
            dry: call.dry || !options.dry_run.is_empty(),
        })
    }

    fn check(&self, kind: &Kind, object: &Object) -> Result<(), ApiError> {
        let name = &object.key.name;
        if let Some(uid) = &self.uid
            && **uid != *object.uid
        {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object.uid
            );
            return Err(ApiError::conflict(kind, name, &why));
        }
        if let Some(revision) = &self.revision
            && *revision != object.revision.to_string()
        {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {revision}, \
                 ResourceVersion in object meta: {}",
                object.revision
            );
            return Err(ApiError::conflict(kind, name, &why));
        }
        Ok(())
    }
}

/// What became of the object.
pub(crate) enum Removed {
    Gone(std::sync::Arc<Object>),
    /// It stays until its grace period or finalizers are over.
    Going(std::sync::Arc<Object>),
}

/// Deletes an object, as a client or the server itself wants it.
pub(crate) fn remove(
    server: &Server,
    kind: &'static Kind,
    key: &Key,
    wish: &Wish,
    now: Timestamp,
) -> Result<Removed, ApiError> {
    let namespace = kind.kind == "Namespace" && kind.group.is_empty();
    let eternal = namespace && ETERNAL.contains(&key.name.as_ref());
    if eternal {
        let why = "this namespace may not be deleted";
        return Err(ApiError::forbidden(kind, &key.name, why));
    }
    loop {
        let object = server
            .store
            .get(kind, key)
            .ok_or_else(|| ApiError::not_found(kind, &key.name))?;
        wish.check(kind, &object)?;
        let value = object.value();
        let asked = Asked {
            grace: wish.grace,
            policy: wish.policy,
        };
        let next = lifecycle::delete(kind, &value, asked, now);
        let (value, change) = match next {
            Deletion::Pending => return Ok(Removed::Going(object)),
            Deletion::Mark(marked) => (*marked, Change::Replace(object.revision)),
            Deletion::Now => (value, Change::Remove(object.revision)),
        };
        match server.store.commit(kind, value, change, now, wish.dry) {
            Ok(object) if matches!(change, Change::Remove(_)) => {
                if !wish.dry {
                    holdings::gone(server, kind, &object.value(), now);
                }
                return Ok(Removed::Gone(object));
            }
            Ok(object) => {
                if !wish.dry {
                    holdings::going(server, kind, &object, now);
                }
                return Ok(Removed::Going(object));
            }
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(ApiError::store(kind, &key.name, &error)),
        }
    }
}

/// DELETE of one object.
pub(crate) fn one(call: &Call) -> Answer {
    let wish = Wish::of(call)?;
    match remove(&call.server, call.kind, &call.key(), &wish, call.now)? {
        Removed::Going(object) => call.show(200, &object),
        Removed::Gone(object) => Ok(http::json(
            200,
            &status::success(call.kind, &object.key.name, Some(&object.uid)),
        )),
    }
}

/// DELETE of everything that the selectors select.
pub(crate) fn collection(call: &Call) -> Answer {
    if call.kind.namespaced && call.namespace.is_none() {
        return Err(ApiError::method_not_allowed());
    }
    let wish = Wish::of(call)?;
    let filter = list::filter(call)?;
    let snapshot = call
        .server
        .store
        .snapshot(call.kind, call.namespace.as_deref(), At::Latest)
        .map_err(|_| ApiError::internal("the current state cannot be read"))?;
    let mut picked = Vec::new();
    for (at, object) in snapshot.objects().iter().enumerate() {
        if !filter.matches(object) {
            continue;
        }
        match remove(&call.server, call.kind, &object.key, &wish, call.now) {
            Ok(_) => picked.extend(u32::try_from(at)),
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let list = wrap::List {
        kind: call.kind,
        shape: call.shape,
        include: wrap::include(&call.query)?,
        snapshot,
        picked: Some(picked),
        go_on: None,
        remaining: None,
    };
    Ok(list.answer(&call.server))
}

/// POST of an Eviction: a plain deletion, since there are no disruption budgets.
pub(crate) fn evict(call: &Call) -> Answer {
    let body: Value = http::decode_object(call.content, &call.body)?;
    let name = meta(&body, "name");
    if !name.is_empty() && Some(name) != call.name.as_deref() {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let mut wish = Wish::of(call)?;
    if body.get("deleteOptions").is_none() {
        wish = Wish {
            dry: call.dry,
            ..Wish::default()
        };
    }
    remove(&call.server, call.kind, &call.key(), &wish, call.now)?;
    Ok(http::json(201, &eviction_success()))
}

fn eviction_success() -> Value {
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    })
}
