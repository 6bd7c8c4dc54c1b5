//! What is refused and what two claim: it is said, it is decided the same way always, and nothing
//! else suffers.

use proptest::prelude::*;
use seaway_model::{
    Endpoint, EndpointSlice, Protocol, Service, ServiceKind, ServicePort, ServiceSettings,
    SlicePort,
};
use seaway_plan::{Planner, check};

use super::inputs::{
    delete_service, endpoint, port, simple_service, simple_slice, upsert_service, upsert_slice,
};
use super::scene::{balancer, everyone, planner, two, web, web_slice, with_settings};
use crate::inputs::{delete, dual_node, ip, net, upsert};

fn messages(planner: &Planner, object: &str, field: &str) -> Vec<String> {
    let findings = check::findings(planner).into_iter();
    let about = findings.filter(|f| f.object == object && f.field == field);
    about.map(|f| f.message).collect()
}

#[test]
fn endpoints_that_lead_astray_are_left_out_and_told() {
    let bad = [
        ("127.0.0.1", "a loopback address"),
        ("169.254.7.7", "a link-local address"),
        ("224.0.0.1", "a multicast address"),
        ("0.0.0.0", "no address"),
        ("255.255.255.255", "the broadcast address"),
        ("192.168.0.2", "an address of node n1"),
        ("169.254.83.83", "kept by every node"),
        ("fd00:10::9", "no IPv4 address"),
    ];
    for (address, why) in bad {
        let slice = web_slice(vec![endpoint("10.244.0.5", 0), endpoint(address, 1)]);
        let planner = planner(&[web()], &[slice]);
        assert_eq!(everyone(&planner, "10.96.0.1", 80), ["10.244.0.5:8080"]);
        let told = messages(&planner, "EndpointSlice d/web-1", "endpoints");
        assert_eq!(told.len(), 1, "{address}: {told:?}");
        assert!(
            told[0].contains(address) && told[0].contains(why),
            "{told:?}"
        );
    }
    for address in [
        "::1",
        "fe80::7",
        "ff02::1",
        "::",
        "::ffff:10.0.0.1",
        "fd5e:a83::83",
    ] {
        let service = simple_service("d/web", "fd00:96::1");
        let slice = web_slice(vec![endpoint("fd00:10::5", 0), endpoint(address, 1)]);
        let planner = planner(&[service], &[slice]);
        assert_eq!(everyone(&planner, "fd00:96::1", 80), ["[fd00:10::5]:8080"]);
        let told = messages(&planner, "EndpointSlice d/web-1", "endpoints");
        assert_eq!(told.len(), 1, "{address}: {told:?}");
    }
}

#[test]
fn many_bad_endpoints_are_told_at_once() {
    let bad = (1..200).map(|i| endpoint(&format!("127.0.0.{i}"), 0));
    let planner = planner(&[web()], &[web_slice(bad.collect())]);
    let told = messages(&planner, "EndpointSlice d/web-1", "endpoints");
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("127.0.0.1 ") && told[0].contains("198 others"),
        "{told:?}"
    );
}

#[test]
fn nodes_are_endpoints_only_of_those_who_may() {
    let on_node = endpoint("192.168.0.2", 1);
    let pod = Endpoint {
        pod: Some("d/p".parse().expect("valid")),
        ..on_node.clone()
    };
    let elsewhere = Endpoint {
        node: Some(crate::inputs::name(2)),
        ..pod.clone()
    };
    let used = |service: &str, settings: ServiceSettings, endpoint: &Endpoint| {
        let slice = simple_slice("d/web-1", service, vec![endpoint.clone()]);
        let slice = EndpointSlice {
            name: format!("{}/x", service.split('/').next().expect("two parts"))
                .parse()
                .expect("valid"),
            ..slice
        };
        let planner = with_settings(settings, &[simple_service(service, "10.96.0.1")], &[slice]);
        everyone(&planner, "10.96.0.1", 80) == ["192.168.0.2:8080"]
    };
    let usual = ServiceSettings::default;
    let open = ServiceSettings {
        node_endpoints: true,
        ..usual()
    };
    assert!(!used("d/web", usual(), &on_node));
    assert!(used("d/web", usual(), &pod), "a Pod in the node's network");
    assert!(!used("d/web", usual(), &elsewhere));
    assert!(used("d/web", open, &on_node));
    assert!(used("default/kubernetes", usual(), &on_node));
    assert!(!used("d/kubernetes", usual(), &on_node));
}

#[test]
fn ports_that_are_none_are_told() {
    let slice = EndpointSlice {
        ports: vec![SlicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: Some(0),
        }],
        ..two()
    };
    let planner = planner(&[web()], &[slice]);
    assert_eq!(everyone(&planner, "10.96.0.1", 80), ["refused"]);
    assert_eq!(
        messages(&planner, "EndpointSlice d/web-1", "ports").len(),
        1
    );
}

#[test]
fn addresses_outside_that_belong_to_somebody_are_refused() {
    let bad = [
        ("127.0.0.1", "a loopback address"),
        ("10.96.7.7", "in service CIDR 10.96.0.0/16"),
        ("10.244.2.77", "in pod CIDR 10.244.2.0/24"),
        ("192.168.0.3", "an address of node n2"),
        ("172.30.0.1", "the cluster address of another Service"),
        ("169.254.83.53", "kept by every node"),
    ];
    let settings = ServiceSettings {
        service_cidrs: vec![net("10.96.0.0/16")],
        external_ips: true,
        ..ServiceSettings::default()
    };
    let other = simple_service("d/other", "172.30.0.1");
    for (address, why) in bad {
        let service = Service {
            load_balancer_ips: vec![ip("192.0.2.1"), ip(address)],
            external_ips: vec![ip(address)],
            ..balancer()
        };
        let planner = with_settings(settings.clone(), &[service, other.clone()], &[two()]);
        assert_eq!(everyone(&planner, "192.0.2.1", 80).len(), 2);
        assert_eq!(everyone(&planner, address, 80).len(), 1, "{address}");
        let told = messages(&planner, "Service d/web", "status.loadBalancer");
        assert_eq!(told.len(), 1, "{address}");
        assert!(told[0].contains(why), "{told:?}");
    }
}

#[test]
fn what_nodes_and_others_have_is_judged_again_when_it_changes() {
    let service = Service {
        load_balancer_ips: vec![ip("192.168.0.9"), ip("10.244.8.1"), ip("172.30.0.1")],
        ..balancer()
    };
    let mut planner = planner(&[service], &[two()]);
    let open = |planner: &Planner| {
        let all = ["192.168.0.9", "10.244.8.1", "172.30.0.1"];
        all.map(|address| everyone(planner, address, 80).len() == 2)
    };
    assert_eq!(open(&planner), [true, true, true]);
    planner.apply(upsert(dual_node(8)));
    assert_eq!(open(&planner), [false, false, true]);
    planner.apply(delete(8));
    assert_eq!(open(&planner), [true, true, true]);
    let other = Service {
        ports: vec![port("", Protocol::Tcp, 99)],
        ..simple_service("d/other", "172.30.0.1")
    };
    planner.apply(upsert_service(other.clone()));
    assert_eq!(open(&planner), [true, true, false]);
    planner.apply(delete_service(other.name));
    assert_eq!(open(&planner), [true, true, true]);
}

#[test]
fn a_cluster_address_that_a_node_has_cuts_nobody_off() {
    let service = simple_service("d/web", "192.168.0.2");
    let mut planner = planner(&[service], &[two()]);
    assert!(planner.rows().cluster_ips.is_empty() && planner.rows().frontends.is_empty());
    assert_eq!(messages(&planner, "Service d/web", "clusterIPs").len(), 1);
    planner.apply(delete(1));
    assert_eq!(everyone(&planner, "192.168.0.2", 80).len(), 2);
}

#[test]
fn the_port_of_vxlan_is_no_port_of_the_node() {
    let service = Service {
        kind: ServiceKind::NodePort,
        ports: vec![ServicePort {
            node_port: Some(4789),
            ..port("", Protocol::Udp, 53)
        }],
        ..web()
    };
    let planner = planner(&[service], &[]);
    assert_eq!(planner.rows().frontends.len(), 1, "the cluster address");
    assert_eq!(messages(&planner, "Service d/web", "nodePort").len(), 1);
}

#[test]
fn more_endpoints_than_a_group_holds_are_told() {
    let address = |i: u32| format!("10.1.{}.{}", i / 256, i % 256);
    let all: Vec<_> = (0..6200).map(|i| endpoint(&address(i), 1)).collect();
    let planner = planner(&[web()], &[web_slice(all)]);
    assert_eq!(planner.rows().backends.len(), 6144 + 1);
    assert_eq!(planner.programming().endpoints, 6200);
    let told = messages(&planner, "Service d/web", "ports");
    assert!(told[0].contains("6200 endpoints"), "{told:?}");
}

#[test]
fn the_better_claim_wins_and_the_other_is_told() {
    let service = |name: &str, created, cluster_ip: &str, node_port, balancer_ip: &str| Service {
        created,
        load_balancer_ips: vec![ip(balancer_ip)],
        ports: vec![ServicePort {
            node_port: Some(node_port),
            ..port("", Protocol::Tcp, 80)
        }],
        ..Service {
            name: name.parse().expect("valid"),
            cluster_ips: vec![ip(cluster_ip)],
            ..balancer()
        }
    };
    let old = service("d/old", 1, "10.96.0.1", 30080, "192.0.2.1");
    let new = service("d/new", 2, "10.96.0.2", 30080, "192.0.2.1");
    let mut planner = planner(&[new.clone(), old.clone()], &[]);
    let holder = |planner: &Planner, address: &str, number| {
        let found = planner.service_at(ip(address), Protocol::Tcp, number);
        found.map(ToString::to_string)
    };
    for (address, number) in [("192.168.0.1", 30080), ("192.0.2.1", 80)] {
        assert_eq!(holder(&planner, address, number).as_deref(), Some("d/old"));
    }
    let told = messages(&planner, "Service d/new", "ports");
    assert!(
        told.iter()
            .any(|m| m.contains("tcp 192.0.2.1:80 leads to Service d/old"))
    );
    assert!(messages(&planner, "Service d/old", "ports").is_empty());
    planner.apply(delete_service(old.name));
    for (address, number) in [("192.168.0.1", 30080), ("192.0.2.1", 80)] {
        assert_eq!(holder(&planner, address, number).as_deref(), Some("d/new"));
    }
    assert!(messages(&planner, "Service d/new", "ports").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn bad_endpoints_leave_the_others_alone(
        good in prop::collection::btree_set(2u8..250, 0..60),
        bad in prop::collection::vec(0usize..6, 0..20),
    ) {
        let astray = ["127.0.0.1", "0.0.0.0", "192.168.0.2", "224.0.0.5", "::1", "169.254.1.1"];
        let good: Vec<_> = good
            .into_iter()
            .map(|i| endpoint(&format!("10.244.1.{i}"), 1))
            .collect();
        let clean = planner(&[balancer()], &[web_slice(good.clone())]);
        let mut all = good;
        all.extend(bad.into_iter().map(|i| endpoint(astray[i], 1)));
        all.reverse();
        let slice = EndpointSlice {
            family: seaway_model::Family::V4,
            ..web_slice(all)
        };
        let mut mixed = planner(&[balancer()], &[slice]);
        prop_assert_eq!(mixed.rows(), clean.rows());
        mixed.apply(upsert_slice(two()));
        prop_assert!(check::findings(&mixed).iter().all(|f| f.field != "endpoints"));
    }
}
