//! How objects are shown: whole, as a table, or their metadata alone; one by one and as lists that
//! are written while the client reads.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use hyper::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::{self, Body, Query, Shape};
use crate::kinds::Kind;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Loan, Object, Snapshot};
use crate::table::{self, IncludeObject};
use crate::views;
use crate::watch::CHUNK;

/// `v1`, `apps/v1`.
pub(crate) fn api_version(kind: &Kind) -> String {
    if kind.group.is_empty() {
        kind.version.to_owned()
    } else {
        format!("{}/{}", kind.group, kind.version)
    }
}

/// What of the object a table row carries.
pub(crate) fn include(query: &Query) -> Result<IncludeObject, ApiError> {
    match query.get("includeObject") {
        None | Some("Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => Err(ApiError::bad_request(format!(
            "includeObject={other}: must be None, Metadata or Object"
        ))),
    }
}

fn partial(object: &Object) -> Bytes {
    let parts: [&[u8]; 3] = [
        br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
        &object.metadata(),
        b"}",
    ];
    parts.concat().into()
}

/// The object as its kind shows it.
fn whole(kind: &'static Kind, object: &Object) -> Bytes {
    if views::differs(kind, &object.json) {
        let value = serde_json::from_slice(&object.whole()).unwrap_or_default();
        Bytes::from(views::to_view(kind, value).to_string())
    } else {
        object.whole()
    }
}

fn row(kind: &'static Kind, object: &Object, include: IncludeObject, now: Timestamp) -> Vec<u8> {
    let value = if views::differs(kind, &object.json) {
        views::to_view(kind, object.value())
    } else {
        table::read(kind, &object.json).unwrap_or_default()
    };
    let carried = match include {
        IncludeObject::None => Bytes::from_static(b"null"),
        IncludeObject::Metadata => partial(object),
        IncludeObject::Object => whole(kind, object),
    };
    table::row(kind, &value, &carried, now)
}

/// The beginning of a table, up to its rows.
pub(crate) fn table_head(kind: &'static Kind, metadata: &Value) -> String {
    format!(
        r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{metadata},"columnDefinitions":{},"rows":["#,
        table::definitions(kind)
    )
}

/// One object by itself.
pub(crate) fn encode(
    kind: &'static Kind,
    object: &Object,
    shape: Shape,
    include: IncludeObject,
    now: Timestamp,
) -> Bytes {
    match shape {
        Shape::Object => whole(kind, object),
        Shape::Metadata => partial(object),
        Shape::Table => {
            let metadata = json!({ "resourceVersion": object.revision.to_string() });
            let mut table = table_head(kind, &metadata).into_bytes();
            table.extend_from_slice(&row(kind, object, include, now));
            table.extend_from_slice(b"]}");
            table.into()
        }
    }
}

/// A list, ready to be written.
pub(crate) struct List {
    pub(crate) kind: &'static Kind,
    pub(crate) shape: Shape,
    pub(crate) include: IncludeObject,
    pub(crate) snapshot: Snapshot,
    /// Which objects of the snapshot are in the list; all if not said.
    pub(crate) picked: Option<Vec<u32>>,
    pub(crate) go_on: Option<String>,
    pub(crate) remaining: Option<usize>,
}

struct Writer {
    list: List,
    /// What is written once the first piece is on its way.
    loan: Option<Loan>,
    position: usize,
    now: Timestamp,
    done: bool,
}

impl Writer {
    fn head(&self) -> String {
        let List { kind, shape, .. } = &self.list;
        let mut metadata = json!({ "resourceVersion": self.list.snapshot.revision.to_string() });
        if let Some(token) = &self.list.go_on {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.list.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        match shape {
            Shape::Object => format!(
                r#"{{"kind":"{}","apiVersion":"{}","metadata":{metadata},"items":["#,
                kind.list_kind(),
                api_version(kind)
            ),
            Shape::Metadata => format!(
                r#"{{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{metadata},"items":["#
            ),
            Shape::Table => table_head(kind, &metadata),
        }
    }

    fn object<'a>(&self, snapshot: &'a Snapshot, at: usize) -> Option<&'a Object> {
        let at = match &self.list.picked {
            Some(picked) => *picked.get(at)? as usize,
            None => at,
        };
        snapshot.objects().get(at).map(AsRef::as_ref)
    }

    /// The next piece. Who reads so slowly that the log has moved on is cut off.
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.done {
            return None;
        }
        let Some(snapshot) = self.loan.as_ref().and_then(Loan::snapshot) else {
            self.done = true;
            let why = "the client reads slower than the state that it reads is remembered";
            return Some(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        };
        Some(Ok(self.piece(&snapshot)))
    }

    fn piece(&mut self, snapshot: &Snapshot) -> Bytes {
        let mut chunk = BytesMut::new();
        if self.position == 0 {
            chunk.extend_from_slice(self.head().as_bytes());
        }
        while chunk.len() < CHUNK {
            let Some(object) = self.object(snapshot, self.position) else {
                chunk.extend_from_slice(b"]}");
                self.done = true;
                break;
            };
            if self.position > 0 {
                chunk.extend_from_slice(b",");
            }
            match self.list.shape {
                Shape::Object => chunk.extend_from_slice(&whole(self.list.kind, object)),
                Shape::Metadata => chunk.extend_from_slice(&partial(object)),
                Shape::Table => {
                    let row = row(self.list.kind, object, self.list.include, self.now);
                    chunk.extend_from_slice(&row);
                }
            }
            self.position += 1;
        }
        chunk.freeze()
    }
}

impl List {
    /// The answer: in one piece if it is short, else piece by piece.
    pub(crate) fn answer(self, server: &Server) -> Response<Body> {
        let mut writer = Writer {
            list: self,
            loan: None,
            position: 0,
            now: Timestamp::now(),
            done: false,
        };
        let snapshot = writer.list.snapshot.clone();
        let first = writer.piece(&snapshot);
        if writer.done {
            return http::json_bytes(200, first);
        }
        let List { kind, snapshot, .. } = &mut writer.list;
        writer.loan = Some(server.store.lend(kind, snapshot));
        snapshot.forget();
        let rest = std::iter::once(Ok(first)).chain(std::iter::from_fn(move || writer.next()));
        http::unsure_stream("application/json", stream::iter(rest))
    }
}
