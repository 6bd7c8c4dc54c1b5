//! `serviceaccounts/token`: POST of a TokenRequest gives a token of the account.

use jiff::SignedDuration;
use k8s_openapi::api::authentication::v1::TokenRequest;
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::auth::{AUDIENCE, Bound, Wish};
use crate::decode::typed;
use crate::http;
use crate::kinds::{FieldError, read};
use crate::lifecycle::{meta, seconds};
use crate::status::ApiError;
use crate::store::Key;

const GROUP: &str = "authentication.k8s.io";
const HOUR: i64 = 3600;
/// Tokens live from ten minutes to 2^32 seconds.
const LEAST: i64 = 600;
const MOST: i64 = 1 << 32;

/// Handles the request.
pub(crate) fn create(call: &Call) -> Answer {
    let given = http::decode_object(call.content, &call.body)?;
    let decoded = typed::<TokenRequest>(given).map_err(|error| {
        let what = "TokenRequest in version \"v1\" cannot be handled as a TokenRequest";
        ApiError::bad_request(format!("{what}: {}", error.0))
    })?;
    let mut request = decoded.value;
    let account = call.object()?;
    let name = account.key.name.as_ref();
    let given = meta(&request, "name");
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let spec = &request["spec"];
    let lifetime = read::int(spec, "expirationSeconds").unwrap_or(HOUR);
    check(lifetime, name)?;
    let bound = bound(call, &spec["boundObjectRef"])?;
    let mut audiences: Vec<String> = read::texts(spec, "audiences")
        .into_iter()
        .map(str::to_owned)
        .collect();
    if audiences.is_empty() {
        audiences.push(AUDIENCE.to_owned());
    }
    let until = call.now.checked_add(SignedDuration::from_secs(lifetime));
    let until = until.map_err(|_| ApiError::internal("the clock is at the end of time"))?;
    let wish = Wish {
        namespace: &account.key.namespace,
        account: name,
        uid: &account.uid,
        audiences: &audiences,
        bound: bound.as_ref(),
        from: call.now,
        until,
    };
    let token = call.server.tokens.issuer.token(&wish);
    // With a dry run nothing may come out that can be used.
    let token = if call.dry { String::new() } else { token };
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = format!("{GROUP}/v1").into();
    request["metadata"] = json!({
        "name": name, "namespace": *account.key.namespace, "creationTimestamp": seconds(call.now),
    });
    request["spec"]["expirationSeconds"] = lifetime.into();
    request["spec"]["audiences"] = json!(audiences);
    request["status"] = json!({ "token": token, "expirationTimestamp": seconds(until) });
    Ok(http::json(201, &request))
}

fn check(lifetime: i64, name: &str) -> Result<(), ApiError> {
    let detail = match lifetime {
        ..LEAST => "may not specify a duration less than 10 minutes",
        LEAST..=MOST => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError {
        field: "spec.expirationSeconds".into(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {lifetime}: {detail}"),
    };
    Err(ApiError::invalid_object(
        "TokenRequest",
        GROUP,
        name,
        &[error],
    ))
}

/// What the token shall be bound to: it must exist, and a Pod must run as the account.
fn bound(call: &Call, wanted: &Value) -> Result<Option<Bound>, ApiError> {
    if !wanted.is_object() {
        return Ok(None);
    }
    let text = |field: &str| read::text(wanted, field);
    let Some((kind_name, kind)) = Bound::kind(text("kind")) else {
        return Err(ApiError::bad_request(format!(
            "spec.boundObjectRef.kind: cannot bind token for serviceaccount to object of kind {:?}; \
             use Pod, Secret or Node",
            text("kind")
        )));
    };
    let namespace = match kind.namespaced {
        true => call.namespace.as_deref().unwrap_or(""),
        false => "",
    };
    let object = call
        .server
        .store
        .get(kind, &Key::new(namespace, text("name")));
    let object = object.ok_or_else(|| ApiError::not_found(kind, text("name")))?;
    let uid = text("uid");
    if !uid.is_empty() && uid != object.uid.as_ref() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The \
             object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(kind, text("name"), &why));
    }
    let account = call.name.as_deref().unwrap_or("");
    if kind_name == "Pod" {
        let pod = object.value();
        let runs_as = match read::text(&pod["spec"], "serviceAccountName") {
            "" => "default",
            name => name,
        };
        if runs_as != account {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different \
                 serviceaccount name {runs_as:?}"
            )));
        }
    }
    Ok(Some(Bound {
        kind: kind_name,
        name: text("name").to_owned(),
        uid: object.uid.to_string(),
    }))
}
