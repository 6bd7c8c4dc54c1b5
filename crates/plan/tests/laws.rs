//! The laws of planning, by property: any order of events gives the rows of a cold start, the
//! changes given on the way lead to the same rows, and the allocator never gives twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, ContainerId, Device, Family, IfName, NetworkName, Node,
    NodeName, Reachability, Row,
};
use seaway_plan::ipam::{AllocationError, Holder, Ipam, Pool};
use seaway_plan::{Input, Planner, Tables, Uplink, check};

fn name(i: usize) -> NodeName {
    NodeName::new(format!("n{i}")).expect("valid")
}

fn id(i: usize) -> AttachmentId {
    AttachmentId {
        container: ContainerId::new(format!("c{i}")).expect("valid"),
        interface: IfName::new("eth0").expect("valid"),
    }
}

/// Few names, addresses and networks, so that events meet: overlaps and double claims included.
fn node() -> impl Strategy<Value = Node> {
    let address = prop_oneof![
        (1u8..5).prop_map(|i| IpAddr::from([192, 168, 0, i])),
        (1u16..5).prop_map(|i| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, i])),
    ];
    let net = (0u8..4, prop::sample::select(vec![23u8, 24, 26]))
        .prop_map(|(i, len)| IpNet::new([10, 244, i, 0].into(), len).expect("valid"));
    let net6 = (0u16..4).prop_map(|i| {
        IpNet::new(IpAddr::from([0xfd00, 0x10, i, 0, 0, 0, 0, 0]), 64).expect("valid")
    });
    let nets = prop::collection::vec(prop_oneof![net, net6], 0..3);
    (0usize..4, prop::collection::vec(address, 0..3), nets).prop_map(|(i, addresses, pod_cidrs)| {
        Node {
            name: name(i),
            addresses,
            pod_cidrs,
        }
    })
}

fn attachment() -> impl Strategy<Value = Attachment> {
    (0usize..4, 2u8..6).prop_map(|(i, host)| Attachment {
        id: id(i),
        network: NetworkName::new("pods").expect("valid"),
        addresses: vec![
            [10, 244, 0, host].into(),
            [0xfd00, 0x10, 0, 0, 0, 0, 0, u16::from(host)].into(),
        ],
    })
}

fn input() -> impl Strategy<Value = Input> {
    let uplink = prop::option::of((1400u32..1403, prop::bool::ANY).prop_map(|(mtu, dual)| {
        let mut addresses: Vec<IpAddr> = vec![[192, 168, 0, 1].into()];
        if dual {
            addresses.push([0xfd00, 0, 0, 0, 0, 0, 0, 1].into());
        }
        Uplink { mtu, addresses }
    }));
    prop_oneof![
        4 => node().prop_map(|n| Input::Cluster(ClusterEvent::NodeUpsert(n))),
        1 => (0usize..4).prop_map(|i| Input::Cluster(ClusterEvent::NodeDelete(name(i)))),
        3 => attachment().prop_map(Input::Attach),
        1 => (0usize..4).prop_map(|i| Input::Detach(id(i))),
        1 => uplink.prop_map(Input::Uplink),
    ]
}

/// The inputs that are still true at the end.
fn final_inputs(inputs: &[Input]) -> Vec<Input> {
    let mut last: BTreeMap<String, Input> = BTreeMap::new();
    for input in inputs {
        let (key, alive) = match input {
            Input::Cluster(ClusterEvent::NodeUpsert(n)) => (format!("node {}", n.name), true),
            Input::Cluster(ClusterEvent::NodeDelete(n)) => (format!("node {n}"), false),
            Input::Attach(a) => (format!("attachment {}", a.id), true),
            Input::Detach(id) => (format!("attachment {id}"), false),
            Input::Uplink(_) => ("uplink".to_owned(), true),
            Input::Cluster(_) => continue,
        };
        last.remove(&key);
        if alive {
            last.insert(key, input.clone());
        }
    }
    last.into_values().collect()
}

fn planned(inputs: impl IntoIterator<Item = Input>) -> Planner {
    let mut planner = Planner::new(name(0));
    for input in inputs {
        planner.apply(input);
    }
    planner
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_order_of_events_is_a_cold_start(inputs in prop::collection::vec(input(), 0..40)) {
        let warm = planned(inputs.clone());
        let mut cold = final_inputs(&inputs);
        let forwards = planned(cold.clone());
        prop_assert_eq!(warm.rows(), forwards.rows());
        cold.reverse();
        let backwards = planned(cold);
        prop_assert_eq!(warm.rows(), backwards.rows());
        prop_assert_eq!(check::findings(&warm), check::findings(&planned(final_inputs(&inputs))));
    }

    #[test]
    fn the_changes_lead_to_the_rows(inputs in prop::collection::vec(input(), 0..40)) {
        let mut planner = Planner::new(name(0));
        let mut kernel = Tables::default();
        for input in inputs {
            kernel.apply(&planner.apply(input));
            prop_assert_eq!(&kernel, planner.rows());
        }
        prop_assert!(planner.rows().changes_from(&kernel).is_empty());
    }

    #[test]
    fn no_input_twice_changes_anything(inputs in prop::collection::vec(input(), 1..30)) {
        let mut planner = planned(inputs.clone());
        let again = inputs.last().expect("at least one").clone();
        prop_assert!(planner.apply(again).is_empty());
    }

    #[test]
    fn peers_never_take_over_own_addresses(inputs in prop::collection::vec(input(), 0..40)) {
        let planner = planned(inputs);
        for route in planner.rows().routes.iter() {
            if let Reachability::Via { device: Device::Uplink, .. } = &route.reach {
                for own in planner.pod_cidrs() {
                    prop_assert!(!own.contains(&route.destination), "{}", route);
                    prop_assert!(!route.destination.contains(own), "{}", route);
                }
            }
        }
    }

    #[test]
    fn k11_allocator_never_gives_twice_nor_reserved(
        prefix in 24u8..=30,
        steps in prop::collection::vec((0usize..40, prop::bool::ANY), 1..200),
    ) {
        let v4: IpNet = IpNet::new([10, 1, 2, 0].into(), prefix).expect("valid");
        let v6: IpNet = "fd00:1::/120".parse().expect("valid");
        let mut ipam = Ipam::default();
        ipam.set_cidrs(&[v4, v6]);
        let mut live: BTreeMap<usize, Vec<IpAddr>> = BTreeMap::new();
        for (i, attach) in steps {
            let holder = Holder::Attachment(id(i));
            if !attach {
                for address in live.remove(&i).unwrap_or_default() {
                    ipam.release(address, &holder);
                }
            } else if !live.contains_key(&i) {
                let held: BTreeSet<IpAddr> = live.values().flatten().copied().collect();
                match ipam.allocate(&holder) {
                    Ok(addresses) => {
                        let families: Vec<_> = addresses.iter().map(|a| Family::of(*a)).collect();
                        prop_assert_eq!(families, vec![Family::V4, Family::V6]);
                        for address in &addresses {
                            prop_assert!(!held.contains(address), "{} given twice", address);
                            let net = if address.is_ipv4() { v4 } else { v6 };
                            prop_assert!(net.contains(address));
                            prop_assert_ne!(*address, net.network());
                            prop_assert_ne!(*address, net.hosts().next().expect("some"));
                            prop_assert!(!address.is_ipv4() || *address != net.broadcast());
                        }
                        live.insert(i, addresses);
                    }
                    Err(AllocationError::Exhausted { .. }) => {
                        let usable = Pool::new(v4).expect("large enough").len();
                        prop_assert_eq!(live.len() as u128, usable);
                    }
                    Err(error) => prop_assert!(false, "{}", error),
                }
            }
        }
    }
}

#[test]
fn k11_addresses_rest_after_release() {
    let mut ipam = Ipam::default();
    ipam.set_cidrs(&["10.0.0.0/29".parse().expect("valid")]);
    let holder = Holder::Attachment(id(1));
    let mut given = Vec::new();
    for _ in 0..6 {
        let addresses = ipam.allocate(&holder).expect("one is free");
        given.push(addresses[0].to_string());
        ipam.release(addresses[0], &holder);
    }
    // .0 network, .1 gateway, .7 broadcast: five to go round before the first comes again.
    assert_eq!(
        given,
        [
            "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"
        ]
    );
}

#[test]
fn k11_exhaustion_names_cidr_and_count() {
    let mut ipam = Ipam::default();
    ipam.set_cidrs(&["10.0.0.0/30".parse().expect("valid")]);
    ipam.allocate(&Holder::Attachment(id(1)))
        .expect("one is free");
    let error = ipam
        .allocate(&Holder::Attachment(id(2)))
        .expect_err("full")
        .to_string();
    assert!(
        error.contains("1 of 1 usable addresses of 10.0.0.0/30"),
        "{error}"
    );
}

#[test]
fn k11_second_cidr_serves_when_the_first_is_full() {
    let mut ipam = Ipam::default();
    let nets = ["10.0.0.0/30", "10.9.0.0/30"].map(|n| n.parse().expect("valid"));
    ipam.set_cidrs(&nets);
    ipam.allocate(&Holder::Attachment(id(1)))
        .expect("one is free");
    let second = ipam
        .allocate(&Holder::Attachment(id(2)))
        .expect("one is free");
    assert_eq!(second, vec![IpAddr::from([10, 9, 0, 2])]);
}

#[test]
fn k11_held_by_two_is_free_only_when_both_let_go() {
    let mut ipam = Ipam::default();
    let address = IpAddr::from([10, 0, 0, 2]);
    let (live, dying) = (Holder::Attachment(id(1)), Holder::Dying(id(1)));
    ipam.hold(address, live.clone());
    ipam.hold(address, dying.clone());
    ipam.release(address, &live);
    assert!(ipam.is_held(address));
    ipam.release(address, &dying);
    assert!(!ipam.is_held(address));
}

#[test]
fn pools_too_small_are_named() {
    for net in ["10.0.0.0/31", "10.0.0.0/32", "fd00::/127", "fd00::/128"] {
        let net: IpNet = net.parse().expect("valid");
        let error = Pool::new(net).expect_err("too small").to_string();
        assert!(error.contains(&net.to_string()), "{error}");
    }
    assert_eq!(
        Pool::new("10.0.0.0/8".parse().expect("valid"))
            .expect("large")
            .len(),
        (1 << 24) - 3
    );
}

#[test]
fn rows_of_a_small_cluster() {
    let node = |i: usize| Node {
        name: name(i),
        addresses: vec![
            [192, 168, 0, i as u8 + 1].into(),
            [0xfd00, 0, 0, 0, 0, 0, 0, i as u16 + 1].into(),
        ],
        pod_cidrs: vec![
            format!("10.244.{i}.0/24").parse().expect("valid"),
            format!("fd00:10:{i}::/64").parse().expect("valid"),
        ],
    };
    let uplink = Uplink {
        mtu: 1500,
        addresses: node(0).addresses,
    };
    let attachment = Attachment {
        id: id(7),
        network: NetworkName::new("pods").expect("valid"),
        addresses: vec![
            [10, 244, 0, 2].into(),
            "fd00:10:0::2".parse().expect("valid"),
        ],
    };
    let planner = planned([
        Input::Uplink(Some(uplink)),
        Input::Cluster(ClusterEvent::NodeUpsert(node(0))),
        Input::Cluster(ClusterEvent::NodeUpsert(node(1))),
        Input::Attach(attachment),
    ]);
    let routes: Vec<_> = planner
        .rows()
        .routes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        routes,
        [
            "unreachable 10.244.0.0/24",
            "10.244.0.2/32 dev pod c7/eth0 src 192.168.0.1",
            "10.244.1.0/24 via 192.168.0.2 dev uplink src 192.168.0.1",
            "unreachable fd00:10::/64",
            "fd00:10::2/128 dev pod c7/eth0 src fd00::1",
            "fd00:10:1::/64 via fd00::2 dev uplink src fd00::1",
        ]
    );
    let sysctls: Vec<_> = planner
        .rows()
        .sysctls
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        sysctls,
        [
            "net.ipv4.ip_forward = 1",
            "net.ipv4.conf.[pod c7/eth0].rp_filter = 1",
            "net.ipv6.conf.all.forwarding = 1",
            "net.ipv6.conf.[pod c7/eth0].accept_ra = 0",
        ]
    );
    assert!(check::findings(&planner).is_empty());
}

#[test]
fn findings_name_object_field_and_way_out() {
    let node = |i: usize, addresses: Vec<IpAddr>, net: &str| Node {
        name: name(i),
        addresses,
        pod_cidrs: vec![net.parse().expect("valid")],
    };
    let planner = planned([
        Input::Uplink(Some(Uplink {
            mtu: 1500,
            addresses: vec![[192, 168, 0, 1].into()],
        })),
        Input::Cluster(ClusterEvent::NodeUpsert(node(0, vec![], "10.244.0.0/24"))),
        Input::Cluster(ClusterEvent::NodeUpsert(node(1, vec![], "10.244.1.0/24"))),
        Input::Cluster(ClusterEvent::NodeUpsert(node(
            2,
            vec![[192, 168, 0, 3].into()],
            "10.244.0.128/25",
        ))),
        Input::Cluster(ClusterEvent::NodeUpsert(node(
            3,
            vec![[192, 168, 0, 4].into()],
            "192.168.0.0/16",
        ))),
    ]);
    let found: Vec<_> = check::findings(&planner)
        .into_iter()
        .map(|f| format!("{} {}: {}", f.object, f.field, f.message))
        .collect();
    assert_eq!(
        found,
        [
            "node n1 addresses: it has no IPv4 address, so pod CIDR 10.244.1.0/24 is not reachable",
            "node n2 podCIDRs: 10.244.0.128/25 is not routed: it overlaps this node's own pod CIDR \
             10.244.0.0/24; give each node its own pod CIDRs",
            "node n3 podCIDRs: 192.168.0.0/16 is not routed: it contains this node's address \
             192.168.0.1; give each node its own pod CIDRs",
        ]
    );
}

#[test]
fn every_row_has_the_key_it_is_stored_under() {
    let rows = planned([Input::Attach(Attachment {
        id: id(1),
        network: NetworkName::new("pods").expect("valid"),
        addresses: vec![[10, 0, 0, 2].into()],
    })]);
    for link in rows.rows().links.iter() {
        assert_eq!(rows.rows().links.get(&link.key()), Some(link));
    }
}
