//! The cluster file: the lab's stand-in for the Kubernetes API. Agents watch it; only the supervisor
//! writes it, each time as a whole.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use serde::Serialize;

use crate::error::LabError;
use crate::state::replace_file;
use crate::topology::{LabNode, POD_NAMESPACE, Topology};

/// The file and what is in it.
pub(crate) struct ClusterFile {
    path: PathBuf,
    nodes: Vec<NodeObject>,
    pods: Mutex<BTreeMap<String, PodObject>>,
}

#[derive(Serialize)]
struct Cluster<'a> {
    nodes: &'a [NodeObject],
    pods: Vec<&'a PodObject>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeObject {
    name: String,
    addresses: Vec<IpAddr>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<IpNet>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodObject {
    namespace: &'static str,
    name: String,
    node: String,
    addresses: Vec<IpAddr>,
    phase: &'static str,
    host_network: bool,
}

impl ClusterFile {
    /// Writes a file with the nodes of `topology` and no Pods.
    pub(crate) fn create(path: PathBuf, topology: &Topology) -> Result<ClusterFile, LabError> {
        let nodes = topology.nodes.iter().map(NodeObject::of).collect();
        let file = ClusterFile {
            path,
            nodes,
            pods: Mutex::default(),
        };
        file.change(|_| ())?;
        Ok(file)
    }

    /// Writes down a Pod that has got its addresses.
    pub(crate) fn put_pod(
        &self,
        name: &str,
        node: &str,
        addresses: &[IpAddr],
    ) -> Result<(), LabError> {
        let pod = PodObject {
            namespace: POD_NAMESPACE,
            name: name.to_owned(),
            node: node.to_owned(),
            addresses: addresses.to_vec(),
            phase: "Running",
            host_network: false,
        };
        self.change(|pods| drop(pods.insert(name.to_owned(), pod)))
    }

    /// Takes a Pod out.
    pub(crate) fn remove_pod(&self, name: &str) -> Result<(), LabError> {
        self.change(|pods| drop(pods.remove(name)))
    }

    /// The lock is held until the file is written, so that a later state is never overwritten.
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, PodObject>),
    ) -> Result<(), LabError> {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut pods);
        let text = text(&Cluster {
            nodes: &self.nodes,
            pods: pods.values().collect(),
        })?;
        replace_file(&self.path, text.as_bytes())
    }
}

impl NodeObject {
    fn of(node: &LabNode) -> NodeObject {
        NodeObject {
            name: node.name.to_string(),
            addresses: node.ips(),
            pod_cidrs: node.pod_cidrs.clone(),
        }
    }
}

fn text(cluster: &Cluster<'_>) -> Result<String, LabError> {
    serde_saphyr::to_string(cluster)
        .map_err(|e| LabError::Request(format!("write the cluster objects as YAML: {e}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_file_has_the_documented_form() {
        let path = std::env::temp_dir().join(format!("seaway-cluster-{}.yaml", std::process::id()));
        let topology = Topology::flat(1, 0).expect("valid");
        let file = ClusterFile::create(path.clone(), &topology).expect("writes");
        let addresses = ["10.244.1.2", "fd00:10:244:1::2"].map(|a| a.parse().expect("valid"));
        file.put_pod("a", "node1", &addresses).expect("writes");
        file.put_pod("b", "node1", &[]).expect("writes");
        file.remove_pod("b").expect("writes");
        let text = std::fs::read_to_string(&path).expect("reads");
        let value: Value = serde_saphyr::from_str(&text).expect("YAML");
        std::fs::remove_file(&path).expect("removes");
        let expected = json!({
            "nodes": [{
                "name": "node1",
                "addresses": ["172.18.0.1", "fd00:5ea::1"],
                "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"],
            }],
            "pods": [{
                "namespace": "default",
                "name": "a",
                "node": "node1",
                "addresses": ["10.244.1.2", "fd00:10:244:1::2"],
                "phase": "Running",
                "hostNetwork": false,
            }],
        });
        assert_eq!(value, expected, "{text}");
    }
}
