//! The agent's socket: one request a connection, one thread a request.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use seaway_cni::request::{Reply, Request, RowsRequest};
use seaway_cni::spec::{CniError, code};
use seaway_cni::wire::{Connection, Deadline};
use serde::Serialize;
use serde_json::Value;

use crate::error::AgentError;
use crate::shared::Shared;
use crate::{cni, report, trace};

/// How many requests are served at once; more are told to try again.
const MAX_REQUESTS: usize = 512;
const READ_LIMIT: Duration = Duration::from_secs(10);
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const STACK_BYTES: usize = 512 * 1024;

/// Makes the socket: it appears whole, with its permissions, in place of a predecessor's.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, AgentError> {
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&aside);
    let listener = UnixListener::bind(&aside).map_err(AgentError::file("bind", &aside))?;
    fs::set_permissions(&aside, Permissions::from_mode(0o600))
        .map_err(AgentError::file("restrict", &aside))?;
    fs::rename(&aside, path).map_err(AgentError::file("rename to", path))?;
    Ok(listener)
}

/// Serves for ever.
pub(crate) fn serve(shared: &Arc<Shared>, listener: &UnixListener) {
    let running = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => dispatch(shared, &running, stream),
            Err(error) => {
                // Out of descriptors, say: existing requests must end before it gets better.
                tracing::warn!(%error, "connection not accepted");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn dispatch(shared: &Arc<Shared>, running: &Arc<AtomicUsize>, stream: UnixStream) {
    if running.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
        running.fetch_sub(1, Ordering::Relaxed);
        let error = CniError::new(code::TRY_AGAIN_LATER, "the agent has too many requests");
        let mut connection = Connection::accepted(stream, Deadline::after(WRITE_LIMIT));
        let _ = connection.send(&Reply::<Value>::Error(error), None);
        return;
    }
    let (worker, count) = (shared.clone(), running.clone());
    let work = move || {
        handle(&worker, stream);
        count.fetch_sub(1, Ordering::Relaxed);
    };
    let thread = std::thread::Builder::new()
        .name("request".to_owned())
        .stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(work) {
        running.fetch_sub(1, Ordering::Relaxed);
        tracing::error!(%error, "no thread for a request");
    }
}

fn handle(shared: &Arc<Shared>, stream: UnixStream) {
    let mut connection = Connection::accepted(stream, Deadline::after(READ_LIMIT));
    let reply = match connection.receive::<Request>() {
        Ok((request, fd)) => answer(shared, request, fd),
        Err(error) => {
            tracing::debug!(%error, "request not read");
            Reply::Error(CniError::new(code::PROTOCOL, error.to_string()))
        }
    };
    if let Reply::Error(error) = &reply {
        tracing::info!(code = error.code, msg = %error.msg, "request refused");
    }
    connection.set_deadline(Deadline::after(WRITE_LIMIT));
    if let Err(error) = connection.send(&reply, None) {
        // The caller is gone. What was done stays; the runtime will DEL what it does not know.
        tracing::info!(%error, "answer not delivered");
    }
}

fn answer(
    shared: &Arc<Shared>,
    request: Request,
    fd: Option<std::os::fd::OwnedFd>,
) -> Reply<Value> {
    match request {
        Request::Cni(request) => match cni::serve(shared, &request, fd) {
            Ok(value) => Reply::Ok(value),
            Err(error) => Reply::Error(error),
        },
        Request::Status => told(report::status(shared)),
        Request::Tables => told(report::rows(shared, RowsRequest::default())),
        Request::Rows(request) => told(report::rows(shared, request)),
        Request::Trace(request) => trace::answer(shared, &request),
    }
}

fn told<T: Serialize>(result: Result<T, seaway_kernel::KernelError>) -> Reply<Value> {
    let value = result.map_err(|e| e.to_string());
    match value.and_then(|v| serde_json::to_value(v).map_err(|e| e.to_string())) {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Error(CniError::new(code::INTERNAL, error)),
    }
}
