//! What there is to tell of Services: to whoever asks for names, health, flows and figures.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use seaway_model::{Family, Protocol, ServiceName, SliceName, View};

use super::endpoints::{Use, candidates, is_local};
use super::judge::Judge;
use super::rows::holder;
use super::spots::{Point, is_balanced, spots};
use super::{FlowTruth, HealthCheck, Programming, ServiceView, Services};
use crate::check::{Finding, finding};
use crate::table::{Change, ChangeSet, Tables};

impl Services {
    /// What is known of a Service.
    pub(crate) fn view(&self, name: &ServiceName) -> Option<ServiceView<'_>> {
        let (name, entry) = self.store.named(name)?;
        Some(ServiceView::new(name, entry))
    }

    /// All Services by name.
    pub(crate) fn views(&self) -> impl Iterator<Item = ServiceView<'_>> {
        let all = self.store.iter();
        all.map(|(name, entry)| ServiceView::new(name, entry))
    }

    /// Whose endpoints a slice has.
    pub(crate) fn slice_owner(&self, name: &SliceName) -> Option<&ServiceName> {
        self.store.slice(name).map(|slice| &slice.service)
    }

    /// Figures.
    pub(crate) fn programming(&self) -> Programming {
        self.sum
    }

    /// The times for which clients keep their endpoint.
    pub(crate) fn affinities(&self) -> &BTreeSet<u32> {
        self.affinities.kept()
    }

    /// How many ready endpoints of a Service are on this node: distinct addresses, of the family
    /// that has more.
    pub(crate) fn local_endpoints(&self, name: &ServiceName, tables: &Tables) -> usize {
        let (Some(entry), Some(judge)) = (self.store.entry(name), self.judged(tables)) else {
            return 0;
        };
        let Some(service) = entry.service.as_deref().filter(|s| is_balanced(s)) else {
            return 0;
        };
        let of = |family: Family| -> usize {
            let mut addresses = BTreeSet::<IpAddr>::new();
            for port in &service.ports {
                let all = candidates(entry.slices(), family, port, &judge, |_| ());
                let ready = all.iter().filter(|c| c.usage == Use::Ready);
                let here = ready.filter(|c| is_local(c.endpoint, judge.ground));
                addresses.extend(here.map(|c| c.target.ip()));
            }
            addresses.len()
        };
        let families = Family::ALL.into_iter();
        families
            .filter(|f| service.cluster_ip(*f).is_some())
            .map(of)
            .max()
            .unwrap_or(0)
    }

    /// The health checks that are to be answered.
    pub(crate) fn health_checks(&self, tables: &Tables) -> Vec<HealthCheck> {
        let check = |name: &ServiceName| {
            Some(HealthCheck {
                service: name.clone(),
                port: self.service(name)?.health_port?,
                local_endpoints: self.local_endpoints(name, tables),
            })
        };
        let on = self.ground.is_some();
        self.checked
            .iter()
            .filter(|_| on)
            .filter_map(check)
            .collect()
    }

    /// Who may answer the UDP flows to each frontend that a Service has.
    pub(crate) fn udp_flows(&self, name: &ServiceName, tables: &Tables) -> Vec<FlowTruth> {
        let (Some(entry), Some(judge)) = (self.store.entry(name), self.judged(tables)) else {
            return Vec::new();
        };
        let Some(service) = entry.service.as_deref() else {
            return Vec::new();
        };
        let has =
            |point: Point| point.protocol == Protocol::Udp && holder(tables, point) == Some(name);
        let all = spots(service, judge.ground).into_iter();
        let truth = |spot: super::spots::Spot| {
            let (port, family) = (service.ports.get(spot.port)?, spot.point.family());
            let all = candidates(entry.slices(), family, port, &judge, |_| ());
            let answering = all.iter().filter(|c| c.usage <= Use::Serving);
            Some(FlowTruth {
                frontend: SocketAddr::new(spot.point.address, spot.point.port),
                may_answer: answering.map(|c| c.target).collect(),
            })
        };
        all.filter(|spot| has(spot.point))
            .filter_map(truth)
            .collect()
    }

    /// Of the UDP frontends that changes took away, those that nobody has now.
    pub(crate) fn udp_flows_gone(&self, changes: &ChangeSet, tables: &Tables) -> Vec<FlowTruth> {
        let gone = changes.frontends.iter().filter_map(|change| match change {
            Change::Delete(row) => Some(row.key),
            Change::Upsert(_) => None,
        });
        let alone = |key: &seaway_model::FrontendKey| {
            let is_ours = key.protocol == Protocol::Udp && key.view == View::Everyone;
            is_ours && tables.frontends.get(key).is_none()
        };
        gone.filter(alone)
            .map(|key| FlowTruth {
                frontend: SocketAddr::new(key.address, key.port),
                may_answer: BTreeSet::new(),
            })
            .collect()
    }

    /// What is wrong with Services.
    pub(crate) fn findings(&self, tables: &Tables, findings: &mut Vec<Finding>) {
        let noted = self.noted.iter().filter_map(|name| self.store.entry(name));
        for entry in noted {
            findings.extend(entry.note.findings.iter().flatten().cloned());
        }
        for (point, claimants) in self.contests.points() {
            let Some(winner) = holder(tables, *point) else {
                continue;
            };
            for loser in claimants.iter().filter(|c| c.name != *winner) {
                let message = format!(
                    "{point} leads to Service {winner}, which has the better claim: a cluster \
                     address comes before a port of the node, this before an address outside, \
                     and an older Service before a newer one; give this one another"
                );
                let object = format!("Service {}", loser.name);
                findings.push(finding(object, "ports", message));
            }
        }
    }

    fn judged<'a>(&'a self, tables: &'a Tables) -> Option<Judge<'a>> {
        Some(self.judge(self.ground.as_deref()?, tables))
    }

    /// Who has a point, as the node sees it.
    pub(crate) fn holder<'a>(
        &self,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
        tables: &'a Tables,
    ) -> Option<&'a ServiceName> {
        holder(
            tables,
            Point {
                address,
                protocol,
                port,
            },
        )
    }

    /// The addresses on which the node's ports are open.
    pub(crate) fn node_port_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let ground = self.ground.iter();
        ground.flat_map(|ground| ground.node_ports.iter().copied())
    }
}
