//! What a check asks of a cluster that it reaches by the API alone: its nodes, Namespaces that checks
//! have made, and Pods that are told what to do by an annotation and answer in their log.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use seaway_api::Access;
use serde_json::{Value, json};

use super::{Cluster, Recipe, late, refused};
use crate::error::{Context, LabError};
use crate::topology::POD_NAMESPACE;

/// How long to wait before a log that ended too early is read again.
const AGAIN: Duration = Duration::from_millis(250);

impl Cluster {
    /// Connects. Nothing is asked yet.
    pub(crate) fn connect(access: &Access) -> Result<Cluster, LabError> {
        seaway_api::install_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .during("start", || "an async runtime".to_owned())?;
        let client = runtime
            .block_on(async { seaway_api::client(access) })
            .map_err(|e| LabError::Api(e.to_string()))?;
        Ok(Cluster {
            runtime,
            client,
            home: POD_NAMESPACE.to_owned(),
            recipe: Recipe::Lab,
        })
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>, LabError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let nodes = self.wait(api.list(&ListParams::default()));
        Ok(nodes.map_err(|e| refused("list", "Nodes", "", &e))?.items)
    }

    /// The Namespaces that have a label of this value.
    pub(crate) fn namespaces_with(
        &self,
        (key, value): (&str, &str),
    ) -> Result<Vec<Namespace>, LabError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let selector = ListParams::default().labels(&format!("{key}={value}"));
        let found = self.wait(api.list(&selector));
        Ok(found
            .map_err(|e| refused("list", "Namespaces", "", &e))?
            .items)
    }

    /// Makes a Pod as a manifest says, in the Namespace of single Pods.
    pub(crate) fn create_at_home(&self, manifest: Value) -> Result<(), LabError> {
        self.create::<Pod>(&self.home, manifest).map(drop)
    }

    /// Gives a Pod an annotation of this value.
    pub(crate) fn annotate(&self, pod: &str, key: &str, value: &str) -> Result<(), LabError> {
        let annotations = BTreeMap::from([(key, value)]);
        let patch = json!({"metadata": {"annotations": annotations}});
        let patched = self.wait(self.pods().patch(
            pod,
            &PatchParams::default(),
            &Patch::Merge(&patch),
        ));
        patched
            .map(drop)
            .map_err(|e| refused("patch", "Pod", pod, &e))
    }

    /// Reads what a container has written and writes, line by line, until one is the last that is
    /// `wanted`. Where the log breaks off it is read again, from its beginning.
    pub(crate) fn read_log(
        &self,
        pod: &str,
        container: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<(), LabError> {
        let end = Instant::now() + limit;
        let mut last: Option<LabError> = None;
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: true,
            ..LogParams::default()
        };
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let read = self.within(left, async {
                let stream = match self.pods().log_stream(pod, &params).await {
                    Ok(stream) => stream,
                    Err(e) => return Read::refused(pod, &e),
                };
                let mut lines = pin!(stream.lines());
                loop {
                    match lines.try_next().await {
                        Ok(Some(line)) if wanted(&line) => return Read::Enough,
                        Ok(Some(_)) => {}
                        Ok(None) => return Read::Ended(None),
                        Err(e) => return Read::Ended(Some(broken(pod, e))),
                    }
                }
            });
            match read {
                Some(Read::Enough) => return Ok(()),
                Some(Read::Refused(e)) => return Err(e),
                Some(Read::Ended(why)) => last = why.or(last),
                None => {
                    let hint = last.map_or(String::new(), |e| format!("; {e}"));
                    return Err(late(&format!("an answer in {}", log_of(pod)), limit, &hint));
                }
            }
            // A log may not be there yet, and a connection may end.
            self.wait(tokio::time::sleep(AGAIN));
        }
    }

    /// The Pods of the Namespace of single Pods that run, with why those that are not ready are not.
    pub(crate) fn running(&self) -> Result<Vec<(super::ReadyPod, Option<String>)>, LabError> {
        let pods = self.wait(self.pods().list(&ListParams::default()));
        let pods = pods.map_err(|e| refused("list", "Pods", "", &e))?.items;
        let runs = |pod: &&Pod| {
            let status = pod.status.as_ref();
            let phase = status.and_then(|status| status.phase.as_deref());
            phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
        };
        let about = |pod: &Pod| (super::about(pod), super::ready(pod).err());
        Ok(pods.iter().filter(runs).map(about).collect())
    }
}

/// How the reading of a log ended.
enum Read {
    /// With the line that was wanted.
    Enough,
    /// Too early.
    Ended(Option<LabError>),
    /// For good.
    Refused(LabError),
}

impl Read {
    fn refused(pod: &str, error: &kube::Error) -> Read {
        let told = refused("read the log of", "Pod", pod, error);
        match error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404) => {
                Read::Refused(told)
            }
            _ => Read::Ended(Some(told)),
        }
    }
}

fn broken(pod: &str, cause: std::io::Error) -> LabError {
    LabError::System {
        operation: "read",
        object: log_of(pod),
        cause,
    }
}

fn log_of(pod: &str) -> String {
    format!("the log of the Pod {pod}")
}

/// A node that Pods can be made on, or why not.
pub(crate) fn takes_servers(node: &Node) -> Result<(), String> {
    let name = node.name_any();
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => {}
        Some(condition) => {
            let why = condition.message.clone().unwrap_or_default();
            return Err(format!("the node {name} is not ready: {why}"));
        }
        None => return Err(format!("the node {name} does not say that it is ready")),
    }
    let info = status.and_then(|status| status.node_info.as_ref());
    match info.map(|info| info.operating_system.as_str()) {
        Some(system) if !system.is_empty() && system != "linux" => {
            Err(format!("the node {name} runs {system}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_takes_no_pods_says_why() {
        let node = |status: Value| -> Node {
            let node = json!({"metadata": {"name": "a"}, "status": status});
            serde_json::from_value(node).expect("a Node")
        };
        let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status, "message": "no network"}]});
        assert_eq!(takes_servers(&node(ready("True"))), Ok(()));
        let refused = takes_servers(&node(ready("False"))).expect_err("it is not");
        assert_eq!(refused, "the node a is not ready: no network");
        assert!(takes_servers(&node(json!({}))).is_err());
    }
}
