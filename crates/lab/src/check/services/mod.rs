//! What a check makes to try Services: Pods and Services as a user could have written them, in a
//! Namespace of its own unless there is one. That is deleted again at the end, whatever happens.

mod load;
mod manifests;
mod settle;

pub(super) use settle::settle;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use seaway_model::Family;

use self::manifests::{Behind, PORT, TCP, UDP};
use super::Checked;
use super::cases::{Case, Path, Wanted};
use super::hands::Hands;
use super::trial::own_name;
use super::view::{NodeView, ServiceView, Staged, View};
use crate::cluster::{Cluster, ReadyPod};
use crate::error::LabError;
use crate::tool::ProbeKind;

/// How long all may take to be gone.
const GONE: Duration = Duration::from_secs(30);
/// How many Pods the Service has that most is tried with.
const WEB: usize = 3;
/// How many Pods are replaced under load.
const ROLLED: usize = 2;

/// The Namespace that Services are made in.
#[derive(Clone, Debug)]
pub(super) enum Room {
    /// Made for them, and deleted at the end whatever happens.
    Own(String),
    /// Somebody else's.
    Given(String),
}

impl Room {
    fn name(&self) -> &str {
        let (Room::Own(name) | Room::Given(name)) = self;
        name
    }
}

/// What was made.
pub(super) struct Stage<'a> {
    room: Made<'a>,
    pub(super) staged: Staged,
    rolled: ServiceView,
    rolled_pods: Vec<ReadyPod>,
}

/// A room, cleared at the end if it is its own.
struct Made<'a> {
    cluster: &'a Cluster,
    room: Room,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if let Room::Own(namespace) = &self.room
            && let Err(e) = self.cluster.delete_namespace(namespace, GONE)
        {
            tracing::warn!("delete the Namespace {namespace} of the check: {e}");
        }
    }
}

impl<'a> Stage<'a> {
    /// Makes everything and waits until all Pods are ready. `node` gets the one that is alone.
    pub(super) fn begin(checked: &Checked<'a>, node: &NodeView) -> Result<Stage<'a>, LabError> {
        let made = Made::of(checked)?;
        let namespace = made.room.name();
        let (cluster, recipe) = (checked.cluster, &checked.cluster.recipe);
        let create = |service| made.service(service);
        let service = |name, behind, open| manifests::service(recipe, name, behind, open);
        let web = create(service("web", Behind::Pods("web"), true))?;
        let sticky = create(manifests::sticky(recipe, "sticky", "web"))?;
        let empty = create(service("empty", Behind::Nothing, false))?;
        let lone = create(manifests::local(recipe, "lone"))?;
        let rolled = create(service("rolled", Behind::Pods("rolled"), false))?;
        for (name, replicas, linger) in [("web", WEB, 0), ("rolled", ROLLED, manifests::LINGER_MS)]
        {
            let deployment = manifests::deployment(recipe, name, replicas, linger);
            cluster.create::<Deployment>(namespace, deployment)?;
        }
        cluster.create::<Pod>(namespace, manifests::pod(recipe, "lone", &node.name))?;
        let ready = |app: &str, count| {
            let selector = format!("app={app}");
            cluster.await_ready(namespace, &selector, count, checked.hands.made())
        };
        let web_pods = ready("web", WEB)?;
        let rolled_pods = ready("rolled", ROLLED)?;
        let lone_pods = ready("lone", 1)?;
        let lone_pod = lone_pods.first().ok_or_else(|| {
            LabError::Api("the API server told of no Pod that was waited for".to_owned())
        })?;
        let staged = Staged {
            web,
            web_hosts: web_pods.into_iter().map(|pod| pod.name).collect(),
            sticky,
            empty,
            lone,
            lone_pod: checked.hands.look_at(namespace, lone_pod)?,
            lone_node: node.name.clone(),
            sctp: recipe.tries_sctp(),
        };
        Ok(Stage {
            room: made,
            staged,
            rolled,
            rolled_pods,
        })
    }

    /// What clients on a node ask for while the Pods behind it are replaced, in each family and
    /// protocol.
    pub(super) fn rolling(&self, view: &View) -> Vec<Case> {
        let Some(node) = view.nodes.first() else {
            return Vec::new();
        };
        let source = node.pods.first().unwrap_or(&self.staged.lone_pod);
        let mut cases = Vec::new();
        for own in &source.addresses {
            let family = Family::of(*own);
            let mut addresses = self.rolled.addresses.iter();
            let Some(address) = addresses.find(|a| Family::of(**a) == family) else {
                continue;
            };
            cases.extend([ProbeKind::Tcp, ProbeKind::Udp].map(|kind| Case {
                path: Path::RollingUpdate,
                family,
                kind,
                from: source.name.clone(),
                from_node: node.name.clone(),
                to: self.rolled.name.clone(),
                target: (*address, self.rolled.port).into(),
                name: None,
                size: 0,
                own: *own,
                expected: Vec::new(),
                wanted: Wanted::Success,
            }));
        }
        cases
    }

    /// Replaces these Pods while it is asked for, and gives what came of each case.
    pub(super) fn roll(&self, hands: &dyn Hands, cases: &[Case]) -> Vec<Result<(), String>> {
        let (cluster, namespace) = (self.room.cluster, self.room.room.name());
        let loads = hands.begin_loads(cases);
        let old = self
            .rolled_pods
            .iter()
            .map(|pod| pod.name.clone())
            .collect();
        let rolled = cluster
            .roll(namespace, &self.rolled.name, hands.made())
            .and_then(|()| cluster.await_gone(namespace, &old, hands.made()))
            .map_err(|e| e.to_string());
        let verdicts = loads.end().into_iter().map(|report| {
            let report = report?;
            rolled.clone()?;
            load::judge(&report, &old)
        });
        let verdicts = verdicts.collect();
        // They take their time to end, which others need not wait for.
        if let Err(e) = cluster.doom_deployment(namespace, &self.rolled.name) {
            tracing::debug!("{e}");
        }
        verdicts
    }
}

impl<'a> Made<'a> {
    /// The room, made if it is to be.
    fn of(checked: &Checked<'a>) -> Result<Made<'a>, LabError> {
        if let Room::Own(name) = &checked.room {
            checked.cluster.create_namespace(name, &BTreeMap::new())?;
        }
        Ok(Made {
            cluster: checked.cluster,
            room: checked.room.clone(),
        })
    }

    /// Makes a Service, and looks at what the API made of it.
    fn service(&self, manifest: serde_json::Value) -> Result<ServiceView, LabError> {
        let service: Service = self.cluster.create(self.room.name(), manifest)?;
        let name = service.metadata.name.unwrap_or_default();
        let spec = service.spec.unwrap_or_default();
        let ports = spec.ports.unwrap_or_default();
        let node_port = |wanted: &str| {
            let mut ports = ports.iter();
            let port = ports.find(|port| port.name.as_deref() == Some(wanted))?;
            u16::try_from(port.node_port?).ok()
        };
        let addresses = spec.cluster_ips.unwrap_or_default();
        Ok(ServiceView {
            domain: match &self.room {
                Room::Own(room) => format!("{name}.{room}.svc.cluster.local"),
                // Whatever that cluster's own domain is.
                Room::Given(room) => format!("{name}.{room}.svc"),
            },
            name,
            addresses: addresses.iter().filter_map(|ip| ip.parse().ok()).collect(),
            port: PORT,
            node_ports: node_port(TCP).zip(node_port(UDP)).map(<[u16; 2]>::from),
        })
    }
}

/// The case of Services that could not even be made.
pub(super) fn no_case(node: &NodeView) -> Case {
    Case {
        path: Path::PodToClusterIp,
        family: Family::V4,
        kind: ProbeKind::Tcp,
        from: node.name.clone(),
        from_node: node.name.clone(),
        to: own_name(),
        target: ([0, 0, 0, 0], PORT).into(),
        name: None,
        size: 0,
        own: [0, 0, 0, 0].into(),
        expected: Vec::new(),
        wanted: Wanted::Success,
    }
}
