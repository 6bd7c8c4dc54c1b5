//! The form of the truth table: what a file of cases says. Pure data; `objects` makes Kubernetes
//! objects of it.
//!
//! A file has settings of the agents and cases. A case has Services, the endpoints behind them and
//! probes, each of which says who sends what where and what must come of it. Everything is tried in
//! both families and by all three protocols unless it says otherwise.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Family, Protocol, TrafficPolicy};
use serde::Deserialize;

/// A file of cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// How Services are to be balanced.
    #[serde(default)]
    pub settings: TableSettings,
    /// The cases; all of them are there at once.
    pub cases: Vec<Case>,
}

/// What differs from the usual settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableSettings {
    /// Node ports are open on the node's addresses in these networks.
    pub node_port_addresses: Vec<IpNet>,
    /// `spec.externalIPs` is in force.
    pub external_ips: bool,
    /// Nobody keeps its source.
    pub masquerade_all: bool,
    /// Slices may name addresses of nodes.
    pub node_endpoints: bool,
}

/// A case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, for people.
    pub name: String,
    /// Which lines of the semantics it proves: `S9`.
    pub covers: Vec<String>,
    /// Names of Kubernetes' own end-to-end tests that it stands for.
    #[serde(default)]
    pub e2e: Vec<String>,
    /// The Services.
    #[serde(default)]
    pub services: Vec<ServiceCase>,
    /// Who asks and what comes of it.
    pub probes: Vec<Probe>,
}

/// A Service and its endpoints.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceCase {
    /// Its name within the case.
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName` or `Headless`.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its ports; one for all protocols when it names none.
    pub ports: Vec<PortCase>,
    /// Families of its cluster addresses.
    pub families: Vec<Family>,
    /// Its cluster addresses, when they matter; else it gets some of its own.
    pub cluster_ips: Vec<IpAddr>,
    /// Its external addresses: see [`Outer`].
    pub external_ips: Vec<Outer>,
    /// Its load balancer's addresses, `ipMode` VIP.
    pub load_balancer: Vec<Outer>,
    /// Who may use the load balancer's addresses.
    pub source_ranges: Vec<IpNet>,
    /// `externalTrafficPolicy`.
    pub external: TrafficPolicy,
    /// `internalTrafficPolicy`.
    pub internal: TrafficPolicy,
    /// `sessionAffinity: ClientIP` with this timeout in seconds.
    pub affinity: Option<u32>,
    /// Somebody else's (`service.kubernetes.io/service-proxy-name`).
    pub foreign: bool,
    /// It has no node ports though its type would (`allocateLoadBalancerNodePorts: false`).
    pub no_node_ports: bool,
    /// When it was made; the older one wins.
    pub created: i64,
    /// Its endpoints, in one slice a family.
    pub endpoints: Vec<EndpointCase>,
    /// Its endpoints in several slices.
    pub slices: Vec<SliceCase>,
}

impl Default for ServiceCase {
    fn default() -> ServiceCase {
        ServiceCase {
            name: "s".to_owned(),
            kind: Kind::default(),
            ports: Vec::new(),
            families: Family::ALL.to_vec(),
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer: Vec::new(),
            source_ranges: Vec::new(),
            external: TrafficPolicy::default(),
            internal: TrafficPolicy::default(),
            affinity: None,
            foreign: false,
            no_node_ports: false,
            created: 0,
            endpoints: Vec::new(),
            slices: Vec::new(),
        }
    }
}

/// What a Service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Kind {
    /// Addresses inside.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// And node ports.
    NodePort,
    /// And a load balancer.
    LoadBalancer,
    /// Another name.
    ExternalName,
    /// `clusterIP: None`.
    Headless,
}

/// A port for some protocols.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortCase {
    /// Its name; a protocol is added to it.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its node port, when it matters.
    pub node_port: Option<u16>,
    /// The protocols.
    pub protocols: Vec<Protocol>,
    /// The port of the endpoints.
    pub target: u16,
}

impl Default for PortCase {
    fn default() -> PortCase {
        PortCase {
            name: "p".to_owned(),
            port: 80,
            node_port: None,
            protocols: Protocol::ALL.to_vec(),
            target: 8080,
        }
    }
}

/// A slice, for both families.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SliceCase {
    /// The endpoints' port, when it is not that of the Service's ports.
    pub target: Option<u16>,
    /// Only these of the Service's ports, by name; all when empty.
    pub ports: Vec<String>,
    /// The endpoints.
    pub endpoints: Vec<EndpointCase>,
}

/// An endpoint: the name of a place, or more.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum EndpointCase {
    /// A ready one.
    At(String),
    /// Any.
    Full(FullEndpoint),
}

/// An endpoint with conditions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullEndpoint {
    /// Its place; or else `addresses`.
    pub at: Option<String>,
    /// Addresses that are written as they are, at most one a family.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Only its addresses of these families.
    #[serde(default = "families")]
    pub families: Vec<Family>,
    /// Condition `ready`.
    #[serde(default = "yes")]
    pub ready: bool,
    /// Condition `serving`; as `ready` when it does not say.
    pub serving: Option<bool>,
    /// Condition `terminating`.
    #[serde(default)]
    pub terminating: bool,
    /// Hints.
    #[serde(default)]
    pub zones: Vec<String>,
    /// Hints.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// It is not said which node it is on, nor that it is a Pod.
    #[serde(default)]
    pub anonymous: bool,
}

impl EndpointCase {
    /// With everything filled in.
    pub fn full(&self) -> FullEndpoint {
        match self {
            EndpointCase::Full(full) => full.clone(),
            EndpointCase::At(at) => FullEndpoint {
                at: Some(at.clone()),
                addresses: Vec::new(),
                families: families(),
                ready: true,
                serving: None,
                terminating: false,
                zones: Vec::new(),
                nodes: Vec::new(),
                anonymous: false,
            },
        }
    }
}

fn yes() -> bool {
    true
}

/// An address outside of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outer {
    /// One that the fabric leads to node 1.
    ByNode1,
    /// One that the fabric leads to node 2.
    ByNode2,
    /// One that the host outside has, where it serves every port itself.
    Outside,
    /// The primary addresses of node 2.
    Node2,
    /// The address of a client Pod of node 2.
    Pod2,
    /// An address of the Service network that no Service has.
    ServiceNet,
    /// Where names are answered.
    Dns,
    /// The loopback address.
    Loopback,
}

/// Somebody asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// From where: `pod1` (a client Pod of node 1), `b1` (an endpoint), `node1` (a program of the
    /// node), `outside`.
    pub from: Vec<String>,
    /// To what: see [`Objects::target`](super::Objects::target).
    pub to: String,
    /// Of which Service; the first if it does not say.
    pub service: Option<String>,
    /// Which of its ports; the first if it does not say.
    pub port: Option<String>,
    /// Only by these protocols.
    #[serde(default = "protocols")]
    pub protocols: Vec<Protocol>,
    /// Only in these families.
    #[serde(default = "families")]
    pub families: Vec<Family>,
    /// What must come of it.
    pub expect: Expect,
}

fn protocols() -> Vec<Protocol> {
    Protocol::ALL.to_vec()
}

fn families() -> Vec<Family> {
    Family::ALL.to_vec()
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// All of these answer, and nobody else; who is seen is the client.
    Reach(Vec<String>),
    /// The same; who is seen is the node where it was translated.
    ReachAsNode(Vec<String>),
    /// One of these, the same whenever this client asks.
    Sticks(Vec<String>),
    /// The client is told at once that there is nothing.
    Refused,
    /// There is no answer, and the node counts why.
    Dropped(String),
    /// It is no Service's: it goes to whoever has the address, who answers.
    Passes(Vec<String>),
    /// It is no Service's, and nobody answers well.
    PassesToNobody,
}

/// Whom a server must have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The client; the node's address when it asks itself.
    Client,
    /// A node.
    Node,
    /// That does not matter.
    Anybody,
}
