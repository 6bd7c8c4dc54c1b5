//! From a request to a WebSocket.
//!
//! A connection that becomes one is served by its own task to the end: the answer carries the
//! session along, see [`Takeover`].

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use super::channels::{V4, V5};
use crate::http::{self, Body};
use crate::status::ApiError;

/// The largest message that is taken; kubectl's have 32 KiB.
const LARGEST: usize = 1 << 20;
const BUFFER: usize = 32 << 10;

/// A connection that has become a WebSocket.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What is to be done with a connection once its answer has been sent; goes with the answer.
#[derive(Clone)]
pub(crate) struct Takeover(Arc<Mutex<Option<Session>>>);

type Session = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Takeover {
    /// The session, once.
    pub(crate) fn take(&self) -> Option<Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request that can become a WebSocket.
pub(super) struct Handshake {
    upgrade: OnUpgrade,
    accept: HeaderValue,
    protocol: &'static str,
    /// Whether the subprotocol can close a single stream.
    pub(super) closes: bool,
}

/// Looks whether the client speaks as this server does.
pub(super) fn handshake(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Result<Handshake, ApiError> {
    if !has_word(headers, &CONNECTION, "upgrade") || !headers.contains_key(UPGRADE) {
        return Err(ApiError::bad_request(
            "Upgrade request required: this request is answered over a WebSocket",
        ));
    }
    if !has_word(headers, &UPGRADE, "websocket") {
        return Err(ApiError::not_served(&format!(
            "an upgrade to anything but a WebSocket ({V5}, {V4})"
        )));
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    let (Some(key), Some(upgrade), true) = (
        headers.get(SEC_WEBSOCKET_KEY),
        upgrade,
        version.is_some_and(|version| version == "13"),
    ) else {
        return Err(ApiError::bad_request(
            "not a WebSocket handshake of version 13 over HTTP/1.1",
        ));
    };
    let known = [V5, V4]
        .into_iter()
        .find(|known| has_word(headers, &SEC_WEBSOCKET_PROTOCOL, known));
    let protocol = known.ok_or_else(|| {
        ApiError::bad_request(format!(
            "none of the subprotocols is known here: ask for {V5} or {V4}"
        ))
    })?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| ApiError::internal("the handshake's answer is no header"))?;
    Ok(Handshake {
        upgrade,
        accept,
        protocol,
        closes: protocol == V5,
    })
}

/// Whether a header that lists words has this one.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(word))
}

impl Handshake {
    /// Switches protocols; `session` gets the WebSocket.
    pub(super) fn answer<F, S>(self, session: F) -> Response<Body>
    where
        F: FnOnce(Socket) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let upgrade = self.upgrade;
        let run: Session = Box::pin(async move {
            match upgrade.await {
                Ok(upgraded) => session(socket(upgraded).await).await,
                Err(error) => debug!(%error, "a connection did not become a WebSocket"),
            }
        });
        let mut response = http::plain("text/plain", "");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.clear();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        let protocol = HeaderValue::from_static(self.protocol);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let takeover = Takeover(Arc::new(Mutex::new(Some(run))));
        response.extensions_mut().insert(takeover);
        response
    }
}

async fn socket(upgraded: Upgraded) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * LARGEST)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_lists_and_over_several_lines() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a"));
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(V4));
        assert!(has_word(&headers, &CONNECTION, "upgrade"));
        assert!(has_word(&headers, &SEC_WEBSOCKET_PROTOCOL, V4));
        assert!(!has_word(&headers, &SEC_WEBSOCKET_PROTOCOL, V5));
    }

    #[test]
    fn what_is_no_websocket_is_told_what_to_do() {
        let mut headers = HeaderMap::new();
        let code = |headers: &HeaderMap| handshake(headers, None).map(|_| ()).map_err(|e| e.code);
        assert_eq!(code(&headers), Err(400));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        assert_eq!(code(&headers), Err(501));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(code(&headers), Err(400));
    }
}
