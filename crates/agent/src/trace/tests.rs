//! Questions to the agent of a node with one Pod and a peer, in people's words.

use std::net::IpAddr;

use seaway_cni::request::TraceRequest;
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, ContainerId, Endpoint, EndpointSlice, Extras, Family,
    IfName, NetworkName, Node, NodeName, Protocol, Service, ServiceKind, ServicePort, Settings,
    SlicePort, TrafficPolicy,
};
use seaway_plan::{Input, Uplink};

use super::*;
use crate::records::Record;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn node(name: &str, addresses: &[&str], cidrs: &[&str]) -> ClusterEvent {
    ClusterEvent::NodeUpsert(Node {
        name: NodeName::new(name).expect("valid"),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        pod_cidrs: cidrs.iter().map(|t| t.parse().expect("valid")).collect(),
        transport: None,
        zone: None,
        leaving: false,
    })
}

fn service(name: &str, kind: ServiceKind, cluster_ips: &[&str]) -> Service {
    let port = |name: &str, port, node_port| ServicePort {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        port,
        node_port,
    };
    let node_port = (kind == ServiceKind::NodePort).then_some(30080);
    Service {
        name: name.parse().expect("valid"),
        created: 0,
        kind,
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        ports: vec![port("http", 80, node_port), port("admin", 81, None)],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_port: None,
        publish_not_ready: false,
        foreign: false,
    }
}

fn slice(name: &str, endpoints: &[(&str, &str, &str)]) -> ClusterEvent {
    let endpoint = |(address, node, pod): &(&str, &str, &str)| Endpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: NodeName::new(*node).ok(),
        pod: pod.parse().ok(),
        hostname: None,
        for_zones: Vec::new(),
        for_nodes: Vec::new(),
    };
    ClusterEvent::SliceUpsert(EndpointSlice {
        name: format!("{name}-1").parse().expect("valid"),
        service: name.parse().expect("valid"),
        family: Family::V4,
        ports: vec![SlicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: Some(8080),
        }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    })
}

/// Node a with Pod shop/cart, node b with Pod shop/web-0, and Services of both.
fn state() -> State {
    let mut state = State::new(NodeName::new("a").expect("valid"), Settings::default());
    let networks = ["192.168.0.0/24", "fd00::/64"].map(|t| t.parse().expect("valid"));
    state.planner.apply(Input::Uplink(Some(Uplink {
        mtu: 1500,
        addresses: vec![ip("192.168.0.1"), ip("fd00::1")],
        networks: networks.into(),
        learns_routes: false,
        strict: false,
    })));
    let web = [
        ("10.1.0.7", "b", "shop/web-0"),
        ("10.0.0.5", "a", "shop/cart"),
    ];
    for event in [
        node(
            "a",
            &["192.168.0.1", "fd00::1"],
            &["10.0.0.0/24", "fd01::/64"],
        ),
        node(
            "b",
            &["192.168.0.2", "fd00::2"],
            &["10.1.0.0/24", "fd02::/64"],
        ),
        ClusterEvent::ServiceUpsert(service("shop/web", ServiceKind::NodePort, &["10.96.0.1"])),
        ClusterEvent::ServiceUpsert(service("shop/db", ServiceKind::ClusterIp, &[])),
        ClusterEvent::ServiceUpsert(service(
            "shop/mail",
            ServiceKind::ExternalName("mail.example.com".to_owned()),
            &[],
        )),
        slice("shop/web", &web),
        slice("shop/db", &web[..1]),
        ClusterEvent::Synced,
    ] {
        state.cluster(event);
    }
    let mut record = Record::bare(Attachment {
        id: AttachmentId {
            container: ContainerId::new("c1").expect("valid"),
            interface: IfName::new("eth0").expect("valid"),
        },
        network: NetworkName::new("pods").expect("valid"),
        addresses: vec![ip("10.0.0.5"), ip("fd01::5")],
        extras: Extras::default(),
    });
    record.pod = Some("shop/cart".parse().expect("valid"));
    state.attach(record);
    state
}

fn request(from: &str, to: &str) -> TraceRequest {
    TraceRequest {
        from: from.to_owned(),
        to: to.to_owned(),
        protocol: None,
    }
}

fn told(from: &str, to: &str) -> Result<TraceReport, String> {
    let state = state();
    let question = ask(&state, &request(from, to))?;
    let rows = state.planner.rows();
    Ok(tell(&state, &question, rows, rows))
}

fn places(report: &TraceReport) -> Vec<String> {
    let paths = report.paths.iter();
    paths
        .map(|path| format!("{} {}", path.protocol, path.to))
        .collect()
}

#[test]
fn a_service_is_told_with_its_pods_and_all_three_agree() {
    let report = told("shop/cart", "web:http").expect("told");
    assert_eq!(
        (report.from.as_str(), report.to.as_str()),
        ("Pod shop/cart", "Service shop/web")
    );
    assert_eq!(places(&report), ["tcp 10.96.0.1:80"]);
    let path = &report.paths[0];
    assert!(path.arrives && path.planned.is_none(), "{path:#?}");
    assert!(path.services.agree, "{:#?}", path.services);
    let frontend = path
        .kernel
        .steps
        .iter()
        .find(|step| step.text.contains("frontend"));
    let frontend = frontend.expect("a step");
    assert!(
        frontend.text.contains("Service shop/web"),
        "{}",
        frontend.text
    );
    let who: Vec<_> = path
        .kernel
        .ways
        .iter()
        .map(|way| way.who.as_deref())
        .collect();
    assert_eq!(
        who,
        [Some("Pod shop/cart"), Some("Pod shop/web-0 on node b")]
    );
}

#[test]
fn every_port_is_told_when_none_is_named() {
    let report = told("shop/cart", "svc/web").expect("told");
    assert_eq!(places(&report), ["tcp 10.96.0.1:80", "tcp 10.96.0.1:81"]);
    assert!(!report.paths[1].arrives, "nobody serves that port");
    let by_address = told("node", "10.96.0.1").expect("told");
    assert_eq!(places(&by_address), places(&report));
    let unserved = told("node", "10.96.0.1:82").expect("told");
    assert!(!unserved.paths[0].arrives && unserved.paths[0].services.agree);
}

#[test]
fn from_outside_a_service_is_where_it_comes_in() {
    let report = told("outside", "svc/shop/web:80").expect("told");
    assert_eq!(places(&report), ["tcp 192.168.0.1:30080"]);
    assert!(report.paths[0].services.agree, "{:#?}", report.paths[0]);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("stand for anybody"))
    );
    let local = told("node", "127.0.0.1:30080").expect("told");
    assert!(
        local.paths[0].arrives && local.paths[0].services.agree,
        "{local:#?}"
    );
}

#[test]
fn pods_are_found_here_and_behind_services() {
    let report = told("shop/cart", "pod/web-0:8080").expect("told");
    assert_eq!(places(&report), ["tcp 10.1.0.7:8080"]);
    let report = told("node", "shop/cart").expect("told");
    assert_eq!(places(&report), ["tcp 10.0.0.5:0", "tcp [fd01::5]:0"]);
    assert!(report.paths.iter().all(|path| path.arrives));
    let report = told("shop/cart", "db.shop.svc:8080").expect("told");
    assert_eq!(places(&report), ["tcp 10.1.0.7:8080"], "headless");
    let report = told("shop/cart", "node/b:10250").expect("told");
    assert_eq!(report.paths.len(), 2, "both families");
}

#[test]
fn whoever_is_not_known_is_told_with_near_names() {
    for (from, to, words) in [
        ("shop/card", "10.0.0.1", "there are shop/cart"),
        ("shop/web-0", "10.0.0.1", "is on node b: ask there"),
        ("b/web-0", "10.0.0.1", "knows no Pod b/web-0"),
        ("shop/cart", "wep:80", "there are shop/web"),
        ("shop/cart", "node/c", "there are a, b"),
        ("shop/cart", "mail", "another name for mail.example.com"),
        ("shop/cart", "web:https", "it has http 80/tcp, admin 81/tcp"),
        ("shop/cart", "db:5432", "no ready endpoint at that port"),
        ("fd01::5", "10.96.0.1:80", "has no IPv4 address"),
        ("shop/cart", "10.96.0.1:http", "give its number"),
    ] {
        let error = told(from, to).expect_err(to);
        assert!(error.contains(words), "{from} {to}: {error}");
    }
}
