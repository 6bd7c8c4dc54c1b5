//! Where Services can be reached, by whom, and what becomes of that when they change: S13 to S37 as
//! rows.

use std::collections::BTreeSet;

use seaway_model::{
    Endpoint, Family, FrontendAction, NodeName, NodePortAddresses, Protocol, Service, ServiceKind,
    ServicePort, ServiceSettings, TrafficPolicy,
};
use seaway_plan::{Input, Planner};

use super::inputs::{
    delete_service, delete_slice, endpoint, port, simple_service, simple_slice, upsert_service,
    upsert_slice,
};
use super::scene::{balancer, everyone, planner, two, web, web_slice, with_settings};
use crate::inputs::{dual_node, ip, net, texts, upsert};

#[test]
fn s13_without_endpoints_the_sender_is_told() {
    let planner = planner(&[balancer()], &[]);
    for (address, number) in [("10.96.0.1", 80), ("192.168.0.1", 30080), ("192.0.2.1", 80)] {
        assert_eq!(everyone(&planner, address, number), ["refused"]);
    }
}

#[test]
fn s14_every_cluster_address_is_known() {
    let settings = ServiceSettings {
        service_cidrs: vec![net("10.96.0.9/16"), net("fd00:96::/112"), net("10.0.0.0/8")],
        ..ServiceSettings::default()
    };
    let mut planner = with_settings(settings, &[web()], &[]);
    assert_eq!(texts(planner.rows().cluster_ips.iter()), ["10.96.0.1"]);
    let row = planner.rows().firewall.iter().next().expect("planned");
    let rules = row.services.clone().expect("on");
    let nets: Vec<_> = rules.service_cidrs.into_iter().collect();
    // Not the one that the node's own Pods are in.
    assert_eq!(nets, [net("10.96.0.0/16"), net("fd00:96::/112")]);
    let routes = texts(planner.rows().routes.iter());
    assert!(routes.contains(&"10.96.0.0/16 dev uplink src 192.168.0.1".to_owned()));
    assert!(routes.contains(&"fd00:96::/112 dev uplink src fd00::1".to_owned()));
    let findings = seaway_plan::check::findings(&planner);
    let is_told = |f: &seaway_plan::check::Finding| {
        f.field == "serviceCIDRs" && f.message.contains("10.0.0.0/8")
    };
    assert!(findings.iter().any(is_told));
    planner.apply(delete_service(web().name));
    assert!(planner.rows().cluster_ips.is_empty());
}

fn node_port_addresses(planner: &Planner, number: u16) -> Vec<String> {
    let rows = planner.rows().frontends.iter();
    let rows = rows.filter(|row| row.key.port == number);
    rows.map(|row| row.key.address.to_string()).collect()
}

#[test]
fn s15_ports_of_the_node_are_open_where_they_should() {
    let service = Service {
        load_balancer_ips: vec![ip("198.51.100.1")],
        ..balancer()
    };
    let primary = planner(std::slice::from_ref(&service), &[two()]);
    let addresses = node_port_addresses(&primary, 30080);
    assert_eq!(addresses, ["169.254.83.83", "192.168.0.1"]);
    let settings = ServiceSettings {
        node_ports: NodePortAddresses::Within(vec![net("0.0.0.0/0")]),
        ..ServiceSettings::default()
    };
    // Nor does a Service close one by naming it as an external IP while these are off.
    let other = Service {
        external_ips: vec![ip("172.16.0.1")],
        ..simple_service("d/other", "10.96.0.2")
    };
    let mut wide = with_settings(
        settings.clone(),
        &[service.clone(), other.clone()],
        &[two()],
    );
    let all = [
        "127.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "198.51.100.1",
        "fd00::1",
    ];
    let all = Input::HostAddresses(all.into_iter().map(ip).collect());
    wide.apply(all.clone());
    // Not on the load balancer's address, though the node has it.
    let addresses = node_port_addresses(&wide, 30080);
    assert_eq!(addresses, ["169.254.83.83", "172.16.0.1", "192.168.0.1"]);
    wide.apply(upsert_service(web()));
    assert_eq!(node_port_addresses(&wide, 30080), Vec::<String>::new());
    let settings = ServiceSettings {
        external_ips: true,
        ..settings
    };
    let mut switched_on = with_settings(settings, &[service, other], &[two()]);
    switched_on.apply(all);
    let addresses = node_port_addresses(&switched_on, 30080);
    assert_eq!(addresses, ["169.254.83.83", "192.168.0.1"]);
}

#[test]
fn s16_the_loopback_address_has_a_stand_in_while_there_is_a_node_port() {
    let mut planner = planner(&[balancer()], &[two()]);
    let address = "169.254.83.83/32 dev lo".to_owned();
    assert!(texts(planner.rows().addresses.iter()).contains(&address));
    assert_eq!(everyone(&planner, "169.254.83.83", 30080).len(), 2);
    planner.apply(upsert_service(web()));
    assert!(!texts(planner.rows().addresses.iter()).contains(&address));
}

#[test]
fn s18_external_addresses_need_the_switch() {
    let service = Service {
        external_ips: vec![ip("192.0.2.9")],
        source_ranges: vec![net("203.0.113.0/24")],
        ..balancer()
    };
    let off = planner(std::slice::from_ref(&service), &[two()]);
    assert_eq!(everyone(&off, "192.0.2.9", 80), ["nowhere"]);
    let findings = seaway_plan::check::findings(&off);
    assert!(findings.iter().any(|f| f.field == "externalIPs"));
    let settings = ServiceSettings {
        external_ips: true,
        ..ServiceSettings::default()
    };
    let on = with_settings(settings, &[service], &[two()]);
    assert_eq!(everyone(&on, "192.0.2.9", 80).len(), 2);
    let is_guarded = |address: &str| {
        let rows = on.rows().frontends.iter();
        let mut rows = rows.filter(|row| row.key.address == ip(address));
        rows.any(|row| row.guarded)
    };
    assert!(!is_guarded("192.0.2.9"), "ranges are the balancer's");
    assert!(is_guarded("192.0.2.1"));
}

#[test]
fn s19_only_addresses_that_are_virtual_are_programmed() {
    let service = Service {
        load_balancer_ips: vec![],
        ..balancer()
    };
    let planner = planner(&[service], &[two()]);
    assert_eq!(everyone(&planner, "192.0.2.1", 80), ["nowhere"]);
    assert_eq!(everyone(&planner, "192.168.0.1", 30080).len(), 2);
}

#[test]
fn s20_source_ranges_guard_the_balancers_addresses() {
    let service = Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00:96::1")],
        load_balancer_ips: vec![ip("192.0.2.1"), ip("2001:db8::1")],
        source_ranges: vec![net("203.0.113.7/24"), net("192.168.0.0/16")],
        ..balancer()
    };
    let mut planner = planner(&[service], &[two()]);
    let guarded: BTreeSet<_> = {
        let rows = planner.rows().frontends.iter();
        let rows = rows.filter(|row| row.guarded);
        rows.map(|row| row.key.address.to_string()).collect()
    };
    let wanted = ["192.0.2.1", "2001:db8::1"].map(str::to_owned);
    assert_eq!(guarded, BTreeSet::from(wanted));
    // The node may, and so may the address itself.
    assert_eq!(
        texts(planner.rows().source_ranges.iter()),
        [
            "tcp 192.0.2.1:80 for 192.0.2.1/32",
            "tcp 192.0.2.1:80 for 192.168.0.0/16",
            "tcp 192.0.2.1:80 for 203.0.113.0/24",
        ]
    );
    let lengths = |planner: &Planner| {
        let row = planner.rows().firewall.iter().next().expect("planned");
        let rules = row.services.clone().expect("on");
        rules.range_lengths.into_iter().collect::<Vec<_>>()
    };
    let v4 = |length| (Family::V4, length);
    assert_eq!(lengths(&planner), [v4(16), v4(24), v4(32)]);
    let findings = seaway_plan::check::findings(&planner);
    let nobody = |f: &seaway_plan::check::Finding| f.message.contains("nobody may use 2001:db8::1");
    assert!(findings.iter().any(nobody));
    planner.apply(upsert_service(balancer()));
    assert!(planner.rows().source_ranges.is_empty());
    assert!(lengths(&planner).is_empty());
}

#[test]
fn s21_a_balancer_works_without_ports_of_the_node() {
    let service = Service {
        ports: vec![port("", Protocol::Tcp, 80)],
        ..balancer()
    };
    let planner = planner(&[service], &[two()]);
    assert_eq!(everyone(&planner, "192.0.2.1", 80).len(), 2);
    let loopback = |row: &seaway_model::AddressRow| row.to_string().contains("169.254.83.83");
    assert!(!planner.rows().addresses.iter().any(loopback));
}

#[test]
fn s22_the_class_is_the_balancers_matter() {
    // Whoever gave the Service its address, it is programmed: the class chose who that was.
    let planner = planner(&[balancer()], &[two()]);
    assert_eq!(everyone(&planner, "192.0.2.1", 80).len(), 2);
}

#[test]
fn s25_clients_are_kept_by_port_whatever_the_address() {
    let service = Service {
        affinity: Some(600),
        external_policy: TrafficPolicy::Local,
        ..balancer()
    };
    let mut planner = planner(std::slice::from_ref(&service), &[two()]);
    let rows = planner.rows();
    let ids: BTreeSet<_> = rows
        .frontends
        .iter()
        .filter_map(|row| match row.action {
            FrontendAction::Balance {
                group, affinity, ..
            } => {
                assert_eq!(affinity, Some(600));
                Some(group.port_id())
            }
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 1);
    let members: BTreeSet<_> = rows.members.iter().map(|m| (m.group, m.target)).collect();
    let backends: BTreeSet<_> = rows
        .backends
        .iter()
        .map(|b| (b.key.group, b.target))
        .collect();
    assert_eq!(members, backends);
    let affinities = |planner: &Planner| {
        let row = planner.rows().firewall.iter().next().expect("planned");
        let rules = row.services.clone().expect("on");
        rules.affinities.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(affinities(&planner), [600]);
    planner.apply(upsert_slice(web_slice(vec![endpoint("10.244.1.5", 1)])));
    assert_eq!(planner.rows().members.len(), 1, "what is gone is forgotten");
    planner.apply(upsert_service(balancer()));
    assert!(planner.rows().members.is_empty());
    assert!(affinities(&planner).is_empty());
}

#[test]
fn s25_many_different_times_share_maps() {
    let service = |i: u32| Service {
        affinity: Some(100 + i),
        ..simple_service(&format!("d/s{i}"), &format!("10.96.1.{i}"))
    };
    let all: Vec<_> = (0..20).map(service).collect();
    let slices: Vec<_> = (0..20)
        .map(|i| {
            let name = format!("d/s{i}");
            simple_slice(&name, &name, vec![endpoint("10.244.0.5", 0)])
        })
        .collect();
    let mut planner = planner(&all, &slices);
    let given = |planner: &Planner, i: u32| {
        let rows = planner.rows().frontends.iter();
        let address = ip(&format!("10.96.1.{i}"));
        let mut rows = rows.filter(|row| row.key.address == address);
        match rows.next().expect("planned").action {
            FrontendAction::Balance { affinity, .. } => affinity,
            _ => None,
        }
    };
    assert_eq!(given(&planner, 0), Some(104));
    assert_eq!(given(&planner, 4), Some(104));
    assert_eq!(given(&planner, 19), Some(119));
    let row = planner.rows().firewall.iter().next().expect("planned");
    assert_eq!(row.services.as_ref().expect("on").affinities.len(), 16);
    let findings = seaway_plan::check::findings(&planner);
    let told = findings
        .iter()
        .filter(|f| f.field == "sessionAffinityConfig");
    assert_eq!(told.count(), 4);
    for i in 10..14 {
        planner.apply(delete_service(service(i).name));
    }
    assert_eq!(given(&planner, 0), Some(100), "there is room again");
}

#[test]
fn s34_what_somebody_else_balances_has_no_rows() {
    let foreign = Service {
        foreign: true,
        ..balancer()
    };
    let mut planner = planner(std::slice::from_ref(&foreign), &[two()]);
    assert!(planner.rows().frontends.is_empty() && planner.rows().backends.is_empty());
    let view = planner.service(&foreign.name).expect("known by name");
    assert_eq!(view.service(), Some(&foreign));
    assert_eq!(view.slices().count(), 1);
    planner.apply(upsert_service(balancer()));
    assert!(!planner.rows().frontends.is_empty());
    planner.apply(upsert_service(foreign));
    assert!(planner.rows().frontends.is_empty() && planner.rows().backends.is_empty());
}

#[test]
fn s35_slices_by_hand_may_lead_outside() {
    let outside = Endpoint {
        node: None,
        ..endpoint("203.0.113.9", 0)
    };
    let slices = [web_slice(vec![outside])];
    // They may come before their Service, and outlive it.
    let mut planner = planner(&[], &slices);
    assert!(planner.rows().backends.is_empty());
    assert!(
        planner
            .service(&web().name)
            .expect("named")
            .service()
            .is_none()
    );
    planner.apply(upsert_service(web()));
    assert_eq!(everyone(&planner, "10.96.0.1", 80), ["203.0.113.9:8080"]);
    planner.apply(delete_service(web().name));
    assert!(planner.rows().backends.is_empty());
    assert_eq!(planner.services().count(), 1);
    planner.apply(delete_slice(slices[0].name.clone()));
    assert_eq!(planner.services().count(), 0);
}

#[test]
fn s37_nothing_old_outlives_a_change() {
    let everything = Service {
        affinity: Some(60),
        source_ranges: vec![net("203.0.113.0/24")],
        external_policy: TrafficPolicy::Local,
        ..balancer()
    };
    let renamed = |service: &Service| Service {
        ports: vec![ServicePort {
            name: "http".to_owned(),
            node_port: Some(30090),
            ..service.ports[0].clone()
        }],
        ..service.clone()
    };
    let moved = Service {
        cluster_ips: vec![ip("10.96.0.77")],
        ..everything.clone()
    };
    let changes = [
        web(),
        renamed(&everything),
        moved,
        Service {
            cluster_ips: vec![],
            ..everything.clone()
        },
        Service {
            kind: ServiceKind::ExternalName("example.org".to_owned()),
            ..everything.clone()
        },
    ];
    for changed in changes {
        let mut planner = planner(std::slice::from_ref(&everything), &[two()]);
        planner.apply(upsert_service(changed.clone()));
        let fresh = self::planner(&[changed], &[two()]);
        assert_eq!(planner.rows(), fresh.rows());
    }
    // Another Service takes the address and the port of the node at once.
    let mut planner = planner(std::slice::from_ref(&everything), &[two()]);
    let heir = Service {
        name: "d/heir".parse().expect("valid"),
        ..everything.clone()
    };
    planner.apply(delete_service(everything.name.clone()));
    assert!(planner.rows().frontends.is_empty() && planner.rows().members.is_empty());
    planner.apply(upsert_service(heir));
    assert_eq!(everyone(&planner, "10.96.0.1", 80), ["refused"]);
    assert_eq!(everyone(&planner, "192.168.0.1", 30080), ["refused"]);
}

#[test]
fn services_need_no_pod_cidrs() {
    let mut planner = planner(&[balancer()], &[two()]);
    planner.apply(upsert(seaway_model::Node {
        pod_cidrs: vec![],
        ..dual_node(0)
    }));
    let rows = planner.rows();
    assert_eq!(everyone(&planner, "10.96.0.1", 80).len(), 2);
    let firewall = rows.firewall.iter().next().expect("planned");
    assert!(firewall.services.is_some() && firewall.own_nets.is_empty());
    let sysctls = texts(rows.sysctls.iter());
    assert!(sysctls.iter().any(|text| text.contains("ip_forward")));
    planner.apply(Input::Cluster(seaway_model::ClusterEvent::NodeDelete(
        NodeName::new("n0").expect("valid"),
    )));
    assert!(planner.rows().frontends.is_empty(), "whose are they");
    assert!(planner.rows().firewall.is_empty());
}
