//! Services and the endpoints behind them, as Seaway sees them (core/v1 Service, discovery/v1
//! EndpointSlice): what balancing, health checks and names need, and no more.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Family, NodeName, PodName, Protocol, ServiceName, SliceName};

/// How long a client keeps its endpoint when a Service does not say, in seconds (S25).
pub const AFFINITY_SECONDS: u32 = 10_800;

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// `namespace/name`.
    pub name: ServiceName,
    /// When it was made, in seconds since 1970: of two that claim one address the older has it.
    #[serde(default)]
    pub created: i64,
    /// What it offers beyond its cluster addresses.
    pub kind: ServiceKind,
    /// Its virtual addresses, at most one a family; none when it is headless or an alias.
    #[serde(default)]
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    #[serde(default)]
    pub ports: Vec<ServicePort>,
    /// `spec.externalIPs`, in force only where that is switched on (KEP-5707).
    #[serde(default)]
    pub external_ips: Vec<IpAddr>,
    /// Addresses of `status.loadBalancer.ingress` whose `ipMode` is VIP (S19).
    #[serde(default)]
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; everybody when empty (S20).
    #[serde(default)]
    pub source_ranges: Vec<IpNet>,
    /// `externalTrafficPolicy` (S10).
    #[serde(default)]
    pub external_policy: TrafficPolicy,
    /// `internalTrafficPolicy` (S11).
    #[serde(default)]
    pub internal_policy: TrafficPolicy,
    /// How long a client keeps its endpoint in seconds; `None` without affinity (S25).
    #[serde(default)]
    pub affinity: Option<u32>,
    /// `healthCheckNodePort` (S23); only with a load balancer and external policy Local.
    #[serde(default)]
    pub health_port: Option<u16>,
    /// `publishNotReadyAddresses`: names lead to endpoints that are not ready, too (S7).
    #[serde(default)]
    pub publish_not_ready: bool,
    /// Somebody else balances this Service (S34): it is known by name only.
    #[serde(default)]
    pub foreign: bool,
}

impl Service {
    /// Whether it has names but no address of its own (`clusterIP: None`).
    pub fn is_headless(&self) -> bool {
        self.cluster_ips.is_empty() && !matches!(self.kind, ServiceKind::ExternalName(_))
    }

    /// The virtual address of a family.
    pub fn cluster_ip(&self, family: Family) -> Option<IpAddr> {
        let mut all = self.cluster_ips.iter().copied();
        all.find(|address| Family::of(*address) == family)
    }
}

/// What a Service offers (S1): each kind has what the one before has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceKind {
    /// Addresses inside the cluster.
    #[serde(alias = "ClusterIP")]
    ClusterIp,
    /// And ports of every node.
    NodePort,
    /// And addresses of a load balancer.
    LoadBalancer,
    /// Nothing but another name for a name outside.
    ExternalName(String),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePort {
    /// Its name; empty when the Service has only one and gives it none. Endpoints are found by it.
    #[serde(default)]
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port at the Service's addresses.
    pub port: u16,
    /// The port of every node.
    #[serde(default)]
    pub node_port: Option<u16>,
}

/// Which endpoints traffic may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Any.
    #[default]
    Cluster,
    /// Those on the node that the traffic came to.
    Local,
}

/// Some of the endpoints of a Service, of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSlice {
    /// `namespace/name`.
    pub name: SliceName,
    /// Whose endpoints they are: a Service of the same namespace.
    pub service: ServiceName,
    /// The family of all addresses.
    pub family: Family,
    /// The ports of every endpoint.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port that all endpoints of a slice have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlicePort {
    /// The name of the Service's port that leads here.
    #[serde(default)]
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port; `None` for every port (headless Services only).
    #[serde(default)]
    pub port: Option<u16>,
}

/// An endpoint. Missing conditions have been filled in (S5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its address: the first that the slice names.
    pub address: IpAddr,
    /// It takes new traffic.
    #[serde(default = "yes")]
    pub ready: bool,
    /// It answers, even if it is about to end.
    #[serde(default = "yes")]
    pub serving: bool,
    /// It is about to end.
    #[serde(default)]
    pub terminating: bool,
    /// The node that it is on.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// The Pod that it is, if it is one.
    #[serde(default)]
    pub pod: Option<PodName>,
    /// Its name within the Service, for DNS.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The zones that are to use it (S12).
    #[serde(default)]
    pub for_zones: Vec<String>,
    /// The nodes that are to use it (S12).
    #[serde(default)]
    pub for_nodes: Vec<NodeName>,
}

fn yes() -> bool {
    true
}
