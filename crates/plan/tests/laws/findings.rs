//! Findings name object, field and the way out.

use seaway_model::{
    Attachment, Extras, Family, Node, PortMapping, Protocol, Settings, Transport, VxlanSettings,
};
use seaway_plan::{Input, Planner, Uplink, check};

use crate::inputs::{attachment, cluster, dual_node, dual_uplink, ip, name, net, upsert};

fn found(planner: &Planner) -> Vec<String> {
    let text = |f: check::Finding| format!("{} {}: {}", f.object, f.field, f.message);
    check::findings(planner).into_iter().map(text).collect()
}

fn settings(transport: Transport) -> Settings {
    Settings {
        transport,
        ..Settings::default()
    }
}

#[track_caller]
fn assert_only(planner: &Planner, wanted: &[&str]) {
    let found = found(planner);
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (text, wanted) in found.iter().zip(wanted) {
        assert!(text.contains(wanted), "want {wanted}, have {text}");
    }
}

#[test]
fn networks_and_addresses_of_nodes() {
    let node = |i: usize, address: Option<&str>, cidr: &str| Node {
        addresses: address.map(ip).into_iter().collect(),
        pod_cidrs: vec![net(cidr)],
        ..dual_node(i)
    };
    let mut planner = Planner::new(name(0), settings(Transport::Direct));
    planner.apply(Input::Uplink(Some(Uplink {
        addresses: vec![ip("192.168.0.1")],
        ..dual_uplink()
    })));
    planner.apply(upsert(node(0, None, "10.244.0.0/24")));
    planner.apply(upsert(node(1, None, "10.244.1.0/24")));
    planner.apply(upsert(node(2, Some("192.168.0.3"), "10.244.0.128/25")));
    planner.apply(upsert(node(3, Some("192.168.0.4"), "192.168.0.0/16")));
    assert_eq!(
        found(&planner),
        [
            "node n1 addresses: it has no IPv4 address, so pod CIDR 10.244.1.0/24 is not reachable",
            "node n2 addresses: 192.168.0.3 is in pod CIDR 192.168.0.0/16 of node n3, so a Pod there may \
             get what is for this node; give nodes addresses outside all pod CIDRs",
            "node n2 podCIDRs: 10.244.0.128/25 is not routed: it overlaps this node's own pod CIDR \
             10.244.0.0/24; give each node its own pod CIDRs",
            "node n3 podCIDRs: 192.168.0.0/16 is not routed: it contains this node's address \
             192.168.0.1; give each node its own pod CIDRs",
        ]
    );
}

#[test]
fn nodes_that_are_not_on_the_link() {
    let far = Node {
        addresses: vec![ip("192.168.9.2"), ip("fd00:9::2")],
        ..dual_node(1)
    };
    for transport in [Transport::Direct, Transport::L2] {
        let mut planner = cluster(settings(transport), 1);
        planner.apply(upsert(far.clone()));
        let words =
            format!("transport {transport} needs every node on one link: 192.168.9.2 is in");
        let fix = "use --transport auto or vxlan";
        let found = found(&planner);
        assert_eq!(found.len(), 2);
        assert!(found[0].contains(&words), "{found:?}");
        assert!(found.iter().all(|text| text.contains(fix)), "{found:?}");
        assert_eq!(planner.method_to(&name(1), Family::V4), None);
    }
    let mut planner = cluster(
        Settings {
            vxlan: None,
            ..settings(Transport::Auto)
        },
        1,
    );
    planner.apply(upsert(far.clone()));
    let off = "VXLAN is switched off";
    assert_only(&planner, &[off, off]);
    planner.apply(Input::Settings(settings(Transport::Auto)));
    assert_only(&planner, &[]);
}

#[test]
fn two_nodes_of_one_address() {
    let mut planner = cluster(settings(Transport::Vxlan), 2);
    planner.apply(upsert(Node {
        addresses: dual_node(1).addresses,
        ..dual_node(2)
    }));
    let words = [
        "192.168.0.2 is also an address of node n1",
        "fd00::2 is also",
    ];
    assert_only(&planner, &words);
    planner.apply(upsert(Node {
        addresses: vec![ip("192.168.0.1")],
        ..dual_node(2)
    }));
    let found = found(&planner).join("\n");
    assert!(
        found.contains("192.168.0.1 is also an address of node n0"),
        "{found}"
    );
    assert!(planner.rows().vteps.get(&ip("192.168.0.1")).is_none());
}

#[test]
fn a_node_whose_address_a_pod_may_have() {
    let mut planner = cluster(settings(Transport::Vxlan), 3);
    planner.apply(upsert(Node {
        addresses: vec![ip("10.244.2.9")],
        ..dual_node(1)
    }));
    assert_only(
        &planner,
        &["10.244.2.9 is in pod CIDR 10.244.2.0/24 of node n2"],
    );
    // In one of ours it may not even speak in VXLAN.
    planner.apply(upsert(Node {
        addresses: vec![ip("10.244.0.9")],
        ..dual_node(1)
    }));
    let found = found(&planner).join("\n");
    let words = "10.244.0.9 is in pod CIDR 10.244.0.0/24 of node n0";
    assert!(found.contains(words), "{found}");
    assert!(planner.rows().vteps.get(&ip("10.244.0.9")).is_none());
}

#[test]
fn choices_that_contradict_each_other() {
    let vxlan_off = Settings {
        vxlan: None,
        ..settings(Transport::Vxlan)
    };
    let mut planner = cluster(vxlan_off, 2);
    assert_only(
        &planner,
        &["settings transport: transport vxlan needs VXLAN"],
    );
    assert_eq!(planner.rows().routes.len(), 2, "only what is unreachable");
    let underlay = |family| {
        Some(VxlanSettings {
            underlay: Some(family),
            ..VxlanSettings::default()
        })
    };
    planner.apply(Input::Settings(Settings {
        vxlan: underlay(Family::V6),
        ..settings(Transport::Vxlan)
    }));
    assert_only(&planner, &[]);
    planner.apply(Input::Uplink(Some(Uplink {
        addresses: vec![ip("192.168.0.1")],
        ..dual_uplink()
    })));
    assert_only(
        &planner,
        &["settings underlay: the outer packets of VXLAN are to be IPv6"],
    );
    planner.apply(Input::Settings(settings(Transport::L2)));
    assert_only(
        &planner,
        &["settings transport: transport l2 with IPv6 pod CIDRs needs"],
    );
    let strange = VxlanSettings {
        vni: 1 << 24,
        port: 0,
        underlay: None,
    };
    planner.apply(Input::Settings(Settings {
        vxlan: Some(strange),
        ..settings(Transport::Auto)
    }));
    assert_only(
        &planner,
        &["settings port: ", "settings vni: VXLAN network 16777216"],
    );
}

#[test]
fn mtus_that_do_not_fit() {
    let with_mtu = |mtu| Settings {
        mtu: Some(mtu),
        ..Settings::default()
    };
    let mut planner = cluster(with_mtu(1500), 1);
    assert_only(
        &planner,
        &["settings mtu: 1500 is too large: the uplink takes 1500, less 50 for VXLAN"],
    );
    assert_eq!(planner.pod_mtu(), 1450);
    planner.apply(Input::Settings(with_mtu(1279)));
    assert_only(&planner, &["settings mtu: Pod links get an MTU of 1279"]);
    planner.apply(Input::Settings(with_mtu(1400)));
    assert_only(&planner, &[]);
    planner.apply(Input::Settings(settings(Transport::Direct)));
    planner.apply(Input::Uplink(Some(Uplink {
        mtu: 1320,
        ..dual_uplink()
    })));
    assert_only(&planner, &["the uplink needs an MTU of at least 1330"]);
}

#[test]
fn ports_of_the_node() {
    let with_port = |i: usize, host_port, protocol, host_ip: Option<&str>| Attachment {
        extras: Extras {
            ports: vec![PortMapping {
                host_port,
                container_port: 80,
                protocol,
                host_ip: host_ip.map(ip),
            }],
            ..Extras::default()
        },
        ..attachment(i, &[&format!("10.244.0.{}", i + 2)])
    };
    let mut planner = cluster(Settings::default(), 1);
    planner.apply(Input::Attach(with_port(2, 80, Protocol::Tcp, None)));
    planner.apply(Input::Attach(with_port(1, 80, Protocol::Tcp, None)));
    planner.apply(Input::Attach(with_port(
        3,
        80,
        Protocol::Tcp,
        Some("192.168.7.7"),
    )));
    planner.apply(Input::Attach(with_port(
        4,
        80,
        Protocol::Tcp,
        Some("127.0.0.1"),
    )));
    planner.apply(Input::Attach(with_port(5, 4789, Protocol::Udp, None)));
    assert_only(
        &planner,
        &[
            "attachment c2/eth0 portMappings: IPv4 tcp port 80 leads to c1/eth0",
            "attachment c3/eth0 portMappings: tcp 192.168.7.7:80 leads nowhere",
            "attachment c5/eth0 portMappings: IPv4 udp port 4789 is not opened",
        ],
    );
    assert_eq!(planner.rows().host_ports.len(), 3);
}

#[test]
fn pod_cidrs_that_hold_what_every_node_keeps() {
    let mut planner = cluster(Settings::default(), 0);
    planner.apply(upsert(Node {
        pod_cidrs: vec![net("169.254.0.0/16"), net("fd5e:a83::/64")],
        ..dual_node(0)
    }));
    assert_only(
        &planner,
        &[
            "169.254.0.0/16 contains 169.254.1.1",
            "169.254.0.0/16 contains 169.254.83.83",
            "fd5e:a83::/64 contains fd5e:a83::83",
        ],
    );
}
