//! Pod logs: GET `pods/NAME/log`.
//!
//! The sandbox runtime writes what containers say into files in CRI format, below
//! `<pod logs>/<namespace>_<pod>_<uid>/<container>/`; this module finds the right ones and shows
//! them as the client asks, following them while they grow. It never writes there.

mod files;
mod lines;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::sleep;

use crate::handlers::{Answer, Call};
use crate::http;
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Key, Object};

use lines::Format;
use source::{Source, Step};

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(200);

/// What the client asked for.
#[derive(Debug, Default)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<u64>,
    limit: Option<u64>,
    since: Option<Timestamp>,
}

fn options(call: &Call) -> Result<Options, ApiError> {
    let query = &call.query;
    if let Some(stream) = query.get("stream").filter(|stream| *stream != "All") {
        return Err(ApiError::bad_request(format!(
            "stream={stream}: this server shows both streams together, stream=All"
        )));
    }
    let ago = query.number::<i64>("sinceSeconds")?;
    let at = query.get("sinceTime");
    if ago.is_some() && at.is_some() {
        return Err(ApiError::bad_request(
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    let since = match (ago, at) {
        (Some(seconds), _) => call
            .now
            .checked_sub(SignedDuration::from_secs(seconds))
            .ok(),
        (None, Some(text)) => Some(text.parse().map_err(|_| {
            ApiError::bad_request(format!("sinceTime={text}: not an RFC 3339 time"))
        })?),
        (None, None) => None,
    };
    Ok(Options {
        follow: query.flag("follow") == Some(true),
        previous: query.flag("previous") == Some(true),
        timestamps: query.flag("timestamps") == Some(true),
        tail: query.number("tailLines")?,
        limit: query.number("limitBytes")?,
        since,
    })
}

fn container_names(pod: &Value) -> Vec<&str> {
    ["/spec/containers", "/spec/initContainers"]
        .iter()
        .filter_map(|pointer| pod.pointer(pointer).and_then(Value::as_array))
        .flatten()
        .filter_map(|container| container.get("name").and_then(Value::as_str))
        .collect()
}

/// The container that a request for a Pod means.
pub(crate) fn container(call: &Call, pod: &Value) -> Result<String, ApiError> {
    let names = container_names(pod);
    let name = call.name.as_deref().unwrap_or("");
    match call.query.get("container") {
        Some(asked) if names.contains(&asked) => Ok(asked.to_owned()),
        Some(asked) => Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        ))),
        None => match names.as_slice() {
            [only] => Ok((*only).to_owned()),
            _ => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                names.join(" ")
            ))),
        },
    }
}

fn container_status<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    ["/status/containerStatuses", "/status/initContainerStatuses"]
        .iter()
        .filter_map(|pointer| pod.pointer(pointer).and_then(Value::as_array))
        .flatten()
        .find(|status| status["name"] == container)
}

fn nothing_yet(pod: &Value, name: &str, container: &str, previous: bool) -> ApiError {
    if previous {
        return ApiError::bad_request(format!(
            "previous terminated container {container:?} in pod {name:?} not found"
        ));
    }
    let reason = container_status(pod, container)
        .and_then(|status| status.pointer("/state/waiting/reason"))
        .and_then(Value::as_str)
        .unwrap_or(match pod.pointer("/spec/nodeName") {
            Some(_) => "ContainerCreating",
            None => "the pod has no node yet",
        });
    ApiError::bad_request(format!(
        "container {container:?} in pod {name:?} is waiting to start: {reason}"
    ))
}

/// Whether nothing more will be written by this run of the container.
fn has_ended(server: &Server, kind: &'static Kind, followed: &Followed) -> bool {
    let Some(object) = server.store.get(kind, &followed.key) else {
        return true;
    };
    if object.uid != followed.uid {
        return true;
    }
    let pod = object.value();
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return true;
    }
    container_status(&pod, &followed.container).is_some_and(|status| {
        let restarts = status.get("restartCount").and_then(Value::as_u64);
        status.pointer("/state/terminated").is_some()
            || restarts.is_some_and(|restarts| restarts > followed.run)
    })
}

/// Which run of which container is followed.
struct Followed {
    key: Key,
    uid: Box<str>,
    container: String,
    run: u64,
}

fn directory(root: &std::path::Path, object: &Object, container: &str) -> PathBuf {
    let Key { namespace, name } = &object.key;
    root.join(format!("{namespace}_{name}_{}", object.uid))
        .join(container)
}

/// Handles the request.
pub(crate) async fn answer(call: &Call) -> Answer {
    let Some(root) = &call.server.pod_logs else {
        return Err(ApiError::not_served("pods/log without a log directory"));
    };
    let options = options(call)?;
    let object = call.object()?;
    let pod = object.value();
    let container = container(call, &pod)?;
    let directory = directory(root, &object, &container);
    let (previous, tail) = (options.previous, options.tail);
    let format = Format::new(options.since, options.timestamps, options.limit);
    let opened = tokio::task::spawn_blocking(move || {
        let Some(run) = files::run(&directory, previous)? else {
            return Ok(None);
        };
        Source::open(&directory, run, tail, format).map(|source| Some((run, source)))
    });
    let name = &object.key.name;
    let (run, source) = opened
        .await
        .map_err(|_| ApiError::internal("reading the log failed"))?
        .map_err(|error: std::io::Error| {
            ApiError::internal(format!("reading the log of pod {name:?}: {error}"))
        })?
        .ok_or_else(|| nothing_yet(&pod, name, &container, previous))?;
    let followed = options.follow.then(|| Followed {
        key: object.key.clone(),
        uid: object.uid.clone(),
        container,
        run,
    });
    let server = Arc::clone(&call.server);
    let chunks = chunks(server, call.kind, source, followed);
    Ok(http::stream("text/plain", Box::pin(chunks)))
}

/// What a container writes to one stream from now on, to its end.
pub(crate) async fn from_now(
    call: &Call,
    container: &str,
    stream: &'static str,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, ApiError> {
    let Some(root) = &call.server.pod_logs else {
        return Err(ApiError::not_served("pods/attach without a log directory"));
    };
    let object = call.object()?;
    let directory = directory(root, &object, container);
    let opened = tokio::task::spawn_blocking(move || {
        let Some(run) = files::run(&directory, false)? else {
            return Ok(None);
        };
        let source = Source::open(&directory, run, Some(0), Format::only(stream))?;
        Ok(Some((run, source)))
    });
    let name = &object.key.name;
    let (run, source) = opened
        .await
        .map_err(|_| ApiError::internal("reading the output failed"))?
        .map_err(|error: std::io::Error| {
            ApiError::internal(format!("reading the output of pod {name:?}: {error}"))
        })?
        .ok_or_else(|| nothing_yet(&object.value(), name, container, false))?;
    let followed = Followed {
        key: object.key.clone(),
        uid: object.uid.clone(),
        container: container.to_owned(),
        run,
    };
    let server = Arc::clone(&call.server);
    Ok(chunks(server, call.kind, source, Some(followed)))
}

fn chunks(
    server: Arc<Server>,
    kind: &'static Kind,
    source: Source,
    followed: Option<Followed>,
) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((source, false), move |(mut source, mut last)| {
        let server = Arc::clone(&server);
        let ended = followed
            .as_ref()
            .map(|followed| has_ended(&server, kind, followed));
        let mut ended = ended;
        let followed = followed.as_ref().map(|f| Followed {
            key: f.key.clone(),
            uid: f.uid.clone(),
            container: f.container.clone(),
            run: f.run,
        });
        async move {
            loop {
                let read = tokio::task::spawn_blocking(move || {
                    let step = source.read();
                    (source, step)
                });
                let (returned, step) = read.await.ok()?;
                source = returned;
                match step {
                    Step::Data(bytes) => return Some((bytes, (source, last))),
                    Step::Finished => return None,
                    Step::CaughtUp if last => return None,
                    Step::CaughtUp => {}
                }
                match (&followed, ended) {
                    (None, _) => return None,
                    // What was written before the end was seen is still read.
                    (_, Some(true)) => last = true,
                    _ => sleep(POLL).await,
                }
                if *server.stop.borrow() {
                    return None;
                }
                ended = followed
                    .as_ref()
                    .map(|followed| has_ended(&server, kind, followed));
            }
        }
    })
}
