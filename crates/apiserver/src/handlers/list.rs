//! GET of a collection: lists (paged, selected, at a resourceVersion) and watches.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Answer, Call, wrap};
use crate::http;
use crate::kinds::FieldError;
use crate::status::ApiError;
use crate::store::{At, Filter, Key, Snapshot, SnapshotError, parse_fields, parse_labels};
use crate::views;
use crate::watch;

/// The longest watch; a client that wants more starts a new one.
const LONGEST_WATCH: Duration = Duration::from_secs(3600);

/// Where a paged list goes on. A resourceVersion of 0 means: whatever is there then.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    ns: String,
    start: String,
}

impl Token {
    fn encode(revision: u64, key: &Key) -> String {
        let token = Self {
            v: "meta.k8s.io/v1".into(),
            rv: revision,
            ns: key.namespace.to_string(),
            start: key.name.to_string(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }

    fn key(&self) -> Key {
        Key::new(&self.ns, &self.start)
    }
}

fn options_error(field: &str, message: &str) -> ApiError {
    ApiError::invalid_object(
        "ListOptions",
        "meta.k8s.io",
        "",
        &[FieldError {
            field: field.to_owned(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {message}"),
        }],
    )
}

/// What the path and the selectors restrict the request to.
pub(crate) fn filter(call: &Call) -> Result<Filter, ApiError> {
    let labels = call.query.get("labelSelector").unwrap_or("");
    let fields = call.query.get("fieldSelector").unwrap_or("");
    let (stored, fields) = (
        views::stored_as(call.kind),
        views::selector(call.kind, fields),
    );
    Ok(Filter {
        namespace: call.namespace.clone(),
        name: call.name.clone(),
        labels: parse_labels(labels).map_err(ApiError::bad_request)?,
        fields: parse_fields(stored, &fields).map_err(ApiError::bad_request)?,
    })
}

/// The resourceVersion that the client gave; 0 and none are both "any".
fn asked_revision(call: &Call) -> Result<Option<u64>, ApiError> {
    let text = call.query.get("resourceVersion");
    text.map(|text| {
        text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "resourceVersion {text:?} is not a number; give one that this server gave"
            ))
        })
    })
    .transpose()
}

/// A list.
pub(crate) fn list(call: &Call) -> Answer {
    let filter = filter(call)?;
    let limit = match call.query.number::<usize>("limit")? {
        Some(0) | None => usize::MAX,
        Some(limit) => limit,
    };
    let token = call.query.get("continue").map(Token::decode).transpose()?;
    let snapshot = match &token {
        Some(token) => continued(call, token)?,
        None => fresh(call, limit < usize::MAX)?,
    };
    let start = token.map_or(0, |token| snapshot.after(&token.key()));
    let objects = snapshot.objects();
    let whole = start == 0 && limit >= objects.len() && !filter.selects();
    let (mut picked, mut go_on, mut remaining) = (None, None, None);
    if !whole {
        let mut matching = objects
            .iter_from(start)
            .filter_map(|(at, object)| filter.matches(object).then_some(at));
        let page: Vec<u32> = matching
            .by_ref()
            .take(limit)
            .filter_map(|at| u32::try_from(at).ok())
            .collect();
        let last = page.last().and_then(|at| objects.get(*at as usize));
        if let (Some(last), Some(_)) = (last, matching.next()) {
            go_on = Some(Token::encode(snapshot.revision, &last.key));
            remaining = (!filter.selects()).then(|| objects.len() - start - page.len());
        }
        picked = Some(page);
    }
    let list = wrap::List {
        kind: call.kind,
        shape: call.shape,
        include: wrap::include(&call.query)?,
        snapshot,
        picked,
        go_on,
        remaining,
    };
    Ok(list.answer(&call.server))
}

fn snapshot(call: &Call, at: At) -> Result<Snapshot, ApiError> {
    let (store, namespace) = (&call.server.store, call.namespace.as_deref());
    store.snapshot(call.kind, namespace, at).map_err(|error| {
        let asked = match at {
            At::Exact(asked) => asked,
            At::Latest => 0,
        };
        match error {
            SnapshotError::Expired { oldest } => ApiError::expired(asked, oldest),
            SnapshotError::Ahead { current } => ApiError::ahead(asked, current),
        }
    })
}

/// The state from which a list goes on.
fn continued(call: &Call, token: &Token) -> Result<Snapshot, ApiError> {
    if !matches!(call.query.get("resourceVersion"), None | Some("0")) {
        return Err(options_error(
            "resourceVersion",
            "specifying resource version is not allowed when using continue",
        ));
    }
    if token.rv == 0 {
        return snapshot(call, At::Latest);
    }
    snapshot(call, At::Exact(token.rv)).map_err(|mut error| {
        error.code = 410;
        error.reason = "Expired";
        error.details = None;
        error.message = "The provided continue parameter is too old to display a consistent list \
                         result. You can start a new list without the continue parameter, or use \
                         the continue token in this response to retrieve the remainder of the \
                         results. Continuing with the provided token results in an inconsistent \
                         list - objects that were created, modified, or deleted between the time \
                         the first chunk was returned and now may show up in the list."
            .to_owned();
        error.go_on = Some(Token::encode(0, &token.key()));
        error
    })
}

/// The state that a new list shows.
fn fresh(call: &Call, paged: bool) -> Result<Snapshot, ApiError> {
    let revision = asked_revision(call)?;
    let rule = call.query.get("resourceVersionMatch");
    let exact = match (rule, revision) {
        (Some(_), None) => {
            return Err(options_error(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        (Some("Exact"), Some(0)) => {
            return Err(options_error(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        (Some("Exact"), _) => true,
        (Some("NotOlderThan"), _) => false,
        (Some(other), _) => {
            return Err(options_error(
                "resourceVersionMatch",
                &format!("{other} is neither Exact nor NotOlderThan"),
            ));
        }
        (None, Some(revision)) => paged && revision > 0,
        (None, None) => false,
    };
    match revision {
        Some(revision) if exact => snapshot(call, At::Exact(revision)),
        Some(revision) if revision > call.server.store.revision() => {
            Err(ApiError::ahead(revision, call.server.store.revision()))
        }
        _ => snapshot(call, At::Latest),
    }
}

/// A watch, of a collection or of one object.
pub(crate) fn watch(call: &Call) -> Answer {
    let filter = filter(call)?;
    let revision = asked_revision(call)?.unwrap_or(0);
    let send_initial = call.query.flag("sendInitialEvents");
    let not_older = call.query.get("resourceVersionMatch") == Some("NotOlderThan");
    if send_initial.is_some() && !not_older {
        return Err(options_error(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if send_initial.is_none() && call.query.get("resourceVersionMatch").is_some() {
        return Err(options_error(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    let bookmarks = call.query.flag("allowWatchBookmarks") == Some(true);
    if send_initial == Some(true) && !bookmarks {
        return Err(options_error(
            "allowWatchBookmarks",
            "sendInitialEvents needs allowWatchBookmarks, whose bookmark ends the initial events",
        ));
    }
    let initial = match send_initial {
        Some(wanted) => wanted,
        None => revision == 0,
    };
    if initial && revision > call.server.store.revision() {
        return Err(ApiError::ahead(revision, call.server.store.revision()));
    }
    let initial = initial.then(|| snapshot(call, At::Latest)).transpose()?;
    let from = match &initial {
        Some(snapshot) => snapshot.revision,
        None if revision == 0 => call.server.store.revision(),
        None => revision,
    };
    let timeout = call
        .query
        .number::<u64>("timeoutSeconds")?
        .filter(|seconds| *seconds > 0)
        .map_or(call.server.limits.watch_timeout, Duration::from_secs)
        .min(LONGEST_WATCH);
    let request = watch::Request {
        kind: call.kind,
        filter,
        shape: call.shape,
        include: wrap::include(&call.query)?,
        initial,
        from,
        bookmarks,
        announce_end: send_initial == Some(true),
        timeout,
    };
    let chunks = watch::chunks(std::sync::Arc::clone(&call.server), request);
    Ok(http::stream("application/json", Box::pin(chunks)))
}
