//! What is said over a lab's control socket. The framing is that of the agent's socket.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request to the supervisor; one a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Everything that there is: answered with [`LabStatus`].
    Status,
    /// Makes a Pod: answered with [`PodStatus`].
    CreatePod {
        /// On which node.
        node: String,
        /// Its name.
        name: String,
    },
    /// Deletes a Pod.
    DeletePod {
        /// Its name.
        name: String,
    },
    /// Sends a signal to a daemon or a container, for example `node1/agent` or `pod-1-1/main`.
    Kill {
        /// Its name.
        process: String,
        /// The signal's number.
        signal: i32,
    },
    /// Asks for the namespaces of a node (`node1`) or a Pod (`node1/pod-1-1` or `pod-1-1`):
    /// answered with nothing; then each [`Door`] that the client sends comes back with its file
    /// descriptor.
    Enter {
        /// Which.
        target: String,
    },
    /// Takes everything down: answered when all Pods are gone, just before the supervisor ends.
    Shutdown,
}

/// The supervisor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply<T> {
    /// It was done.
    Ok(T),
    /// It was not, and why.
    Error(String),
}

/// A namespace that [`Request::Enter`] hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Door {
    /// Network.
    Net,
    /// Mounts.
    Mount,
    /// Host name.
    Uts,
    /// Process ids, for children.
    Pid,
}

/// The state of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabStatus {
    /// Its name.
    pub name: String,
    /// Its nodes, in order.
    pub nodes: Vec<NodeStatus>,
    /// Its Pods, by name.
    pub pods: Vec<PodStatus>,
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its addresses on the underlay.
    pub addresses: Vec<IpNet>,
    /// The networks of its Pods.
    pub pod_cidrs: Vec<IpNet>,
    /// Its daemons: `node1/agent` and `node1/serve`.
    pub processes: Vec<ProcessStatus>,
}

/// The state of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its addresses, as ADD answered them.
    pub addresses: Vec<IpAddr>,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`, a path in the node's mount namespace.
    pub netns: String,
    /// The plugin's result, whole.
    pub result: Value,
    /// Its containers: `pod-1-1/main` and `pod-1-1/sidecar`.
    pub processes: Vec<ProcessStatus>,
}

/// The state of a process that is kept running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name, for example `node1/agent`.
    pub name: String,
    /// Its process id in the lab's own process namespace; `None` while it waits to be restarted.
    pub pid: Option<i32>,
    /// How often it has been restarted.
    pub restarts: u32,
}

impl LabStatus {
    /// The Pods of a node.
    pub fn pods_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a PodStatus> {
        self.pods.iter().filter(move |pod| pod.node == node)
    }

    /// The process called `name`, of a node or a Pod.
    pub fn process(&self, name: &str) -> Option<&ProcessStatus> {
        let of_nodes = self.nodes.iter().flat_map(|node| &node.processes);
        let of_pods = self.pods.iter().flat_map(|pod| &pod.processes);
        of_nodes.chain(of_pods).find(|process| process.name == name)
    }
}

/// What the supervisor tells `lab up` while it starts, one line of JSON each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// How many steps there will be.
    Steps {
        /// The number.
        total: u64,
    },
    /// A step is done.
    Done {
        /// What it was.
        text: String,
    },
    /// Everything is up.
    Ready,
    /// It failed, and what there was has been taken down again.
    Failed {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_op() {
        let kill = Request::Kill {
            process: "node1/agent".into(),
            signal: 9,
        };
        let text = serde_json::to_string(&kill).expect("JSON");
        assert_eq!(text, r#"{"op":"kill","process":"node1/agent","signal":9}"#);
        let text = r#"{"op":"create-pod","node":"node1","name":"a"}"#;
        let create = Request::CreatePod {
            node: "node1".into(),
            name: "a".into(),
        };
        assert_eq!(serde_json::from_str::<Request>(text).expect("JSON"), create);
    }

    #[test]
    fn replies_are_a_value_or_an_error() {
        assert_eq!(
            serde_json::to_string(&Reply::Ok(3)).expect("JSON"),
            r#"{"ok":3}"#
        );
        let error: Reply<u8> = serde_json::from_str(r#"{"error":"no"}"#).expect("JSON");
        assert_eq!(error, Reply::Error("no".into()));
    }
}
