//! Accepting connections and serving each in a task of its own.
//!
//! Everything a peer can drag out has a limit: the handshake, a request head, idling, reading an
//! answer. At the limit of connections an idle one makes room (see `admission`); if there is none,
//! the next waits, and those after it in the listener's backlog.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::admission::{Place, Served};
use super::guard::Guard;
use crate::exec::Takeover;
use crate::handlers;
use crate::server::{Server, stopped};

/// How long connections may finish what they do when the server stops.
const FAREWELL: Duration = Duration::from_secs(3);
/// The pause after a failed accept (out of file descriptors), so that it does not spin.
const RETRY: Duration = Duration::from_millis(50);
/// How many idle connections go when an accept failed.
const RELIEF: usize = 64;
/// hyper's buffer for one connection; also the limit of a request head.
const BUFFER: usize = 64 << 10;

/// Accepts connections until the server stops, then waits a little for them to end.
pub(crate) async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let place = tokio::select! {
                    _ = stop.changed() => break,
                    place = server.connections.admit() => place,
                };
                debug!(%peer, "connection accepted");
                let serving = connection(Arc::clone(&server), acceptor.clone(), stream, place);
                connections.spawn(serving);
            }
            Err(error) => {
                let closed = server.connections.shrink(RELIEF);
                warn!(%error, closed, "cannot accept a connection; closed idle ones, trying again");
                sleep(RETRY).await;
            }
        }
    }
    drop(listener);
    let drained = timeout(FAREWELL, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        debug!(left = connections.len(), "cutting off connections");
    }
}

async fn connection(
    server: Arc<Server>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    place: Arc<Place>,
) {
    tokio::select! {
        () = place.evicted() => debug!("an idle connection makes room for another"),
        () = serve(server, acceptor, stream, &place) => {}
    }
}

async fn serve(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream, place: &Arc<Place>) {
    // Small answers must not wait for acknowledgements; without it they only come later.
    let _nodelay = stream.set_nodelay(true);
    let limits = &server.limits;
    let guarded = Guard::new(stream, limits.write_timeout, Arc::clone(place));
    let tls = match timeout(limits.handshake_timeout, acceptor.accept(guarded)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let taken = watch::Sender::new(None::<Takeover>);
    let service = service_fn(|request| {
        let (server, in_flight) = (Arc::clone(&server), place.request());
        let taken = &taken;
        async move {
            let mut answer = handlers::answer(server, request).await;
            if let Some(takeover) = answer.extensions_mut().remove::<Takeover>() {
                taken.send_replace(Some(takeover));
            }
            Ok::<_, Infallible>(answer.map(|body| Served::new(body, in_flight)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stop = server.stop.clone();
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = outcome {
        return debug!(%error, "connection ended");
    }
    let session = taken.borrow().as_ref().and_then(Takeover::take);
    if let Some(session) = session {
        // As long as it lasts, the connection is neither idle nor too slow.
        let _busy = place.request();
        place.be_patient();
        session.await;
    }
}
