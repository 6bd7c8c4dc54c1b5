//! Deadlines: for a connection with all its handshakes, for the beginning of an answer, and for each
//! pause in a body that is no watch.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response, Uri};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server took too long.
#[derive(Debug, Error)]
#[error("no answer within {0:?}")]
pub(super) struct Late(Duration);

/// A connector that does not wait for ever for a server that takes connections and says nothing.
#[derive(Clone, Debug)]
pub(super) struct Prompt<C> {
    inner: C,
    limit: Duration,
}

impl<C> Prompt<C> {
    pub(super) fn new(inner: C, limit: Duration) -> Prompt<C> {
        Prompt { inner, limit }
    }
}

impl<C> Service<Uri> for Prompt<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let limit = self.limit;
        let connection = self.inner.call(server);
        Box::pin(async move {
            let connection = timeout(limit, connection).await.map_err(|_| Late(limit))?;
            connection.map_err(Into::into)
        })
    }
}

/// A client that does not wait for ever.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl<S> Deadline<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Deadline<S> {
        Deadline { inner, limit }
    }
}

/// Whether an answer may pause for as long as it likes: a watch, or a log that is followed.
pub(super) fn is_endless<B>(request: &Request<B>) -> bool {
    let asks = |pair: &str| matches!(pair, "watch=true" | "watch=1" | "follow=true" | "follow=1");
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(asks)
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Incoming>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<PatientBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = self.limit;
        let pause = (!is_endless(&request)).then_some(limit);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = timeout(limit, answer).await.map_err(|_| Late(limit))?;
            let answer = answer.map_err(Into::into)?;
            Ok(answer.map(|inner| PatientBody::new(inner, pause)))
        })
    }
}

/// A body that fails when it pauses for too long.
pub(super) struct PatientBody {
    inner: Incoming,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl PatientBody {
    fn new(inner: Incoming, pause: Option<Duration>) -> PatientBody {
        PatientBody {
            inner,
            pause: pause.map(|limit| (limit, Box::pin(sleep(limit)))),
        }
    }
}

impl Body for PatientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            if let Some((limit, timer)) = &mut self.pause {
                timer.as_mut().reset(Instant::now() + *limit);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match &mut self.pause {
            Some((limit, timer)) => timer
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(Box::new(Late(*limit)) as BoxError))),
            None => Poll::Pending,
        }
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
    fn only_watches_and_followed_logs_are_endless() {
        for (uri, endless) in [
            ("/api/v1/pods?watch=true", true),
            ("/api/v1/pods?&watch=true&resourceVersion=1", true),
            ("/api/v1/namespaces/a/pods/b/log?follow=true", true),
            ("/api/v1/pods", false),
            ("/api/v1/pods?limit=500", false),
            ("/api/v1/pods?watch=false", false),
        ] {
            let request = Request::builder().uri(uri).body(()).expect("valid");
            assert_eq!(is_endless(&request), endless, "{uri}");
        }
    }
}
