//! Until when a leader may act, and a client that sends nothing after that.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use nix::time::ClockId;
use tower_service::Service;

/// What time it is: the time since some moment.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// The time since the machine started, its sleep included: nobody can set it.
    pub(super) fn of_machine() -> Self {
        // The kernel has had this clock since 2.6.39; without it, a time at which no term holds.
        Self::new(|| {
            ClockId::CLOCK_BOOTTIME
                .now()
                .map_or(Duration::MAX, Duration::from)
        })
    }

    pub(super) fn new(read: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(super) fn now(&self) -> Duration {
        (self.0)()
    }
}

/// The time for which one leader may act. Clones are one term.
#[derive(Clone)]
pub(super) struct Term {
    clock: Clock,
    /// In milliseconds of the clock; rounded down.
    until: Arc<AtomicU64>,
}

impl Term {
    /// A term that lasts until then.
    pub(super) fn new(clock: &Clock, until: Duration) -> Self {
        let term = Self {
            clock: clock.clone(),
            until: Arc::default(),
        };
        term.extend(until);
        term
    }

    /// It lasts until then.
    pub(super) fn extend(&self, until: Duration) {
        let until = u64::try_from(until.as_millis()).unwrap_or_default();
        self.until.store(until, Ordering::Release);
    }

    /// It is over.
    pub(super) fn close(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// How long it lasts yet.
    pub(super) fn remaining(&self) -> Duration {
        Duration::from_millis(self.until.load(Ordering::Acquire)).saturating_sub(self.clock.now())
    }

    /// Whether the leader may act.
    pub(super) fn holds(&self) -> bool {
        self.remaining() > Duration::ZERO
    }

    /// A client for the leader's work: each request is checked in the moment it is sent, and none
    /// is sent later.
    pub(super) fn guard(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let guarded = Guarded {
            inner: client,
            term: self.clone(),
        };
        Client::new(guarded, namespace)
    }
}

/// A request that was not sent.
#[derive(Debug, thiserror::Error)]
#[error("not sent: this controller leads no more")]
struct Over;

#[derive(Clone)]
struct Guarded {
    inner: Client,
    term: Term,
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Service<Request<Body>> for Guarded {
    type Response = Response<Body>;
    type Error = Boxed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Boxed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, term) = (self.inner.clone(), self.term.clone());
        let mut sending = Box::pin(async move { client.send(request).await });
        // Before each step, not only before the first: a request may wait for its connection.
        Box::pin(poll_fn(move |context| match term.holds() {
            true => sending.as_mut().poll(context).map_err(Into::into),
            false => Poll::Ready(Err(Over.into())),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_at_its_time_or_when_it_is_closed() {
        let now = Arc::new(AtomicU64::new(0));
        let read = now.clone();
        let clock = Clock::new(move || Duration::from_millis(read.load(Ordering::Relaxed)));
        let term = Term::new(&clock, Duration::from_millis(100));
        for (at, remaining) in [(40, 60), (99, 1), (100, 0), (1000, 0)] {
            now.store(at, Ordering::Relaxed);
            assert_eq!(term.clone().remaining(), Duration::from_millis(remaining));
            assert_eq!(term.holds(), remaining > 0, "{at}");
        }
        term.extend(Duration::from_millis(2000));
        assert!(term.holds());
        term.close();
        assert!(!term.holds());
    }

    #[test]
    fn the_clock_goes_on() {
        let clock = Clock::of_machine();
        let before = clock.now();
        assert!(before > Duration::ZERO && before < Duration::MAX && clock.now() >= before);
    }
}
