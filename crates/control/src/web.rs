//! What probes and metrics ask the controller by HTTP: whether it lives, whether the API ever
//! answered, whether it leads. At an address for people and Prometheus, and at a socket of its own for
//! probes: several controllers of one node share its addresses, and one would answer for the other.
//!
//! `/livez` and `/healthz` say no more than that the loops' own thread answers: an API that is away is
//! no reason to start anew. `/readyz` waits for the first answer of the API, so that a roll-out stops
//! at a controller that cannot reach it. One that stands by is ready.

use std::convert::Infallible;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::standing::Standing;

/// How many connections there are at once.
const MOST: usize = 32;
/// How long a client may take to ask, and a connection in all.
const ASKING: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be accepted: out of descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers for as long as the future lives.
///
/// # Errors
///
/// If the listener cannot be used.
pub async fn serve_health(listener: TcpListener, standing: Arc<Standing>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    serve(async || Ok(listener.accept().await?.0), standing).await
}

/// The same at a socket.
///
/// # Errors
///
/// If the listener cannot be used.
pub async fn serve_health_at_socket(
    listener: UnixListener,
    standing: Arc<Standing>,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    serve(async || Ok(listener.accept().await?.0), standing).await
}

async fn serve<S>(
    accept: impl AsyncFn() -> std::io::Result<S>,
    standing: Arc<Standing>,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // It is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            return Ok(());
        };
        while connections.try_join_next().is_some() {}
        match accept().await {
            Ok(stream) => {
                let standing = standing.clone();
                connections.spawn(async move {
                    let _held = place;
                    // Too slow, or gone: either way it is over.
                    let _ = timeout(WHOLE, one(stream, standing)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "connection not accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn one(stream: impl AsyncRead + AsyncWrite + Unpin, standing: Arc<Standing>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (status, text) = answer(request.method(), request.uri().path(), &standing);
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended");
    }
}

fn answer(method: &Method, path: &str, standing: &Standing) -> (StatusCode, String) {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    let role = match standing.leads() {
        true => "ok: leads\n",
        false => "ok: stands by\n",
    };
    match path {
        "/livez" | "/healthz" => (StatusCode::OK, role.to_owned()),
        "/readyz" if standing.is_ready() => (StatusCode::OK, role.to_owned()),
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API has not answered yet\n".to_owned(),
        ),
        "/metrics" => (StatusCode::OK, metrics(standing)),
        _ => (
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz and /metrics\n".to_owned(),
        ),
    }
}

/// In the text format of Prometheus.
fn metrics(standing: &Standing) -> String {
    let mut text = format!(
        "# HELP seaway_controller_leads Whether this controller is the one that acts.\n\
         # TYPE seaway_controller_leads gauge\n\
         seaway_controller_leads {}\n\
         # HELP seaway_controller_terms_total How often it became the one that acts.\n\
         # TYPE seaway_controller_terms_total counter\n\
         seaway_controller_terms_total {}\n",
        u8::from(standing.leads()),
        standing.terms(),
    );
    if let Some(count) = standing.unenforced() {
        text.push_str(&format!(
            "# HELP seaway_policies_not_enforced NetworkPolicies that exist and are not enforced.\n\
             # TYPE seaway_policies_not_enforced gauge\n\
             seaway_policies_not_enforced {count}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lives_at_once_and_is_ready_when_the_api_answered() {
        let standing = Standing::default();
        let ask = |path: &str| answer(&Method::GET, path, &standing);
        assert_eq!(ask("/livez").0, StatusCode::OK);
        assert_eq!(ask("/readyz").0, StatusCode::SERVICE_UNAVAILABLE);
        standing.reached();
        assert_eq!(ask("/readyz"), (StatusCode::OK, "ok: stands by\n".into()));
        standing.begin();
        assert_eq!(ask("/healthz"), (StatusCode::OK, "ok: leads\n".into()));
        assert_eq!(ask("/x").0, StatusCode::NOT_FOUND);
        let post = answer(&Method::POST, "/livez", &standing);
        assert_eq!(post.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn metrics_tell_what_was_counted() {
        let standing = Standing::default();
        assert!(!metrics(&standing).contains("policies"));
        standing.begin();
        standing.count_unenforced(7);
        let text = metrics(&standing);
        for line in [
            "seaway_controller_leads 1",
            "seaway_controller_terms_total 1",
            "seaway_policies_not_enforced 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
    }
}
