//! Services in the planner: what they are told, and what they tell.

use std::net::IpAddr;

use seaway_model::{EndpointSlice, Node, NodeName, Protocol, Service, ServiceName, SliceName};

use super::Planner;
use crate::check::Finding;
use crate::services::{FlowTruth, Ground, HealthCheck, Programming, ServiceView};
use crate::table::ChangeSet;

impl Planner {
    pub(super) fn change_service(&mut self, name: &ServiceName, now: Option<Service>) -> ChangeSet {
        let tables = self.ledger.tables_mut();
        let changes = self.services.set_service(name, now, tables);
        self.settled(changes)
    }

    pub(super) fn insert_slice(&mut self, slice: EndpointSlice) -> ChangeSet {
        let tables = self.ledger.tables_mut();
        let changes = self.services.insert_slice(slice, tables);
        self.settled(changes)
    }

    pub(super) fn remove_slice(&mut self, name: &SliceName) -> ChangeSet {
        let tables = self.ledger.tables_mut();
        let changes = self.services.remove_slice(name, tables);
        self.settled(changes)
    }

    pub(super) fn change_host_addresses(&mut self, all: Vec<IpAddr>) -> ChangeSet {
        let tables = self.ledger.tables_mut();
        let changes = self.services.set_host_addresses(all, tables);
        self.settled(changes)
    }

    /// Tells Services what became of a node. What follows from the sum of all rows is the
    /// caller's to settle.
    pub(super) fn change_places(&mut self, name: &NodeName, before: Option<&Node>) -> ChangeSet {
        let now = self.nodes.get(name);
        let tables = self.ledger.tables_mut();
        let changes = self.services.change_node(before, now, tables);
        self.totals.count_ranges(&changes);
        changes
    }

    /// Tells Services what they stand on. What follows from the sum of all rows is the caller's to
    /// settle.
    pub(super) fn change_ground(&mut self) -> ChangeSet {
        let ground = self.ground();
        let tables = self.ledger.tables_mut();
        let changes = self.services.stand_on(ground, tables);
        self.totals.count_ranges(&changes);
        changes
    }

    fn ground(&self) -> Option<Ground> {
        let settings = self.context.services()?.clone();
        let node = self.node()?;
        Some(Ground {
            name: node.name.clone(),
            zone: node.zone.clone(),
            settings,
            own_addresses: node.addresses.clone(),
            node_ports: std::collections::BTreeSet::new(),
            vxlan_port: self.context.settings.vxlan.as_ref().map(|vxlan| vxlan.port),
        })
    }

    fn settled(&mut self, mut changes: ChangeSet) -> ChangeSet {
        self.totals.count_ranges(&changes);
        // Nothing else follows from backends.
        let stays = changes.frontends.is_empty() && changes.source_ranges.is_empty();
        if !stays || self.totals.summary().affinities != *self.services.affinities() {
            changes.append(self.settle());
        }
        changes
    }

    /// What is known of a Service.
    pub fn service(&self, name: &ServiceName) -> Option<ServiceView<'_>> {
        self.services.view(name)
    }

    /// All Services by name.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        self.services.views()
    }

    /// Whose endpoints a slice has, if it is known.
    pub fn slice_owner(&self, name: &SliceName) -> Option<&ServiceName> {
        self.services.slice_owner(name)
    }

    /// How many ready endpoints of a Service are on this node: distinct addresses, of the family
    /// that has more of them (S23).
    pub fn local_endpoints(&self, name: &ServiceName) -> usize {
        self.services.local_endpoints(name, self.rows())
    }

    /// The health checks that this node is to answer (S23).
    pub fn health_checks(&self) -> Vec<HealthCheck> {
        self.services.health_checks(self.rows())
    }

    /// Who may answer the UDP flows to each frontend that a Service has on this node (S27).
    pub fn udp_flows(&self, name: &ServiceName) -> Vec<FlowTruth> {
        self.services.udp_flows(name, self.rows())
    }

    /// Of the UDP frontends that these changes took away, those that nobody has now: nobody may
    /// answer flows to them (S27).
    pub fn udp_flows_gone(&self, changes: &ChangeSet) -> Vec<FlowTruth> {
        self.services.udp_flows_gone(changes, self.rows())
    }

    /// How much there is to program (S44).
    pub fn programming(&self) -> Programming {
        self.services.programming()
    }

    /// The addresses on which the ports of this node are open, beside the loopback address (S15).
    pub fn node_port_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.services.node_port_addresses()
    }

    /// The Service that has an address and port on this node.
    pub fn service_at(
        &self,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<&ServiceName> {
        self.services.holder(address, protocol, port, self.rows())
    }

    /// What is wrong with Services.
    pub(crate) fn service_findings(&self, findings: &mut Vec<Finding>) {
        self.services.findings(self.rows(), findings);
    }
}
