//! Keeps a node in the API: its object, its Lease, and whether its network is ready. One task a
//! node; the first objects are made in the order of the nodes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use seaway_api::{Backoff, Failure, ObjectKey, StatusWriter, describe};
use serde_json::json;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::machine::{Machine, Place};
use super::nodes::{self, Conditions, Identity};
use crate::supervisor::cni::{self, Cni};
use crate::supervisor::ids;

/// How often the Lease is renewed and the object looked at.
const RENEWAL: Duration = Duration::from_secs(10);
/// How often the network is looked at while it is not ready, and while it is.
const LOOK_OFTEN: Duration = Duration::from_millis(500);
const LOOK_NOW_AND_THEN: Duration = Duration::from_secs(5);
/// After how long a network that was ready is asked a second time before anybody is told.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Keeps all nodes in the API, for ever.
pub(crate) async fn run(machine: Arc<Machine>) {
    let statuses = StatusWriter::cluster(machine.client.clone(), &machine.timing);
    let mut nodes = JoinSet::new();
    for node in &machine.config.nodes {
        if let Some(place) = machine.places.get(node.name()) {
            let mut registrar = Registrar::new(&machine, place, statuses.clone());
            registrar.introduce().await;
            nodes.spawn(registrar.run());
        }
    }
    while nodes.join_next().await.is_some() {}
}

struct Registrar {
    machine: Arc<Machine>,
    place: Arc<Place>,
    identity: Identity,
    statuses: StatusWriter<Node>,
    conditions: Conditions,
    /// What the API has last shown.
    known: Option<Known>,
    pod_cidrs: Vec<String>,
    network: Result<(), String>,
}

struct Known {
    uid: String,
    status: NodeStatus,
}

impl Registrar {
    fn new(machine: &Arc<Machine>, place: &Arc<Place>, statuses: StatusWriter<Node>) -> Registrar {
        // A node without an id of its own would do, too.
        let id = ids::uuid().unwrap_or_default();
        Registrar {
            identity: Identity::new(&place.node.plan, machine.capacity, id),
            machine: machine.clone(),
            place: place.clone(),
            statuses,
            conditions: Conditions::default(),
            known: None,
            pod_cidrs: Vec::new(),
            network: Err("it has not been asked yet".to_owned()),
        }
    }

    /// Makes the node known, however long that takes.
    async fn introduce(&mut self) {
        let mut backoff = Backoff::new(&self.machine.timing);
        while let Err(reason) = self.register().await {
            tracing::info!("register {}: {reason}; again soon", self.identity.name);
            sleep(backoff.pause()).await;
        }
        self.report();
    }

    async fn run(mut self) {
        let mut renew_at = Instant::now();
        loop {
            self.network = self.look_twice().await;
            if renew_at <= Instant::now() {
                renew_at = Instant::now() + RENEWAL;
                if let Err(reason) = self.renew().await {
                    tracing::debug!("renew {}: {reason}", self.identity.name);
                }
            } else if self.pod_cidrs.is_empty() {
                // Should the API server lose everything, the node is to come back with the same.
                if let Err(reason) = self.register().await {
                    tracing::debug!("look at {}: {reason}", self.identity.name);
                }
            }
            self.report();
            let pause = if self.network.is_ok() && !self.pod_cidrs.is_empty() {
                LOOK_NOW_AND_THEN
            } else {
                LOOK_OFTEN
            };
            sleep(pause).await;
        }
    }

    /// As [`Registrar::look`]; an agent that is just starting again makes no node unready.
    async fn look_twice(&self) -> Result<(), String> {
        let first = self.look().await;
        if first.is_ok() || self.network.is_err() {
            return first;
        }
        sleep(LOOK_AGAIN).await;
        self.look().await
    }

    /// Whether the network would take a Pod now.
    async fn look(&self) -> Result<(), String> {
        let (machine, place) = (self.machine.clone(), self.place.clone());
        let asked = spawn_blocking(move || {
            let cni = Cni {
                reaper: &machine.config.reaper,
                namespaces: &place.node.namespaces,
                log: machine.config.state.log(&place.node.daemon("cni")),
                patience: cni::HURRIED,
            };
            cni.status()
        });
        asked.await.map_err(|e| e.to_string())?
    }

    /// Looks at the node's object, and makes it if it is not there.
    async fn register(&mut self) -> Result<(), String> {
        let api: Api<Node> = Api::all(self.machine.client.clone());
        let name = &self.identity.name;
        let node = match api.get(name).await {
            Ok(node) => node,
            Err(e) if matches!(Failure::of(&e), Failure::Absent) => {
                // Its status belongs to it from the start: to others, a node without addresses is one
                // that cannot be reached.
                let network = self.network.as_ref().copied().map_err(String::as_str);
                let own = self.conditions.of(network, self.machine.clock.now());
                let mut node = nodes::object(&self.identity, &self.pod_cidrs);
                node.status = Some(nodes::status(&self.identity, own, None));
                let created = api.create(&PostParams::default(), &node).await;
                let created = created.map_err(|e| describe(&e))?;
                tracing::info!("{name} is registered");
                created
            }
            Err(e) => return Err(describe(&e)),
        };
        let spec = node.spec.unwrap_or_default();
        let cidrs = spec
            .pod_cidrs
            .or(spec.pod_cidr.map(|cidr| vec![cidr]))
            .unwrap_or_default();
        if !cidrs.is_empty() {
            self.pod_cidrs = cidrs;
        }
        let known = Known {
            uid: node.metadata.uid.unwrap_or_default(),
            status: node.status.unwrap_or_default(),
        };
        if let Err(e) = self
            .statuses
            .observe(&ObjectKey::cluster(name), &known.uid, &known.status)
        {
            tracing::warn!("{name}: {e}");
        }
        self.known = Some(known);
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), String> {
        self.register().await?;
        let uid = self
            .known
            .as_ref()
            .map(|known| known.uid.clone())
            .unwrap_or_default();
        let lease = nodes::lease(&self.identity.name, &uid, self.machine.clock.now());
        let api: Api<Lease> = Api::namespaced(self.machine.client.clone(), nodes::LEASES);
        let renewal = Patch::Merge(json!({"spec": lease.spec}));
        match api
            .patch(&self.identity.name, &PatchParams::default(), &renewal)
            .await
        {
            Ok(_) => Ok(()),
            Err(e) if matches!(Failure::of(&e), Failure::Absent) => {
                let created = api.create(&PostParams::default(), &lease).await;
                created.map(drop).map_err(|e| describe(&e))
            }
            Err(e) => Err(describe(&e)),
        }
    }

    fn report(&mut self) {
        let network = self.network.as_ref().copied().map_err(String::as_str);
        let own = self.conditions.of(network, self.machine.clock.now());
        let Some(known) = &self.known else {
            return;
        };
        let status = nodes::status(&self.identity, own, Some(&known.status));
        let key = ObjectKey::cluster(&self.identity.name);
        if let Err(e) = self.statuses.set(&key, &known.uid, &status) {
            tracing::warn!("{key}: {e}");
        }
    }
}
