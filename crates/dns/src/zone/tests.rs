//! The specification as tables: a cluster, and what each of its names leads to.

use std::net::IpAddr;

use seaway_model::{
    ClusterEvent, Endpoint, EndpointSlice, Family, Node, NodeName, Protocol, Service, ServiceKind,
    ServicePort, SlicePort, TrafficPolicy,
};

use super::{Data, Found, Kind, Zone, ZoneConfig};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A Service with TCP port 80 called `http` and UDP port 53 called `dns`.
pub(super) fn service(name: &str, addresses: &[&str]) -> Service {
    let port = |name: &str, protocol, port| ServicePort {
        name: name.to_owned(),
        protocol,
        port,
        node_port: None,
    };
    Service {
        name: name.parse().expect("namespace/name"),
        created: 0,
        kind: ServiceKind::ClusterIp,
        cluster_ips: addresses.iter().map(|a| ip(a)).collect(),
        ports: vec![
            port("http", Protocol::Tcp, 80),
            port("dns", Protocol::Udp, 53),
            port("", Protocol::Sctp, 9),
        ],
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

fn alias(name: &str, target: &str) -> Service {
    Service {
        kind: ServiceKind::ExternalName(target.to_owned()),
        ports: Vec::new(),
        ..service(name, &[])
    }
}

/// Endpoints written `address`, `address=hostname`, and with `!` at the end if not ready.
pub(super) fn slice(name: &str, service: &str, endpoints: &[&str]) -> EndpointSlice {
    let endpoint = |text: &&str| {
        let plain = text.trim_end_matches('!');
        let (address, hostname) = plain.split_once('=').unwrap_or((plain, ""));
        Endpoint {
            address: ip(address),
            ready: !text.ends_with('!'),
            serving: true,
            terminating: false,
            node: None,
            pod: None,
            hostname: Some(hostname.to_owned()).filter(|name| !name.is_empty()),
            for_zones: Vec::new(),
            for_nodes: Vec::new(),
        }
    };
    let endpoints: Vec<Endpoint> = endpoints.iter().map(endpoint).collect();
    let port = |name: &str, protocol, port| SlicePort {
        name: name.to_owned(),
        protocol,
        port,
    };
    EndpointSlice {
        name: name.parse().expect("namespace/name"),
        service: service.parse().expect("namespace/name"),
        family: endpoints
            .first()
            .map_or(Family::V4, |e| Family::of(e.address)),
        ports: vec![
            port("http", Protocol::Tcp, Some(8080)),
            port("", Protocol::Tcp, Some(9)),
            port("any", Protocol::Tcp, None),
        ],
        endpoints,
    }
}

fn node() -> Node {
    Node {
        name: NodeName::new("n1").expect("valid"),
        addresses: vec![ip("172.18.0.2"), ip("fd00:5ea::2")],
        pod_cidrs: ["10.244.1.0/24", "fd00:10:1::/64"]
            .map(|n| n.parse().expect("net"))
            .into(),
        transport: None,
        zone: None,
        leaving: false,
    }
}

/// A cluster with one of everything.
fn events() -> Vec<ClusterEvent> {
    let services = [
        service("default/web", &["10.96.0.5", "fd00:96::5"]),
        service("default/four", &["10.96.0.6"]),
        Service {
            foreign: true,
            ..service("mesh/theirs", &["10.96.0.7"])
        },
        service("default/db", &[]),
        service("default/none", &[]),
        Service {
            publish_not_ready: true,
            ..service("default/eager", &[])
        },
        alias("default/out", "www.Example.com."),
        alias("default/in", "web.default.svc.cluster.local"),
        alias("default/number", "192.0.2.1"),
    ];
    let slices = [
        slice(
            "default/web-1",
            "default/web",
            &["10.244.1.9=first", "10.244.1.10"],
        ),
        slice(
            "default/db-1",
            "default/db",
            &["10.244.1.2=db-0", "10.244.1.3", "10.244.1.4=db-2!"],
        ),
        slice(
            "default/db-2",
            "default/db",
            &["10.244.1.3", "10.244.2.2=db-0"],
        ),
        slice(
            "default/db-3",
            "default/db",
            &["fd00:10:1::2=db-0", "fd00:10:1::3"],
        ),
        slice(
            "default/none-1",
            "default/none",
            &["10.244.1.5!", "10.244.1.6=sleepy!"],
        ),
        slice("default/eager-1", "default/eager", &["10.244.1.7!"]),
        slice("default/lost-1", "default/lost", &["10.244.1.8=lost"]),
    ];
    let nodes = [ClusterEvent::NodeUpsert(node())];
    nodes
        .into_iter()
        .chain(services.into_iter().map(ClusterEvent::ServiceUpsert))
        .chain(slices.into_iter().map(ClusterEvent::SliceUpsert))
        .chain([ClusterEvent::Synced])
        .collect()
}

fn zone() -> Zone {
    let mut zone = Zone::new(&ZoneConfig {
        servers: vec![ip("169.254.83.53")],
        service_cidrs: vec!["10.96.0.0/16".parse().expect("net")],
        ..ZoneConfig::default()
    });
    events().iter().for_each(|event| zone.apply(event));
    zone
}

fn kind(name: &str) -> Kind {
    match name {
        "A" => Kind::Address(Family::V4),
        "AAAA" => Kind::Address(Family::V6),
        "SRV" => Kind::Srv,
        "PTR" => Kind::Ptr,
        "TXT" => Kind::Txt,
        "SOA" => Kind::Soa,
        "NS" => Kind::Ns,
        "MX" => Kind::Other,
        other => panic!("no kind {other}"),
    }
}

/// What is found, in words.
fn words(found: &Found) -> String {
    let word = |data: &Data| match data {
        Data::Address(address) => address.to_string(),
        Data::Srv {
            weight,
            port,
            target,
        } => format!("{weight}:{target}:{port}"),
        Data::Ptr(name) | Data::Ns(name) => name.clone(),
        Data::Txt(text) => (*text).to_owned(),
        Data::Soa => "soa".to_owned(),
    };
    match found {
        Found::Elsewhere => "elsewhere".to_owned(),
        Found::Unknown => "unknown".to_owned(),
        Found::Missing => "missing".to_owned(),
        Found::Alias(target) => format!("alias {target}"),
        Found::Records { answers, .. } if answers.is_empty() => "nothing".to_owned(),
        Found::Records { answers, .. } => answers.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

fn look(zone: &Zone, name: &str, of: &str) -> String {
    let labels: Vec<&str> = name.split('.').filter(|l| !l.is_empty()).collect();
    words(&zone.find(&labels, kind(of)))
}

fn check(table: &[(&str, &str, &str)]) {
    let zone = zone();
    for (name, of, expected) in table {
        let name = match name.ends_with('.') {
            true => (*name).to_owned(),
            false => format!("{name}.cluster.local"),
        };
        assert_eq!(look(&zone, &name, of), *expected, "{of} {name}");
    }
}

#[test]
fn s43_services_have_addresses_of_both_families() {
    check(&[
        ("web.default.svc", "A", "10.96.0.5"),
        ("web.default.svc", "AAAA", "fd00:96::5"),
        ("web.default.svc", "MX", "nothing"),
        ("four.default.svc", "A", "10.96.0.6"),
        ("four.default.svc", "AAAA", "nothing"),
        ("theirs.mesh.svc", "A", "10.96.0.7"),
        ("web.mesh.svc", "A", "missing"),
        ("web.nowhere.svc", "A", "missing"),
        ("lost.default.svc", "A", "missing"),
    ]);
}

#[test]
fn s43_ports_have_srv_records() {
    let web = "100:web.default.svc.cluster.local";
    check(&[
        ("_http._tcp.web.default.svc", "SRV", &format!("{web}:80")),
        ("_dns._udp.web.default.svc", "SRV", &format!("{web}:53")),
        ("_http._udp.web.default.svc", "SRV", "missing"),
        ("_http._tcp.web.default.svc", "A", "nothing"),
        ("_tcp.web.default.svc", "SRV", "nothing"),
        ("_sctp.web.default.svc", "SRV", "missing"),
        ("_._sctp.web.default.svc", "SRV", "missing"),
        ("http._tcp.web.default.svc", "SRV", "missing"),
        ("_http.tcp.web.default.svc", "SRV", "missing"),
        (
            "web.default.svc",
            "SRV",
            "50:web.default.svc.cluster.local:53 50:web.default.svc.cluster.local:80",
        ),
        (
            "_http._tcp.db.default.svc",
            "SRV",
            "33:10-244-1-3.db.default.svc.cluster.local:8080 \
             33:db-0.db.default.svc.cluster.local:8080 \
             33:fd00-10-1--3.db.default.svc.cluster.local:8080",
        ),
        ("_any._tcp.db.default.svc", "SRV", "missing"),
        ("_http._tcp.none.default.svc", "SRV", "missing"),
        ("_tcp.db.default.svc", "A", "nothing"),
        ("_udp.db.default.svc", "A", "missing"),
    ]);
}

#[test]
fn s43_srv_records_bring_the_addresses_along() {
    let zone = zone();
    let extra = |name: &str| {
        let labels: Vec<&str> = name.split('.').collect();
        match zone.find(&labels, Kind::Srv) {
            Found::Records { extra, .. } => extra,
            other => panic!("{other:?}"),
        }
    };
    let web = "web.default.svc.cluster.local";
    let both = [ip("10.96.0.5"), ip("fd00:96::5")].map(|a| (web.to_owned(), a));
    assert_eq!(extra(&format!("_http._tcp.{web}")), both);
    let db = extra("_http._tcp.db.default.svc.cluster.local");
    let of_first = db.iter().filter(|(name, _)| name.starts_with("db-0."));
    let of_first: Vec<_> = of_first.map(|(_, a)| *a).collect();
    let expected = ["10.244.1.2", "10.244.2.2", "fd00:10:1::2"].map(ip);
    assert_eq!(of_first, expected);
    assert_eq!(db.len(), 5);
}

#[test]
fn s43_headless_services_lead_to_ready_endpoints() {
    check(&[
        ("db.default.svc", "A", "10.244.1.2 10.244.1.3 10.244.2.2"),
        ("db.default.svc", "AAAA", "fd00:10:1::2 fd00:10:1::3"),
        ("db.default.svc", "MX", "nothing"),
        ("none.default.svc", "A", "missing"),
        ("none.default.svc", "SRV", "missing"),
        ("eager.default.svc", "A", "10.244.1.7"),
        ("eager.default.svc", "AAAA", "nothing"),
    ]);
}

#[test]
fn s43_endpoints_have_names() {
    check(&[
        ("db-0.db.default.svc", "A", "10.244.1.2 10.244.2.2"),
        ("db-0.db.default.svc", "AAAA", "fd00:10:1::2"),
        ("10-244-1-3.db.default.svc", "A", "10.244.1.3"),
        ("10-244-1-3.db.default.svc", "AAAA", "nothing"),
        ("fd00-10-1--3.db.default.svc", "AAAA", "fd00:10:1::3"),
        ("10-244-1-2.db.default.svc", "A", "missing"),
        ("db-2.db.default.svc", "A", "missing"),
        ("10-244-1-7.eager.default.svc", "A", "10.244.1.7"),
        ("sleepy.none.default.svc", "A", "missing"),
        ("first.web.default.svc", "A", "10.244.1.9"),
        ("10-244-1-10.web.default.svc", "A", "10.244.1.10"),
        ("x.db-0.db.default.svc", "A", "missing"),
        ("db-0.default.svc", "A", "missing"),
    ]);
}

#[test]
fn s43_external_names_are_aliases() {
    check(&[
        ("out.default.svc", "A", "alias www.example.com"),
        ("out.default.svc", "MX", "alias www.example.com"),
        ("in.default.svc", "A", "alias web.default.svc.cluster.local"),
        ("x.out.default.svc", "A", "missing"),
        ("_http._tcp.out.default.svc", "SRV", "missing"),
        ("number.default.svc", "A", "missing"),
    ]);
}

#[test]
fn s43_addresses_lead_back_to_names() {
    let nibbles = |address: &str| {
        let IpAddr::V6(v6) = ip(address) else {
            panic!("{address} is no IPv6 address")
        };
        let bits = u128::from(v6);
        let digits = (0..32).map(|n| format!("{:x}.", bits >> (4 * n) & 15));
        format!("{}ip6.arpa.", digits.collect::<String>())
    };
    check(&[
        (
            "5.0.96.10.in-addr.arpa.",
            "PTR",
            "web.default.svc.cluster.local",
        ),
        (
            &nibbles("fd00:96::5"),
            "PTR",
            "web.default.svc.cluster.local",
        ),
        ("5.0.96.10.in-addr.arpa.", "A", "nothing"),
        (
            "2.1.244.10.in-addr.arpa.",
            "PTR",
            "db-0.db.default.svc.cluster.local",
        ),
        (
            &nibbles("fd00:10:1::2"),
            "PTR",
            "db-0.db.default.svc.cluster.local",
        ),
        ("3.1.244.10.in-addr.arpa.", "PTR", "missing"),
        ("4.1.244.10.in-addr.arpa.", "PTR", "missing"),
        ("8.1.244.10.in-addr.arpa.", "PTR", "missing"),
        ("9.9.96.10.in-addr.arpa.", "PTR", "missing"),
        ("9.9.97.10.in-addr.arpa.", "PTR", "elsewhere"),
        ("2.0.18.172.in-addr.arpa.", "PTR", "elsewhere"),
        ("53.83.254.169.in-addr.arpa.", "PTR", "ns.dns.cluster.local"),
        ("96.10.in-addr.arpa.", "PTR", "elsewhere"),
        ("8.8.8.8.in-addr.arpa.", "PTR", "elsewhere"),
    ]);
}

#[test]
fn s43_an_address_of_two_services_is_the_older_ones() {
    let mut zone = zone();
    let mut claim = service("a/thief", &["10.96.0.5"]);
    claim.created = 10;
    zone.apply(&ClusterEvent::ServiceUpsert(claim.clone()));
    let name = "5.0.96.10.in-addr.arpa.";
    assert_eq!(look(&zone, name, "PTR"), "web.default.svc.cluster.local");
    claim.created = -1;
    zone.apply(&ClusterEvent::ServiceUpsert(claim));
    assert_eq!(look(&zone, name, "PTR"), "thief.a.svc.cluster.local");
}

#[test]
fn s43_the_zone_describes_itself() {
    check(&[
        ("dns-version", "TXT", "1.1.0"),
        ("dns-version", "A", "nothing"),
        ("cluster.local.", "SOA", "soa"),
        ("cluster.local.", "NS", "ns.dns.cluster.local"),
        ("cluster.local.", "A", "nothing"),
        ("ns.dns", "A", "169.254.83.53"),
        ("ns.dns", "AAAA", "nothing"),
        ("dns", "A", "nothing"),
    ]);
}

#[test]
fn s43_names_that_only_have_names_below_exist() {
    check(&[
        ("svc", "A", "nothing"),
        ("default.svc", "A", "nothing"),
        ("mesh.svc", "A", "nothing"),
        ("nowhere.svc", "A", "missing"),
        ("pod", "A", "nothing"),
        ("default.pod", "A", "nothing"),
        ("other", "A", "missing"),
        ("www.example.com.default.svc", "A", "missing"),
        ("*.default.svc", "A", "missing"),
        ("local.", "A", "elsewhere"),
        ("xcluster.local.", "A", "elsewhere"),
        (".", "NS", "elsewhere"),
    ]);
}

#[test]
fn s43_pods_have_their_deprecated_names() {
    check(&[
        ("10-244-1-77.default.pod", "A", "10.244.1.77"),
        ("10-244-1-77.default.pod", "AAAA", "nothing"),
        ("fd00-10-1--7.default.pod", "AAAA", "fd00:10:1::7"),
        ("172-18-0-2.kube-system.pod", "A", "172.18.0.2"),
        ("8-8-8-8.default.pod", "A", "missing"),
        ("web.default.pod", "A", "missing"),
    ]);
    let mut zone = Zone::new(&ZoneConfig {
        pod_names: false,
        ..ZoneConfig::default()
    });
    events().iter().for_each(|event| zone.apply(event));
    for name in ["10-244-1-77.default.pod", "default.pod", "pod"] {
        let name = format!("{name}.cluster.local");
        assert_eq!(look(&zone, &name, "A"), "missing");
    }
}

#[test]
fn nothing_is_denied_before_everything_has_been_told() {
    let mut zone = Zone::new(&ZoneConfig::default());
    for name in [
        "web.default.svc.cluster.local",
        "x.cluster.local",
        "5.0.96.10.in-addr.arpa",
    ] {
        assert_eq!(look(&zone, name, "A"), "unknown");
    }
    assert_eq!(look(&zone, "example.com", "A"), "elsewhere");
    zone.apply(&ClusterEvent::Synced);
    assert_eq!(look(&zone, "web.default.svc.cluster.local", "A"), "missing");
}

#[test]
fn what_goes_leaves_nothing_behind() {
    let mut zone = zone();
    for event in events() {
        match event {
            ClusterEvent::ServiceUpsert(s) => zone.apply(&ClusterEvent::ServiceDelete(s.name)),
            ClusterEvent::SliceUpsert(s) => zone.apply(&ClusterEvent::SliceDelete(s.name)),
            _ => {}
        }
    }
    assert!(zone.services.is_empty() && zone.owners.is_empty() && zone.namespaces.is_empty());
    assert!(zone.cluster_ips.is_empty() && zone.named_hosts.is_empty());
}

#[test]
fn a_domain_of_ones_own_is_taken_in_any_case() {
    let mut zone = Zone::new(&ZoneConfig {
        domain: "K8s.Example.COM.".to_owned(),
        ..ZoneConfig::default()
    });
    events().iter().for_each(|event| zone.apply(event));
    assert_eq!(
        look(&zone, "web.default.svc.k8s.example.com", "A"),
        "10.96.0.5"
    );
    assert_eq!(
        look(&zone, "web.default.svc.cluster.local", "A"),
        "elsewhere"
    );
}
