//! A path, and an exchange that is to be tried on it, with what the server must see. Pure data.

use std::net::{IpAddr, SocketAddr};

use seaway_model::Family;
use serde::Serialize;

use crate::tool::ProbeKind;

/// A path of the Pod network, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Path {
    Localhost,
    PodToItself,
    PodToPodSameNode,
    PodToPodOtherNode,
    NodeToLocalPod,
    NodeToOtherNodesPod,
    PodToOwnNode,
    PodToOtherNode,
    PodToOutside,
    OutsideToHostPort,
    OtherNodeToHostPort,
    OtherNodesPodToHostPort,
    LocalPodToHostPort,
    PodToItsOwnHostPort,
    NodeToItsOwnHostPort,
    NodeToHostPortOverLoopback,
    RestartedContainer,
    DeletedPod,
    ClosedHostPort,
}

impl Path {
    /// For people.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Path::Localhost => "Pod: two containers over localhost",
            Path::PodToItself => "Pod -> itself, by its own address",
            Path::PodToPodSameNode => "Pod -> Pod, same node",
            Path::PodToPodOtherNode => "Pod -> Pod, other node",
            Path::NodeToLocalPod => "node -> its own Pod",
            Path::NodeToOtherNodesPod => "node -> other node's Pod",
            Path::PodToOwnNode => "Pod -> its own node",
            Path::PodToOtherNode => "Pod -> other node",
            Path::PodToOutside => "Pod -> outside",
            Path::OutsideToHostPort => "outside -> node:hostPort",
            Path::OtherNodeToHostPort => "other node -> node:hostPort",
            Path::OtherNodesPodToHostPort => "other node's Pod -> node:hostPort",
            Path::LocalPodToHostPort => "local Pod -> node:hostPort",
            Path::PodToItsOwnHostPort => "Pod -> its own hostPort",
            Path::NodeToItsOwnHostPort => "node -> its own hostPort",
            Path::NodeToHostPortOverLoopback => "node -> localhost:hostPort",
            Path::RestartedContainer => "killed container: back, same address",
            Path::DeletedPod => "deleted Pod: address free again",
            Path::ClosedHostPort => "deleted Pod: hostPort closed",
        }
    }
}

/// One exchange to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) path: Path,
    pub(crate) family: Family,
    pub(crate) kind: ProbeKind,
    /// The machine or Pod that it is tried from, and the node whose rows matter.
    pub(crate) from: String,
    pub(crate) from_node: String,
    pub(crate) to: String,
    pub(crate) target: SocketAddr,
    pub(crate) size: usize,
    /// The source's own address.
    pub(crate) own: IpAddr,
    /// What the server may see as the source: the own address within the cluster, the node's where a
    /// packet leaves it or comes back to where it is from.
    pub(crate) expected: Vec<IpAddr>,
    pub(crate) expected_host: String,
}

impl Case {
    /// How long it may take.
    pub(super) fn timeout_ms(&self) -> u64 {
        match self.kind {
            ProbeKind::TcpBulk => 20_000,
            _ => 2000,
        }
    }
}
