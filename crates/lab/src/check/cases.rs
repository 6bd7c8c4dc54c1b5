//! A path, and an exchange that is to be tried on it, with what the server must see. Pure data.

use std::net::{IpAddr, SocketAddr};

use seaway_model::Family;
use serde::Serialize;

use crate::tool::ProbeKind;

/// Long enough for an answer on one machine, short enough to be waited for.
pub(super) const SILENCE_MS: u64 = 500;

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
    PodToClusterIp,
    PodToItsOwnService,
    NodeToClusterIp,
    PodToNodePort,
    NodeToNodePort,
    NodeToNodePortOverLoopback,
    OutsideToNodePort,
    OutsideToLocalNodePort,
    OutsideToLocalNodePortElsewhere,
    NameToAddress,
    NameToConnection,
    Spread,
    Affinity,
    NoEndpoints,
    RollingUpdate,
    RestartedContainer,
    DeletedPod,
    ClosedHostPort,
}

impl Path {
    /// Whether one of its ends is a host outside of the cluster.
    pub(super) fn needs_outside(self) -> bool {
        matches!(
            self,
            Path::PodToOutside
                | Path::OutsideToHostPort
                | Path::OutsideToNodePort
                | Path::OutsideToLocalNodePort
                | Path::OutsideToLocalNodePortElsewhere
        )
    }

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
            Path::PodToClusterIp => "Pod -> ClusterIP",
            Path::PodToItsOwnService => "Pod -> ClusterIP -> itself",
            Path::NodeToClusterIp => "node -> ClusterIP",
            Path::PodToNodePort => "Pod -> node:nodePort",
            Path::NodeToNodePort => "node -> its own nodePort",
            Path::NodeToNodePortOverLoopback => "node -> localhost:nodePort",
            Path::OutsideToNodePort => "outside -> node:nodePort",
            Path::OutsideToLocalNodePort => "outside -> nodePort, Local",
            Path::OutsideToLocalNodePortElsewhere => "outside -> nodePort, Local, no Pod: dropped",
            Path::NameToAddress => "Service's name -> address",
            Path::NameToConnection => "Service's name -> connection",
            Path::Spread => "Service: all its Pods answer",
            Path::Affinity => "Service with affinity: one Pod answers",
            Path::NoEndpoints => "Service without Pods: refused",
            Path::RollingUpdate => "Service while its Pods are replaced",
            Path::RestartedContainer => "killed container: back, same address",
            Path::DeletedPod => "deleted Pod: address free again",
            Path::ClosedHostPort => "deleted Pod: hostPort closed",
        }
    }
}

/// What must come of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One of these hosts answers, and sees an address that is expected.
    Answer(Vec<String>),
    /// All of these hosts answer, each at least once, and no other one.
    AllOf(Vec<String>),
    /// One of these hosts answers, every time the same.
    AlwaysOneOf(Vec<String>),
    /// It is refused at once.
    Refusal,
    /// Nothing comes back.
    Silence,
    /// The probe itself is content.
    Success,
}

impl Wanted {
    /// That host answers.
    pub(crate) fn host(name: &str) -> Wanted {
        Wanted::Answer(vec![name.to_owned()])
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
    /// The name by which it is called, from inside a container.
    pub(crate) name: Option<String>,
    pub(crate) size: usize,
    /// The source's own address.
    pub(crate) own: IpAddr,
    /// What the server may see as the source: the own address within the cluster, the node's where a
    /// packet leaves it or comes back to where it is from.
    pub(crate) expected: Vec<IpAddr>,
    pub(crate) wanted: Wanted,
}

impl Case {
    /// Whether a Service is in its way.
    pub(super) fn is_of_a_service(&self) -> bool {
        (Path::PodToClusterIp..=Path::RollingUpdate).contains(&self.path)
    }

    /// How long it may take.
    pub(super) fn timeout_ms(&self) -> u64 {
        match (self.kind, &self.wanted) {
            (_, Wanted::Silence) => SILENCE_MS,
            (ProbeKind::TcpBulk | ProbeKind::TcpMany | ProbeKind::UdpMany, _) => 20_000,
            // For a machine with a lot to do besides.
            _ => 5000,
        }
    }
}
