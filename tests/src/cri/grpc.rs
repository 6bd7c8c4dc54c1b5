//! One call of a gRPC service on a Unix socket: a POST over HTTP/2, a flag and a length before each
//! message, the outcome in the trailers.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use prost::Message;
use tokio::net::UnixStream;

/// How long a runtime may take for one call.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A call that was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// gRPC's code; `None` if there was no answer at all.
    pub code: Option<i32>,
    /// What the server says, or what went wrong on the way to it.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {:?})", self.message, self.code)
    }
}

impl Refusal {
    fn no_answer(what: impl fmt::Display) -> Refusal {
        Refusal {
            code: None,
            message: what.to_string(),
        }
    }
}

/// Calls `method`, for example `runtime.v1.RuntimeService/Version`.
pub(super) fn call<A: Message, B: Message + Default>(
    socket: &Path,
    method: &str,
    request: &A,
) -> Result<B, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let exchange = async {
        let answer = tokio::time::timeout(PATIENCE, exchange(socket, method, framed(request)));
        answer
            .await
            .unwrap_or_else(|late| Err(Refusal::no_answer(format!("{method}: {late}"))))
    };
    let body = runtime.block_on(exchange)?;
    B::decode(message_of(&body)?).map_err(Refusal::no_answer)
}

async fn exchange(socket: &Path, method: &str, body: Bytes) -> Result<Bytes, Refusal> {
    let stream = UnixStream::connect(socket).await;
    let (client, connection) = h2::client::handshake(stream.map_err(Refusal::no_answer)?)
        .await
        .map_err(Refusal::no_answer)?;
    let connection = tokio::spawn(connection);
    let answer = ask(client, method, body).await;
    connection.abort();
    answer
}

async fn ask(
    client: h2::client::SendRequest<Bytes>,
    method: &str,
    body: Bytes,
) -> Result<Bytes, Refusal> {
    let mut client = client.ready().await.map_err(Refusal::no_answer)?;
    let request = http::Request::post(format!("http://localhost/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a valid request");
    let sent = client.send_request(request, false);
    let (response, mut stream) = sent.map_err(Refusal::no_answer)?;
    stream.send_data(body, true).map_err(Refusal::no_answer)?;
    let response = response.await.map_err(Refusal::no_answer)?;
    // An answer without a message has all in its headers.
    outcome(response.headers())?;
    read_all(response.into_body()).await
}

async fn read_all(mut stream: RecvStream) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    while let Some(part) = stream.data().await {
        let part = part.map_err(Refusal::no_answer)?;
        let _ = stream.flow_control().release_capacity(part.len());
        whole.extend_from_slice(&part);
    }
    let trailers = stream.trailers().await.map_err(Refusal::no_answer)?;
    outcome(&trailers.unwrap_or_default())?;
    Ok(whole.freeze())
}

fn outcome(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => Err(Refusal {
            code: code.parse().ok(),
            message: text("grpc-message").unwrap_or_default().to_owned(),
        }),
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a small message"));
    message.encode(&mut bytes).expect("room enough");
    bytes.freeze()
}

fn message_of(body: &[u8]) -> Result<&[u8], Refusal> {
    let cut = || Refusal::no_answer(format!("{} bytes are no message", body.len()));
    let (prefix, rest) = body.split_first_chunk::<PREFIX>().ok_or_else(cut)?;
    let [0, a, b, c, d] = *prefix else {
        return Err(Refusal::no_answer("a compressed message"));
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    rest.get(..length as usize).ok_or_else(cut)
}
