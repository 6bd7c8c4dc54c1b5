//! What time a server has: the header `Date` of its answers, by whole seconds.
//!
//! Ages of what others wrote are told by one clock, the server's, since those of nodes and of
//! people's machines may be wrong.

use hyper::header::{DATE, HeaderMap};
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;

/// An answer and when the server gave it, if it says.
pub(crate) struct Dated {
    pub(crate) at: Option<Timestamp>,
    pub(crate) answer: Result<Value, kube::Error>,
}

/// Sends a request whose answer is JSON.
pub(crate) async fn send(client: &Client, request: hyper::Request<Vec<u8>>) -> Dated {
    let response = match client.send(request.map(Body::from)).await {
        Ok(response) => response,
        Err(error) => {
            return Dated {
                at: None,
                answer: Err(error),
            };
        }
    };
    let at = date(response.headers());
    let code = response.status();
    let answer = match response.into_body().collect_bytes().await {
        Ok(bytes) if code.is_success() => {
            serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)
        }
        Ok(bytes) => Err(kube::Error::Api(refusal(code.as_u16(), &bytes).boxed())),
        Err(error) => Err(error),
    };
    Dated { at, answer }
}

/// A `Status`, also where something between here and the server answered in other words.
fn refusal(code: u16, body: &[u8]) -> Status {
    let status: Result<Status, _> = serde_json::from_slice(body);
    let status = status.unwrap_or_else(|_| Status::failure(&String::from_utf8_lossy(body), ""));
    status.with_code(code)
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// What time the server has now, by whole seconds; `None` if it does not say.
///
/// # Errors
///
/// There is no answer.
pub async fn server_time(client: &Client) -> Result<Option<Timestamp>, kube::Error> {
    let request = hyper::Request::get("/version").body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    let dated = send(client, request).await;
    dated.answer.map(|_| dated.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        let text = "Sat, 28 Nov 2026 01:32:52 GMT".parse().expect("a value");
        headers.insert(DATE, text);
        let at = date(&headers).expect("a date");
        assert_eq!(at.to_string(), "2026-11-28T01:32:52Z");
        headers.insert(DATE, "yesterday".parse().expect("a value"));
        assert_eq!(date(&headers), None);
    }

    #[test]
    fn a_refusal_in_other_words_keeps_its_code() {
        let status = refusal(502, b"bad gateway");
        assert_eq!((status.code, status.message.as_str()), (502, "bad gateway"));
    }
}
