//! What the cases stand for: Services and slices of the model, and where a probe is to be sent.
//!
//! Every Service gets addresses and node ports of its own, so that all cases of a file can be there
//! at once; which ones does not matter to a case unless it says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use seaway_model::{
    Endpoint, EndpointSlice, Family, NodeName, PodName, Protocol, Service, ServiceKind,
    ServiceName, ServicePort, SliceName, SlicePort, dns_address,
};

use super::case::{Case, FullEndpoint, Kind, Outer, PortCase, Probe, ServiceCase, SliceCase};
use super::cast::{Cast, node_name, outer_address};

/// All objects of some cases.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The Services.
    pub services: Vec<Service>,
    /// The slices.
    pub slices: Vec<EndpointSlice>,
}

/// Where a probe is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address and port.
    pub door: SocketAddr,
    /// The number of the node where it meets Services.
    pub entry: usize,
}

/// The networks of cluster addresses, as flags have them.
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// A port that no Service of a case has.
const UNDEFINED: u16 = 9;

impl Objects {
    /// Makes them.
    pub fn of(cases: &[Case], cast: &Cast) -> Objects {
        let mut objects = Objects::default();
        for (number, case) in cases.iter().enumerate() {
            for spec in &case.services {
                let count = objects.services.len();
                let service = service(number, count, spec, cast);
                let slices = slices(&service, spec, cast);
                objects.slices.extend(slices);
                objects.services.push(service);
            }
        }
        objects
    }

    /// Makes those of a list of Services in YAML, as in a case.
    ///
    /// # Panics
    ///
    /// If it is not that.
    pub fn written(services: &str, cast: &Cast) -> Objects {
        let services =
            serde_saphyr::from_str(services).unwrap_or_else(|e| panic!("{e}: {services}"));
        let case = Case {
            name: "written".to_owned(),
            covers: Vec::new(),
            e2e: Vec::new(),
            services,
            probes: Vec::new(),
        };
        Objects::of(&[case], cast)
    }

    /// The cluster address and the port of a written Service, or of a single case.
    pub fn cluster_door(&self, name: &str, protocol: Protocol, family: Family) -> SocketAddr {
        let service = self.service(0, name);
        let address = service.cluster_ip(family).expect("it has that family");
        SocketAddr::new(address, port_of(service, None, protocol).port)
    }

    /// The port of every node of a written Service.
    pub fn node_port(&self, name: &str, protocol: Protocol) -> u16 {
        let port = port_of(self.service(0, name), None, protocol);
        port.node_port.expect("a node port")
    }

    /// The Service of a case.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    pub fn service(&self, number: usize, name: &str) -> &Service {
        let name = service_name(number, name);
        let mut all = self.services.iter();
        all.find(|s| s.name == name)
            .unwrap_or_else(|| panic!("there is no Service {name}"))
    }

    /// Where a probe of a case leads from one of its places:
    ///
    /// * `cluster`: the cluster address; `cluster-as-tcp`: at its first port, whose protocol may be
    ///   another; `undefined`: at a port that it does not have;
    /// * `node1`, …: the node port there; `loopback`: at the node's own loopback address;
    /// * `external`, `lb`: the first of those addresses; `lb-at-node-port`;
    /// * `unallocated`: a cluster address that no Service has;
    /// * `outer`: the host outside, where it serves.
    pub fn target(
        &self,
        (number, case): (usize, &Case),
        probe: &Probe,
        (from, protocol, family): (&str, Protocol, Family),
        cast: &Cast,
    ) -> Target {
        let own = cast.place(from).node;
        let first = case.services.first().map(|s| s.name.as_str());
        let Some(name) = probe.service.as_deref().or(first) else {
            assert_eq!(probe.to, "unallocated", "a probe without Service");
            return unallocated(number, family, own);
        };
        let service = self.service(number, name);
        let spec = case.services.iter().find(|s| s.name == name);
        let spec = spec.expect("it was made of one");
        let port = match probe.to.as_str() {
            "cluster-as-tcp" => &service.ports[0],
            _ => port_of(service, probe.port.as_deref(), protocol),
        };
        let by = |outers: &[Outer]| match (own, outers.first()) {
            (Some(own), _) => own,
            (None, Some(Outer::ByNode2)) => 2,
            (None, _) => 1,
        };
        let at = |addresses: &[IpAddr]| {
            let found = addresses.iter().find(|a| Family::of(**a) == family);
            *found.unwrap_or_else(|| panic!("{}: no {family} address", service.name))
        };
        let (address, port, entry) = match probe.to.as_str() {
            "cluster" | "cluster-as-tcp" => (at(&service.cluster_ips), port.port, own.unwrap_or(1)),
            "undefined" => (at(&service.cluster_ips), UNDEFINED, own.unwrap_or(1)),
            "unallocated" => return unallocated(number, family, own),
            "loopback" => (
                loopback(family),
                port.node_port.expect("a node port"),
                own.expect("a node"),
            ),
            "external" => {
                let address = at(&service.external_ips);
                (address, port.port, by(&spec.external_ips))
            }
            "lb" => {
                let address = at(&service.load_balancer_ips);
                (address, port.port, by(&spec.load_balancer))
            }
            "lb-at-node-port" => (
                at(&service.load_balancer_ips),
                port.node_port.expect("a node port"),
                by(&spec.load_balancer),
            ),
            "outer" => (outer_address(family), 8080, own.unwrap_or(1)),
            node => {
                let place = cast.place(node);
                let port = port.node_port.expect("a node port");
                (place.address(family), port, place.node.expect("a node"))
            }
        };
        Target {
            door: SocketAddr::new(address, port),
            entry,
        }
    }
}

/// The loopback address.
pub fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn unallocated(number: usize, family: Family, own: Option<usize>) -> Target {
    Target {
        door: SocketAddr::new(cluster_address(50_000 + number, family), 80),
        entry: own.unwrap_or(1),
    }
}

/// A port of a Service, by the name that its case gives it.
fn port_of<'a>(service: &'a Service, name: Option<&str>, protocol: Protocol) -> &'a ServicePort {
    let mut ports = service.ports.iter().filter(|p| p.protocol == protocol);
    let found = match name {
        None => ports.next(),
        Some(name) => ports.find(|p| p.name == port_name(name, protocol)),
    };
    found.unwrap_or_else(|| panic!("{}: no port {name:?} for {protocol}", service.name))
}

fn port_name(name: &str, protocol: Protocol) -> String {
    format!("{name}-{protocol}")
}

/// The cluster address with this number.
pub fn cluster_address(number: usize, family: Family) -> IpAddr {
    let number = u16::try_from(number + 257).expect("few");
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 96, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, number).into(),
    }
}

fn service_name(number: usize, name: &str) -> ServiceName {
    ServiceName::new("default", &format!("c{number}-{name}")).expect("a valid name")
}

fn service(number: usize, count: usize, spec: &ServiceCase, cast: &Cast) -> Service {
    let has_address = !matches!(spec.kind, Kind::ExternalName | Kind::Headless);
    let cluster_ips = match (has_address, spec.cluster_ips.is_empty()) {
        (false, _) => Vec::new(),
        (true, false) => spec.cluster_ips.clone(),
        (true, true) => {
            let families = spec.families.iter();
            families.map(|f| cluster_address(count, *f)).collect()
        }
    };
    Service {
        name: service_name(number, &spec.name),
        created: spec.created,
        kind: match spec.kind {
            Kind::ClusterIp | Kind::Headless => ServiceKind::ClusterIp,
            Kind::NodePort => ServiceKind::NodePort,
            Kind::LoadBalancer => ServiceKind::LoadBalancer,
            Kind::ExternalName => ServiceKind::ExternalName("example.com".to_owned()),
        },
        cluster_ips,
        ports: ports(count, spec),
        external_ips: outer_addresses(&spec.external_ips, count, cast),
        load_balancer_ips: outer_addresses(&spec.load_balancer, count, cast),
        source_ranges: spec.source_ranges.clone(),
        external_policy: spec.external,
        internal_policy: spec.internal,
        affinity: spec.affinity,
        health_port: None,
        publish_not_ready: false,
        foreign: spec.foreign,
    }
}

fn port_cases(spec: &ServiceCase) -> Vec<PortCase> {
    match spec.ports.is_empty() {
        true => vec![PortCase::default()],
        false => spec.ports.clone(),
    }
}

fn ports(count: usize, spec: &ServiceCase) -> Vec<ServicePort> {
    let has_node_ports =
        matches!(spec.kind, Kind::NodePort | Kind::LoadBalancer) && !spec.no_node_ports;
    let mut ports = Vec::new();
    for (at, case) in port_cases(spec).iter().enumerate() {
        let own = u16::try_from(30_000 + 4 * count + at).expect("few");
        for protocol in &case.protocols {
            ports.push(ServicePort {
                name: port_name(&case.name, *protocol),
                protocol: *protocol,
                port: case.port,
                node_port: has_node_ports
                    .then(|| case.node_port.unwrap_or(own))
                    .or(case.node_port),
            });
        }
    }
    ports
}

/// The addresses that an outer address stands for, in both families.
pub fn outer_addresses(outers: &[Outer], count: usize, cast: &Cast) -> Vec<IpAddr> {
    let number = u16::try_from(count + 1).expect("few");
    let routed = |node: u8, family| -> IpAddr {
        let third = 100 + u16::from(node);
        match family {
            Family::V4 => {
                let low = u8::try_from(number).expect("less than 256 Services in a file");
                Ipv4Addr::new(198, 51, 100 + node, low).into()
            }
            Family::V6 => {
                let third = u16::from_str_radix(&third.to_string(), 16).expect("digits");
                Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, number).into()
            }
        }
    };
    let one = |outer: &Outer, family| match outer {
        Outer::ByNode1 => routed(1, family),
        Outer::ByNode2 => routed(2, family),
        Outer::Outside => outer_address(family),
        Outer::Node2 => cast.place("node2").address(family),
        Outer::Pod2 => cast.place("pod2").address(family),
        Outer::ServiceNet => cluster_address(51_000 + count, family),
        Outer::Dns => dns_address(family),
        Outer::Loopback => loopback(family),
    };
    let both = |outer: &Outer| Family::ALL.map(|family| one(outer, family));
    outers.iter().flat_map(both).collect()
}

fn slices(service: &Service, spec: &ServiceCase, cast: &Cast) -> Vec<EndpointSlice> {
    let single = SliceCase {
        endpoints: spec.endpoints.clone(),
        ..SliceCase::default()
    };
    let cases = match spec.slices.is_empty() {
        true => std::slice::from_ref(&single),
        false => &spec.slices,
    };
    let mut slices = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        for family in Family::ALL {
            let number = if family == Family::V4 { 4 } else { 6 };
            let name = format!("{}-{at}-{number}", service.name.name());
            let full = case.endpoints.iter().map(super::case::EndpointCase::full);
            let endpoints: Vec<Endpoint> = full
                .filter_map(|full| endpoint(&full, family, cast))
                .collect();
            if endpoints.is_empty() {
                continue;
            }
            slices.push(EndpointSlice {
                name: SliceName::new("default", &name).expect("a valid name"),
                service: service.name.clone(),
                family,
                ports: slice_ports(spec, case),
                endpoints,
            });
        }
    }
    slices
}

fn slice_ports(spec: &ServiceCase, slice: &SliceCase) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for case in port_cases(spec) {
        if !slice.ports.is_empty() && !slice.ports.contains(&case.name) {
            continue;
        }
        for protocol in &case.protocols {
            ports.push(SlicePort {
                name: port_name(&case.name, *protocol),
                protocol: *protocol,
                port: Some(slice.target.unwrap_or(case.target)),
            });
        }
    }
    ports
}

fn endpoint(full: &FullEndpoint, family: Family, cast: &Cast) -> Option<Endpoint> {
    let place = full.at.as_deref().map(|name| cast.place(name));
    if !full.families.contains(&family) {
        return None;
    }
    let written = full.addresses.iter().find(|a| Family::of(**a) == family);
    let address = match (written, place) {
        (Some(address), _) => *address,
        (None, Some(place)) if full.addresses.is_empty() => place.address(family),
        _ => return None,
    };
    let place = place.filter(|_| !full.anonymous);
    let node = place.and_then(|place| place.node).map(node_name);
    let pod = node.as_ref().and(full.at.as_deref());
    let pod = pod.map(|name| PodName::new("default", name).expect("a valid name"));
    let name = |name: &String| NodeName::new(name).expect("a valid name");
    Some(Endpoint {
        address,
        ready: full.ready,
        serving: full.serving.unwrap_or(full.ready),
        terminating: full.terminating,
        node,
        pod,
        hostname: None,
        for_zones: full.zones.clone(),
        for_nodes: full.nodes.iter().map(name).collect(),
    })
}
