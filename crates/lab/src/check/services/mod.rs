//! What `lab check` makes to try Services: a Namespace of its own, with Pods and Services in it, as a
//! user could have written them. It is deleted again at the end, whatever happens.

mod load;
mod manifests;
mod settle;

pub(super) use settle::settle;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use seaway_model::Family;

use self::manifests::{Behind, PORT, TCP, UDP};
use super::cases::{Case, Path, Wanted};
use super::trial::own_name;
use super::view::{ServiceView, Staged, View, pod_view};
use crate::client::Client;
use crate::cluster::{Cluster, ReadyPod};
use crate::error::LabError;
use crate::protocol::{NodeStatus, target};
use crate::tool::ProbeKind;

/// How long Pods may take to be ready.
const MADE: Duration = Duration::from_secs(30);
/// How long all may take to be gone.
const GONE: Duration = Duration::from_secs(30);
/// How many Pods the Service has that most is tried with.
const WEB: usize = 3;
/// How many Pods are replaced under load.
const ROLLED: usize = 2;

/// What was made, deleted at the end whatever happens.
pub(super) struct Stage {
    cluster: Cluster,
    namespace: String,
    pub(super) staged: Staged,
    rolled: ServiceView,
    rolled_pods: Vec<ReadyPod>,
}

/// A Namespace that is deleted at the end.
struct Made<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    kept: bool,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.kept {
            delete(self.cluster, self.namespace);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        delete(&self.cluster, &self.namespace);
    }
}

fn delete(cluster: &Cluster, namespace: &str) {
    if let Err(e) = cluster.delete_namespace(namespace, GONE) {
        tracing::warn!("delete the Namespace {namespace} of the check: {e}");
    }
}

impl Stage {
    /// Makes everything and waits until all Pods are ready. `node` gets the one that is alone.
    pub(super) fn begin(client: &Client, node: &NodeStatus) -> Result<Stage, LabError> {
        let cluster = Cluster::open(&client.state().kubeconfig())?;
        let namespace = own_name();
        cluster.create_namespace(&namespace)?;
        let mut made = Made {
            cluster: &cluster,
            namespace: &namespace,
            kept: false,
        };
        let create = |service| made.service(service);
        let web = create(manifests::service("web", Behind::Pods("web"), true))?;
        let sticky = create(manifests::sticky("sticky", "web"))?;
        let empty = create(manifests::service("empty", Behind::Nothing, false))?;
        let lone = create(manifests::local("lone"))?;
        let rolled = create(manifests::service("rolled", Behind::Pods("rolled"), false))?;
        cluster.create::<Deployment>(&namespace, manifests::deployment("web", WEB, 0))?;
        let linger = manifests::LINGER_MS;
        cluster
            .create::<Deployment>(&namespace, manifests::deployment("rolled", ROLLED, linger))?;
        cluster.create::<Pod>(&namespace, manifests::pod("lone", &node.name))?;
        let ready = |app: &str, count| {
            let selector = format!("app={app}");
            cluster.await_ready(&namespace, &selector, count, MADE)
        };
        let web_pods = ready("web", WEB)?;
        let rolled_pods = ready("rolled", ROLLED)?;
        let lone_pods = ready("lone", 1)?;
        let lone_pod = lone_pods.first().ok_or_else(|| {
            LabError::Api("the API server told of no Pod that was waited for".to_owned())
        })?;
        let lone_target = target(&namespace, &lone_pod.name);
        let staged = Staged {
            web,
            web_hosts: web_pods.into_iter().map(|pod| pod.name).collect(),
            sticky,
            empty,
            lone,
            lone_pod: pod_view(client, lone_target, &lone_pod.name, &lone_pod.addresses)?,
            lone_node: node.name.clone(),
        };
        made.kept = true;
        drop(made);
        Ok(Stage {
            cluster,
            namespace,
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
    pub(super) fn roll(&self, client: &Client, cases: &[Case]) -> Vec<Result<(), String>> {
        let loads: Vec<_> = cases
            .iter()
            .map(|case| load::Load::begin(client, case))
            .collect();
        let old = self
            .rolled_pods
            .iter()
            .map(|pod| pod.name.clone())
            .collect();
        let rolled = self
            .cluster
            .roll(&self.namespace, &self.rolled.name, MADE)
            .and_then(|()| self.cluster.await_gone(&self.namespace, &old, GONE))
            .map_err(|e| e.to_string());
        let verdicts = loads.into_iter().map(|load| {
            let report = load.map_err(|e| e.to_string())?.end()?;
            rolled.clone()?;
            load::judge(&report, &old)
        });
        let verdicts = verdicts.collect();
        // They take their time to end, which others need not wait for.
        if let Err(e) = self
            .cluster
            .doom_deployment(&self.namespace, &self.rolled.name)
        {
            tracing::debug!("{e}");
        }
        verdicts
    }
}

impl Made<'_> {
    /// Makes a Service, and looks at what the API made of it.
    fn service(&self, manifest: serde_json::Value) -> Result<ServiceView, LabError> {
        let service: Service = self.cluster.create(self.namespace, manifest)?;
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
            domain: format!("{name}.{}.svc.cluster.local", self.namespace),
            name,
            addresses: addresses.iter().filter_map(|ip| ip.parse().ok()).collect(),
            port: PORT,
            node_ports: node_port(TCP).zip(node_port(UDP)).map(<[u16; 2]>::from),
        })
    }
}

/// The case of Services that could not even be made.
pub(super) fn no_case(node: &NodeStatus) -> Case {
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
