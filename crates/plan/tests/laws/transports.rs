//! Every way between nodes, as rows that people can read.

use seaway_model::{Device, Family, Node, Settings, Transport, VxlanSettings};
use seaway_plan::{Input, Method, Uplink};

use crate::inputs::{cluster, delete, dual_node, dual_uplink, ip, name, net, texts, upsert};

fn settings(transport: Transport) -> Settings {
    Settings {
        transport,
        ..Settings::default()
    }
}

/// Node 1 of the orderly cluster, on another link.
fn far_node() -> Node {
    Node {
        addresses: vec![ip("192.168.9.2"), ip("fd00:9::2")],
        ..dual_node(1)
    }
}

#[test]
fn direct_is_a_route_by_the_node_address() {
    let planner = cluster(settings(Transport::Direct), 2);
    assert_eq!(
        texts(planner.rows().routes.iter()),
        [
            "unreachable 10.244.0.0/24",
            "10.244.1.0/24 via 192.168.0.2 dev uplink src 192.168.0.1",
            "unreachable fd00:10::/64",
            "fd00:10:1::/64 via fd00::2 dev uplink src fd00::1",
        ]
    );
    // It takes in VXLAN all the same, so that nodes can change one by one.
    assert_eq!(texts(planner.rows().vteps.iter()), ["192.168.0.2"]);
    assert_eq!(planner.rows().inner_sources.len(), 4);
    assert!(planner.rows().rules.is_empty() && planner.rows().fdb.is_empty());
    assert_eq!(planner.pod_mtu(), 1500);
    assert_eq!(
        planner.method_to(&name(1), Family::V6),
        Some(Method::Direct)
    );
}

#[test]
fn l2_is_a_route_without_gateway_and_a_proxy_per_address() {
    let mut planner = cluster(settings(Transport::L2), 2);
    let pod = crate::inputs::attachment(7, &["10.244.0.2", "fd00:10::2"]);
    planner.apply(Input::Attach(pod));
    let rows = planner.rows();
    let peer = rows.routes.iter().map(ToString::to_string);
    let peer: Vec<_> = peer.filter(|text| text.contains("uplink")).collect();
    assert_eq!(
        peer,
        [
            "10.244.1.0/24 dev uplink src 192.168.0.1",
            "fd00:10:1::/64 dev uplink src fd00::1",
        ]
    );
    assert_eq!(
        texts(rows.proxies.iter()),
        ["proxy 10.244.0.2 dev uplink", "proxy fd00:10::2 dev uplink"]
    );
    let on_uplink = rows.sysctls.iter().map(ToString::to_string);
    let on_uplink: Vec<_> = on_uplink.filter(|text| text.contains("uplink")).collect();
    assert_eq!(
        on_uplink,
        [
            "net.ipv4.neigh.[uplink].proxy_delay = 0",
            "net.ipv6.conf.[uplink].proxy_ndp = 1",
            "net.ipv6.neigh.[uplink].proxy_delay = 0",
        ]
    );
    // A node that says that it does not answer for its Pods is sent to by its address.
    planner.apply(upsert(Node {
        transport: Some(Transport::Direct),
        ..dual_node(1)
    }));
    assert_eq!(
        planner.method_to(&name(1), Family::V4),
        Some(Method::Direct)
    );
    planner.apply(Input::Settings(settings(Transport::Direct)));
    let left = planner.rows().sysctls.iter().map(ToString::to_string);
    assert_eq!(left.filter(|text| text.contains("uplink")).count(), 0);
    assert!(planner.rows().proxies.is_empty());
}

#[test]
fn vxlan_asks_and_learns_nothing() {
    let planner = cluster(settings(Transport::Vxlan), 2);
    let rows = planner.rows();
    let mac = seaway_model::vtep_mac(&name(1));
    let by = mac.link_local();
    assert_eq!(
        texts(rows.routes.iter()),
        [
            "unreachable 10.244.0.0/24".to_owned(),
            "10.244.1.0/24 via 10.244.1.0 dev vxlan src 192.168.0.1".to_owned(),
            "unreachable fd00:10::/64".to_owned(),
            format!("fd00:10:1::/64 via {by} dev vxlan src fd00::1"),
            "192.168.0.2/32 table 24225 via 10.244.1.0 dev vxlan src 192.168.0.1".to_owned(),
            format!("fd00::2/128 table 24225 via {by} dev vxlan src fd00::1"),
        ]
    );
    assert_eq!(
        texts(rows.neighbours.iter()),
        [
            format!("10.244.1.0 dev vxlan mac {mac}"),
            format!("{by} dev vxlan mac {mac}"),
        ]
    );
    assert_eq!(
        texts(rows.fdb.iter()),
        [format!("{mac} dev vxlan vtep 192.168.0.2")]
    );
    assert_eq!(
        texts(rows.rules.iter()),
        [
            "from 10.244.0.0/24 lookup 24225",
            "from fd00:10::/64 lookup 24225"
        ]
    );
    assert_eq!(
        texts(rows.inner_sources.iter()),
        [
            "10.244.1.0/24 by 192.168.0.2",
            "192.168.0.2/32 by 192.168.0.2",
            "fd00::2/128 by 192.168.0.2",
            "fd00:10:1::/64 by 192.168.0.2",
        ]
    );
    let own = seaway_model::vtep_mac(&name(0));
    assert_eq!(
        rows.links.get(&Device::Vxlan).map(ToString::to_string),
        Some(format!(
            "up mac {own} mtu 1450 name seaway-vxlan vni 24225 port 4789 local 192.168.0.1"
        ))
    );
    assert_eq!(
        texts(rows.firewall.iter()),
        ["wiring routed pods 10.244.0.0/24 pods fd00:10::/64 \
          vxlan 24225 port 4789 over IPv4 /24,/32,/64,/128 masquerade /24,/32,/64,/128 \
          services as 192.168.0.1 as fd00::1"]
    );
    assert_eq!(planner.pod_mtu(), 1450);
}

#[test]
fn vxlan_goes_over_ipv6_too() {
    let mut planner = cluster(settings(Transport::Vxlan), 2);
    planner.apply(Input::Settings(Settings {
        vxlan: Some(VxlanSettings {
            underlay: Some(Family::V6),
            ..VxlanSettings::default()
        }),
        ..settings(Transport::Vxlan)
    }));
    assert_eq!(texts(planner.rows().vteps.iter()), ["fd00::2"]);
    assert_eq!(planner.pod_mtu(), 1430);
    // Nodes without IPv4 need not be told.
    let mut planner = cluster(settings(Transport::Vxlan), 0);
    planner.apply(Input::Uplink(Some(Uplink {
        addresses: vec![ip("fd00::1")],
        ..dual_uplink()
    })));
    planner.apply(upsert(dual_node(0)));
    planner.apply(upsert(dual_node(1)));
    assert_eq!(texts(planner.rows().vteps.iter()), ["fd00::2"]);
    assert_eq!(planner.pod_mtu(), 1430);
}

#[test]
fn auto_is_direct_on_the_link_and_vxlan_behind_it() {
    let mut planner = cluster(settings(Transport::Auto), 3);
    assert_eq!(
        planner.method_to(&name(1), Family::V4),
        Some(Method::Direct)
    );
    assert!(planner.rows().rules.is_empty());
    planner.apply(upsert(far_node()));
    assert_eq!(planner.method_to(&name(1), Family::V4), Some(Method::Vxlan));
    assert_eq!(
        planner.method_to(&name(2), Family::V4),
        Some(Method::Direct)
    );
    assert_eq!(planner.rows().rules.len(), 2);
    planner.apply(delete(1));
    assert!(planner.rows().rules.is_empty() && planner.rows().fdb.is_empty());
    assert_eq!(planner.method_to(&name(1), Family::V4), None);
}

#[test]
fn a_family_without_node_addresses_is_carried_by_the_other() {
    let mut planner = cluster(settings(Transport::Auto), 1);
    planner.apply(upsert(Node {
        addresses: vec![ip("192.168.0.2")],
        ..dual_node(1)
    }));
    assert_eq!(
        planner.method_to(&name(1), Family::V4),
        Some(Method::Direct)
    );
    assert_eq!(planner.method_to(&name(1), Family::V6), Some(Method::Vxlan));
}

#[test]
fn a_path_that_takes_less_shows_in_the_routes() {
    let mtus = |planner: &seaway_plan::Planner| -> Vec<String> {
        let texts = planner.rows().routes.iter().map(ToString::to_string);
        let texts = texts.filter_map(|text| Some(text.split_once(" mtu ")?.1.to_owned()));
        texts.collect()
    };
    let mut planner = cluster(settings(Transport::Direct), 3);
    let changes = planner.apply(Input::PathMtu(name(1), Some(1400)));
    assert_eq!((changes.len(), changes.routes.len()), (2, 2));
    assert_eq!(mtus(&planner), ["1400", "1400"]);
    planner.apply(Input::Settings(settings(Transport::Vxlan)));
    assert_eq!(mtus(&planner), ["1350"; 4]);
    planner.apply(Input::PathMtu(name(1), Some(1500)));
    assert!(mtus(&planner).is_empty());
    planner.apply(Input::PathMtu(name(1), Some(1400)));
    planner.apply(delete(1));
    planner.apply(upsert(dual_node(1)));
    assert!(
        mtus(&planner).is_empty(),
        "a node that comes back is another"
    );
}

#[test]
fn what_the_way_out_keeps_is_the_cluster_and_what_people_list() {
    let planner = cluster(
        Settings {
            keep_source_to: vec![net("10.0.0.0/8"), net("0.0.0.0/0")],
            ..Settings::default()
        },
        2,
    );
    assert_eq!(
        texts(planner.rows().cluster_nets.iter()),
        [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.244.0.0/24",
            "10.244.1.0/24",
            "192.168.0.1/32",
            "192.168.0.2/32",
            "fd00::1/128",
            "fd00::2/128",
            "fd00:10::/64",
            "fd00:10:1::/64",
        ]
    );
}

#[test]
fn the_uplink_keeps_the_routes_that_it_learns() {
    let mut planner = cluster(settings(Transport::Direct), 1);
    planner.apply(Input::Uplink(Some(Uplink {
        learns_routes: true,
        ..dual_uplink()
    })));
    let sysctls = texts(planner.rows().sysctls.iter());
    assert!(sysctls.contains(&"net.ipv6.conf.[uplink].accept_ra = 2".to_owned()));
}

#[test]
fn a_strict_uplink_is_loosened_where_the_other_end_may_use_vxlan() {
    let row = "net.ipv4.conf.[uplink].rp_filter = 2".to_owned();
    let loosened = |settings: Settings, strict| {
        let mut planner = cluster(settings, 1);
        planner.apply(Input::Uplink(Some(Uplink {
            strict,
            ..dual_uplink()
        })));
        texts(planner.rows().sysctls.iter()).contains(&row)
    };
    assert!(loosened(settings(Transport::Direct), true));
    assert!(!loosened(settings(Transport::Direct), false));
    let off = Settings {
        vxlan: None,
        ..settings(Transport::Direct)
    };
    assert!(!loosened(off, true));
}

#[test]
fn a_family_that_the_node_does_not_use_has_no_ways() {
    let mut planner = cluster(settings(Transport::Vxlan), 2);
    let ways = |planner: &seaway_plan::Planner| {
        let families = planner
            .rows()
            .routes
            .iter()
            .map(|r| Family::of_net(&r.destination));
        families.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(ways(&planner), 2);
    planner.apply(upsert(Node {
        addresses: vec![ip("192.168.0.1")],
        pod_cidrs: vec![net("10.244.0.0/24")],
        ..dual_node(0)
    }));
    assert_eq!(ways(&planner), 2, "the node itself has IPv6");
    planner.apply(Input::Uplink(Some(Uplink {
        addresses: vec![ip("192.168.0.1")],
        ..dual_uplink()
    })));
    assert_eq!(ways(&planner), 1);
    // It may be spoken to all the same: that takes no more than a filter.
    let nets = texts(planner.rows().inner_sources.iter()).join(" ");
    assert!(nets.contains("fd00:10:1::/64"), "{nets}");
}
