//! What the agent tells people: status, and the tables of planned and observed rows.

mod network;
mod services;

use std::net::IpAddr;
use std::time::Instant;

use seaway_cni::request::RowsRequest;
use seaway_kernel::KernelError;
use seaway_kernel::realise::{RowFailure, Services};
use seaway_kernel::uplink::ChosenUplink;
use seaway_model::{Extras, PodName, host_link_name};
use seaway_plan::check::{Finding, findings};
use seaway_plan::{RowReport, Wanted, compare_some};
use serde::Serialize;

pub use network::{NetworkReport, WaitingWiring};

pub use services::ServicesReport;

use crate::bridged;
use crate::journal::JournalEntry;
use crate::shared::Shared;
use crate::state::State;

/// With more rows than this they are not read from the kernel for a look at the node's health.
const MANY_ROWS: usize = 10_000;
/// So many rows are sure to fit into a message.
const MOST_ROWS: usize = 5_000;

/// A node's health.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The agent's version.
    pub version: &'static str,
    /// Whether a Pod could be attached now.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The uplink in use.
    pub uplink: Option<ChosenUplink>,
    /// Why there is no uplink.
    pub uplink_problem: Option<String>,
    /// Where the cluster's state comes from: a file, or the URL of an API server.
    pub source: String,
    /// Why the cluster's state cannot be read at present; the last one holds.
    pub source_problem: Option<String>,
    /// For how many seconds something has been wrong with the source.
    pub source_problem_seconds: Option<u64>,
    /// Why the own Node or the agent's Lease cannot be written, if so; nothing on this node waits for
    /// that.
    pub node_problem: Option<String>,
    /// How the Pod network is.
    pub network: NetworkReport,
    /// What there is of Services; nothing where they are not balanced.
    pub services: Option<ServicesReport>,
    /// What happened lately, the newest first.
    pub events: Vec<JournalEntry>,
    /// The node's pod CIDRs.
    pub pod_cidrs: Vec<PoolReport>,
    /// The other nodes that the cluster knows.
    pub peers: usize,
    /// The Pod interfaces of this node.
    pub attachments: Vec<AttachmentReport>,
    /// How many deleted links wait for the kernel.
    pub dying: usize,
    /// How many rows are planned.
    pub rows: usize,
    /// How many rows are not as planned, unplanned ones included.
    pub drifted: usize,
    /// How many seconds ago that was seen; just now where there are few rows.
    pub drift_seconds_ago: u64,
    /// How many rows have been repaired since the start.
    pub repairs: u64,
    /// Rows that could not be made true.
    pub failures: Vec<RowFailure>,
    /// What is wrong with the cluster's objects.
    pub findings: Vec<Finding>,
}

/// A pod CIDR of the node.
#[derive(Clone, Debug, Serialize)]
pub struct PoolReport {
    /// The network.
    pub cidr: String,
    /// How many of its addresses are held.
    pub held: usize,
    /// How many there are for Pods.
    pub usable: u128,
}

/// A Pod interface.
#[derive(Clone, Debug, Serialize)]
pub struct AttachmentReport {
    /// The sandbox.
    pub container_id: String,
    /// The interface inside the Pod.
    pub interface: String,
    /// The CNI network.
    pub network: String,
    /// The Pod, when the runtime named it.
    pub pod: Option<PodName>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Ports of the node that lead to it, and limits of its rate.
    pub extras: Extras,
    /// The host side's name.
    pub host_link: String,
}

/// Planned and observed rows.
#[derive(Clone, Debug, Serialize)]
pub struct TablesReport {
    /// The node's name.
    pub node: String,
    /// Rows, table by table.
    pub rows: Vec<RowReport>,
    /// How many more there are: a message does not hold them.
    pub left_out: usize,
}

/// Planned against observed rows, read from the kernel now: those that are asked for, no more than
/// a message holds.
pub(crate) fn rows(shared: &Shared, request: RowsRequest) -> Result<TablesReport, KernelError> {
    let wanted = Wanted {
        table: request.table,
        drift: request.drift,
        containing: request.containing,
        limit: Some(request.limit.unwrap_or(MOST_ROWS).min(MOST_ROWS)),
    };
    tables(shared, &wanted)
}

fn tables(shared: &Shared, wanted: &Wanted) -> Result<TablesReport, KernelError> {
    let (planned, node) = {
        let state = shared.lock();
        (
            state.planner.rows().clone(),
            state.planner.name().to_string(),
        )
    };
    let observed = shared.with_node(|node| node.observe(&planned, Services::Read))??;
    let (rows, left_out) = compare_some(&planned, &observed.tables, wanted);
    Ok(TablesReport {
        node,
        rows,
        left_out,
    })
}

/// How many rows are not as planned, and how many seconds ago that was seen: where they are many,
/// the keeper's last comparison has to do.
fn drifted(shared: &Shared) -> Result<(usize, u64), KernelError> {
    let (rows, compared) = {
        let state = shared.lock();
        (state.planner.rows().len(), state.compared)
    };
    if let Some(compared) = compared.filter(|_| rows > MANY_ROWS) {
        let ago = Instant::now().saturating_duration_since(compared.at);
        return Ok((compared.drifted, ago.as_secs()));
    }
    let differing = Wanted {
        drift: true,
        ..Wanted::default()
    };
    Ok((tables(shared, &differing)?.rows.len(), 0))
}

/// The node's health now.
pub(crate) fn status(shared: &Shared) -> Result<Status, KernelError> {
    let (drifted, drift_seconds_ago) = drifted(shared)?;
    let network = network::network(shared)?;
    let events = shared.journal.recent();
    let state = shared.lock();
    let reason = state.unready();
    Ok(Status {
        node: state.planner.name().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        ready: reason.is_none(),
        reason,
        uplink: state.uplink.as_ref().ok().cloned(),
        uplink_problem: state.uplink.as_ref().err().cloned(),
        source: state.source.clone(),
        source_problem: state.source_problem.as_ref().map(|p| p.text.clone()),
        source_problem_seconds: state
            .source_problem
            .as_ref()
            .map(|p| p.since.elapsed().as_secs()),
        node_problem: state.node_problem.clone(),
        network,
        services: services::services(&state, &shared.checks.borrow()),
        events,
        pod_cidrs: pools(&state),
        peers: state
            .planner
            .nodes()
            .keys()
            .filter(|n| *n != state.planner.name())
            .count(),
        attachments: attachments(&state),
        dying: state.dying.len(),
        rows: state.planner.rows().len(),
        drifted,
        drift_seconds_ago,
        repairs: state.repairs,
        failures: state.failures.values().cloned().collect(),
        findings: all_findings(&state),
    })
}

/// What is wrong with the cluster's objects, and with the node as Pods need it.
fn all_findings(state: &State) -> Vec<Finding> {
    let mut all = findings(&state.planner);
    all.extend(bridged::problem(state.wiring()).map(|message| Finding {
        object: format!("node {}", state.planner.name()),
        field: "wiring",
        message,
    }));
    all.extend(state.conflist.iter().map(|message| Finding {
        object: format!("node {}", state.planner.name()),
        field: "CNI configuration",
        message: message.clone(),
    }));
    all
}

fn pools(state: &State) -> Vec<PoolReport> {
    let report = |(cidr, held, usable): (ipnet::IpNet, usize, u128)| PoolReport {
        cidr: cidr.to_string(),
        held,
        usable,
    };
    state.ipam.usage().map(report).collect()
}

fn attachments(state: &State) -> Vec<AttachmentReport> {
    let report = |record: &crate::records::Record| AttachmentReport {
        container_id: record.attachment.id.container.to_string(),
        interface: record.attachment.id.interface.to_string(),
        network: record.attachment.network.to_string(),
        pod: record.pod.clone(),
        addresses: record.attachment.addresses.clone(),
        extras: record.attachment.extras.clone(),
        host_link: host_link_name(&record.attachment.id).to_string(),
    };
    state.records.values().map(report).collect()
}
