//! The reference and the rows agree on every packet, whatever the cluster and however it came to
//! be as it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use seaway_model::{ClusterEvent, Family, Node, Protocol, Settings};
use seaway_plan::eval::{self, Cluster, Packet, Source, Verdict};
use seaway_plan::{Input, Planner, Uplink};

use super::inputs::{CLUSTER_IPS, EXTERNAL_IPS, input, service_settings};
use crate::inputs::{delete, dual_node, dual_uplink, ip, name, upsert};

/// Nodes that are like those of an orderly cluster, but for what concerns Services.
fn node() -> impl Strategy<Value = Node> {
    let zone = prop::sample::select(vec![None, Some("z0"), Some("z1")]);
    let addresses = prop::sample::select(vec![vec![0, 1], vec![0], vec![1], vec![0, 1]]);
    (0usize..3, zone, addresses).prop_map(|(i, zone, addresses)| {
        let usual = dual_node(i);
        Node {
            addresses: addresses
                .into_iter()
                .map(|at| usual.addresses[at])
                .collect(),
            zone: zone.map(str::to_owned),
            ..usual
        }
    })
}

fn world() -> impl Strategy<Value = Vec<Input>> {
    let settings = || {
        service_settings().prop_map(|services| {
            Input::Settings(Settings {
                services,
                ..Settings::default()
            })
        })
    };
    let event = prop_oneof![
        14 => input(),
        2 => node().prop_map(upsert),
        1 => (1usize..3).prop_map(delete),
        1 => settings(),
    ];
    (settings(), prop::collection::vec(event, 10..45)).prop_map(|(settings, events)| {
        let mut all = vec![settings, upsert(dual_node(0)), upsert(dual_node(1))];
        all.extend(events);
        all
    })
}

/// The objects that there are at the end.
pub(crate) fn cluster(inputs: &[Input]) -> Cluster {
    let (mut nodes, mut services, mut slices) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut cluster = Cluster::default();
    for input in inputs.iter().cloned() {
        match input {
            Input::Settings(settings) => cluster.settings = settings,
            Input::HostAddresses(all) => cluster.host_addresses = all,
            Input::Cluster(event) => match event {
                ClusterEvent::NodeUpsert(node) => drop(nodes.insert(node.name.clone(), node)),
                ClusterEvent::NodeDelete(name) => drop(nodes.remove(&name)),
                ClusterEvent::ServiceUpsert(s) => drop(services.insert(s.name.clone(), s)),
                ClusterEvent::ServiceDelete(name) => drop(services.remove(&name)),
                ClusterEvent::SliceUpsert(slice) => {
                    drop(slices.insert(slice.name.clone(), slice));
                }
                ClusterEvent::SliceDelete(name) => drop(slices.remove(&name)),
                _ => {}
            },
            _ => {}
        }
    }
    cluster.nodes = nodes.into_values().collect();
    cluster.services = services.into_values().collect();
    cluster.slices = slices.into_values().collect();
    cluster
}

/// Every packet that could be of interest.
fn packets(cluster: &Cluster) -> Vec<Packet> {
    let mut addresses: Vec<IpAddr> = CLUSTER_IPS.into_iter().map(ip).collect();
    addresses.extend(EXTERNAL_IPS.into_iter().map(ip));
    let more = [
        "10.96.0.9",
        "fd00::1",
        "::1",
        "169.254.83.83",
        "169.254.83.53",
        "fd5e:a83::53",
        "192.168.7.1",
    ];
    addresses.extend(more.into_iter().map(ip));
    addresses.extend(cluster.host_addresses.iter().copied());
    addresses.sort();
    addresses.dedup();
    let sources = [
        Source::Node,
        Source::Pod(ip("10.244.0.5")),
        Source::Pod(ip("fd00:10::5")),
        Source::Outside(ip("192.0.2.77")),
        Source::Outside(ip("203.0.113.7")),
        Source::Outside(ip("2001:db8::77")),
    ];
    let fits = |source: &Source, to: IpAddr| match source {
        Source::Pod(from) | Source::Outside(from) => Family::of(*from) == Family::of(to),
        Source::Node => true,
    };
    let mut all = Vec::new();
    for address in addresses {
        for port in [80, 81, 30080, 30081, 4789] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for from in sources.into_iter().filter(|s| fits(s, address)) {
                    all.push(Packet {
                        node: name(0),
                        from,
                        destination: SocketAddr::new(address, port),
                        protocol,
                    });
                }
            }
        }
    }
    all
}

/// The node's uplink has the addresses that its object says.
fn uplink(cluster: &Cluster) -> Option<Uplink> {
    let node = cluster.nodes.iter().find(|node| node.name == name(0))?;
    let addresses = Family::ALL.into_iter().filter_map(|f| node.address(f));
    Some(Uplink {
        addresses: addresses.collect(),
        ..dual_uplink()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn reference_and_rows_agree(inputs in world()) {
        let mut planner = Planner::new(name(0), Settings::default());
        for input in inputs.iter().cloned() {
            planner.apply(input);
        }
        let cluster = cluster(&inputs);
        planner.apply(Input::Uplink(uplink(&cluster)));
        for packet in packets(&cluster) {
            let wanted = eval::decide(&cluster, &packet);
            let planned = eval::by_rows(planner.rows(), &packet);
            prop_assert_eq!(wanted, planned, "{:?}", packet);
        }
    }
}

#[test]
fn worlds_have_something_of_everything() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::<&str, usize>::new();
    for _ in 0..40 {
        let world = world().new_tree(&mut runner).expect("a world").current();
        let cluster = cluster(&world);
        for packet in packets(&cluster) {
            let kind = match eval::decide(&cluster, &packet) {
                Verdict::Backends { targets, .. } if targets.len() > 32 => "many",
                Verdict::Backends { .. } => "backends",
                Verdict::Refused => "refused",
                Verdict::Dropped(reason) => reason.as_str(),
                Verdict::NotAService => "none",
            };
            *seen.entry(kind).or_default() += 1;
        }
    }
    let kinds = [
        "backends",
        "many",
        "refused",
        "none",
        "service-not-local",
        "service-source",
        "service-unknown",
        "loopback-alias",
        "dns-address",
    ];
    for kind in kinds {
        assert!(seen.contains_key(kind), "{kind} in {seen:?}");
    }
}
