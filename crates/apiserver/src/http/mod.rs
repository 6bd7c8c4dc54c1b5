//! HTTP/1.1 over TLS: connections, paths, request bodies, answers.
//!
//! It knows paths and media types but no object; `handlers` does the work.

mod admission;
mod connection;
mod guard;
mod reply;
mod request;
mod route;
mod tls;

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub(crate) use admission::Admission;
pub(crate) use connection::accept;
pub(crate) use reply::{error, json, json_bytes, plain, stream, unsure_stream, with_warnings};
pub(crate) use request::{
    ContentType, Query, Shape, accepts, accepts_discovery, content_type, decode_object, read_body,
    shape, unsupported,
};
pub(crate) use route::{Route, Target, route};
pub(crate) use tls::acceptor;

/// The body of an answer: whole, or made while the client reads; an error breaks the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
