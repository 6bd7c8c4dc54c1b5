//! What the planner tells of Services beside rows: names, health, flows, figures.

use std::collections::BTreeSet;

use seaway_model::{
    Endpoint, EndpointSlice, Protocol, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use seaway_plan::{FlowTruth, HealthCheck};

use super::inputs::{
    delete_service, delete_slice, endpoint, port, simple_service, simple_slice, upsert_service,
    upsert_slice,
};
use super::scene::{balancer, planner, two, web, web_slice};
use crate::inputs::ip;

#[test]
fn views_show_services_and_slices_together() {
    let headless = Service {
        cluster_ips: vec![],
        ..simple_service("d/headless", "10.96.0.9")
    };
    let other = simple_slice("d/a", "d/headless", vec![endpoint("10.244.0.7", 0)]);
    let planner = planner(&[web(), headless.clone()], &[two(), other.clone()]);
    let names: Vec<_> = planner
        .services()
        .map(|view| view.name().to_string())
        .collect();
    assert_eq!(names, ["d/headless", "d/web"]);
    let view = planner.service(&headless.name).expect("known");
    assert_eq!(view.service(), Some(&headless));
    assert_eq!(view.slices().collect::<Vec<_>>(), [&other]);
    assert!(planner.service(&"d/none".parse().expect("valid")).is_none());
}

#[test]
fn a_slice_that_changes_its_service_is_one_slice() {
    let moved = EndpointSlice {
        service: "d/other".parse().expect("valid"),
        ..two()
    };
    let other = simple_service("d/other", "10.96.0.2");
    let mut planner = planner(&[web(), other], &[two()]);
    planner.apply(upsert_slice(moved));
    let slices = |name: &str| {
        let view = planner.service(&name.parse().expect("valid"));
        view.map_or(0, |view| view.slices().count())
    };
    assert_eq!((slices("d/web"), slices("d/other")), (0, 1));
    assert_eq!(planner.rows().backends.len(), 2);
}

#[test]
fn s23_health_is_that_of_ready_endpoints_of_the_node() {
    let checked = Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00:96::1")],
        external_policy: TrafficPolicy::Local,
        health_port: Some(31000),
        ..balancer()
    };
    let here = |address: &str| endpoint(address, 0);
    let ending = Endpoint {
        ready: false,
        terminating: true,
        ..here("10.244.0.7")
    };
    let slice = web_slice(vec![
        here("10.244.0.5"),
        here("10.244.0.6"),
        ending.clone(),
        endpoint("10.244.1.5", 1),
    ]);
    let six = simple_slice(
        "d/web-6",
        "d/web",
        vec![here("fd00:10::5"), here("fd00:10::6")],
    );
    let mut planner = planner(
        &[checked.clone(), simple_service("d/x", "10.96.0.2")],
        &[slice, six],
    );
    let check = |local_endpoints| HealthCheck {
        service: checked.name.clone(),
        port: 31000,
        local_endpoints,
    };
    assert_eq!(planner.health_checks(), [check(2)]);
    assert_eq!(planner.local_endpoints(&checked.name), 2);
    planner.apply(delete_slice("d/web-6".parse().expect("valid")));
    planner.apply(upsert_slice(web_slice(vec![ending])));
    assert_eq!(
        planner.health_checks(),
        [check(0)],
        "it ends: no new flows, please"
    );
    planner.apply(delete_service(checked.name.clone()));
    assert!(planner.health_checks().is_empty());
}

#[test]
fn s27_who_may_answer_is_whoever_serves() {
    let udp = Service {
        kind: ServiceKind::NodePort,
        external_policy: TrafficPolicy::Local,
        ports: vec![
            ServicePort {
                node_port: Some(30053),
                ..port("dns", Protocol::Udp, 53)
            },
            port("tcp", Protocol::Tcp, 53),
        ],
        ..web()
    };
    let conditions = |address, node, [ready, serving, terminating]: [bool; 3]| Endpoint {
        ready,
        serving,
        terminating,
        ..endpoint(address, node)
    };
    let slice = EndpointSlice {
        ports: vec![SlicePort {
            name: "dns".to_owned(),
            protocol: Protocol::Udp,
            port: Some(5353),
        }],
        ..web_slice(vec![
            conditions("10.244.0.5", 0, [true, true, false]),
            conditions("10.244.1.5", 1, [false, true, true]),
            conditions("10.244.1.6", 1, [false, true, false]),
            conditions("10.244.1.7", 1, [false, false, true]),
        ])
    };
    let mut planner = planner(std::slice::from_ref(&udp), &[slice]);
    let serving = ["10.244.0.5:5353", "10.244.1.5:5353", "10.244.1.6:5353"];
    let frontends = ["10.96.0.1:53", "169.254.83.83:30053", "192.168.0.1:30053"];
    let truth = |frontend: &str, all: &[&str]| FlowTruth {
        frontend: frontend.parse().expect("valid"),
        may_answer: all.iter().map(|a| a.parse().expect("valid")).collect(),
    };
    let wanted: Vec<_> = frontends.map(|frontend| truth(frontend, &serving)).into();
    assert_eq!(planner.udp_flows(&udp.name), wanted);
    planner.apply(upsert_slice(web_slice(vec![])));
    let none: Vec<_> = frontends.map(|frontend| truth(frontend, &[])).into();
    assert_eq!(planner.udp_flows(&udp.name), none);
    let changes = planner.apply(delete_service(udp.name.clone()));
    assert!(planner.udp_flows(&udp.name).is_empty());
    assert_eq!(planner.udp_flows_gone(&changes), none);
    // What another took over at once is that one's.
    planner.apply(upsert_service(udp.clone()));
    let heir = Service {
        name: "d/heir".parse().expect("valid"),
        ..udp.clone()
    };
    planner.apply(upsert_service(heir.clone()));
    let changes = planner.apply(delete_service(udp.name));
    assert!(planner.udp_flows_gone(&changes).is_empty());
    let taken: BTreeSet<_> = planner
        .udp_flows(&heir.name)
        .into_iter()
        .map(|t| t.frontend)
        .collect();
    assert_eq!(taken.len(), 3);
}

#[test]
fn s44_figures_count_services_and_endpoints() {
    let mut planner = planner(
        &[web(), balancer(), simple_service("d/x", "10.96.0.2")],
        &[two()],
    );
    let figures = planner.programming();
    assert_eq!((figures.services, figures.endpoints), (2, 2));
    planner.apply(delete_service(web().name));
    let figures = planner.programming();
    assert_eq!((figures.services, figures.endpoints), (1, 0));
}
