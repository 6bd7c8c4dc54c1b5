//! Which listeners there are: those of the agent itself, and those of health checks, which come and
//! go with Services. One that cannot be had now is tried again, and people are told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::answers::Page;
use super::{WebConfig, connection};
use crate::journal::Topic;
use crate::services::checks::Checks;
use crate::shared::Shared;

/// After how long a listener that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What is wanted: pages, each at an address.
type Wanted = BTreeMap<SocketAddr, Page>;

struct Listening {
    page: Page,
    task: AbortHandle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the listeners as they should be, for ever.
pub(super) async fn keep(shared: &Arc<Shared>, config: WebConfig) {
    let mut checks = shared.checks.subscribe();
    let mut listening: BTreeMap<SocketAddr, Listening> = BTreeMap::new();
    let mut failed: BTreeSet<SocketAddr> = BTreeSet::new();
    loop {
        let wanted = wanted(config, &checks.borrow_and_update());
        listening.retain(|at, one| wanted.get(at) == Some(&one.page));
        for at in failed.difference(&wanted.keys().copied().collect()) {
            tell_open(shared, *at);
        }
        let mut now_failed = BTreeSet::new();
        for (at, page) in wanted {
            if listening.contains_key(&at) {
                continue;
            }
            match open(at).await {
                Ok(listener) => {
                    tell_open(shared, at);
                    let serving = connection::serve(shared.clone(), listener, page);
                    let task = tokio::spawn(serving).abort_handle();
                    listening.insert(at, Listening { page, task });
                }
                Err(error) => {
                    tell_closed(shared, at, page, &error);
                    now_failed.insert(at);
                }
            }
        }
        failed = now_failed;
        let retry = async {
            match failed.is_empty() {
                true => std::future::pending().await,
                false => sleep(RETRY).await,
            }
        };
        tokio::select! {
            changed = checks.changed() => if changed.is_err() {
                // Nobody can change them any more: those that there are stay.
                return std::future::pending().await;
            },
            () = retry => {}
        }
    }
}

fn wanted(config: WebConfig, checks: &Checks) -> Wanted {
    let ports = checks.ports().into_iter();
    let of_checks = ports.flat_map(|port| {
        let addresses = checks.addresses.iter();
        addresses.map(move |address| (SocketAddr::new(*address, port), Page::Check(port)))
    });
    let mut wanted: Wanted = of_checks.collect();
    wanted.extend(config.metrics.map(|at| (at, Page::Metrics)));
    wanted.extend(config.health.map(|at| (at, Page::Health)));
    wanted
}

/// A listener; on all addresses of a host without IPv6, on those of IPv4.
async fn open(at: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(at).await {
        Err(error)
            if at.ip().is_unspecified()
                && at.is_ipv6()
                && error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32) =>
        {
            let everywhere = IpAddr::from(Ipv4Addr::UNSPECIFIED);
            TcpListener::bind(SocketAddr::new(everywhere, at.port())).await
        }
        result => result,
    }
}

fn tell_closed(shared: &Shared, at: SocketAddr, page: Page, error: &io::Error) {
    let (what, way_out) = match page {
        Page::Health => (
            "the node's health",
            "give another --healthz-bind, or off".to_owned(),
        ),
        Page::Metrics => ("metrics", "give another --metrics-bind, or off".to_owned()),
        Page::Check(port) => {
            let checks = shared.checks.borrow();
            let name = checks.at(port).map(|(name, _)| name.to_string());
            let name = name.unwrap_or_else(|| "a Service that is gone".to_owned());
            (
                "health checks",
                format!("they are those of Service {name}; free the port, or give it another"),
            )
        }
    };
    let message = format!("{what} cannot be answered at {at}: {error}; {way_out}");
    shared
        .journal
        .holds(Topic::Listener(at), "ListenFailed", message);
}

fn tell_open(shared: &Shared, at: SocketAddr) {
    shared
        .journal
        .over(&Topic::Listener(at), "ListenRestored", || {
            format!("{at} is answered, or nobody has to, any more")
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_pages_outrank_checks_at_the_same_place() {
        let config = WebConfig::default();
        let wanted = wanted(config, &Checks::default());
        let ports: Vec<u16> = wanted.keys().map(SocketAddr::port).collect();
        assert_eq!(
            ports,
            [super::super::METRICS_PORT, super::super::HEALTH_PORT]
        );
        assert!(super::wanted(WebConfig::NOWHERE, &Checks::default()).is_empty());
    }
}
