//! Services, slices and what they stand on, for small worlds in which everything meets
//! everything: few names, addresses and ports, garbage included.

use std::net::IpAddr;

use proptest::prelude::*;
use seaway_model::{
    ClusterEvent, Endpoint, EndpointSlice, Family, NodePortAddresses, Protocol, Service,
    ServiceKind, ServiceName, ServicePort, ServiceSettings, SliceName, SlicePort, TrafficPolicy,
};
use seaway_plan::Input;

use crate::inputs::{ip, name, net};

pub(crate) fn service_name(i: usize) -> ServiceName {
    let text = ["d/s0", "d/s1", "e/s0", "d/s3", "default/kubernetes"][i];
    text.parse().expect("valid")
}

pub(crate) fn slice_name(i: usize) -> SliceName {
    format!("d/e{i}").parse().expect("valid")
}

pub(crate) fn upsert_service(service: Service) -> Input {
    Input::Cluster(ClusterEvent::ServiceUpsert(service))
}

pub(crate) fn delete_service(name: ServiceName) -> Input {
    Input::Cluster(ClusterEvent::ServiceDelete(name))
}

pub(crate) fn upsert_slice(slice: EndpointSlice) -> Input {
    Input::Cluster(ClusterEvent::SliceUpsert(slice))
}

pub(crate) fn delete_slice(name: SliceName) -> Input {
    Input::Cluster(ClusterEvent::SliceDelete(name))
}

/// A Service of one TCP port 80 at an IPv4 address.
pub(crate) fn simple_service(name: &str, cluster_ip: &str) -> Service {
    Service {
        name: name.parse().expect("valid"),
        created: 0,
        kind: ServiceKind::ClusterIp,
        cluster_ips: vec![ip(cluster_ip)],
        ports: vec![port("", Protocol::Tcp, 80)],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_port: None,
        publish_not_ready: false,
        foreign: false,
    }
}

pub(crate) fn port(name: &str, protocol: Protocol, port: u16) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        protocol,
        port,
        node_port: None,
    }
}

/// A ready endpoint on node `node`.
pub(crate) fn endpoint(address: &str, node: usize) -> Endpoint {
    Endpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(name(node)),
        pod: None,
        hostname: None,
        for_zones: vec![],
        for_nodes: vec![],
    }
}

/// A slice of one unnamed TCP port 8080.
pub(crate) fn simple_slice(name: &str, service: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let family = endpoints
        .first()
        .map_or(Family::V4, |e| Family::of(e.address));
    EndpointSlice {
        name: name.parse().expect("valid"),
        service: service.parse().expect("valid"),
        family,
        ports: vec![SlicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: Some(8080),
        }],
        endpoints,
    }
}

pub(crate) const CLUSTER_IPS: [&str; 6] = [
    "10.96.0.1",
    "10.96.0.2",
    "10.96.0.3",
    "fd00:96::1",
    "fd00:96::2",
    "192.168.0.1",
];

pub(crate) const EXTERNAL_IPS: [&str; 8] = [
    "192.0.2.1",
    "192.0.2.2",
    "10.96.0.1",
    "192.168.0.2",
    "10.244.1.9",
    "2001:db8::1",
    "fd00:96::1",
    "127.0.0.1",
];

const ENDPOINTS: [&str; 14] = [
    "10.244.0.5",
    "10.244.0.6",
    "10.244.1.5",
    "10.244.1.6",
    "10.244.2.5",
    "fd00:10::5",
    "fd00:10:1::5",
    "fd00:10:2::5",
    "203.0.113.9",
    "192.168.0.1",
    "192.168.0.2",
    "192.168.0.3",
    "127.0.0.1",
    "169.254.83.83",
];

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<IpAddr>> {
    let count = prop::sample::select(vec![0usize, 1, 2, 2]);
    count
        .prop_flat_map(move |count| prop::collection::vec(prop::sample::select(all), count))
        .prop_map(|all| all.into_iter().map(ip).collect())
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![
        Protocol::Tcp,
        Protocol::Tcp,
        Protocol::Tcp,
        Protocol::Udp,
    ])
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop::sample::select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn service_port() -> impl Strategy<Value = ServicePort> {
    let node_port = prop::sample::select(vec![None, Some(30080), Some(30081), Some(4789)]);
    let name = prop::sample::select(vec!["", "", "a"]);
    (name, protocol(), 80u16..82, node_port).prop_map(|(name, protocol, number, node_port)| {
        ServicePort {
            node_port,
            ..port(name, protocol, number)
        }
    })
}

pub(crate) fn service() -> impl Strategy<Value = Service> {
    let kind = prop::sample::select(vec![
        ServiceKind::ClusterIp,
        ServiceKind::NodePort,
        ServiceKind::LoadBalancer,
        ServiceKind::LoadBalancer,
        ServiceKind::LoadBalancer,
        ServiceKind::LoadBalancer,
        ServiceKind::ExternalName("example.org".to_owned()),
    ]);
    let ranges = prop::collection::vec(
        prop::sample::select(vec![
            net("192.0.2.0/24"),
            net("192.168.0.0/16"),
            net("10.244.0.5/32"),
            net("2001:db8::/32"),
        ]),
        0..3,
    );
    let addresses = (
        some_of(&CLUSTER_IPS),
        some_of(&EXTERNAL_IPS),
        some_of(&EXTERNAL_IPS),
        ranges,
    );
    let shape = (
        0usize..5,
        0i64..3,
        kind,
        prop::collection::vec(service_port(), 0..4),
    );
    let rest = (
        policy(),
        policy(),
        prop::option::weighted(0.3, 1u32..40),
        prop::bool::weighted(0.05),
        prop::option::weighted(0.2, 31000u16..31002),
    );
    (shape, addresses, rest).prop_map(|(shape, addresses, rest)| Service {
        name: service_name(shape.0),
        created: shape.1,
        kind: shape.2,
        ports: shape.3,
        cluster_ips: addresses.0,
        external_ips: addresses.1,
        load_balancer_ips: addresses.2,
        source_ranges: addresses.3,
        external_policy: rest.0,
        internal_policy: rest.1,
        affinity: rest.2,
        foreign: rest.3,
        health_port: rest.4,
        publish_not_ready: false,
    })
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let node = prop::option::weighted(0.9, (0usize..3).prop_map(name));
    let zones = prop::collection::vec(prop::sample::select(vec!["z0", "z1"]), 0..2);
    let nodes = prop::collection::vec((0usize..3).prop_map(name), 0..2);
    let hints = prop_oneof![
        2 => Just((vec![], vec![])),
        1 => (zones, nodes),
    ];
    let conditions = prop_oneof![
        3 => Just([true, true, false]),
        1 => any::<[bool; 3]>(),
    ];
    let address = prop::sample::select(&ENDPOINTS[..]);
    (address, node, hints, conditions, any::<bool>()).prop_map(
        |(address, node, (zones, nodes), [ready, serving, terminating], is_pod)| Endpoint {
            ready,
            serving,
            terminating,
            node,
            pod: is_pod.then(|| "d/p0".parse().expect("valid")),
            for_zones: zones.into_iter().map(str::to_owned).collect(),
            for_nodes: nodes,
            ..endpoint(address, 0)
        },
    )
}

pub(crate) fn slice() -> impl Strategy<Value = EndpointSlice> {
    let slice_port = (
        prop::sample::select(vec!["", "", "a"]),
        protocol(),
        prop::sample::select(vec![
            Some(8080u16),
            Some(8080),
            Some(8080),
            Some(8081),
            Some(0),
            None,
        ]),
    );
    let slice_port = slice_port.prop_map(|(name, protocol, port)| SlicePort {
        name: name.to_owned(),
        protocol,
        port,
    });
    let few = prop::collection::vec(any_endpoint(), 0..5);
    let many = (33u32..80).prop_map(|count| {
        let address = |i: u32| format!("10.244.{}.{}", i % 3, 10 + i);
        let all = (0..count).map(|i| endpoint(&address(i), (i % 3) as usize));
        all.collect::<Vec<_>>()
    });
    let endpoints = prop_oneof![6 => few, 1 => many];
    let family = prop::sample::select(vec![Family::V4, Family::V4, Family::V6]);
    let ports = prop::collection::vec(slice_port, 1..4);
    (0usize..6, 0usize..5, family, ports, endpoints).prop_map(
        |(i, service, family, ports, endpoints)| EndpointSlice {
            name: slice_name(i),
            service: service_name(service),
            family,
            ports,
            endpoints,
        },
    )
}

pub(crate) fn service_settings() -> impl Strategy<Value = Option<ServiceSettings>> {
    let cidrs = prop::collection::vec(
        prop::sample::select(vec![
            net("10.96.0.0/16"),
            net("fd00:96::/112"),
            net("192.168.0.0/16"),
            net("10.244.0.0/16"),
        ]),
        0..3,
    );
    let within = prop::sample::select(vec![
        NodePortAddresses::Primary,
        NodePortAddresses::Primary,
        NodePortAddresses::Within(vec![net("192.0.2.0/24"), net("::/0")]),
        NodePortAddresses::Within(vec![net("0.0.0.0/0")]),
    ]);
    let some = (cidrs, within, any::<[bool; 4]>()).prop_map(
        |(service_cidrs, node_ports, [external_ips, masquerade_all, node_endpoints, dns])| {
            ServiceSettings {
                service_cidrs,
                node_ports,
                external_ips,
                masquerade_all,
                node_endpoints,
                dns,
            }
        },
    );
    prop::option::weighted(0.9, some)
}

fn host_addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    let all = [
        "192.168.0.1",
        "192.168.7.1",
        "fd00::1",
        "192.0.2.1",
        "127.0.0.1",
        "fe80::1",
        "2001:db8::1",
        "2001:db8::9",
    ];
    let all: Vec<IpAddr> = all.into_iter().map(ip).collect();
    prop::sample::subsequence(all, 0..8)
}

/// What happens to Services.
pub(crate) fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => service().prop_map(upsert_service),
        1 => (0usize..5).prop_map(|i| delete_service(service_name(i))),
        8 => slice().prop_map(upsert_slice),
        1 => (0usize..6).prop_map(|i| delete_slice(slice_name(i))),
        1 => host_addresses().prop_map(Input::HostAddresses),
    ]
}
