//! What is said over a lab's control socket. The framing is that of the agent's socket.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::topology::{Network, POD_NAMESPACE};

/// A request to the supervisor; one a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Everything that there is: answered with [`LabStatus`].
    Status,
    /// Sends a signal to a daemon or a container, for example `node1/agent`,
    /// `control/apiserver` or `pod-1-1/main`.
    Kill {
        /// Its name.
        process: String,
        /// The signal's number.
        signal: i32,
    },
    /// Ends a daemon and keeps it down, for example `control/apiserver`.
    Stop {
        /// Its name.
        process: String,
    },
    /// Starts a daemon that was stopped.
    Start {
        /// Its name.
        process: String,
    },
    /// Asks for the namespaces of a node (`node1`), of the control plane (`control`), of what is
    /// around (`outside`, `router`) or of a Pod
    /// (`pod-1-1`, `node1/pod-1-1`, or `kube-system/dns` in another Kubernetes namespace):
    /// answered with nothing; then each [`Door`] that the client sends comes back with its file
    /// descriptor.
    Enter {
        /// Which.
        target: String,
    },
    /// Runs a command in a container: answered with the container's name. Then the client sends each
    /// [`Stream`] with its file descriptor, or, if there is to be a terminal, says that it has heard,
    /// by an empty message; then it is told what happens by [`Told`]. When the client is gone, the command is ended.
    Shell(ShellRequest),
    /// Takes everything down: answered when all Pods are gone, just before the supervisor ends.
    Shutdown,
}

/// A command to run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShellRequest {
    /// `pod`, `pod/container`, `namespace/pod` or `namespace/pod/container`.
    pub(crate) target: String,
    /// The container, if the target does not name it.
    pub(crate) container: Option<String>,
    /// The command and its arguments.
    pub(crate) command: Vec<String>,
    /// The terminal that it is to get.
    pub(crate) screen: Option<Screen>,
}

/// What a terminal is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Screen {
    /// Its kind, as `TERM` has it.
    pub(crate) kind: Option<String>,
    /// Its height.
    pub(crate) rows: u16,
    /// Its width.
    pub(crate) columns: u16,
}

/// A file descriptor that a client of [`Request::Shell`] lends to the command. In this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// What it reads.
    Input,
    /// What it writes to.
    Output,
    /// What it complains to.
    Errors,
}

/// What a client of [`Request::Shell`] hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Told {
    /// The command runs; with the outer side of its terminal, if it has one. The client says that
    /// it has heard it, by an empty message, and nothing from then on.
    Started,
    /// It has ended, or could not be started.
    Ended {
        /// As shells have it.
        code: u8,
        /// What there is to say about it.
        note: Option<String>,
    },
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
    /// How its network is.
    pub network: Network,
    /// The host beyond the cluster.
    pub outside: MachineStatus,
    /// The daemons of its control plane: `control/apiserver` and `control/controller`.
    pub control_plane: Vec<ProcessStatus>,
    /// Its nodes, in order.
    pub nodes: Vec<NodeStatus>,
    /// Its Pods, by name.
    pub pods: Vec<PodStatus>,
}

/// The state of a machine that is no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its daemons, such as `outside/serve`.
    pub processes: Vec<ProcessStatus>,
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its addresses on the underlay.
    pub addresses: Vec<IpNet>,
    /// Its daemons: `node1/agent` and `node1/serve`.
    pub processes: Vec<ProcessStatus>,
}

/// The state of a Pod that the sandbox runtime holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its phase, such as `Running`.
    pub phase: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it uses its node's own network.
    pub host_network: bool,
    /// Whether it runs the servers that `lab check` asks.
    pub checked: bool,
    /// Its node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`, a path in the node's mount namespace.
    pub netns: String,
    /// The plugin's result, whole.
    pub result: Value,
    /// Its containers, such as `pod-1-1/main`.
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

impl PodStatus {
    /// How `lab exec` and `lab kill` name it: without its Kubernetes namespace if that is `default`.
    pub fn target(&self) -> String {
        target(&self.namespace, &self.name)
    }
}

/// How a Pod is named on the command line.
pub(crate) fn target(namespace: &str, name: &str) -> String {
    match namespace == POD_NAMESPACE {
        true => name.to_owned(),
        false => format!("{namespace}/{name}"),
    }
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
        let others = self.control_plane.iter().chain(&self.outside.processes);
        let mut all = others.chain(of_nodes).chain(of_pods);
        all.find(|process| process.name == name)
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
        let text = r#"{"op":"enter","target":"node1"}"#;
        let enter = Request::Enter {
            target: "node1".into(),
        };
        assert_eq!(serde_json::from_str::<Request>(text).expect("JSON"), enter);
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
