//! What the zone keeps of a Service and its endpoints: the least that names need, since a node
//! keeps it for the whole cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;

use seaway_model::{EndpointSlice, Protocol, Service, ServiceKind, SliceName};

use super::hosts;

/// All that is known under the name of a Service. Endpoints are kept whatever the Service is and
/// even without it: either may come first, and a Service may become headless.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) service: Option<Box<Record>>,
    /// In the order of their names.
    slices: Vec<Slice>,
}

/// A Service.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) created: i64,
    pub(super) addresses: Box<[IpAddr]>,
    pub(super) ports: Box<[Port]>,
    /// Of what it is only another name.
    pub(super) alias: Option<Box<str>>,
    publish_not_ready: bool,
}

/// A port that has a name; others have no records.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: Box<str>,
    pub(super) protocol: Protocol,
    pub(super) number: u16,
}

impl Port {
    /// Whether it is `_name._protocol`.
    pub(super) fn is(&self, name: &str, protocol: Protocol) -> bool {
        *self.name == *name && self.protocol == protocol
    }
}

/// Some endpoints of one family.
#[derive(Debug)]
pub(super) struct Slice {
    name: SliceName,
    pub(super) ports: Box<[Port]>,
    hosts: Box<[Host]>,
}

/// An endpoint.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) address: IpAddr,
    pub(super) name: Option<Box<str>>,
    ready: bool,
}

impl Host {
    /// Its label under the Service's name: its own name, or else one made from its address.
    pub(super) fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => hosts::label(self.address),
        }
    }

    /// Whether this is the label of it; `address` is what the label says if it is made from one.
    pub(super) fn answers_to(&self, label: &str, address: Option<IpAddr>) -> bool {
        match &self.name {
            Some(name) => **name == *label,
            None => Some(self.address) == address,
        }
    }
}

impl Record {
    pub(super) fn of(service: &Service) -> Record {
        let alias = match &service.kind {
            ServiceKind::ExternalName(target) => Some(target.trim_end_matches('.')),
            _ => None,
        };
        let named = service.ports.iter().filter(|port| !port.name.is_empty());
        Record {
            created: service.created,
            addresses: service.cluster_ips.as_slice().into(),
            ports: named
                .map(|port| Port {
                    name: port.name.to_ascii_lowercase().into(),
                    protocol: port.protocol,
                    number: port.port,
                })
                .collect(),
            alias: alias.map(|target| target.to_ascii_lowercase().into()),
            publish_not_ready: service.publish_not_ready,
        }
    }

    /// Whether its name leads to the endpoints themselves.
    pub(super) fn is_headless(&self) -> bool {
        self.addresses.is_empty() && self.alias.is_none()
    }
}

impl Slice {
    pub(super) fn of(slice: &EndpointSlice) -> Slice {
        let named = slice.ports.iter().filter(|port| !port.name.is_empty());
        let ports = named.filter_map(|port| {
            Some(Port {
                name: port.name.to_ascii_lowercase().into(),
                protocol: port.protocol,
                number: port.port?,
            })
        });
        let hosts = slice.endpoints.iter().map(|endpoint| Host {
            address: endpoint.address,
            name: endpoint
                .hostname
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(|name| name.to_ascii_lowercase().into()),
            ready: endpoint.ready,
        });
        Slice {
            name: slice.name.clone(),
            ports: ports.collect(),
            hosts: hosts.collect(),
        }
    }

    /// The addresses of endpoints that have names, as often as there are such endpoints.
    pub(super) fn named_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let named = self.hosts.iter().filter(|host| host.name.is_some());
        named.map(|host| host.address)
    }
}

impl Entry {
    pub(super) fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }

    pub(super) fn insert(&mut self, slice: Slice) {
        let place = self.slices.partition_point(|kept| kept.name < slice.name);
        // Most Services have one slice a family; there may be a hundred thousand of them.
        self.slices.reserve_exact(1);
        self.slices.insert(place, slice);
    }

    pub(super) fn remove(&mut self, name: &SliceName) -> Option<Slice> {
        let place = self.slices.binary_search_by(|kept| kept.name.cmp(name));
        let removed = self.slices.remove(place.ok()?);
        self.slices.shrink_to_fit();
        Some(removed)
    }

    /// Each endpoint that names may lead to, with the ports of its slice.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&Host, &[Port])> {
        let unready_too = self.service.as_ref().is_some_and(|s| s.publish_not_ready);
        self.slices.iter().flat_map(move |slice| {
            let usable = slice.hosts.iter().filter(move |h| h.ready || unready_too);
            usable.map(|host| (host, &*slice.ports))
        })
    }

    /// The addresses that the name of a headless Service leads to, each once.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.hosts().map(|(host, _)| host.address).collect()
    }
}
