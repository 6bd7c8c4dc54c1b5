//! Who writes, as `metadata.managedFields` names it: what the query says, else what the client calls
//! itself.

use hyper::HeaderMap;
use hyper::header::USER_AGENT;

use super::{Call, Edit, wrap};
use crate::kinds::{FieldError, Kind};
use crate::managed::{Identity, Part};
use crate::status::ApiError;

/// The longest name of a manager, in bytes.
const MAX_NAME: usize = 128;

/// The name of a client that gives none: its program's, without the version.
pub(super) fn agent(headers: &HeaderMap) -> String {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let program = agent.unwrap_or("").split('/').next().unwrap_or("");
    let name: String = program
        .chars()
        .take_while(|letter| !letter.is_control())
        .take(MAX_NAME)
        .collect();
    match name.is_empty() {
        true => "unknown".to_owned(),
        false => name,
    }
}

/// Something wrong with the parameters of a write.
fn refused(call: &Call, error: FieldError) -> ApiError {
    let options = match call.method.as_str() {
        "POST" => "CreateOptions",
        "PUT" => "UpdateOptions",
        _ => "PatchOptions",
    };
    ApiError::invalid_object(options, "meta.k8s.io", "", &[error])
}

fn named(call: &Call) -> Result<Option<&str>, ApiError> {
    let Some(name) = call.query.get("fieldManager") else {
        return Ok(None);
    };
    if name.len() > MAX_NAME {
        return Err(refused(
            call,
            FieldError::too_long("fieldManager", MAX_NAME),
        ));
    }
    if name.chars().any(char::is_control) {
        let why = "should only contain printable characters";
        return Err(refused(
            call,
            FieldError::bad_text("fieldManager", name, why),
        ));
    }
    Ok(Some(name))
}

fn identity(call: &Call, applies: bool, name: &str, subresource: &str) -> Identity {
    Identity {
        applies,
        manager: name.into(),
        api_version: wrap::api_version(call.kind).into(),
        subresource: subresource.into(),
    }
}

/// Whoever creates, updates or patches.
pub(super) fn updater(call: &Call, subresource: &str) -> Result<Identity, ApiError> {
    if call.method == "PATCH" && call.query.flag("force").is_some() {
        let why = "may not be specified for non-apply patch";
        return Err(refused(call, FieldError::forbidden("force", why)));
    }
    let name = named(call)?.unwrap_or(&call.agent);
    Ok(identity(call, false, name, subresource))
}

/// Whoever applies, who has to say who that is.
pub(super) fn applier(call: &Call, subresource: &str) -> Result<Identity, ApiError> {
    let name = named(call)?.ok_or_else(|| {
        let why = "is required for apply patch";
        refused(call, FieldError::required("fieldManager", why))
    })?;
    Ok(identity(call, true, name, subresource))
}

/// The server itself, for objects that it makes.
pub(super) fn server(kind: &Kind) -> Identity {
    Identity {
        applies: false,
        manager: "kube-apiserver".into(),
        api_version: wrap::api_version(kind).into(),
        subresource: "".into(),
    }
}

/// Which part of an object an edit can change.
pub(super) fn part(kind: &Kind, edit: Edit) -> Part {
    match edit {
        Edit::Main if kind.has_status => Part::Main,
        Edit::Status => Part::Status,
        Edit::Main | Edit::Direct => Part::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_called_by_its_program() {
        let named = |agent: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, agent.parse().unwrap());
            super::agent(&headers)
        };
        assert_eq!(named("kubectl/v1.37.1 (linux/amd64)"), "kubectl");
        assert_eq!(named("seaway"), "seaway");
        assert_eq!(named("/"), "unknown");
        assert_eq!(
            named(Box::leak("x".repeat(500).into_boxed_str())).len(),
            MAX_NAME
        );
        assert_eq!(agent(&HeaderMap::new()), "unknown");
    }
}
