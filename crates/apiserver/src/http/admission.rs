//! Who may be connected: at the limit, the connection that has been idle longest makes room for the
//! next, so that a crowd that only holds connections open cannot lock others out.
//!
//! Idle is who has no request in flight, from the moment of being accepted: a TLS handshake and an
//! unfinished request head count as idleness. Requests, watches and log streams are never cut off
//! for others; if all connections are busy, new ones wait. It counts and chooses; the tasks that
//! serve connections close them.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::Body;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// Nothing, since this point of the count.
    Idle(u64),
    /// A request is being answered.
    Busy,
    /// The answer is complete but not all of it is sent.
    Sending,
    /// It was told to go.
    Leaving,
}

#[derive(Debug)]
struct Seat {
    activity: Activity,
    evict: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    seats: HashMap<u64, Seat>,
    /// The ids of idle seats by the time since when.
    idle: BTreeMap<u64, u64>,
    leaving: usize,
}

impl State {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Changes what a connection is doing, unless it is leaving.
    fn set(&mut self, id: u64, wanted: Activity) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        match seat.activity {
            Activity::Leaving => return,
            Activity::Idle(since) => {
                self.idle.remove(&since);
            }
            Activity::Busy | Activity::Sending => {}
        }
        seat.activity = wanted;
        match wanted {
            Activity::Idle(since) => {
                self.idle.insert(since, id);
            }
            Activity::Leaving => self.leaving += 1,
            Activity::Busy | Activity::Sending => {}
        }
    }

    /// Tells the connection that has been idle longest to go; false if none is idle.
    fn evict(&mut self) -> bool {
        let Some((_, &id)) = self.idle.first_key_value() else {
            return false;
        };
        self.set(id, Activity::Leaving);
        if let Some(seat) = self.seats.get(&id) {
            seat.evict.notify_one();
        }
        true
    }
}

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection, as soon as there is one.
    pub(super) async fn admit(self: &Arc<Self>) -> Arc<Place> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(place) = self.take() {
                return place;
            }
            changed.await;
        }
    }

    /// A place if there is one; else somebody is told to go, one at a time.
    fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        let mut state = self.lock();
        if state.seats.len() >= self.limit {
            if state.leaving == 0 {
                state.evict();
            }
            return None;
        }
        let id = state.tick();
        let evict = Arc::new(Notify::new());
        let seat = Seat {
            activity: Activity::Busy,
            evict: Arc::clone(&evict),
        };
        state.seats.insert(id, seat);
        state.set(id, Activity::Idle(id));
        drop(state);
        Some(Arc::new(Place {
            admission: Arc::clone(self),
            id,
            evict,
            patient: AtomicBool::new(false),
        }))
    }

    /// Tells up to `most` idle connections to go, since the process is out of something.
    pub(super) fn shrink(&self, most: usize) -> usize {
        let mut state = self.lock();
        (0..most).take_while(|_| state.evict()).count()
    }
}

/// The place of one connection, which it has until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    id: u64,
    evict: Arc<Notify>,
    patient: AtomicBool,
}

impl Place {
    /// From now on the client may read as slowly as it likes: somebody may be looking at a page.
    pub(super) fn be_patient(&self) {
        self.patient.store(true, Ordering::Relaxed);
    }

    /// Whether the client may read as slowly as it likes.
    pub(super) fn is_patient(&self) -> bool {
        self.patient.load(Ordering::Relaxed)
    }

    /// Waits until the connection is to go.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// A request begins; it ends when what is given is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        self.admission.lock().set(self.id, Activity::Busy);
        InFlight(Arc::clone(self))
    }

    /// Everything that was written is with the kernel.
    pub(super) fn flushed(&self) {
        let mut state = self.admission.lock();
        let sending = state
            .seats
            .get(&self.id)
            .is_some_and(|seat| seat.activity == Activity::Sending);
        if sending {
            let now = state.tick();
            state.set(self.id, Activity::Idle(now));
            drop(state);
            self.admission.changed.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if let Some(seat) = state.seats.remove(&self.id) {
            match seat.activity {
                Activity::Idle(since) => {
                    state.idle.remove(&since);
                }
                Activity::Leaving => state.leaving -= 1,
                Activity::Busy | Activity::Sending => {}
            }
        }
        drop(state);
        self.admission.changed.notify_waiters();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Place>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.admission.lock().set(self.0.id, Activity::Sending);
    }
}

/// A body that keeps its request in flight until it is written.
pub(super) struct Served {
    inner: Body,
    _request: InFlight,
}

impl Served {
    pub(super) fn new(inner: Body, request: InFlight) -> Self {
        Self {
            inner,
            _request: request,
        }
    }
}

impl hyper::body::Body for Served {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
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

    fn is_told_to_go(place: &Place) -> bool {
        use futures_util::FutureExt as _;
        place.evicted().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_one_that_has_been_idle_longest_makes_room() {
        let admission = Admission::new(3);
        let (first, second, third) = (
            admission.admit().await,
            admission.admit().await,
            admission.admit().await,
        );
        drop(first.request());
        first.flushed(); // first is the youngest idler now
        let busy = second.request();
        assert!(admission.take().is_none());
        assert!(is_told_to_go(&third));
        assert!(admission.take().is_none());
        assert!(!is_told_to_go(&first), "one goes at a time");
        drop(third);
        let fourth = admission.take().expect("there is room");
        assert!(admission.take().is_none());
        assert!(is_told_to_go(&first) && !is_told_to_go(&second));
        drop((first, busy, second, fourth));
        assert!(admission.lock().seats.is_empty() && admission.lock().idle.is_empty());
        assert_eq!(admission.lock().leaving, 0);
    }

    #[tokio::test]
    async fn nobody_who_is_busy_goes() {
        let admission = Admission::new(1);
        let place = admission.admit().await;
        let request = place.request();
        assert!(admission.take().is_none() && !is_told_to_go(&place));
        drop(request);
        assert!(admission.take().is_none());
        assert!(!is_told_to_go(&place), "the answer is not sent yet");
        let waiting = admission.admit();
        let going = async {
            tokio::task::yield_now().await;
            place.flushed();
            place.evicted().await;
            drop(place);
        };
        let (next, ()) = tokio::join!(waiting, going);
        assert_eq!(admission.shrink(10), 1);
        assert!(is_told_to_go(&next));
    }
}
