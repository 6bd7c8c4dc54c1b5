//! One listener: a request a connection, answered within a time. Only so many are served at once,
//! and fewer of one address; a client that is slow to ask or to read loses its connection, and
//! holds nobody up for longer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::answers::{Answer, Page, answer};
use crate::shared::Shared;

/// How many connections a listener has at once.
const MOST: usize = 64;
/// How many of them one other machine or Pod may have: it cannot keep probes away.
const MOST_OF_ONE: usize = 8;
/// How long a client may take to ask.
const ASKING: Duration = Duration::from_secs(3);
/// How long a connection may take in all.
const WHOLE: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be accepted: out of descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves a page for ever. What is being served ends with it.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, page: Page) {
    let places = Arc::new(Semaphore::new(MOST));
    let guests = Guests::default();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // It is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                // One too many is closed at once.
                let Some(guest) = guests.admit(from.ip()) else {
                    continue;
                };
                let shared = shared.clone();
                connections.spawn(async move {
                    let _held = (place, guest);
                    // Too slow, or gone: either way it is over.
                    let _ = timeout(WHOLE, one(shared, stream, page)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "connection not accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Who is being served, by address.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address.
struct Guest {
    all: Guests,
    address: IpAddr,
}

impl Guests {
    /// The node itself is trusted; any other address has its share.
    fn admit(&self, address: IpAddr) -> Option<Guest> {
        let address = address.to_canonical();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= MOST_OF_ONE && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Guest {
            all: self.clone(),
            address,
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

async fn one(shared: Arc<Shared>, stream: TcpStream, page: Page) {
    let service = service_fn(|request| respond(shared.clone(), request, page));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended");
    }
}

async fn respond(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    page: Page,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = match reads {
        false => Answer::plain(405, "only GET is answered here\n"),
        true => {
            let path = request.uri().path().to_owned();
            // Metrics read the kernel: a thread that may block does that.
            let asked = move || answer(&shared, page, &path);
            let answered = tokio::task::spawn_blocking(asked).await;
            answered.unwrap_or_else(|_| Answer::plain(500, "the answer failed\n"))
        }
    };
    Ok(response(answer))
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    let status = StatusCode::from_u16(answer.status);
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    let sniff = HeaderName::from_static("x-content-type-options");
    headers.insert(sniff, HeaderValue::from_static("nosniff"));
    if let Some(weight) = answer.weight {
        let name = HeaderName::from_static("x-load-balancing-endpoint-weight");
        headers.insert(name, HeaderValue::from(weight));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_its_share_and_leaves_the_rest() {
        let guests = Guests::default();
        let pod: IpAddr = "10.244.0.2".parse().expect("valid");
        let mapped: IpAddr = "::ffff:10.244.0.2".parse().expect("valid");
        let mut held: Vec<Guest> = (0..MOST_OF_ONE)
            .map(|_| guests.admit(pod).expect("a place"))
            .collect();
        assert!(guests.admit(mapped).is_none());
        assert!(guests.admit("10.244.0.3".parse().expect("valid")).is_some());
        held.pop();
        assert!(guests.admit(mapped).is_some());
        drop(held);
        assert!(guests.0.lock().expect("not poisoned").is_empty());
    }
}
