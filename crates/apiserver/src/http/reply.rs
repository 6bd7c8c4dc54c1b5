//! Answers.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING, WWW_AUTHENTICATE};
use serde_json::Value;

use super::Body;
use crate::status::ApiError;

fn build(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(code).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// JSON that is bytes already.
pub(crate) fn json_bytes(code: u16, bytes: Bytes) -> Response<Body> {
    build(code, "application/json", whole(bytes))
}

/// JSON.
pub(crate) fn json(code: u16, value: &Value) -> Response<Body> {
    json_bytes(code, Bytes::from(value.to_string()))
}

/// Something small of any type.
pub(crate) fn plain(content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    build(200, content_type, whole(text.into()))
}

/// Something that is made while the client reads.
pub(crate) fn stream<S>(content_type: &'static str, chunks: S) -> Response<Body>
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    unsure_stream(content_type, chunks.map(Ok))
}

/// Something that is made while the client reads and may come to no good end.
pub(crate) fn unsure_stream<S>(content_type: &'static str, chunks: S) -> Response<Body>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let frames = chunks.map(|bytes| bytes.map(Frame::data));
    build(200, content_type, StreamBody::new(frames).boxed_unsync())
}

/// A failure.
pub(crate) fn error(error: &ApiError) -> Response<Body> {
    let mut response = json(error.code, &error.status());
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if error.code == 401 {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Adds warnings that the client shows to its user.
pub(crate) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let mut text = String::from("299 - \"");
        for character in warning.chars().take(1024) {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                ' '..='~' => text.push(character),
                _ => text.push('?'),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}
