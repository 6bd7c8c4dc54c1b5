//! The cluster's names (Kubernetes DNS specification 1.1), kept in step with its Services and
//! endpoints one event at a time. Pure: no clock, no randomness, no IO; what it holds depends on what
//! is there and not on the order in which it came.
//!
//! It answers by looking up, never by searching the cluster: Services by name, addresses by tree.
//! Beside the specification there are what CoreDNS answers and people use: names of endpoints of
//! Services that have a cluster address, and SRV records at a Service's own name. Names of Pods
//! (`10-1-2-3.namespace.pod`) are the specification's deprecated ones, and exist for addresses that
//! Pods can have only; whether such a Pod is in that namespace is not checked.

mod entry;
mod find;
mod hosts;
mod networks;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

pub use find::{Data, Found, Kind};

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{ClusterEvent, EndpointSlice, Service, ServiceName, SliceName};

use self::entry::{Entry, Record, Slice};
use self::networks::Networks;

/// The usual domain of a cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// How a zone is to be.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// The domain that all names of the cluster end with.
    pub domain: String,
    /// The addresses of those who answer for it.
    pub servers: Vec<IpAddr>,
    /// The deprecated names of Pods exist.
    pub pod_names: bool,
    /// Where cluster addresses come from, as far as that is known.
    pub service_cidrs: Vec<IpNet>,
}

impl Default for ZoneConfig {
    fn default() -> Self {
        ZoneConfig {
            domain: CLUSTER_DOMAIN.to_owned(),
            servers: Vec::new(),
            pod_names: true,
            service_cidrs: Vec::new(),
        }
    }
}

/// The names of a cluster.
#[derive(Debug)]
pub struct Zone {
    /// The domain in lower case, without a dot at the end.
    domain: String,
    servers: Vec<IpAddr>,
    pod_names: bool,
    service_nets: Vec<IpNet>,
    services: HashMap<ServiceName, Entry>,
    /// Whose each slice is.
    owners: HashMap<SliceName, ServiceName>,
    /// How many Services each namespace has.
    namespaces: HashMap<Box<str>, usize>,
    cluster_ips: BTreeSet<(IpAddr, ServiceName)>,
    /// Endpoints that have names of their own, and how many of each address and Service there are.
    named_hosts: BTreeMap<(IpAddr, ServiceName), usize>,
    networks: Networks,
    serial: u32,
    synced: bool,
}

impl Zone {
    /// A zone that knows nothing yet, and says so.
    pub fn new(config: &ZoneConfig) -> Zone {
        let domain = config.domain.trim_end_matches('.').to_ascii_lowercase();
        Zone {
            domain,
            servers: config.servers.clone(),
            pod_names: config.pod_names,
            service_nets: config.service_cidrs.clone(),
            services: HashMap::new(),
            owners: HashMap::new(),
            namespaces: HashMap::new(),
            cluster_ips: BTreeSet::new(),
            named_hosts: BTreeMap::new(),
            networks: Networks::default(),
            serial: 1,
            synced: false,
        }
    }

    /// The domain, without a dot at the end.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// How often the zone has changed.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether all that existed has been told, so that a name that is not here does not exist.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Takes in a change of the cluster.
    pub fn apply(&mut self, event: &ClusterEvent) {
        match event {
            ClusterEvent::ServiceUpsert(service) => self.upsert_service(service),
            ClusterEvent::ServiceDelete(name) => self.delete_service(name),
            ClusterEvent::SliceUpsert(slice) => self.upsert_slice(slice),
            ClusterEvent::SliceDelete(name) => self.delete_slice(name),
            ClusterEvent::NodeUpsert(node) => self.networks.upsert(node),
            ClusterEvent::NodeDelete(name) => self.networks.delete(name),
            ClusterEvent::Synced => self.synced = true,
            ClusterEvent::PodUpsert(_) | ClusterEvent::PodDelete(_) => return,
        }
        self.serial = self.serial.wrapping_add(1).max(1);
    }

    fn upsert_service(&mut self, service: &Service) {
        let name = &service.name;
        let record = Record::of(service);
        let entry = self.services.entry(name.clone()).or_default();
        let old = entry.service.replace(Box::new(record));
        match &old {
            Some(old) => forget(&mut self.cluster_ips, name, old),
            None => {
                let namespace = name.namespace();
                match self.namespaces.get_mut(namespace) {
                    Some(count) => *count += 1,
                    None => drop(self.namespaces.insert(namespace.into(), 1)),
                }
            }
        }
        let addresses = service.cluster_ips.iter();
        self.cluster_ips
            .extend(addresses.map(|address| (*address, name.clone())));
    }

    fn delete_service(&mut self, name: &ServiceName) {
        let Some(entry) = self.services.get_mut(name) else {
            return;
        };
        let Some(old) = entry.service.take() else {
            return;
        };
        if entry.is_empty() {
            self.services.remove(name);
        }
        forget(&mut self.cluster_ips, name, &old);
        if let Some(count) = self.namespaces.get_mut(name.namespace()) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(name.namespace());
            }
        }
    }

    fn upsert_slice(&mut self, slice: &EndpointSlice) {
        self.delete_slice(&slice.name);
        self.owners
            .insert(slice.name.clone(), slice.service.clone());
        let kept = Slice::of(slice);
        for address in kept.named_addresses() {
            *self
                .named_hosts
                .entry((address, slice.service.clone()))
                .or_default() += 1;
        }
        let entry = self.services.entry(slice.service.clone()).or_default();
        entry.insert(kept);
    }

    fn delete_slice(&mut self, name: &SliceName) {
        let Some(owner) = self.owners.remove(name) else {
            return;
        };
        let Place::Occupied(mut place) = self.services.entry(owner.clone()) else {
            return;
        };
        let old = place.get_mut().remove(name);
        if place.get().is_empty() {
            place.remove();
        }
        for address in old.iter().flat_map(Slice::named_addresses) {
            if let std::collections::btree_map::Entry::Occupied(mut count) =
                self.named_hosts.entry((address, owner.clone()))
            {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

fn forget(cluster_ips: &mut BTreeSet<(IpAddr, ServiceName)>, name: &ServiceName, old: &Record) {
    for address in &old.addresses {
        cluster_ips.remove(&(*address, name.clone()));
    }
}
