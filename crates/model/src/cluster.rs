//! Cluster objects as Seaway sees them: what planning needs of nodes and Pods, and no more.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{EndpointSlice, Family, NodeName, PodName, Service, ServiceName, SliceName, Transport};

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, unique in the cluster.
    pub name: NodeName,
    /// The addresses under which other nodes reach it; the first of a family is the one used.
    pub addresses: Vec<IpAddr>,
    /// The networks that its Pods get their addresses from, in order of preference.
    pub pod_cidrs: Vec<IpNet>,
    /// The transport that its agent says it uses, if it does: `l2` towards a node that does not
    /// answer for its Pods would find nobody.
    #[serde(default)]
    pub transport: Option<Transport>,
    /// The zone that it is in (label `topology.kubernetes.io/zone`).
    #[serde(default)]
    pub zone: Option<String>,
    /// It is about to be deleted, and should get no new traffic (KEP-3836).
    #[serde(default)]
    pub leaving: bool,
}

impl Node {
    /// The address of `family` under which other nodes reach this one.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|a| Family::of(*a) == family)
    }
}

/// Where a Pod is in its life (core/v1 PodStatus.phase).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodPhase {
    /// Accepted, not all containers are up.
    #[default]
    Pending,
    /// Bound and started.
    Running,
    /// All containers ended well and will not restart.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
    /// The node does not answer.
    Unknown,
}

impl PodPhase {
    /// Whether the Pod is over, so that its address may serve another.
    pub fn is_terminal(self) -> bool {
        matches!(self, PodPhase::Succeeded | PodPhase::Failed)
    }
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `namespace/name`.
    pub name: PodName,
    /// The node it is bound to, if it is.
    pub node: Option<NodeName>,
    /// The addresses that its status names; empty until it has been attached.
    pub addresses: Vec<IpAddr>,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// Whether it uses the node's own network.
    pub host_network: bool,
}

impl Pod {
    /// Whether this Pod keeps its addresses from being handed out on `node` (design §1).
    pub fn holds_addresses_on(&self, node: &NodeName) -> bool {
        !self.host_network && !self.phase.is_terminal() && self.node.as_ref() == Some(node)
    }
}

/// One change of the cluster, as a source reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A node appeared or changed.
    NodeUpsert(Node),
    /// A node is gone.
    NodeDelete(NodeName),
    /// A Pod appeared or changed.
    PodUpsert(Pod),
    /// A Pod is gone.
    PodDelete(PodName),
    /// A Service appeared or changed.
    ServiceUpsert(Service),
    /// A Service is gone.
    ServiceDelete(ServiceName),
    /// Endpoints of a Service appeared or changed.
    SliceUpsert(EndpointSlice),
    /// Endpoints of a Service are gone.
    SliceDelete(SliceName),
    /// Everything that existed when the source connected has been told.
    Synced,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_names_are_checked_in_both_parts() {
        assert_eq!(
            "default/web-0"
                .parse::<PodName>()
                .expect("valid")
                .namespace(),
            "default"
        );
        for bad in [
            "web",
            "Default/web",
            "a.b/web",
            "default/",
            "default/We",
            "/x",
        ] {
            assert!(bad.parse::<PodName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_running_pods_of_this_node_hold_addresses() {
        let node = NodeName::new("n1").expect("valid");
        let pod = Pod {
            name: "default/a".parse().expect("valid"),
            node: Some(node.clone()),
            addresses: vec![],
            phase: PodPhase::Running,
            host_network: false,
        };
        assert!(pod.holds_addresses_on(&node));
        assert!(
            !Pod {
                phase: PodPhase::Failed,
                ..pod.clone()
            }
            .holds_addresses_on(&node)
        );
        assert!(
            !Pod {
                host_network: true,
                ..pod.clone()
            }
            .holds_addresses_on(&node)
        );
        assert!(!Pod { node: None, ..pod }.holds_addresses_on(&node));
    }
}
