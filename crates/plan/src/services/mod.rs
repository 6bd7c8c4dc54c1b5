//! Services: what is known of them, and the rows that balance them.
//!
//! A change plans just the Services that it concerns: that of the object itself; those that
//! mention an address which a node got or lost; those that claim the same point. What a Service
//! had is found in the tables, so nothing is kept beside objects, rows and a small index.

mod affinity;
mod contest;
mod endpoints;
mod ground;
mod judge;
mod names;
mod note;
mod rows;
mod settle;
mod slots;
mod spots;
mod store;
mod view;
mod views;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::{EndpointSlice, Node, NodePortAddresses, Service, ServiceName, SliceName};

use affinity::Affinities;
use contest::Contests;
use ground::Places;
use rows::Edit;
use spots::{balancer_ips, is_balanced};
use store::Store;
use wanted::external_ips;

pub(crate) use ground::Ground;
pub use view::{FlowTruth, HealthCheck, Programming, ServiceView};

use crate::table::{ChangeSet, Tables};

/// All that is known of Services on one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    store: Store,
    /// What concerns every Service; without it there are no rows.
    ground: Option<Arc<Ground>>,
    host_addresses: Vec<IpAddr>,
    places: Places,
    contests: Contests,
    affinities: Affinities,
    /// Who names an address outside the cluster.
    externals: BTreeMap<IpAddr, BTreeSet<ServiceName>>,
    /// Who has a port for health checks.
    checked: BTreeSet<ServiceName>,
    /// Of whom there is something to say.
    noted: BTreeSet<ServiceName>,
    sum: Programming,
}

impl Services {
    /// Puts a Service in or takes it out.
    pub(crate) fn set_service(
        &mut self,
        name: &ServiceName,
        now: Option<Service>,
        tables: &mut Tables,
    ) -> ChangeSet {
        let known = self.store.entry(name).and_then(|e| e.service.as_deref());
        if known == now.as_ref() {
            return ChangeSet::default();
        }
        let old = self.store.set_service(name, now);
        let old = old.as_deref();
        let mut edit = Edit::of(tables);
        let mut others = self.index(name, old);
        let ground = self.ground.clone();
        others.extend(self.replan(name, old, ground.as_deref(), &mut edit));
        others.remove(name);
        self.replan_all_of(others, &mut edit);
        let mut changes = edit.changes;
        let outside = old.is_some_and(|s| self.touches_host(s))
            || self.service(name).is_some_and(|s| self.touches_host(s));
        if outside {
            let ground = ground.as_deref().cloned();
            changes.append(self.stand_on(ground, tables));
        }
        self.store.forget(name);
        changes
    }

    /// Puts a slice in.
    pub(crate) fn insert_slice(&mut self, slice: EndpointSlice, tables: &mut Tables) -> ChangeSet {
        let known = self.store.slice(&slice.name);
        if known == Some(&slice) {
            return ChangeSet::default();
        }
        let mut changes = ChangeSet::default();
        if known.is_some_and(|known| known.service != slice.service) {
            changes.append(self.remove_slice(&slice.name.clone(), tables));
        }
        let service = slice.service.clone();
        self.store.insert_slice(slice);
        changes.append(self.renew(&service, tables));
        changes
    }

    /// Takes a slice out.
    pub(crate) fn remove_slice(&mut self, name: &SliceName, tables: &mut Tables) -> ChangeSet {
        let Some(service) = self.store.remove_slice(name) else {
            return ChangeSet::default();
        };
        let changes = self.renew(&service, tables);
        self.store.forget(&service);
        changes
    }

    /// Takes in a change of a node, this one or another.
    pub(crate) fn change_node(
        &mut self,
        before: Option<&Node>,
        now: Option<&Node>,
        tables: &mut Tables,
    ) -> ChangeSet {
        let moved = self.places.change(before, now);
        let mut names = BTreeSet::new();
        for address in &moved.addresses {
            names.extend(self.store.mentioning(*address).cloned());
        }
        for net in &moved.nets {
            names.extend(self.naming_in(net));
        }
        let mut edit = Edit::of(tables);
        self.replan_all_of(names, &mut edit);
        edit.changes
    }

    /// Takes in what addresses the node has.
    pub(crate) fn set_host_addresses(
        &mut self,
        mut all: Vec<IpAddr>,
        tables: &mut Tables,
    ) -> ChangeSet {
        all.sort();
        all.dedup();
        self.host_addresses = all;
        let ground = self.ground.as_deref().cloned();
        self.stand_on(ground, tables)
    }

    /// Takes in what concerns every Service. The addresses of node ports are found here.
    pub(crate) fn stand_on(&mut self, ground: Option<Ground>, tables: &mut Tables) -> ChangeSet {
        let ground = ground.map(|ground| self.with_node_ports(ground));
        if ground.as_ref() == self.ground.as_deref() {
            return ChangeSet::default();
        }
        let before = std::mem::replace(&mut self.ground, ground.map(Arc::new));
        let names = self.store.names();
        let mut edit = Edit::of(tables);
        let mut again = BTreeSet::new();
        for name in names {
            again.extend(self.replan_as_is(&name, before.as_deref(), &mut edit));
        }
        self.replan_all_of(again, &mut edit);
        edit.changes
    }

    fn with_node_ports(&self, mut ground: Ground) -> Ground {
        ground.node_ports = match &ground.settings.node_ports {
            NodePortAddresses::Primary => {
                let first = |family| {
                    let mut own = ground.own_addresses.iter();
                    own.find(|address| seaway_model::Family::of(**address) == family)
                };
                let primary = seaway_model::Family::ALL.into_iter().filter_map(first);
                primary.copied().collect()
            }
            NodePortAddresses::Within(nets) => {
                let mut all = ground::within(&self.host_addresses, nets);
                // An address that a load balancer lends to this node is not the node's (S15).
                let is_own = |a: &IpAddr| ground.own_addresses.contains(a);
                let by_any = ground.settings.external_ips;
                all.retain(|a| is_own(a) || !self.is_lent(*a, by_any));
                all
            }
        };
        ground
    }

    /// Whether an address is lent to nodes: by a load balancer, or `by_any` Service that names it.
    fn is_lent(&self, address: IpAddr, by_any: bool) -> bool {
        let mut names = self.externals.get(&address).into_iter().flatten();
        let lends = |service: &Service| by_any || balancer_ips(service).contains(&address);
        names.any(|name| self.service(name).is_some_and(lends))
    }

    /// Whether a Service names an address outside the cluster that this node has.
    fn touches_host(&self, service: &Service) -> bool {
        let is_host = |a: IpAddr| self.host_addresses.binary_search(&a).is_ok();
        external_ips(service).any(is_host)
    }

    /// The Services that name an address outside the cluster which is in `net`.
    fn naming_in(&self, net: &IpNet) -> impl Iterator<Item = ServiceName> + '_ {
        let found = self.externals.range(net.network()..=net.broadcast());
        found.flat_map(|(_, names)| names.iter().cloned())
    }

    /// The Service of a name.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.store.entry(name)?.service.as_deref()
    }

    /// Brings the indexes up to date after a Service was `old`; gives the Services whose affinity
    /// becomes another.
    fn index(&mut self, name: &ServiceName, old: Option<&Service>) -> BTreeSet<ServiceName> {
        let now = self.store.entry(name).and_then(|e| e.service.as_deref());
        for address in old.into_iter().flat_map(external_ips) {
            if let Some(names) = self.externals.get_mut(&address) {
                names.remove(name);
                if names.is_empty() {
                    self.externals.remove(&address);
                }
            }
        }
        for address in now.into_iter().flat_map(external_ips) {
            let names = self.externals.entry(address).or_default();
            names.insert(name.clone());
        }
        let is_checked = now.is_some_and(|s| is_balanced(s) && s.health_port.is_some());
        match is_checked {
            true => self.checked.insert(name.clone()),
            false => self.checked.remove(name),
        };
        let affinity = |service: Option<&Service>| {
            let service = service.filter(|s| is_balanced(s))?;
            affinity::wanted(service)
        };
        let (before, now) = (affinity(old), affinity(now));
        let others = self.affinities.change(name, before, now);
        others.into_iter().collect()
    }
}
