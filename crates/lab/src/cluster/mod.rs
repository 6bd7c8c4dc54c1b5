//! What a lab itself asks of its API server: its first Pods, and the Pods that `lab pod` and
//! `lab check` make. A blocking front for code without a runtime; it decides nothing.

mod recipe;
mod remote;
mod workloads;

pub(crate) use recipe::{CLIENT, MANAGED_BY, ORDER, Recipe};
pub(crate) use remote::takes_servers;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::{AsyncReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, LogParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use seaway_api::Access;

use crate::error::{Context, LabError};

/// Pods with this label run the server that `lab check` asks, in a container of each name.
pub(crate) const CHECK_LABEL: &str = "lab.seaway.dev/check";
/// The label's value.
pub(crate) const SERVES: &str = "serve";

/// A container of the Pods that a lab makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container {
    pub(crate) name: &'static str,
    pub(crate) http: u16,
    pub(crate) echo: u16,
}

/// The containers of the Pods that a lab makes.
pub(crate) const CONTAINERS: [Container; 2] = [
    Container {
        name: "main",
        http: 8080,
        echo: 7777,
    },
    Container {
        name: "sidecar",
        http: 8081,
        echo: 7778,
    },
];

/// A port of the node that leads to a port of the Pod, over TCP and UDP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostPort {
    pub(crate) port: u16,
    pub(crate) to: u16,
}

/// A Pod that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadyPod {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Which container's log, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct PodLog {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: Option<String>,
    pub(crate) follow: bool,
    pub(crate) tail: Option<i64>,
}

/// A lab's API, asked from code that blocks.
pub(crate) struct Cluster {
    runtime: tokio::runtime::Runtime,
    client: Client,
    /// The Namespace of its single Pods, and how Pods are made.
    home: String,
    pub(crate) recipe: Recipe,
}

impl Cluster {
    /// Connects as the kubeconfig file says. Nothing is asked yet.
    pub(crate) fn open(kubeconfig: &Path) -> Result<Cluster, LabError> {
        Cluster::connect(&Access::file(kubeconfig))
    }

    /// The same cluster, whose single Pods are in a Namespace of their own, made as `recipe` says.
    pub(crate) fn at_home_in(self, home: &str, recipe: Recipe) -> Cluster {
        Cluster {
            home: home.to_owned(),
            recipe,
            ..self
        }
    }

    /// The Namespace of its single Pods.
    pub(crate) fn home(&self) -> &str {
        &self.home
    }

    /// Waits until the API server answers.
    pub(crate) fn await_server(&self, limit: Duration) -> Result<(), LabError> {
        let mut last = String::new();
        let answers = async {
            while let Err(e) = self.client.apiserver_version().await {
                last = e.to_string();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let result = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, answers).await });
        result.map_err(|_| LabError::Late {
            what: "an answer of the API server".to_owned(),
            seconds: limit.as_secs(),
            hint: format!("; the last try ended with: {last}"),
        })
    }

    /// Waits until all of these nodes take Pods.
    pub(crate) fn await_nodes(
        &self,
        names: &BTreeSet<String>,
        limit: Duration,
    ) -> Result<(), LabError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut waiting = names.clone();
        let watch = async {
            let mut events = pin!(watcher(nodes, watcher::Config::default()));
            while !waiting.is_empty() {
                let event = events.try_next().await;
                let Some(event) = event.map_err(|e| watch_failed("nodes", &e))? else {
                    break;
                };
                if let Event::Apply(node) | Event::InitApply(node) = event
                    && takes_pods(&node)
                {
                    waiting.remove(&node.name_any());
                }
            }
            Ok(())
        };
        match self.within(limit, watch) {
            Some(result) => result,
            None => {
                let names: Vec<_> = waiting.into_iter().take(5).collect();
                let hint = format!("; not ready: {}", names.join(", "));
                Err(late("the readiness of all nodes", limit, &hint))
            }
        }
    }

    /// Makes a Pod of the lab on a node.
    pub(crate) fn create_pod(
        &self,
        node: &str,
        name: &str,
        host_port: Option<HostPort>,
    ) -> Result<(), LabError> {
        let pod = self.recipe.pod(node, name, host_port);
        self.create::<Pod>(&self.home, pod).map(drop)
    }

    /// Asks for the end of a Pod. One that is not there is gone.
    pub(crate) fn doom_pod(&self, name: &str) -> Result<(), LabError> {
        match self.wait(self.pods().delete(name, &DeleteParams::default())) {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(e) => Err(refused("delete", "Pod", name, &e)),
            Ok(_) => Ok(()),
        }
    }

    /// Deletes a Pod and waits until it is gone.
    pub(crate) fn delete_pod(&self, name: &str, limit: Duration) -> Result<(), LabError> {
        let pods = self.pods();
        let deleted = self
            .wait(pods.delete(name, &DeleteParams::default()))
            .map_err(|e| refused("delete", "Pod", name, &e))?;
        let Some(pod) = deleted.left() else {
            return Ok(());
        };
        let uid = pod.uid().unwrap_or_default();
        let gone = kube::runtime::conditions::is_deleted(&uid);
        let gone = kube::runtime::wait::await_condition(pods, name, gone);
        match self.within(limit, gone) {
            Some(Ok(_)) => Ok(()),
            Some(Err(e)) => Err(LabError::Api(format!("watch the Pod {name}: {e}"))),
            None => Err(late(&format!("the end of the Pod {name}"), limit, "")),
        }
    }

    /// Waits until all of these Pods are ready, telling each as it gets so.
    pub(crate) fn await_pods(
        &self,
        names: &BTreeSet<String>,
        limit: Duration,
        mut tell: impl FnMut(ReadyPod) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        let mut waiting: BTreeMap<&str, String> = names
            .iter()
            .map(|name| (name.as_str(), "it has not been seen".to_owned()))
            .collect();
        let watch = async {
            let mut events = pin!(watcher(self.pods(), watcher::Config::default()));
            while !waiting.is_empty() {
                let event = events.try_next().await;
                let Some(event) = event.map_err(|e| watch_failed("Pods", &e))? else {
                    break;
                };
                let (Event::Apply(pod) | Event::InitApply(pod)) = event else {
                    continue;
                };
                let name = pod.name_any();
                let Some(state) = waiting.get_mut(name.as_str()) else {
                    continue;
                };
                match ready(&pod) {
                    Ok(pod) => {
                        waiting.remove(name.as_str());
                        tell(pod)?;
                    }
                    Err(why) => {
                        fail_if_hopeless(&pod)?;
                        *state = why;
                    }
                }
            }
            Ok(())
        };
        match self.within(limit, watch) {
            Some(result) => result,
            None => {
                let states = waiting.iter().map(|(name, why)| format!("{name}: {why}"));
                let states: Vec<_> = states.take(5).collect();
                let hint = format!("; {}", states.join("; "));
                Err(late("the readiness of all Pods", limit, &hint))
            }
        }
    }

    /// Waits until one Pod is ready.
    pub(crate) fn await_pod(&self, name: &str, limit: Duration) -> Result<ReadyPod, LabError> {
        let mut found = None;
        self.await_pods(&BTreeSet::from([name.to_owned()]), limit, |pod| {
            found = Some(pod);
            Ok(())
        })?;
        found.ok_or_else(|| LabError::Api(format!("the watch of the Pod {name} ended")))
    }

    /// How often the containers of a Pod have been started again, if it exists.
    pub(crate) fn restarts(&self, name: &str) -> Result<BTreeMap<String, i32>, LabError> {
        let pod = self
            .wait(self.pods().get_status(name))
            .map_err(|e| refused("get", "Pod", name, &e))?;
        let statuses = pod.status.and_then(|status| status.container_statuses);
        let statuses = statuses.unwrap_or_default().into_iter();
        Ok(statuses.map(|s| (s.name, s.restart_count)).collect())
    }

    /// Copies what a container wrote to `output`, as long as there is more.
    pub(crate) fn copy_log(
        &self,
        log: &PodLog,
        output: &mut impl std::io::Write,
    ) -> Result<(), LabError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &log.namespace);
        let params = LogParams {
            container: log.container.clone(),
            follow: log.follow,
            tail_lines: log.tail,
            ..LogParams::default()
        };
        self.wait(async {
            let stream = pods.log_stream(&log.pod, &params).await;
            let stream = stream.map_err(|e| refused("read the log of", "Pod", &log.pod, &e))?;
            let mut stream = pin!(stream);
            let mut bytes = vec![0; 16 << 10];
            loop {
                let count = stream.read(&mut bytes).await;
                let count = count.during("read", || format!("the log of {}", log.pod))?;
                if count == 0 {
                    return Ok(());
                }
                let written = output.write_all(&bytes[..count]);
                let written = written.and_then(|()| output.flush());
                written.during("write", || "to standard output".to_owned())?;
            }
        })
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.home)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.wait(async { tokio::time::timeout(limit, work).await })
            .ok()
    }
}

fn refused(operation: &str, kind: &str, name: &str, error: &kube::Error) -> LabError {
    let reason = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => seaway_api::describe(other),
    };
    let what = match name {
        "" => format!("all {kind}"),
        name => format!("the {kind} {name}"),
    };
    LabError::Api(format!("{operation} {what}: {reason}"))
}

fn watch_failed(what: &str, error: &watcher::Error) -> LabError {
    LabError::Api(format!("watch {what}: {error}"))
}

/// Whether a node is ready and nothing keeps ordinary Pods away.
fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready && taints.is_none_or(|taints| taints.iter().all(|t| t.effect == "PreferNoSchedule"))
}

fn late(what: &str, limit: Duration, hint: &str) -> LabError {
    LabError::Late {
        what: what.to_owned(),
        seconds: limit.as_secs(),
        hint: hint.to_owned(),
    }
}

/// The Pod, or why it is not ready yet.
fn ready(pod: &Pod) -> Result<ReadyPod, String> {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let is_ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if !is_ready {
        return Err(waiting_for(pod));
    }
    Ok(about(pod))
}

/// The Pod as far as it matters here.
fn about(pod: &Pod) -> ReadyPod {
    let addresses = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ips.clone());
    let addresses = addresses.unwrap_or_default();
    ReadyPod {
        name: pod.name_any(),
        node: pod
            .spec
            .as_ref()
            .and_then(|s| s.node_name.clone())
            .unwrap_or_default(),
        addresses: addresses.iter().filter_map(|a| a.ip.parse().ok()).collect(),
    }
}

/// What a Pod waits for, as its status says it.
fn waiting_for(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let waiting = status.container_statuses.unwrap_or_default().into_iter();
    let reasons = waiting.filter_map(|container| {
        let waiting = container.state?.waiting?;
        let reason = waiting.reason.unwrap_or_default();
        let message = waiting.message.map_or(String::new(), |m| format!(": {m}"));
        Some(format!("{}: {reason}{message}", container.name))
    });
    let reasons: Vec<_> = reasons.collect();
    match reasons.is_empty() {
        true => format!(
            "it is {}",
            status.phase.unwrap_or_else(|| "Pending".to_owned())
        ),
        false => reasons.join(", "),
    }
}

/// Reasons that do not pass by themselves.
const HOPELESS: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
];

/// An error if a Pod waits for what waiting does not bring, or was refused by its node.
fn fail_if_hopeless(pod: &Pod) -> Result<(), LabError> {
    let status = pod.status.clone().unwrap_or_default();
    let name = pod.name_any();
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.unwrap_or_default();
        let message = status.message.unwrap_or_default();
        return Err(LabError::Api(format!(
            "the Pod {name} has failed: {reason}: {message}"
        )));
    }
    let mut waiting = status.container_statuses.iter().flatten();
    let is_hopeless = waiting.any(|container| {
        let state = container.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        reason.is_some_and(|reason| HOPELESS.contains(&reason))
    });
    match is_hopeless {
        true => {
            let why = waiting_for(pod);
            Err(LabError::Api(format!("the Pod {name}: {why}")))
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        let pod = Recipe::Lab.pod("node1", "a", None);
        let mut pod: Pod = serde_json::from_value(pod).expect("valid");
        pod.status = Some(serde_json::from_value(status).expect("valid"));
        pod
    }

    #[test]
    fn a_pod_is_ready_when_it_says_so() {
        let status = json!({
            "podIPs": [{"ip": "10.244.1.2"}, {"ip": "fd00::2"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        let ready = ready(&pod(status)).expect("ready");
        assert_eq!((ready.node.as_str(), ready.addresses.len()), ("node1", 2));
    }

    #[test]
    fn a_node_takes_pods_when_it_is_ready_and_not_tainted() {
        let node = |ready: &str, taints: serde_json::Value| -> Node {
            let node = json!({
                "metadata": {"name": "a"},
                "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            });
            serde_json::from_value(node).expect("valid")
        };
        let taint = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        assert!(takes_pods(&node("True", json!([]))));
        assert!(!takes_pods(&node("False", json!([]))));
        assert!(!takes_pods(&node("True", taint)));
    }

    #[test]
    fn a_pod_that_is_not_says_what_it_waits_for() {
        let status = json!({"phase": "Pending", "containerStatuses": [{
            "name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no registry"}},
        }]});
        let why = ready(&pod(status.clone())).expect_err("not ready");
        assert_eq!(why, "main: ErrImagePull: no registry");
        let refused = fail_if_hopeless(&pod(status)).expect_err("hopeless");
        assert_eq!(
            refused.to_string(),
            "the Pod a: main: ErrImagePull: no registry"
        );
        assert!(fail_if_hopeless(&pod(json!({"phase": "Pending"}))).is_ok());
        assert_eq!(ready(&pod(json!({}))).expect_err("no"), "it is Pending");
    }
}
