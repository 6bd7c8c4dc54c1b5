//! The server as a whole: what its parts share, how it starts and stops.

use std::future::Future;
use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::alloc::Services;
use crate::audit::Audit;
use crate::auth::Tokens;
use crate::config::{Config, Limits};
use crate::error::ServerError;
use crate::exec::{self, Containers};
use crate::rbac::{self, Rbac};
use crate::store::Store;
use crate::table::cache::Cache;
use crate::{crd, gc, handlers, http};

/// How often old Events are looked for.
const EVENT_SWEEP: Duration = Duration::from_secs(30);

/// What all requests share.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) services: Services,
    pub(crate) tables: Cache,
    pub(crate) tokens: Tokens,
    pub(crate) rbac: Rbac,
    pub(crate) limits: Limits,
    pub(crate) pod_logs: Option<PathBuf>,
    pub(crate) audit: Option<Audit>,
    pub(crate) connections: Arc<http::Admission>,
    pub(crate) requests: Semaphore,
    pub(crate) containers: Option<Arc<dyn Containers>>,
    pub(crate) sessions: Arc<Semaphore>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Runs the server until `shutdown` completes; then lets connections end.
///
/// It starts empty but for the objects that every cluster has: Namespaces `default`, `kube-system`,
/// `kube-public` and `kube-node-lease`, Service `default/kubernetes` and its EndpointSlice, the roles
/// of Kubernetes and their bindings; and those that the configuration names. The uid
/// of Namespace `kube-system` is the identity of this run of the server.
///
/// # Errors
///
/// If a file cannot be used, a listener cannot be served, or the configuration contradicts itself.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
    let acceptor = http::acceptor(&config.tls)?;
    let tokens = Tokens::load(&config.tokens)?;
    let audit = config.audit_log.as_deref().map(Audit::open).transpose()?;
    let listeners = config
        .listeners
        .into_iter()
        .map(listener)
        .collect::<Result<Vec<_>, _>>()?;
    if listeners.is_empty() {
        return Err(ServerError::Config(
            "no listener is given, so nobody could reach the server".to_owned(),
        ));
    }
    let services = Services::new(&config.service_cidrs, config.node_ports)?;
    let (stop, stopped) = watch::channel(false);
    // Later runs begin at greater resourceVersions than earlier ones ended with (nobody writes a
    // million objects a second), so that watchers of an earlier run see that their place is gone
    // instead of going on from a number that means something else now.
    let start = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(1);
    let store = Store::new(&config.limits, start);
    let server = Arc::new(Server {
        rbac: Rbac::new(&store),
        store,
        services,
        tables: Cache::default(),
        tokens,
        connections: http::Admission::new(config.limits.connections),
        requests: Semaphore::new(config.limits.requests),
        limits: config.limits,
        pod_logs: config.pod_logs,
        audit,
        containers: config.containers,
        sessions: Arc::new(Semaphore::new(exec::SESSIONS)),
        stop: stopped.clone(),
    });
    let first = handlers::First {
        advertise: &config.advertise,
        namespaces: &config.namespaces,
        objects: config.objects.as_deref(),
    };
    handlers::bootstrap(&server, &first)?;
    let mut background = JoinSet::new();
    background.spawn(gc::collect(Arc::clone(&server)));
    background.spawn(gc::empty_namespaces(Arc::clone(&server)));
    background.spawn(crd::establish(Arc::clone(&server)));
    background.spawn(expire_events(Arc::clone(&server)));
    background.spawn(rbac::aggregate(Arc::clone(&server)));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
        accepting.spawn(http::accept(server, listener, acceptor, stopped.clone()));
    }
    info!(revision = start, "serving the API");
    shutdown.await;
    stop.send_replace(true);
    while accepting.join_next().await.is_some() {}
    info!(
        objects_bytes = server.store.bytes(),
        "the API server stopped"
    );
    Ok(())
}

/// Waits until the server stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is as good a reason to end.
    let _gone = stop.wait_for(|stopped| *stopped).await.is_err();
}

fn listener(listener: StdListener) -> Result<TcpListener, ServerError> {
    let address = listener
        .local_addr()
        .map_or_else(|_| "(unbound)".to_owned(), |address| address.to_string());
    let usable = || {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    usable().map_err(|source| ServerError::Listener { address, source })
}

async fn expire_events(server: Arc<Server>) {
    let ttl = SignedDuration::try_from(server.limits.event_ttl).unwrap_or(SignedDuration::MAX);
    loop {
        tokio::time::sleep(EVENT_SWEEP).await;
        if let Ok(limit) = Timestamp::now().checked_sub(ttl) {
            let gone = server.store.expire_events(limit);
            tracing::debug!(gone, "old Events removed");
        }
    }
}
