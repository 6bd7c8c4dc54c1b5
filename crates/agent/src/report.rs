//! What the agent tells people: status, and the tables of planned and observed rows.

use std::net::IpAddr;

use seaway_kernel::KernelError;
use seaway_kernel::realise::RowFailure;
use seaway_kernel::uplink::ChosenUplink;
use seaway_model::{PodName, host_link_name};
use seaway_plan::check::{Finding, findings};
use seaway_plan::{RowReport, RowState, compare};
use serde::Serialize;

use crate::shared::Shared;
use crate::state::State;

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
    /// The host side's name.
    pub host_link: String,
}

/// Planned and observed rows.
#[derive(Clone, Debug, Serialize)]
pub struct TablesReport {
    /// The node's name.
    pub node: String,
    /// All rows, table by table.
    pub rows: Vec<RowReport>,
}

/// Planned against observed rows, read from the kernel now.
pub(crate) fn tables(shared: &Shared) -> Result<TablesReport, KernelError> {
    let (planned, node) = {
        let state = shared.lock();
        (
            state.planner.rows().clone(),
            state.planner.name().to_string(),
        )
    };
    let observed = shared.with_node(|node| node.observe(&planned))??;
    Ok(TablesReport {
        node,
        rows: compare(&planned, &observed.tables),
    })
}

/// The node's health now.
pub(crate) fn status(shared: &Shared) -> Result<Status, KernelError> {
    let rows = tables(shared)?.rows;
    let drifted = rows
        .iter()
        .filter(|row| row.state != RowState::InForce)
        .count();
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
        repairs: state.repairs,
        failures: state.failures.values().cloned().collect(),
        findings: findings(&state.planner),
    })
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
        host_link: host_link_name(&record.attachment.id).to_string(),
    };
    state.records.values().map(report).collect()
}
