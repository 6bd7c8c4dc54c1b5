//! The status of a cluster: what an overview of it comes to. Pure.
//!
//! As JSON it is for programs: fields are only ever added while `format` stays the same.

use std::collections::{BTreeMap, BTreeSet};

use seaway_api::heartbeat::{AgentSummary, PoolSummary, RowsSummary, UplinkSummary};
use seaway_api::overview::{AgentOverview, ControllerOverview, NodeOverview, Overview};
use serde::Serialize;

use super::judge;

/// The format of the JSON.
const FORMAT: u32 = 1;

/// How a cluster is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterStatus {
    pub(super) format: u32,
    /// Whether there are no problems at all.
    pub(super) healthy: bool,
    /// The namespace of Seaway's own objects.
    pub(super) namespace: String,
    pub(super) agents: Agents,
    /// Nothing if no controller has ever led.
    pub(super) controller: Option<Controller>,
    /// How many agents have which version.
    pub(super) versions: BTreeMap<String, usize>,
    pub(super) nodes: Vec<NodeStatus>,
    /// How many Pods have been without an address for too long; nothing if that is not known.
    pub(super) pods_without_address: Option<u64>,
    /// How many NetworkPolicies there are that nobody enforces; nothing if that is not known.
    pub(super) policies_not_enforced: Option<u64>,
    pub(super) services: Option<u64>,
    pub(super) endpoint_slices: Option<u64>,
    /// What does not work.
    pub(super) problems: Vec<Complaint>,
    /// What works, but not as people may think.
    pub(super) warnings: Vec<Complaint>,
    /// What is worth knowing.
    pub(super) notes: Vec<Complaint>,
}

/// How many nodes there are that an agent can be on, and how these are.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agents {
    pub(super) wanted: usize,
    pub(super) ready: usize,
    pub(super) not_ready: usize,
    pub(super) silent: usize,
    pub(super) missing: usize,
}

/// The controller that leads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Controller {
    pub(super) holder: Option<String>,
    pub(super) version: Option<String>,
    pub(super) renewed_seconds_ago: Option<u64>,
    /// Nobody leads, or whoever did is silent.
    pub(super) vacant: bool,
}

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AgentState {
    /// It says that Pods could be attached.
    Ready,
    /// It says that they could not.
    NotReady,
    /// It has not been heard of for too long.
    Silent,
    /// It has never been heard of.
    Missing,
    /// It is heard of, but not understood.
    Unreadable,
    /// None can be there: the node's system is another one.
    NotWanted,
}

/// A row of the table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeStatus {
    pub(super) node: String,
    pub(super) agent: AgentState,
    /// Why it is not ready.
    pub(super) reason: Option<String>,
    /// Whether the node's kubelet is ready.
    pub(super) node_ready: bool,
    pub(super) heartbeat_seconds_ago: Option<u64>,
    pub(super) version: Option<String>,
    pub(super) started: Option<String>,
    pub(super) pods: usize,
    pub(super) pod_cidrs: Vec<PoolSummary>,
    pub(super) transport: Option<String>,
    pub(super) wiring: Option<String>,
    pub(super) mtu: Option<u32>,
    pub(super) backend: Option<String>,
    pub(super) rows: RowsSummary,
    pub(super) uplink: Option<UplinkSummary>,
    pub(super) api_server: Option<String>,
    pub(super) drops: BTreeMap<String, u64>,
    /// How many problems name this node.
    pub(super) problems: usize,
}

/// Something that is said of some nodes, or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Complaint {
    pub(super) text: String,
    /// The nodes that it is said of, or of whose agents it is heard.
    pub(super) nodes: BTreeSet<String>,
    /// What to do next; empty if there is nothing to do.
    pub(super) next: String,
}

impl ClusterStatus {
    /// Judges an overview.
    pub(crate) fn of(overview: &Overview, namespace: &str) -> ClusterStatus {
        let by_node: BTreeMap<&str, &AgentOverview> = overview
            .agents
            .iter()
            .map(|agent| (agent.node.as_str(), agent))
            .collect();
        let nodes = overview.nodes.iter();
        let mut nodes: Vec<NodeStatus> = nodes
            .map(|node| row(node, by_node.get(node.name.as_str()).copied()))
            .collect();
        let findings = judge::judge(overview, &nodes, namespace);
        for node in &mut nodes {
            let of_node = |complaint: &&Complaint| complaint.nodes.contains(&node.node);
            node.problems = findings.problems.iter().filter(of_node).count();
        }
        let known = |count: &Result<u64, String>| count.as_ref().ok().copied();
        ClusterStatus {
            format: FORMAT,
            healthy: findings.problems.is_empty(),
            namespace: namespace.to_owned(),
            agents: agents(&nodes),
            controller: overview
                .controller
                .as_ref()
                .map(|c| controller(c, overview)),
            versions: versions(&nodes),
            nodes,
            pods_without_address: overview.waiting.as_ref().ok().map(|all| all.len() as u64),
            policies_not_enforced: known(&overview.policies),
            services: known(&overview.services),
            endpoint_slices: known(&overview.slices),
            problems: findings.problems,
            warnings: findings.warnings,
            notes: findings.notes,
        }
    }

    /// What is waited for, in a line.
    pub(crate) fn progress(&self) -> String {
        let Agents { wanted, ready, .. } = self.agents;
        let mut line = format!("{ready} of {wanted} agents are ready");
        if let Some(problem) = self.problems.first() {
            line.push_str("; ");
            line.push_str(&problem.text);
            if !problem.nodes.is_empty() {
                line.push_str(&format!(" ({})", names(&problem.nodes)));
            }
        }
        if self.problems.len() > 1 {
            line.push_str(&format!("; and {} more", self.problems.len() - 1));
        }
        line
    }
}

/// The first few names, and how many more there are.
pub(super) fn names(nodes: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    let mut all: Vec<String> = nodes.iter().take(SHOWN).cloned().collect();
    if nodes.len() > SHOWN {
        all.push(format!("and {} more nodes", nodes.len() - SHOWN));
    }
    all.join(", ")
}

fn row(node: &NodeOverview, agent: Option<&AgentOverview>) -> NodeStatus {
    let nothing = AgentSummary::default();
    let known = agent.and_then(|agent| agent.summary.as_ref().ok());
    let summary = known.unwrap_or(&nothing);
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    NodeStatus {
        node: node.name.clone(),
        agent: state(node, agent),
        reason: summary.reason.clone(),
        node_ready: node.ready,
        heartbeat_seconds_ago: agent.and_then(|agent| agent.renewed),
        version: text(&summary.version),
        started: text(&summary.started),
        pods: summary.pods,
        pod_cidrs: summary.pod_cidrs.clone(),
        transport: text(&summary.transport),
        wiring: text(&summary.wiring),
        mtu: known.map(|summary| summary.mtu),
        backend: text(&summary.backend),
        rows: summary.rows,
        uplink: summary.uplink.clone(),
        api_server: text(&summary.api_server),
        drops: summary.drops.clone(),
        problems: 0,
    }
}

fn state(node: &NodeOverview, agent: Option<&AgentOverview>) -> AgentState {
    match agent {
        None if !node.linux => AgentState::NotWanted,
        None => AgentState::Missing,
        Some(agent) if agent.renewed.is_none_or(|ago| ago > agent.good_for) => AgentState::Silent,
        Some(agent) => match &agent.summary {
            Err(_) => AgentState::Unreadable,
            Ok(summary) if summary.ready => AgentState::Ready,
            Ok(_) => AgentState::NotReady,
        },
    }
}

fn agents(nodes: &[NodeStatus]) -> Agents {
    let mut agents = Agents::default();
    for node in nodes {
        let place = match node.agent {
            AgentState::NotWanted => continue,
            AgentState::Ready => &mut agents.ready,
            AgentState::NotReady | AgentState::Unreadable => &mut agents.not_ready,
            AgentState::Silent => &mut agents.silent,
            AgentState::Missing => &mut agents.missing,
        };
        *place += 1;
        agents.wanted += 1;
    }
    agents
}

fn versions(nodes: &[NodeStatus]) -> BTreeMap<String, usize> {
    let mut versions = BTreeMap::new();
    for version in nodes.iter().filter_map(|node| node.version.clone()) {
        *versions.entry(version).or_default() += 1;
    }
    versions
}

fn controller(lease: &ControllerOverview, overview: &Overview) -> Controller {
    // A holder's name begins with that of its Pod.
    let pod = lease.holder.as_ref().and_then(|holder| {
        let mut pods = overview.own_pods.iter();
        pods.find(|pod| pod.component == "controller" && holder.starts_with(&pod.name))
    });
    let version = || pod.and_then(|pod| pod.version.clone());
    Controller {
        holder: lease.holder.clone(),
        version: lease.version.clone().or_else(version),
        renewed_seconds_ago: lease.renewed,
        vacant: lease.holder.is_none() || lease.renewed.is_none_or(|ago| ago > lease.good_for),
    }
}
