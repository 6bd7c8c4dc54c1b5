//! What there is to say of a Service beside its rows: what is refused, and a few figures.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use seaway_model::ServiceName;

use super::endpoints::Refused;
use super::judge::Reason;
use super::slots::MOST_BACKENDS;
use super::view::Programming;
use crate::check::{Finding, finding};

/// What there is to say of a Service, as of the last time it was planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// What is wrong with it.
    pub(super) findings: Option<Box<[Finding]>>,
    /// Its endpoints: distinct addresses with their ports.
    pub(super) endpoints: u32,
    /// It is balanced here.
    pub(super) is_balanced: bool,
    /// It has endpoints, but none for internal traffic with policy Local.
    pub(super) no_local_internal: bool,
    /// Likewise for external traffic.
    pub(super) no_local_external: bool,
}

impl Note {
    /// Counts it in.
    pub(super) fn add_to(&self, sum: &mut Programming) {
        sum.services += usize::from(self.is_balanced);
        sum.endpoints += self.endpoints as usize;
        sum.no_local_internal += usize::from(self.no_local_internal);
        sum.no_local_external += usize::from(self.no_local_external);
    }

    /// Counts it out.
    pub(super) fn take_from(&self, sum: &mut Programming) {
        sum.services -= usize::from(self.is_balanced);
        sum.endpoints -= self.endpoints as usize;
        sum.no_local_internal -= usize::from(self.no_local_internal);
        sum.no_local_external -= usize::from(self.no_local_external);
    }
}

/// Findings as they are made. Of many endpoints that are refused for one reason one is named.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    service: &'a ServiceName,
    all: BTreeSet<Finding>,
    refused: BTreeMap<(String, String), (std::net::IpAddr, usize)>,
}

impl<'a> Findings<'a> {
    pub(super) fn of(service: &'a ServiceName) -> Findings<'a> {
        Findings {
            service,
            all: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    fn add(&mut self, field: &'static str, message: String) {
        let object = format!("Service {}", self.service);
        self.all.insert(finding(object, field, message));
    }

    /// An endpoint is not used.
    pub(super) fn endpoint(&mut self, refused: &Refused<'_>) {
        let key = (refused.slice.name.to_string(), refused.reason.to_string());
        let entry = self.refused.entry(key).or_insert((refused.address, 0));
        entry.0 = entry.0.min(refused.address);
        entry.1 += 1;
    }

    /// A slice names a port that is none.
    pub(super) fn no_port(&mut self, slice: &seaway_model::SliceName) {
        let message = "it names port 0, which is none, so nothing leads to it; give the port's \
                       number"
            .to_owned();
        let object = format!("EndpointSlice {slice}");
        self.all.insert(finding(object, "ports", message));
    }

    /// A cluster address is not in force.
    pub(super) fn cluster_ip(&mut self, address: std::net::IpAddr, reason: &Reason) {
        self.add(
            "clusterIPs",
            format!(
                "{address} is not in force: {reason}; make the Service again with another, from a \
                 service CIDR that nothing else uses"
            ),
        );
    }

    /// An address outside the cluster is not in force.
    pub(super) fn external(
        &mut self,
        field: &'static str,
        address: std::net::IpAddr,
        reason: &Reason,
    ) {
        self.add(
            field,
            format!("{address} is not in force: {reason}; use an address that nothing else has"),
        );
    }

    /// External addresses are switched off.
    pub(super) fn external_off(&mut self) {
        self.add(
            "externalIPs",
            "they are not in force: external IPs are switched off, for whoever may write a \
             Service could take any address with them; switch them on, or use a load balancer"
                .to_owned(),
        );
    }

    /// A port of the node is not opened.
    pub(super) fn vxlan_port(&mut self, port: u16) {
        self.add(
            "nodePort",
            format!(
                "UDP {port} is not opened: VXLAN frames of other nodes come to this port; choose \
                 another node port, or another port for VXLAN on every node"
            ),
        );
    }

    /// There are more endpoints than a group can hold.
    pub(super) fn too_many(&mut self, port: &str, count: usize) {
        self.add(
            "ports",
            format!(
                "port \"{port}\" has {count} endpoints and only the first {MOST_BACKENDS} by \
                 address are used; split the Service"
            ),
        );
    }

    /// A client keeps its endpoint longer than was asked for.
    pub(super) fn affinity(&mut self, wanted: u32, given: u32) {
        self.add(
            "sessionAffinityConfig",
            format!(
                "clients keep their endpoint for {given} s rather than {wanted} s: there is room \
                 for {} different times; use one that others use",
                super::affinity::MOST_TIMES
            ),
        );
    }

    /// Sources are given for addresses of a family that has no such addresses, or the other way
    /// around: nobody may use them.
    pub(super) fn no_range(&mut self, address: std::net::IpAddr, ranges: &[IpNet]) {
        let first = ranges.first().map(ToString::to_string).unwrap_or_default();
        self.add(
            "loadBalancerSourceRanges",
            format!(
                "nobody may use {address}: there are only ranges of the other family, such as \
                 {first}; add one of its family"
            ),
        );
    }

    /// All of them, in order.
    pub(super) fn finish(mut self) -> Option<Box<[Finding]>> {
        for ((slice, reason), (address, count)) in std::mem::take(&mut self.refused) {
            let others = match count {
                1 => String::new(),
                more => format!(" (and so for {} others)", more - 1),
            };
            let message = format!(
                "{address} is not used: {reason}{others}; name addresses of Pods, or of machines \
                 outside the cluster"
            );
            let object = format!("EndpointSlice {slice}");
            self.all.insert(finding(object, "endpoints", message));
        }
        (!self.all.is_empty()).then(|| self.all.into_iter().collect())
    }
}
