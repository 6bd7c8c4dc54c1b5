//! Sends requests to the server that works, and finds out which one that is.
//!
//! What counts as a failure of the server: it cannot be connected to (which includes TLS, and a name
//! that its certificate does not hold), the connection breaks or stays silent, or it answers 502,
//! 503 or 504. (But to a watch it says 504 when it has not seen the version yet, which passes.) The next server is asked at once, by the same request, if that can do no harm:
//! nothing was sent yet, or it only reads. All else is left to the caller, who tries again anyway.

use std::error::Error;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, Request, Response, StatusCode};
use kube::client::Body as KubeBody;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

use super::ServerUrl;
use super::deadline::{Late, is_endless};
use super::servers::{Choice, Servers};
use super::token::TokenFile;
use crate::{Backoff, Timing};

type BoxError = Box<dyn Error + Send + Sync>;

/// Requests that carry this go to one server, whichever the first of them reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Together(Arc<OnceLock<Choice>>);

/// The servers as all requests of a client share them.
#[derive(Debug)]
pub(super) struct Shared {
    servers: Mutex<Servers>,
    token: Option<TokenFile>,
    timing: Timing,
    /// The one that answered last.
    in_use: watch::Sender<ServerUrl>,
}

impl Shared {
    pub(super) fn new(given: Vec<ServerUrl>, token: Option<TokenFile>, timing: &Timing) -> Shared {
        let servers = Servers::new(given);
        Shared {
            in_use: watch::channel(servers.choose().url).0,
            servers: Mutex::new(servers),
            token,
            timing: timing.clone(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_use(&self) -> watch::Receiver<ServerUrl> {
        self.in_use.subscribe()
    }

    fn answered(&self, choice: &Choice) {
        self.in_use.send_if_modified(|url| {
            let moved = *url != choice.url;
            if moved {
                tracing::info!(from = %url, to = %choice.url, "another API server is in use");
                *url = choice.url.clone();
            }
            moved
        });
    }

    fn failed(&self, choice: &Choice, reason: &dyn std::fmt::Display) {
        let pause = Backoff::within(self.timing.pause_first);
        if self.lock().failed(choice, Instant::now(), pause) {
            tracing::debug!(server = %choice.url, %reason, "an API server failed");
        }
    }
}

/// A client of whichever server works.
#[derive(Clone, Debug)]
pub(super) struct Failover<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Failover<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Failover<S> {
        Failover { inner, shared }
    }
}

impl<S, B> Service<Request<KubeBody>> for Failover<S>
where
    S: Service<Request<KubeBody>, Response = Response<B>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<WatchedBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<KubeBody>) -> Self::Future {
        if let Some(token) = &self.shared.token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        // The one that was found ready is used up, a clone is ready next time.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let exchange = Exchange {
            endless: is_endless(&request),
            reads: matches!(*request.method(), Method::GET | Method::HEAD),
            together: request.extensions().get::<Together>().cloned(),
            shared: self.shared.clone(),
        };
        look_home(&inner, &self.shared, &request);
        Box::pin(exchange.run(inner, request))
    }
}

/// What is known of one request.
struct Exchange {
    endless: bool,
    reads: bool,
    together: Option<Together>,
    shared: Arc<Shared>,
}

impl Exchange {
    async fn run<S, B>(
        self,
        mut inner: S,
        mut request: Request<KubeBody>,
    ) -> Result<Response<WatchedBody<B>>, BoxError>
    where
        S: Service<Request<KubeBody>, Response = Response<B>, Error = BoxError>,
    {
        let mut attempts = self.shared.lock().count();
        loop {
            let (choice, bound) = self.choose();
            if let Some(when) = choice.not_before.filter(|when| *when > Instant::now()) {
                sleep_until(when).await;
            }
            attempts = if bound { 0 } else { attempts.saturating_sub(1) };
            let again = (attempts > 0).then(|| copy(&request)).flatten();
            let answer = inner.call(at(&choice.url, request)).await;
            let Some(failure) = self.judge(&answer) else {
                let answer = answer?;
                self.shared.answered(&choice);
                if let Some(together) = &self.together {
                    // It stays with the first that answered.
                    let _ = together.0.set(choice.clone());
                }
                return Ok(self.watched(answer, choice));
            };
            self.shared.failed(&choice, &failure.reason);
            match again.filter(|_| failure.unsent || self.reads) {
                Some(again) => request = again,
                None => {
                    let answer = answer.map_err(|source| self.named(&choice, source))?;
                    return Ok(self.watched(answer, choice));
                }
            }
        }
    }

    fn watched<B>(self, answer: Response<B>, choice: Choice) -> Response<WatchedBody<B>> {
        answer.map(|inner| WatchedBody {
            inner,
            endless: self.endless,
            choice,
            shared: self.shared,
        })
    }

    /// Where there are several, it is said which one it was.
    fn named(&self, choice: &Choice, source: BoxError) -> BoxError {
        match self.shared.lock().count() {
            1 => source,
            _ => Box::new(Failed {
                url: choice.url.clone(),
                source,
            }),
        }
    }

    /// Whom to ask, and whether nobody else may be.
    fn choose(&self) -> (Choice, bool) {
        match self.together.as_ref().and_then(|together| together.0.get()) {
            Some(choice) => (choice.clone(), true),
            None => (self.shared.lock().choose(), false),
        }
    }

    fn judge<B>(&self, answer: &Result<Response<B>, BoxError>) -> Option<Failure> {
        match answer {
            Ok(answer) => {
                let failed = match answer.status() {
                    StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => true,
                    StatusCode::GATEWAY_TIMEOUT => !self.endless,
                    _ => false,
                };
                failed.then(|| Failure {
                    reason: answer.status().to_string(),
                    unsent: false,
                })
            }
            Err(error) => Some(Failure {
                reason: error.to_string(),
                unsent: error
                    .downcast_ref::<hyper_util::client::legacy::Error>()
                    .is_some_and(hyper_util::client::legacy::Error::is_connect),
            }),
        }
    }
}

/// What a server failed with.
#[derive(Debug, thiserror::Error)]
#[error("API server {url}")]
struct Failed {
    url: ServerUrl,
    source: BoxError,
}

/// Why a server counts as failed.
struct Failure {
    reason: String,
    /// The request has not reached it.
    unsent: bool,
}

/// The same request again, if its body is still there.
fn copy(request: &Request<KubeBody>) -> Option<Request<KubeBody>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// The request as one to this server; the path of its URL comes first.
fn at(server: &ServerUrl, mut request: Request<KubeBody>) -> Request<KubeBody> {
    let asked = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let base = server.uri();
    let path = format!("{}{asked}", base.path().trim_end_matches('/'));
    let mut parts = base.clone().into_parts();
    // Both were parts of URLs before.
    parts.path_and_query = path.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// Looks whether the first server is well again, beside what is asked for now.
fn look_home<S, B>(inner: &S, shared: &Arc<Shared>, request: &Request<KubeBody>)
where
    S: Service<Request<KubeBody>, Response = Response<B>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    let pause = Backoff::around(shared.timing.home_after);
    let Some(home) = shared.lock().look_home(Instant::now(), pause) else {
        return;
    };
    let credentials = request.headers().get(AUTHORIZATION).cloned();
    let (mut inner, shared) = (inner.clone(), shared.clone());
    tokio::spawn(async move {
        let ready = std::future::poll_fn(|cx| inner.poll_ready(cx)).await;
        let Ok(()) = ready else { return };
        if is_well(inner.call(at(&home, readiness(credentials))).await) {
            shared.lock().go_home();
        }
    });
}

fn readiness(credentials: Option<HeaderValue>) -> Request<KubeBody> {
    let mut request = Request::new(KubeBody::empty());
    *request.uri_mut() = Uri::from_static("/readyz");
    if let Some(credentials) = credentials {
        request.headers_mut().insert(AUTHORIZATION, credentials);
    }
    request
}

/// One that does not let us ask is well all the same.
fn is_well<B>(answer: Result<Response<B>, BoxError>) -> bool {
    answer.is_ok_and(|answer| !answer.status().is_server_error())
}

/// A body that tells when the server fails while it is read.
pub(super) struct WatchedBody<B> {
    inner: B,
    endless: bool,
    choice: Choice,
    shared: Arc<Shared>,
}

impl<B> WatchedBody<B> {
    /// Watches are cut for many reasons, by proxies too; that a keep-alive found nobody is certain.
    fn note(&self, error: &BoxError) {
        if !self.endless || has_timed_out(error.as_ref()) {
            self.shared.failed(&self.choice, error);
        }
    }
}

fn has_timed_out(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    let it_has = error.is::<Late>() || io.is_some_and(|io| io.kind() == ErrorKind::TimedOut);
    it_has || error.source().is_some_and(has_timed_out)
}

impl<B> Body for WatchedBody<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Err(error)) = &frame {
            self.note(error);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_server_is_kept() {
        for (base, wanted) in [
            ("https://h:1", "https://h:1/api/v1/pods?watch=true"),
            ("https://h/k8s/c/", "https://h/k8s/c/api/v1/pods?watch=true"),
        ] {
            let uri: Uri = base.parse().expect("valid");
            let server = ServerUrl::of_kubeconfig(uri).expect("valid");
            let mut request = Request::new(KubeBody::empty());
            *request.uri_mut() = Uri::from_static("/api/v1/pods?watch=true");
            assert_eq!(at(&server, request).uri(), wanted);
        }
    }

    #[test]
    fn a_dead_connection_is_told_from_one_that_was_cut() {
        let error = |kind: ErrorKind| -> BoxError { Box::new(std::io::Error::from(kind)) };
        assert!(has_timed_out(error(ErrorKind::TimedOut).as_ref()));
        assert!(!has_timed_out(error(ErrorKind::ConnectionReset).as_ref()));
    }
}
