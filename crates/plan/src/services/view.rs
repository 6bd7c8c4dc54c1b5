//! What is known of Services, for whoever asks: names, health checks, reconciliation of flows.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use seaway_model::{EndpointSlice, Service, ServiceName};

use super::store::Entry;

/// A Service with the slices of its endpoints. Either may be there without the other.
#[derive(Clone, Copy, Debug)]
pub struct ServiceView<'a> {
    name: &'a ServiceName,
    entry: &'a Entry,
}

impl<'a> ServiceView<'a> {
    pub(super) fn new(name: &'a ServiceName, entry: &'a Entry) -> ServiceView<'a> {
        ServiceView { name, entry }
    }

    /// `namespace/name`.
    pub fn name(&self) -> &'a ServiceName {
        self.name
    }

    /// The Service; `None` when there are just slices that name it.
    pub fn service(&self) -> Option<&'a Service> {
        self.entry.service.as_deref()
    }

    /// The slices of its endpoints, by name.
    pub fn slices(&self) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        self.entry.slices()
    }
}

/// A port of this node at which load balancers ask whether the node has endpoints of a Service
/// (S23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service.
    pub service: ServiceName,
    /// The port.
    pub port: u16,
    /// How many ready endpoints the node has.
    pub local_endpoints: usize,
}

/// Who may answer UDP flows to a frontend (S27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTruth {
    /// Where the flows were sent to.
    pub frontend: SocketAddr,
    /// The endpoints whose flows are to live on.
    pub may_answer: BTreeSet<SocketAddr>,
}

/// How much there is to program, and how much of it leads nowhere (S44).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Programming {
    /// Services that are balanced here.
    pub services: usize,
    /// Their endpoints: distinct addresses with their ports, usable or not.
    pub endpoints: usize,
    /// Services with `internalTrafficPolicy: Local` and endpoints, but none on this node.
    pub no_local_internal: usize,
    /// Services with `externalTrafficPolicy: Local` and endpoints, but none on this node.
    pub no_local_external: usize,
}
