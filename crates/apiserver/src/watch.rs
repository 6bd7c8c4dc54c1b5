//! Watches: the current state, then every change, made while the client reads.
//!
//! A watch keeps a cursor into the kind's log and nothing else, so a client that does not read
//! costs one chunk; when the log has moved past its cursor it is told `Expired` and starts anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::handlers::{encode, wrap};
use crate::http::Shape;
use crate::kinds::Kind;
use crate::server::{Server, stopped};
use crate::status::ApiError;
use crate::store::{Batch, Event, EventType, Filter, Loan, Object, Snapshot};
use crate::table::IncludeObject;
use crate::table::cache::Shown;
use crate::views;

/// About how many bytes a chunk has.
pub(crate) const CHUNK: usize = 64 << 10;

/// What a client asked to watch.
pub(crate) struct Request {
    pub(crate) kind: &'static Kind,
    pub(crate) filter: Filter,
    pub(crate) shape: Shape,
    pub(crate) include: IncludeObject,
    /// The objects that come first as ADDED.
    pub(crate) initial: Option<Snapshot>,
    /// Changes after this resourceVersion follow.
    pub(crate) from: u64,
    pub(crate) bookmarks: bool,
    /// A bookmark says when the initial objects are through.
    pub(crate) announce_end: bool,
    pub(crate) timeout: Duration,
}

struct Watcher {
    server: Arc<Server>,
    request: Request,
    initial: Option<Loan>,
    position: usize,
    changes: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    end: Instant,
    bookmark: Instant,
    done: bool,
}

/// The chunks of a watch.
pub(crate) fn chunks(
    server: Arc<Server>,
    mut request: Request,
) -> impl Stream<Item = Bytes> + Send {
    let now = Instant::now();
    let initial = request.initial.take();
    let watcher = Watcher {
        initial: initial.map(|snapshot| server.store.lend(request.kind, &snapshot)),
        position: 0,
        changes: server.store.subscribe(request.kind),
        stop: server.stop.clone(),
        end: now + request.timeout,
        bookmark: now + jittered(server.limits.bookmark_interval),
        done: false,
        request,
        server,
    };
    stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((chunk, watcher))
    })
}

/// The interval, up to a tenth shorter or longer.
fn jittered(interval: Duration) -> Duration {
    let random = (uuid::Uuid::new_v4().as_u128() % 1000) as f64 / 1000.0;
    interval.mul_f64(0.9 + 0.2 * random)
}

/// What a change means to somebody who sees only what passes the filter.
pub(crate) fn seen(filter: &Filter, event: &Event) -> Option<EventType> {
    let before = event
        .previous
        .as_ref()
        .is_some_and(|object| filter.matches(object));
    let after = event.kind != EventType::Deleted && filter.matches(&event.object);
    match (before, after) {
        (false, false) => None,
        (false, true) => Some(EventType::Added),
        (true, true) => Some(EventType::Modified),
        (true, false) => Some(EventType::Deleted),
    }
}

/// The object that an event shows.
///
/// Who no longer sees an object gets what was seen last, so that it still passes the client's own
/// filters, at the resourceVersion of the change; as upstream.
fn shown(kind: &'static Kind, seen: EventType, event: &Event) -> Arc<Object> {
    match &event.previous {
        Some(previous) if seen == EventType::Deleted && event.kind != EventType::Deleted => {
            let kind = views::stored_as(kind);
            let last = Object::new(kind, previous.value(), event.revision);
            Arc::new(last.managed_by(previous.managers.clone()))
        }
        _ => Arc::clone(&event.object),
    }
}

fn type_name(kind: EventType) -> &'static str {
    match kind {
        EventType::Added => "ADDED",
        EventType::Modified => "MODIFIED",
        EventType::Deleted => "DELETED",
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if let Some(chunk) = self.initial() {
            return Some(chunk);
        }
        loop {
            self.changes.borrow_and_update();
            let filter = &self.request.filter;
            let batch =
                self.server
                    .store
                    .changes(self.request.kind, self.request.from, CHUNK, |event| {
                        seen(filter, event).is_some()
                    });
            match batch {
                Batch::Expired { oldest } => return Some(self.expire(oldest)),
                Batch::Events(events, cursor) => {
                    self.request.from = cursor;
                    if !events.is_empty() {
                        return Some(self.encode_events(&events));
                    }
                }
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return self.finish();
                    }
                }
                () = sleep_until(self.bookmark), if self.request.bookmarks => {
                    self.bookmark =
                        Instant::now() + jittered(self.server.limits.bookmark_interval);
                    return Some(self.bookmark(false));
                }
                () = sleep_until(self.end) => return self.finish(),
                () = stopped(&mut self.stop) => return self.finish(),
            }
        }
    }

    fn expire(&mut self, oldest: u64) -> Bytes {
        self.done = true;
        let error = ApiError::expired(self.request.from, oldest);
        frame("ERROR", &Bytes::from(error.status().to_string()))
    }

    fn finish(&mut self) -> Option<Bytes> {
        self.done = true;
        self.request.bookmarks.then(|| self.bookmark(false))
    }

    /// The next chunk of the initial objects.
    fn initial(&mut self) -> Option<Bytes> {
        let Some(snapshot) = self.initial.as_ref()?.snapshot() else {
            return Some(self.expire(self.server.store.revision()));
        };
        let now = Timestamp::now();
        let mut chunk = BytesMut::new();
        let objects = snapshot.objects();
        for (position, object) in objects.iter_from(self.position) {
            if chunk.len() >= CHUNK {
                break;
            }
            self.position = position + 1;
            if self.request.filter.matches(object) {
                put_frame(&mut chunk, "ADDED", &self.encode(object, now));
            }
        }
        if self.position >= objects.len() {
            self.initial = None;
            if self.request.announce_end {
                chunk.extend_from_slice(&self.bookmark(true));
            }
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    fn encode_events(&self, events: &[Event]) -> Bytes {
        let now = Timestamp::now();
        let mut chunk = BytesMut::new();
        for event in events {
            if let Some(kind) = seen(&self.request.filter, event) {
                let encoded = self.encode_event(kind, event, now);
                put_frame(&mut chunk, type_name(kind), &encoded);
            }
        }
        chunk.freeze()
    }

    fn encode(&self, object: &Object, now: Timestamp) -> Bytes {
        let Request { shape, include, .. } = self.request;
        encode(self.request.kind, object, shape, include, now)
    }

    fn encode_event(&self, kind: EventType, event: &Event, now: Timestamp) -> Bytes {
        let Request { shape, include, .. } = self.request;
        let object = shown(self.request.kind, kind, event);
        // What is shown to those alone who no longer see the object is not kept for the others.
        if shape == Shape::Table && Arc::ptr_eq(&object, &event.object) {
            let shown = Shown::new(self.request.kind, event.revision, include, now);
            return self
                .server
                .tables
                .table(shown, || self.encode(&object, now));
        }
        self.encode(&object, now)
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let mut metadata = json!({
            "resourceVersion": self.request.from.to_string(),
            "creationTimestamp": null,
        });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let kind = self.request.kind;
        let object: Value = match self.request.shape {
            Shape::Object => json!({
                "kind": kind.kind,
                "apiVersion": wrap::api_version(kind),
                "metadata": metadata,
            }),
            Shape::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Shape::Table => {
                let table = wrap::table_head(kind, &metadata) + "]}";
                return frame("BOOKMARK", table.as_bytes());
            }
        };
        frame("BOOKMARK", &Bytes::from(object.to_string()))
    }
}

fn put_frame(chunk: &mut BytesMut, kind: &str, object: &[u8]) {
    chunk.extend_from_slice(b"{\"type\":\"");
    chunk.extend_from_slice(kind.as_bytes());
    chunk.extend_from_slice(b"\",\"object\":");
    chunk.extend_from_slice(object);
    chunk.extend_from_slice(b"}\n");
}

fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut chunk = BytesMut::with_capacity(object.len() + 40);
    put_frame(&mut chunk, kind, object);
    chunk.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_come_often_enough_for_clients_that_wait_for_them() {
        let interval = crate::config::Limits::default().bookmark_interval;
        for _ in 0..1000 {
            let next = jittered(interval);
            assert!(next <= Duration::from_secs(40) && next >= interval / 2);
        }
    }
}
