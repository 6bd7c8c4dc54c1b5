//! Asks a node's agent how it is, over the agent's own socket.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use seaway_cni::request::{Reply, Request};
use seaway_cni::wire::{Connection, Deadline};
use serde_json::Value;

use crate::error::LabError;
use crate::namespaces::Namespaces;
use crate::node_files::AGENT_SOCKET;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Fails unless the agent could attach a Pod now.
pub(crate) fn ready(node: &Namespaces) -> Result<(), LabError> {
    let status = status(node)?;
    match status["ready"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(LabError::Supervisor(format!(
            "the agent is not ready: {}",
            status["reason"]
        ))),
    }
}

/// The addresses that the agent holds for attachments of its node.
pub(crate) fn held_addresses(node: &Namespaces) -> Result<Vec<IpAddr>, LabError> {
    let status = status(node)?;
    let attachments = status["attachments"].as_array().into_iter().flatten();
    let addresses = attachments
        .flat_map(|attachment| attachment["addresses"].as_array())
        .flatten();
    Ok(addresses
        .filter_map(|text| text.as_str()?.parse().ok())
        .collect())
}

/// The agent's status, asked on its node.
fn status(node: &Namespaces) -> Result<Value, LabError> {
    node.run(ask)?
}

fn ask() -> Result<Value, LabError> {
    let failed =
        |reason: String| LabError::Supervisor(format!("ask the agent at {AGENT_SOCKET}: {reason}"));
    let mut connection = Connection::open(Path::new(AGENT_SOCKET), Deadline::after(TIMEOUT))
        .map_err(|e| failed(e.to_string()))?;
    let reply = connection
        .exchange(&Request::Status, None)
        .map_err(|e| failed(e.to_string()))?;
    match reply {
        Reply::Ok(status) => Ok(status),
        Reply::Error(e) => Err(failed(e.to_string())),
    }
}
