//! Commands in containers and what joins somebody to them: GET and POST of `pods/NAME/exec`; and
//! looking on at what a container writes, `pods/NAME/attach`.
//!
//! The streams go over a WebSocket, in the subprotocols that kubectl and kube-rs ask for first. Who
//! runs the containers is behind [`Containers`]; this module finds out what is wanted, gives the
//! connection over to a session once everything is in order, and never runs anything itself.

mod attach;
mod channels;
mod runtime;
mod session;
mod streams;
mod upgrade;

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

pub(crate) use upgrade::Takeover;

pub use runtime::{ContainerCommand, Containers, ExecEvent, ExecOrder};

use crate::handlers::{Answer, Call};
use crate::http::{Query, Target};
use crate::logs;
use crate::status::ApiError;
use session::Wanted;

/// How many sessions there may be at once.
pub(crate) const SESSIONS: usize = 64;
/// The longest command with its arguments, in bytes.
const LONGEST_COMMAND: usize = 128 << 10;

/// Whether a request is for a session.
pub(crate) fn is_meant(target: &Target) -> bool {
    target.kind.group.is_empty()
        && target.kind.kind == "Pod"
        && target.name.is_some()
        && matches!(target.subresource.as_deref(), Some("exec" | "attach"))
}

/// Handles the request.
pub(crate) async fn answer(
    call: &Call,
    part: &str,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Answer {
    if !matches!(call.method.as_str(), "GET" | "POST") {
        return Err(ApiError::method_not_allowed());
    }
    let wanted = wanted(&call.query)?;
    let permit = Arc::clone(&call.server.sessions)
        .try_acquire_owned()
        .map_err(|_| ApiError::too_many("there are too many sessions in containers"))?;
    match part {
        "attach" => attach(call, headers, upgrade, wanted, permit).await,
        _ => exec(call, headers, upgrade, wanted, permit).await,
    }
}

async fn attach(
    call: &Call,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    wanted: Wanted,
    permit: OwnedSemaphorePermit,
) -> Answer {
    let shown = attach::find(call, &wanted).await?;
    let handshake = upgrade::handshake(headers, upgrade)?;
    let stop = call.server.stop.clone();
    Ok(handshake.answer(move |stream| async move {
        attach::run(stream, shown, stop).await;
        drop(permit);
    }))
}

async fn exec(
    call: &Call,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    wanted: Wanted,
    permit: OwnedSemaphorePermit,
) -> Answer {
    let Some(containers) = call.server.containers.clone() else {
        return Err(ApiError::not_served(
            "pods/exec without a container runtime",
        ));
    };
    let order = order(call, &wanted)?;
    let named = order.container.clone();
    let found = tokio::task::spawn_blocking(move || containers.find(&order)).await;
    let command = found
        .unwrap_or_else(|_| Err("the search for it failed".to_owned()))
        .map_err(|reason| {
            ApiError::internal(format!(
                "unable to upgrade connection: container not found ({named:?}): {reason}"
            ))
        })?;
    let handshake = upgrade::handshake(headers, upgrade)?;
    let (closes, stop) = (handshake.closes, call.server.stop.clone());
    Ok(handshake.answer(move |stream| async move {
        session::run(stream, command, wanted, closes, stop).await;
        drop(permit);
    }))
}

fn wanted(query: &Query) -> Result<Wanted, ApiError> {
    let flag = |name| query.flag(name) == Some(true);
    let wanted = Wanted {
        input: flag("stdin"),
        output: flag("stdout"),
        errors: flag("stderr"),
        terminal: flag("tty"),
    };
    if !(wanted.input || wanted.output || wanted.errors) {
        return Err(ApiError::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    if wanted.terminal && wanted.errors {
        return Err(ApiError::bad_request("tty and stderr cannot both be true"));
    }
    Ok(wanted)
}

fn order(call: &Call, wanted: &Wanted) -> Result<ExecOrder, ApiError> {
    let object = call.object()?;
    let pod = object.value();
    let container = logs::container(call, &pod)?;
    let name = &object.key.name;
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    if text("/spec/nodeName").is_empty() {
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    let phase = text("/status/phase");
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(ApiError::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err(ApiError::bad_request("you must specify a command"));
    }
    let length: usize = command.iter().map(|word| word.len() + 1).sum();
    if length > LONGEST_COMMAND {
        return Err(ApiError::too_large(format!(
            "the command has {length} bytes, at most {LONGEST_COMMAND} are taken"
        )));
    }
    Ok(ExecOrder {
        namespace: object.key.namespace.to_string(),
        pod: name.to_string(),
        container,
        command,
        terminal: wanted.terminal,
    })
}
