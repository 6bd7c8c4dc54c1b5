//! The copy of the cluster that all loops share, and the watches that keep it.
//!
//! One watch a kind, whoever needs it. A watch that breaks goes on by itself, after a pause that grows;
//! what it hears is told to listeners after the copy is up to date, so a loop that is woken sees at
//! least what woke it.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::meta::{self, Key};
use crate::queue::{back_off, jitter};
use crate::view::{Change, View};

/// The namespace of the nodes' Leases.
pub(crate) const LEASES: &str = "kube-node-lease";
/// The ConfigMap that holds the cluster's CA.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";

/// What a watch has to tell.
#[derive(Debug)]
pub(crate) enum Heard<K> {
    /// Objects changed.
    Changed(Vec<Change<K>>),
    /// All objects were listed anew, and these differ.
    Listed(Vec<Change<K>>),
    /// The watch broke, and starts again.
    Broken,
}

impl<K> Heard<K> {
    /// What changed.
    pub(crate) fn changes(&self) -> &[Change<K>] {
        match self {
            Self::Changed(changes) | Self::Listed(changes) => changes,
            Self::Broken => &[],
        }
    }
}

/// The cluster, as far as the loops look at it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) nodes: View<Node>,
    pub(crate) pods: View<Pod>,
    pub(crate) leases: View<Lease>,
    pub(crate) namespaces: View<Namespace>,
    pub(crate) accounts: View<ServiceAccount>,
    pub(crate) config_maps: View<ConfigMap>,
    pub(crate) daemon_sets: View<DaemonSet>,
    pub(crate) revisions: View<ControllerRevision>,
    pub(crate) deployments: View<Deployment>,
    pub(crate) sets: View<ReplicaSet>,
    pub(crate) services: View<Service>,
    pub(crate) slices: View<EndpointSlice>,
    pub(crate) endpoints: View<Endpoints>,
    pub(crate) policies: View<NetworkPolicy>,
    /// Kinds that are watched and were not listed yet.
    unlisted: watch::Sender<usize>,
    ending: watch::Sender<bool>,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// A copy that knows nothing yet.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            nodes: View::default(),
            pods: View::default(),
            leases: View::default(),
            namespaces: View::default(),
            accounts: View::default(),
            config_maps: View::default(),
            daemon_sets: View::default(),
            revisions: View::default(),
            deployments: View::default(),
            sets: View::default(),
            services: View::default(),
            slices: View::default(),
            endpoints: View::default(),
            policies: View::default(),
            unlisted: watch::Sender::new(0),
            ending: watch::Sender::new(false),
        }
    }

    /// Whether a namespace is being deleted: it takes nothing new.
    pub(crate) fn is_closing(&self, namespace: &str) -> bool {
        let namespace = self.namespaces.get(&Key {
            namespace: String::new(),
            name: namespace.to_owned(),
        });
        namespace.is_some_and(|namespace| meta::is_terminating(&namespace.metadata))
    }

    /// One more kind is watched: to be told before any loop begins.
    pub(crate) fn expect(&self) {
        self.unlisted.send_modify(|count| *count += 1);
    }

    /// Waits until every kind that is watched was listed once: a loop that started earlier would make what exists.
    pub(crate) async fn complete(&self) {
        let mut unlisted = self.unlisted.subscribe();
        // The sender lives as long as self, so this ends by completion only.
        let _ = unlisted.wait_for(|count| *count == 0).await;
    }

    /// No more work is to be begun.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Waits for the end.
    pub(crate) async fn ending(&self) {
        let mut ending = self.ending.subscribe();
        // As above: the sender is here.
        let _ = ending.wait_for(|ending| *ending).await;
    }

    /// Objects of a namespace.
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Objects of the cluster as a whole, or all of all namespaces.
    pub(crate) fn everywhere<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Keeps a view up to date, for ever. `trim` takes away what nobody reads.
    pub(crate) async fn follow<K>(
        &self,
        api: Api<K>,
        config: Config,
        view: &View<K>,
        trim: fn(&mut K),
        tell: impl Fn(&Heard<K>),
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let kind = K::kind(&());
        let mut events = pin!(
            watcher(api, config)
                .modify(move |object| {
                    object.meta_mut().managed_fields = None;
                    trim(object);
                })
                .backoff(Pauses::default())
        );
        let mut broken = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if broken {
                        broken = false;
                        tracing::info!(%kind, "watching again");
                    }
                    self.hear(event, view, &tell);
                }
                Err(error) => {
                    if !broken {
                        tracing::warn!(%kind, %error, "a watch broke; it starts again");
                    }
                    broken = true;
                    tell(&Heard::Broken);
                }
            }
        }
    }

    fn hear<K: Resource>(&self, event: Event<K>, view: &View<K>, tell: &impl Fn(&Heard<K>)) {
        let started = matches!(event, Event::Init | Event::InitApply(_));
        let listed = matches!(event, Event::InitDone);
        let first = listed && view.listed() == 0;
        let changes = view.apply(event);
        if first {
            self.unlisted
                .send_modify(|count| *count = count.saturating_sub(1));
        }
        if listed {
            tell(&Heard::Listed(changes));
        } else if !started {
            tell(&Heard::Changed(changes));
        }
    }
}

/// The pauses of a watch that breaks: as those of a key that fails.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Two doublings ahead: a server that restarts needs a moment.
        let pause = back_off(self.failures + 2, jitter());
        self.failures = self.failures.saturating_add(1).min(16);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
