//! What there is of Services on the node, for status: figures alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::services::checks::Checks;
use crate::state::State;

/// What there is of Services.
#[derive(Clone, Debug, Serialize)]
pub struct ServicesReport {
    /// How many are balanced here.
    pub services: usize,
    /// How many endpoints they have.
    pub endpoints: usize,
    /// How many addresses with ports lead to them.
    pub frontends: usize,
    /// How many slots endpoints have in all.
    pub backends: usize,
    /// The addresses at which the node's ports are open.
    pub node_port_addresses: BTreeSet<IpAddr>,
    /// Where cluster addresses come from.
    pub service_cidrs: Vec<IpNet>,
    /// At how many ports load balancers ask for the health of Services.
    pub health_checks: usize,
    /// Names are answered on the node.
    pub dns: bool,
}

/// The report; nothing where Services are not balanced.
pub(super) fn services(state: &State, checks: &Checks) -> Option<ServicesReport> {
    let settings = state.planner.settings().services.as_ref()?;
    let planned = state.planner.programming();
    let rows = state.planner.rows();
    Some(ServicesReport {
        services: planned.services,
        endpoints: planned.endpoints,
        frontends: rows.frontends.len(),
        backends: rows.backends.len(),
        node_port_addresses: state.planner.node_port_addresses().collect(),
        service_cidrs: settings.service_cidrs.clone(),
        health_checks: checks.ports().len(),
        dns: settings.dns,
    })
}
