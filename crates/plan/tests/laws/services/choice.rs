//! Which Services are balanced, and by which endpoints: S1 to S12 as rows.

use seaway_model::{
    Endpoint, EndpointSlice, Protocol, Service, ServiceKind, ServiceSettings, SlicePort,
    TrafficPolicy, View,
};

use super::inputs::{endpoint, port, simple_slice, upsert_service, upsert_slice};
use super::scene::{at, at_by, balancer, everyone, planner, two, web, web_slice, with_settings};
use crate::inputs::{dual_node, ip, name, upsert};

#[test]
fn s1_each_type_has_what_the_one_before_has() {
    let of = |kind| {
        let planner = planner(&[Service { kind, ..balancer() }], &[two()]);
        let places = [("10.96.0.1", 80), ("192.168.0.1", 30080), ("192.0.2.1", 80)];
        places.map(|(address, port)| everyone(&planner, address, port).len() == 2)
    };
    assert_eq!(of(ServiceKind::ClusterIp), [true, false, false]);
    assert_eq!(of(ServiceKind::NodePort), [true, true, false]);
    assert_eq!(of(ServiceKind::LoadBalancer), [true, true, true]);
    let alias = ServiceKind::ExternalName("example.org".to_owned());
    assert_eq!(of(alias), [false, false, false]);
    let headless = Service {
        cluster_ips: vec![],
        ..balancer()
    };
    let planner = planner(&[headless], &[two()]);
    assert!(planner.rows().frontends.is_empty());
    assert!(planner.rows().backends.is_empty());
}

#[test]
fn s2_one_number_serves_two_protocols() {
    let service = Service {
        ports: vec![port("t", Protocol::Tcp, 53), port("u", Protocol::Udp, 53)],
        ..web()
    };
    let slice = |name: &str, port: &str, protocol, number, address| EndpointSlice {
        ports: vec![SlicePort {
            name: port.to_owned(),
            protocol,
            port: Some(number),
        }],
        ..simple_slice(name, "d/web", vec![endpoint(address, 0)])
    };
    let planner = planner(
        &[service],
        &[
            slice("d/a", "t", Protocol::Tcp, 5300, "10.244.0.5"),
            slice("d/b", "u", Protocol::Udp, 5301, "10.244.0.6"),
        ],
    );
    let at = |protocol| at_by(&planner, "10.96.0.1", protocol, 53, View::Everyone);
    assert_eq!(at(Protocol::Tcp), ["10.244.0.5:5300"]);
    assert_eq!(at(Protocol::Udp), ["10.244.0.6:5301"]);
    assert_eq!(at(Protocol::Sctp), ["nowhere"]);
}

#[test]
fn s3_each_slice_has_its_own_number_for_a_port() {
    let other = EndpointSlice {
        ports: vec![SlicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: Some(9090),
        }],
        ..simple_slice("d/web-2", "d/web", vec![endpoint("10.244.2.5", 2)])
    };
    let planner = planner(&[web()], &[two(), other]);
    let wanted = ["10.244.0.5:8080", "10.244.1.5:8080", "10.244.2.5:9090"];
    assert_eq!(everyone(&planner, "10.96.0.1", 80), wanted);
}

#[test]
fn s4_families_are_apart_and_come_and_go() {
    let dual = Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00:96::1")],
        ..web()
    };
    let six = simple_slice("d/web-6", "d/web", vec![endpoint("fd00:10::5", 0)]);
    let mut planner = planner(std::slice::from_ref(&dual), &[two(), six]);
    assert_eq!(everyone(&planner, "10.96.0.1", 80).len(), 2);
    assert_eq!(everyone(&planner, "fd00:96::1", 80), ["[fd00:10::5]:8080"]);
    let before = planner.rows().clone();
    planner.apply(upsert_service(web()));
    assert_eq!(everyone(&planner, "fd00:96::1", 80), ["nowhere"]);
    let only_v4 = |row: &seaway_model::BackendRow| row.target.is_ipv4();
    assert!(planner.rows().backends.iter().all(only_v4));
    planner.apply(upsert_service(dual));
    assert_eq!(*planner.rows(), before);
}

#[test]
fn s5_an_endpoint_in_two_slices_is_one() {
    let gone = Endpoint {
        ready: false,
        serving: false,
        ..endpoint("10.244.0.5", 0)
    };
    for (first, second) in [("d/a", "d/b"), ("d/b", "d/a")] {
        let stale = simple_slice(first, "d/web", vec![gone.clone()]);
        let fresh = simple_slice(second, "d/web", vec![endpoint("10.244.0.5", 0)]);
        let planner = planner(&[web()], &[stale, fresh]);
        assert_eq!(everyone(&planner, "10.96.0.1", 80), ["10.244.0.5:8080"]);
        assert_eq!(planner.rows().backends.len(), 1);
    }
}

fn with(address: &str, node: usize, conditions: [bool; 3]) -> Endpoint {
    let [ready, serving, terminating] = conditions;
    Endpoint {
        ready,
        serving,
        terminating,
        ..endpoint(address, node)
    }
}

#[test]
fn s6_ending_endpoints_serve_while_there_is_nothing_better() {
    let ending = with("10.244.0.5", 0, [false, true, true]);
    let unready = with("10.244.0.6", 0, [false, true, false]);
    let ready = endpoint("10.244.1.5", 1);
    let service = Service {
        external_policy: TrafficPolicy::Local,
        ..balancer()
    };
    let planner = planner(
        &[service],
        &[web_slice(vec![ending.clone(), unready.clone(), ready])],
    );
    assert_eq!(everyone(&planner, "192.0.2.1", 80), ["10.244.1.5:8080"]);
    // Those of this node are decided for themselves.
    let local = at(&planner, "192.0.2.1", 80, View::Outside);
    assert_eq!(local, ["10.244.0.5:8080"]);
    let planner = self::planner(&[web()], &[web_slice(vec![ending, unready])]);
    assert_eq!(everyone(&planner, "10.96.0.1", 80), ["10.244.0.5:8080"]);
}

#[test]
fn s7_what_is_published_before_it_is_ready_is_ready() {
    let early = with("10.244.0.5", 0, [true, false, false]);
    let ending = with("10.244.0.6", 0, [true, false, true]);
    let planner = planner(&[web()], &[web_slice(vec![early, ending])]);
    // That what ends is ready is said only where it is to be used all the same.
    assert_eq!(
        everyone(&planner, "10.96.0.1", 80),
        ["10.244.0.5:8080", "10.244.0.6:8080"]
    );
}

#[test]
fn s9_the_rules_say_whose_source_is_kept() {
    let rules = |masquerade_all| {
        let settings = ServiceSettings {
            masquerade_all,
            ..ServiceSettings::default()
        };
        let planner = with_settings(settings, &[], &[]);
        let row = planner.rows().firewall.iter().next().expect("planned");
        row.services.clone().expect("on")
    };
    assert!(!rules(false).masquerade_all);
    assert!(rules(true).masquerade_all);
    let sources: Vec<_> = rules(true).sources.into_iter().collect();
    assert_eq!(sources, [ip("192.168.0.1"), ip("fd00::1")]);
}

#[test]
fn s10_from_outside_only_endpoints_of_the_node_serve() {
    let service = Service {
        external_policy: TrafficPolicy::Local,
        ..balancer()
    };
    let mut planner = planner(std::slice::from_ref(&service), &[two()]);
    for (address, number) in [("192.168.0.1", 30080), ("192.0.2.1", 80)] {
        assert_eq!(everyone(&planner, address, number).len(), 2);
        let outside = at(&planner, address, number, View::Outside);
        assert_eq!(outside, ["10.244.0.5:8080"]);
    }
    assert_eq!(everyone(&planner, "10.96.0.1", 80).len(), 2);
    planner.apply(upsert_slice(web_slice(vec![endpoint("10.244.1.5", 1)])));
    assert_eq!(at(&planner, "192.0.2.1", 80, View::Outside), ["dropped"]);
    assert_eq!(everyone(&planner, "192.0.2.1", 80), ["10.244.1.5:8080"]);
    let figures = planner.programming();
    assert_eq!((figures.services, figures.endpoints), (1, 1));
    assert_eq!(
        (figures.no_local_external, figures.no_local_internal),
        (1, 0)
    );
    planner.apply(upsert_slice(web_slice(vec![])));
    for view in [View::Everyone, View::Outside] {
        assert_eq!(at(&planner, "192.0.2.1", 80, view), ["refused"]);
    }
    assert_eq!(planner.programming().no_local_external, 0);
}

#[test]
fn s11_inside_only_endpoints_of_the_node_serve() {
    let service = Service {
        internal_policy: TrafficPolicy::Local,
        ..balancer()
    };
    let mut planner = planner(&[service], &[two()]);
    assert_eq!(everyone(&planner, "10.96.0.1", 80), ["10.244.0.5:8080"]);
    assert_eq!(everyone(&planner, "192.0.2.1", 80).len(), 2);
    planner.apply(upsert_slice(web_slice(vec![endpoint("10.244.1.5", 1)])));
    assert_eq!(everyone(&planner, "10.96.0.1", 80), ["dropped"]);
    assert_eq!(planner.programming().no_local_internal, 1);
    planner.apply(upsert_slice(web_slice(vec![])));
    assert_eq!(everyone(&planner, "10.96.0.1", 80), ["refused"]);
}

fn hinted(address: &str, node: usize, zones: &[&str], nodes: &[usize]) -> Endpoint {
    Endpoint {
        for_zones: zones.iter().map(ToString::to_string).collect(),
        for_nodes: nodes.iter().map(|i| name(*i)).collect(),
        ..endpoint(address, node)
    }
}

#[test]
fn s12_hints_count_when_all_have_one_and_one_is_ours() {
    let near = |endpoints: Vec<Endpoint>| {
        let service = Service {
            external_policy: TrafficPolicy::Local,
            ..balancer()
        };
        let mut planner = planner(&[service], &[web_slice(endpoints)]);
        planner.apply(upsert(seaway_model::Node {
            zone: Some("a".to_owned()),
            ..dual_node(0)
        }));
        let local = at(&planner, "192.0.2.1", 80, View::Outside);
        (everyone(&planner, "10.96.0.1", 80), local)
    };
    let (here, there) = ("10.244.0.5:8080".to_owned(), "10.244.1.5:8080".to_owned());
    let both = vec![here.clone(), there.clone()];
    let local = vec![here.clone()];
    let pair = |zones: [&[&str]; 2], nodes: [&[usize]; 2]| {
        vec![
            hinted("10.244.0.5", 0, zones[0], nodes[0]),
            hinted("10.244.1.5", 1, zones[1], nodes[1]),
        ]
    };
    // By zone; the one of this node is for others, and still serves those from outside.
    assert_eq!(
        near(pair([&["b"], &["a"]], [&[], &[]])),
        (vec![there.clone()], local.clone())
    );
    // By node, before zone.
    assert_eq!(
        near(pair([&["b"], &["a"]], [&[0], &[1]])),
        (vec![here], local.clone())
    );
    // One without a hint: all.
    assert_eq!(near(pair([&[], &["a"]], [&[], &[]])).0, both);
    // None for us: all.
    assert_eq!(near(pair([&["b"], &["b"]], [&[], &[]])).0, both);
    // Not among those that end.
    let mut ending = pair([&["b"], &["a"]], [&[], &[]]);
    for endpoint in &mut ending {
        (endpoint.ready, endpoint.terminating) = (false, true);
    }
    assert_eq!(near(ending).0, both);
}
