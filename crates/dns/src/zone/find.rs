//! Looking names up: what exists, with which records, and what does not exist at all.
//!
//! The rules in the order of the functions:
//!
//! 1. Nothing is said of the cluster before all of it has been told.
//! 2. A name that exists without the records asked for, or that only has names below it, has none
//!    (NODATA); one that does not exist is missing (NXDOMAIN).
//! 3. A Service leads to its cluster addresses, a headless one to its endpoints, an alias to its
//!    target. A headless Service without endpoints is missing.
//! 4. A port has records if it has a name.
//! 5. An address leads back to the Service that has it, of several to the oldest; or to the
//!    endpoints of that address that have names of their own. Other addresses of Services and Pods
//!    are missing, and all the rest is asked for elsewhere.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use seaway_model::{Family, Protocol, ServiceName};

use super::entry::{Entry, Port, Record};
use super::{Zone, hosts};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses of a family (A, AAAA).
    Address(Family),
    /// Ports and their hosts.
    Srv,
    /// The name of an address.
    Ptr,
    /// Text.
    Txt,
    /// What the zone is.
    Soa,
    /// Who answers for the zone.
    Ns,
    /// Anything else, CNAME among them.
    Other,
}

/// A record of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// An address.
    Address(IpAddr),
    /// A port of a host.
    Srv {
        /// Its share among others.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: String,
    },
    /// The name of an address.
    Ptr(String),
    /// Text.
    Txt(&'static str),
    /// What the zone is.
    Soa,
    /// A name of who answers for the zone.
    Ns(String),
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It belongs to others.
    Elsewhere,
    /// It may be the cluster's, which is not known yet.
    Unknown,
    /// It does not exist.
    Missing,
    /// It exists; the records of the kind asked for may be none.
    Records {
        /// The records.
        answers: Vec<Data>,
        /// Addresses of names in them.
        extra: Vec<(String, IpAddr)>,
    },
    /// It is another name of this one.
    Alias(String),
}

impl Found {
    /// The name exists and has no records of this kind.
    pub(super) const NO_DATA: Found = Found::Records {
        answers: Vec::new(),
        extra: Vec::new(),
    };

    fn records(answers: Vec<Data>) -> Found {
        Found::Records {
            answers,
            extra: Vec::new(),
        }
    }

    fn addresses(all: impl IntoIterator<Item = IpAddr>, kind: Kind) -> Found {
        let wanted = all
            .into_iter()
            .filter(|address| kind == Kind::Address(Family::of(*address)));
        Found::records(wanted.map(Data::Address).collect())
    }
}

/// The version of the specification that is met.
const VERSION: &str = "1.1.0";

impl Zone {
    /// What is known of a name, which is given as labels in lower case.
    pub fn find(&self, labels: &[&str], kind: Kind) -> Found {
        let domain = self.domain.split('.').count();
        let (inner, last) = labels.split_at(labels.len().saturating_sub(domain));
        if last.iter().copied().eq(self.domain.split('.')) {
            return match self.synced {
                true => self.find_inside(inner, kind),
                false => Found::Unknown,
            };
        }
        match hosts::reverse(labels) {
            Some(_) if !self.synced => Found::Unknown,
            Some(address) => self.find_reverse(address, kind),
            None => Found::Elsewhere,
        }
    }

    fn find_inside(&self, inner: &[&str], kind: Kind) -> Found {
        match inner {
            [] => self.apex(kind),
            ["dns-version"] if kind == Kind::Txt => Found::records(vec![Data::Txt(VERSION)]),
            ["dns-version" | "dns" | "svc"] => Found::NO_DATA,
            ["ns", "dns"] => Found::addresses(self.servers.iter().copied(), kind),
            ["pod"] | [_, "pod"] if self.pod_names => Found::NO_DATA,
            [host, _, "pod"] if self.pod_names => self.pod(host, kind),
            [namespace, "svc"] => match self.namespaces.contains_key(*namespace) {
                true => Found::NO_DATA,
                false => Found::Missing,
            },
            [inner @ .., service, namespace, "svc"] => {
                let name = ServiceName::new(namespace, service).ok();
                let known = name.and_then(|name| self.services.get_key_value(&name));
                let Some((name, entry)) = known else {
                    return Found::Missing;
                };
                let Some(record) = &entry.service else {
                    return Found::Missing;
                };
                let found = Known {
                    zone: self,
                    name,
                    entry,
                    record,
                };
                found.find(inner, kind)
            }
            _ => Found::Missing,
        }
    }

    fn apex(&self, kind: Kind) -> Found {
        let server = format!("ns.dns.{}", self.domain);
        match kind {
            Kind::Soa => Found::records(vec![Data::Soa]),
            Kind::Ns => {
                let glue = self.servers.iter().map(|a| (server.clone(), *a));
                Found::Records {
                    extra: glue.collect(),
                    answers: vec![Data::Ns(server)],
                }
            }
            _ => Found::NO_DATA,
        }
    }

    fn pod(&self, host: &str, kind: Kind) -> Found {
        match hosts::address(host).filter(|address| self.networks.contain(*address)) {
            Some(address) => Found::addresses([address], kind),
            None => Found::Missing,
        }
    }

    fn find_reverse(&self, address: IpAddr, kind: Kind) -> Found {
        let mut names = self.names_of(address);
        if names.is_empty() && self.servers.contains(&address) {
            names = vec![format!("ns.dns.{}", self.domain)];
        }
        match kind {
            _ if names.is_empty() && self.is_own(address) => Found::Missing,
            _ if names.is_empty() => Found::Elsewhere,
            Kind::Ptr => Found::records(names.into_iter().map(Data::Ptr).collect()),
            _ => Found::NO_DATA,
        }
    }

    /// Whether nobody outside the cluster can have a name for an address.
    fn is_own(&self, address: IpAddr) -> bool {
        let of_services = self.service_nets.iter().any(|net| net.contains(&address));
        of_services || self.networks.contain_among_pods(address)
    }

    fn names_of(&self, address: IpAddr) -> Vec<String> {
        // The first of all names: a range from it takes in every Service.
        let Ok(first) = ServiceName::new("0", "0") else {
            return Vec::new();
        };
        let from = (address, first);
        let owners = self.cluster_ips.range(from.clone()..);
        let owners = owners.take_while(|(a, _)| *a == address);
        let age = |name: &ServiceName| {
            let service = self.services.get(name)?.service.as_ref();
            service.map(|record| record.created)
        };
        if let Some((_, owner)) = owners.min_by_key(|(_, name)| (age(name), name)) {
            return vec![self.service_name(owner)];
        }
        let users = self.named_hosts.range(from..);
        let users = users.take_while(|((a, _), _)| *a == address);
        let mut names = BTreeSet::new();
        for ((_, service), _) in users {
            let has_hosts = |record: &Record| record.alias.is_none();
            let entry = self.services.get(service);
            let entry = entry.filter(|e| e.service.as_deref().is_some_and(has_hosts));
            let hosts = entry.into_iter().flat_map(Entry::hosts);
            let own = hosts.filter(|(host, _)| host.address == address);
            let own = own.filter_map(|(host, _)| host.name.as_deref());
            names.extend(own.map(|host| format!("{host}.{}", self.service_name(service))));
        }
        names.into_iter().collect()
    }

    fn service_name(&self, name: &ServiceName) -> String {
        let (service, namespace) = (name.name(), name.namespace());
        format!("{service}.{namespace}.svc.{}", self.domain)
    }
}

/// A Service that exists, and what is known under its name.
struct Known<'a> {
    zone: &'a Zone,
    name: &'a ServiceName,
    entry: &'a Entry,
    record: &'a Record,
}

impl Known<'_> {
    fn find(&self, inner: &[&str], kind: Kind) -> Found {
        if let Some(target) = &self.record.alias {
            // What looks like an address is no name that could be asked for.
            let is_name = inner.is_empty() && target.parse::<Ipv4Addr>().is_err();
            return match is_name && !target.is_empty() {
                true => Found::Alias(target.to_string()),
                false => Found::Missing,
            };
        }
        match inner {
            [] => self.service(kind),
            [protocol] if protocol.starts_with('_') => {
                let protocol = protocol_of(protocol);
                let ports = protocol.map(|p| self.ports(|port| port.protocol == p));
                match ports.is_some_and(|ports| !ports.is_empty()) {
                    true => Found::NO_DATA,
                    false => Found::Missing,
                }
            }
            [host] => self.host(host, kind),
            [port, protocol] => self.port(port, protocol, kind),
            _ => Found::Missing,
        }
    }

    fn service(&self, kind: Kind) -> Found {
        if kind == Kind::Srv {
            return match self.ports(|_| true) {
                ports if ports.is_empty() && self.is_nowhere() => Found::Missing,
                ports => self.srv(ports),
            };
        }
        match self.record.is_headless() {
            true if self.is_nowhere() => Found::Missing,
            true => Found::addresses(self.entry.addresses(), kind),
            false => Found::addresses(self.record.addresses.iter().copied(), kind),
        }
    }

    fn is_nowhere(&self) -> bool {
        self.record.is_headless() && self.entry.hosts().next().is_none()
    }

    fn host(&self, label: &str, kind: Kind) -> Found {
        let made_from = hosts::address(label);
        let named = self.entry.hosts();
        let named = named.filter(|(host, _)| host.answers_to(label, made_from));
        let addresses: BTreeSet<_> = named.map(|(host, _)| host.address).collect();
        match addresses.is_empty() {
            true => Found::Missing,
            false => Found::addresses(addresses, kind),
        }
    }

    fn port(&self, port: &str, protocol: &str, kind: Kind) -> Found {
        let (Some(name), Some(protocol)) = (port.strip_prefix('_'), protocol_of(protocol)) else {
            return Found::Missing;
        };
        let ports = self.ports(|port| port.is(name, protocol));
        match kind {
            _ if ports.is_empty() => Found::Missing,
            Kind::Srv => self.srv(ports),
            _ => Found::NO_DATA,
        }
    }

    /// The hosts that have such ports, each once.
    fn ports(&self, wanted: impl Fn(&Port) -> bool) -> BTreeSet<(String, u16)> {
        let name = self.zone.service_name(self.name);
        if !self.record.is_headless() {
            let ports = self.record.ports.iter().filter(|port| wanted(port));
            return ports.map(|port| (name.clone(), port.number)).collect();
        }
        let mut all = BTreeSet::new();
        for (host, ports) in self.entry.hosts() {
            for port in ports.iter().filter(|port| wanted(port)) {
                all.insert((format!("{}.{name}", host.label()), port.number));
            }
        }
        all
    }

    fn srv(&self, ports: BTreeSet<(String, u16)>) -> Found {
        let weight = u16::try_from(100 / ports.len().max(1))
            .unwrap_or(100)
            .max(1);
        let answers = ports.iter().map(|(target, port)| Data::Srv {
            weight,
            port: *port,
            target: target.clone(),
        });
        let answers = answers.collect();
        let targets: BTreeSet<&str> = ports.iter().map(|(target, _)| target.as_str()).collect();
        let name = self.zone.service_name(self.name);
        let extra: BTreeSet<(String, IpAddr)> = match self.record.is_headless() {
            true => {
                let hosts = self.entry.hosts();
                let hosts = hosts.map(|(h, _)| (format!("{}.{name}", h.label()), h.address));
                hosts
                    .filter(|(host, _)| targets.contains(host.as_str()))
                    .collect()
            }
            false => {
                let addresses = self.record.addresses.iter();
                let all = addresses.map(|address| (name.clone(), *address));
                all.filter(|_| !targets.is_empty()).collect()
            }
        };
        Found::Records {
            answers,
            extra: extra.into_iter().collect(),
        }
    }
}

fn protocol_of(label: &str) -> Option<Protocol> {
    let name = label.strip_prefix('_')?;
    let mut all = Protocol::ALL.into_iter();
    all.find(|protocol| protocol.to_string() == name)
}
