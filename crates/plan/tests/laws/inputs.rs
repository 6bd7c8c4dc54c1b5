//! Inputs for the planner: small worlds in which everything meets everything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, ContainerId, Extras, Family, IfName, NetworkName, Node,
    NodeName, PortMapping, Protocol, Rate, Settings, Transport, VxlanSettings, Wiring,
};
use seaway_plan::{Input, Planner, Uplink};

pub(crate) fn name(i: usize) -> NodeName {
    NodeName::new(format!("n{i}")).expect("valid")
}

pub(crate) fn id(i: usize) -> AttachmentId {
    AttachmentId {
        container: ContainerId::new(format!("c{i}")).expect("valid"),
        interface: IfName::new("eth0").expect("valid"),
    }
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("valid")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("valid")
}

/// Node `i` of an orderly dual-stack cluster.
pub(crate) fn dual_node(i: usize) -> Node {
    Node {
        name: name(i),
        addresses: vec![
            ip(&format!("192.168.0.{}", i + 1)),
            ip(&format!("fd00::{:x}", i + 1)),
        ],
        pod_cidrs: vec![
            net(&format!("10.244.{i}.0/24")),
            net(&format!("fd00:10:{i:x}::/64")),
        ],
        transport: None,
        zone: None,
        leaving: false,
    }
}

/// The uplink of node 0 of that cluster, on one link with nodes up to 253.
pub(crate) fn dual_uplink() -> Uplink {
    Uplink {
        mtu: 1500,
        addresses: dual_node(0).addresses,
        networks: vec![net("192.168.0.0/24"), net("fd00::/64")],
        learns_routes: false,
        strict: false,
    }
}

pub(crate) fn attachment(i: usize, addresses: &[&str]) -> Attachment {
    Attachment {
        id: id(i),
        network: NetworkName::new("pods").expect("valid"),
        addresses: addresses.iter().map(|a| ip(a)).collect(),
        extras: Extras::default(),
    }
}

pub(crate) fn upsert(node: Node) -> Input {
    Input::Cluster(ClusterEvent::NodeUpsert(node))
}

pub(crate) fn delete(i: usize) -> Input {
    Input::Cluster(ClusterEvent::NodeDelete(name(i)))
}

/// Node 0 of a cluster of `count` nodes on one link.
pub(crate) fn cluster(settings: Settings, count: usize) -> Planner {
    let mut planner = Planner::new(name(0), settings);
    planner.apply(Input::Uplink(Some(dual_uplink())));
    for i in 0..count {
        planner.apply(upsert(dual_node(i)));
    }
    planner
}

pub(crate) fn planned(inputs: impl IntoIterator<Item = Input>) -> Planner {
    let mut planner = Planner::new(name(0), Settings::default());
    for input in inputs {
        planner.apply(input);
    }
    planner
}

/// The rows of a table as people read them.
pub(crate) fn texts<'a, R: seaway_model::Row + 'a>(
    rows: impl IntoIterator<Item = &'a R>,
) -> Vec<String> {
    rows.into_iter().map(ToString::to_string).collect()
}

/// Few names, addresses and networks, so that events meet: overlaps and double claims included.
fn node() -> impl Strategy<Value = Node> {
    let address = prop_oneof![
        3 => (1u8..5).prop_map(|i| IpAddr::from([192, 168, 0, i])),
        1 => (1u8..3).prop_map(|i| IpAddr::from([192, 168, 9, i])),
        3 => (1u16..5).prop_map(|i| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, i])),
    ];
    let v4 = (0u8..4, prop::sample::select(vec![23u8, 24, 26]))
        .prop_map(|(i, len)| IpNet::new([10, 244, i, 0].into(), len).expect("valid"));
    let v6 = (0u16..4).prop_map(|i| {
        IpNet::new(IpAddr::from([0xfd00, 0x10, i, 0, 0, 0, 0, 0]), 64).expect("valid")
    });
    let odd = prop::sample::select(vec![net("192.168.0.0/16"), net("10.244.1.9/31")]);
    let nets = prop::collection::vec(prop_oneof![4 => v4, 3 => v6, 1 => odd], 0..4);
    let transport = prop::option::of(prop::sample::select(Transport::ALL.to_vec()));
    let parts = (
        0usize..4,
        prop::collection::vec(address, 0..4),
        nets,
        transport,
    );
    parts.prop_map(|(i, addresses, pod_cidrs, transport)| Node {
        name: name(i),
        addresses,
        pod_cidrs,
        transport,
        zone: None,
        leaving: false,
    })
}

fn extras() -> impl Strategy<Value = Extras> {
    let host_ip = prop::option::of(prop::sample::select(vec![
        ip("0.0.0.0"),
        ip("::"),
        ip("127.0.0.1"),
        ip("192.168.0.1"),
        ip("fd00::1"),
    ]));
    let protocol = prop::sample::select(Protocol::ALL.to_vec());
    let port = (0u16..3, 79u16..81, protocol, host_ip).prop_map(
        |(host, container_port, protocol, host_ip)| PortMapping {
            host_port: [0, 8080, 4789][usize::from(host)],
            container_port,
            protocol,
            host_ip,
        },
    );
    let rate = || {
        prop::option::of((0u64..2).prop_map(|n| Rate {
            rate: n * 1_000_000,
            burst: 80_000,
        }))
    };
    (prop::collection::vec(port, 0..3), rate(), rate()).prop_map(|(ports, ingress, egress)| {
        Extras {
            ports,
            ingress,
            egress,
        }
    })
}

fn any_attachment() -> impl Strategy<Value = Attachment> {
    let shape = (0usize..4, 0u8..2, 2u8..6, 1usize..4);
    (shape, extras()).prop_map(|((i, net, host, families), extras)| {
        let v4 = IpAddr::from([10, 244, net, host]);
        let v6 = IpAddr::from([0xfd00, 0x10, net.into(), 0, 0, 0, 0, host.into()]);
        Attachment {
            addresses: [vec![v4], vec![v6], vec![v4, v6]][families - 1].clone(),
            extras,
            ..attachment(i, &[])
        }
    })
}

fn uplink() -> impl Strategy<Value = Uplink> {
    let parts = (1300u32..1303, 0usize..3, 0usize..3, any::<[bool; 2]>());
    parts.prop_map(|(mtu, families, networks, [learns_routes, strict])| {
        let (v4, v6) = (ip("192.168.0.1"), ip("fd00::1"));
        let nets = [net("192.168.0.0/24"), net("fd00::/64")];
        Uplink {
            mtu,
            addresses: [vec![v4], vec![v6], vec![v4, v6]][families].clone(),
            networks: nets[..networks].to_vec(),
            learns_routes,
            strict,
        }
    })
}

pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let underlay = prop::option::of(prop::sample::select(Family::ALL.to_vec()));
    let vxlan = prop_oneof![
        4 => underlay.prop_map(|underlay| Some(VxlanSettings { underlay, ..Default::default() })),
        1 => Just(None),
    ];
    let keep = prop::collection::vec(
        prop::sample::select(vec![
            net("0.0.0.0/0"),
            net("10.0.0.0/8"),
            net("10.244.1.0/24"),
        ]),
        0..2,
    );
    (
        prop::sample::select(Wiring::ALL.to_vec()),
        prop::sample::select(Transport::ALL.to_vec()),
        vxlan,
        prop::option::of(1200u32..1600),
        prop::bool::ANY,
        keep,
        crate::services::inputs::service_settings(),
    )
        .prop_map(
            |(wiring, transport, vxlan, mtu, masquerade, keep_source_to, services)| Settings {
                wiring,
                transport,
                vxlan,
                mtu,
                masquerade,
                keep_source_to,
                services,
            },
        )
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        8 => node().prop_map(upsert),
        2 => (0usize..4).prop_map(delete),
        6 => any_attachment().prop_map(Input::Attach),
        2 => (0usize..4).prop_map(|i| Input::Detach(id(i))),
        3 => prop::option::weighted(0.8, uplink()).prop_map(Input::Uplink),
        2 => settings().prop_map(Input::Settings),
        12 => crate::services::inputs::input(),
        2 => (0usize..4, prop::option::of(1250u32..1320))
            .prop_map(|(i, mtu)| Input::PathMtu(name(i), mtu)),
    ]
}

/// A world that mostly works, and what then happens to it.
pub(crate) fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let start = (prop::bool::ANY, settings()).prop_map(|(orderly, settings)| {
        let mut start = vec![Input::Settings(settings)];
        if orderly {
            start.push(Input::Uplink(Some(dual_uplink())));
            start.extend((0..3).map(|i| upsert(dual_node(i))));
        }
        start
    });
    (start, prop::collection::vec(input(), 0..40)).prop_map(|(mut start, more)| {
        start.extend(more);
        start
    })
}

/// The inputs that are still true at the end.
pub(crate) fn final_inputs(inputs: &[Input]) -> Vec<Input> {
    let mut last: BTreeMap<String, Input> = BTreeMap::new();
    for input in inputs {
        let (key, alive) = match input {
            Input::Cluster(ClusterEvent::NodeUpsert(n)) => (format!("node {}", n.name), true),
            Input::Cluster(ClusterEvent::NodeDelete(n)) => {
                last.remove(&format!("path {n}"));
                (format!("node {n}"), false)
            }
            Input::Attach(a) => (format!("attachment {}", a.id), true),
            Input::Detach(id) => (format!("attachment {id}"), false),
            Input::Uplink(_) => ("uplink".to_owned(), true),
            Input::Settings(_) => ("settings".to_owned(), true),
            Input::PathMtu(node, mtu) => (format!("path {node}"), mtu.is_some()),
            Input::HostAddresses(_) => ("host addresses".to_owned(), true),
            Input::Cluster(ClusterEvent::ServiceUpsert(s)) => (format!("Service {}", s.name), true),
            Input::Cluster(ClusterEvent::ServiceDelete(s)) => (format!("Service {s}"), false),
            Input::Cluster(ClusterEvent::SliceUpsert(s)) => (format!("slice {}", s.name), true),
            Input::Cluster(ClusterEvent::SliceDelete(s)) => (format!("slice {s}"), false),
            Input::Cluster(_) => continue,
        };
        last.remove(&key);
        if alive {
            last.insert(key, input.clone());
        }
    }
    last.into_values().collect()
}
