//! What all Pods of the lab share: the connection to the API, copies of what they refer to, the
//! nodes, the clock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use seaway_api::{
    Changes, EventRecorder, Failure, ObjectKey, Selector, StatusWriter, Store, Timing, describe,
    watched,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::RuntimeConfig;
use super::board::Board;
use super::downward::View;
use super::life::Time;
use super::nodes::Capacity;
use super::refs::{self, Content, Names, Referred};
use super::sandbox::Workshop;
use super::services;
use super::sockets::Sockets;
use crate::supervisor::node::Node;

/// How many sandboxes of a node come or go at once.
const AT_ONCE: usize = 8;
/// How long the first containers wait for the first list of Services.
const SERVICES: Duration = Duration::from_secs(5);

/// What all Pods share.
pub(crate) struct Machine {
    pub(crate) config: RuntimeConfig,
    pub(crate) client: Client,
    pub(crate) timing: Timing,
    pub(crate) clock: Clock,
    pub(crate) board: Arc<Board>,
    pub(crate) places: BTreeMap<String, Arc<Place>>,
    pub(crate) statuses: StatusWriter<Pod>,
    pub(crate) sockets: Sockets,
    pub(crate) capacity: Capacity,
    config_maps: Store<ConfigMap>,
    secrets: Store<Secret>,
    services: Store<Service>,
    hurry: AtomicBool,
    failures: Mutex<Vec<String>>,
}

/// A node, as the runtime sees it.
pub(crate) struct Place {
    pub(crate) node: Arc<Node>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) events: EventRecorder,
    pub(crate) gate: Semaphore,
}

/// Changes of what Pods refer to.
pub(crate) struct ReferredChanges {
    pub(crate) config_maps: Changes<ConfigMap>,
    pub(crate) secrets: Changes<Secret>,
}

/// The machine's time when the runtime began, going on steadily whatever is done to the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Timestamp,
    steady: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock {
            wall: Timestamp::now(),
            steady: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.wall + self.steady.elapsed()
    }

    /// That moment for those who wait.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        let since = time.duration_since(self.wall);
        let since = Duration::try_from(since).unwrap_or_default();
        tokio::time::Instant::from_std(self.steady + since)
    }
}

impl Machine {
    /// To be called on the runtime.
    pub(crate) fn start(
        config: RuntimeConfig,
        client: Client,
        board: Arc<Board>,
        sockets: Sockets,
    ) -> (Machine, ReferredChanges) {
        let timing = Timing::default();
        let (config_maps, config_map_changes) = watched(
            Api::all(client.clone()),
            Selector::default(),
            timing.clone(),
        );
        let (secrets, secret_changes) = watched(
            Api::all(client.clone()),
            Selector::default(),
            timing.clone(),
        );
        // Nobody follows Services: they are looked at when a container starts.
        let (services, _) = watched(
            Api::all(client.clone()),
            Selector::default(),
            timing.clone(),
        );
        let place = |node: &Arc<Node>| {
            let place = Place {
                node: node.clone(),
                ips: node.plan.ips(),
                events: EventRecorder::start(client.clone(), "kubelet", Some(node.name())),
                gate: Semaphore::new(AT_ONCE),
            };
            (node.name().to_owned(), Arc::new(place))
        };
        let machine = Machine {
            places: config.nodes.iter().map(place).collect(),
            statuses: StatusWriter::namespaced(client.clone(), &timing),
            clock: Clock::start(),
            capacity: Capacity::of_this_machine(),
            hurry: AtomicBool::new(false),
            failures: Mutex::default(),
            config,
            client,
            timing,
            board,
            sockets,
            config_maps,
            secrets,
            services,
        };
        let changes = ReferredChanges {
            config_maps: config_map_changes,
            secrets: secret_changes,
        };
        (machine, changes)
    }

    /// The tools to make sandboxes with.
    pub(crate) fn workshop<'a>(&'a self, place: &'a Place) -> Workshop<'a> {
        Workshop {
            reaper: &self.config.reaper,
            state: &self.config.state,
            node: &place.node,
        }
    }

    /// From now on, nothing is waited for that may hang.
    pub(crate) fn hurry_up(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    pub(crate) fn hurries(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    /// Notes what could not be taken down and will not be tried again.
    pub(crate) fn fail(&self, what: String) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    /// All that could not be taken down.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A Pod as it can see itself.
    pub(crate) fn view<'a>(&self, pod: &'a Pod, place: &'a Place, ips: &'a [IpAddr]) -> View<'a> {
        View {
            pod,
            node: place.node.name(),
            pod_ips: ips,
            host_ips: &place.ips,
            node_resources: (self.capacity.milli_cpus, self.capacity.memory),
        }
    }

    /// The variables that tell a container of Services, if the API has told of them in time.
    pub(crate) async fn service_variables(&self, pod: &Pod) -> Vec<(String, String)> {
        // Without them, a container is still better off than not at all.
        let _ = timeout(SERVICES, self.services.synced()).await;
        let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mine = |key: &ObjectKey, _: &Service| {
            key.namespace
                .as_deref()
                .is_some_and(|n| n == namespace || n == "default")
        };
        let found = self.services.select(mine);
        services::variables(
            found.iter().map(AsRef::as_ref),
            namespace,
            links.unwrap_or(true),
        )
    }

    /// What a Pod refers to, as far as it exists. What a copy does not have (yet) is asked for.
    pub(crate) async fn referred(&self, pod: &Pod) -> Result<Referred, String> {
        let names = Names::of(pod);
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut referred = Referred::default();
        for name in names.config_maps {
            let key = ObjectKey::namespaced(&namespace, &name);
            let content = match self.config_maps.get(&key) {
                Some(object) => Some(refs::config_map_content(&object)),
                None => self.ask(&key, refs::config_map_content).await?,
            };
            referred
                .config_maps
                .extend(content.map(|content| (name, content)));
        }
        for name in names.secrets {
            let key = ObjectKey::namespaced(&namespace, &name);
            let content = match self.secrets.get(&key) {
                Some(object) => Some(refs::secret_content(&object)),
                None => self.ask(&key, refs::secret_content).await?,
            };
            referred
                .secrets
                .extend(content.map(|content| (name, content)));
        }
        referred.namespace = namespace;
        Ok(referred)
    }

    async fn ask<K>(
        &self,
        key: &ObjectKey,
        content: fn(&K) -> Content,
    ) -> Result<Option<Content>, String>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match api.get(&key.name).await {
            Ok(object) => Ok(Some(content(&object))),
            Err(e) if matches!(Failure::of(&e), Failure::Absent) => Ok(None),
            Err(e) => Err(format!("get {} {key}: {}", K::kind(&()), describe(&e))),
        }
    }
}
