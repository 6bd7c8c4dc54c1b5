//! Both wirings, on both sides of a Pod's link; and what a Pod has beyond addresses.

use seaway_model::{
    Attachment, Extras, PortMapping, Protocol, Rate, Settings, Transport, Wiring, bridge_mac,
    host_mac, pod_mac,
};
use seaway_plan::{Input, Planner, check};

use crate::inputs::{attachment, cluster, id, ip, name, net, texts, upsert};

fn pod() -> Attachment {
    attachment(7, &["10.244.0.2", "fd00:10::2"])
}

fn wired(wiring: Wiring) -> Planner {
    let settings = Settings {
        wiring,
        transport: Transport::Direct,
        ..Settings::default()
    };
    let mut planner = cluster(settings, 2);
    planner.apply(Input::Attach(pod()));
    planner
}

#[test]
fn routed_is_a_host_route_and_a_link_local_gateway() {
    let planner = wired(Wiring::Routed);
    assert!(check::findings(&planner).is_empty());
    let rows = planner.rows_of(&id(7));
    assert_eq!(
        texts(rows.routes.iter()),
        [
            "10.244.0.2/32 dev pod c7/eth0 src 192.168.0.1",
            "fd00:10::2/128 dev pod c7/eth0 src fd00::1",
        ]
    );
    assert_eq!(
        texts(planner.rows().sysctls.iter()),
        [
            "net.ipv4.ip_forward = 1",
            "net.ipv4.conf.[pod c7/eth0].rp_filter = 1",
            "net.ipv4.conf.[vxlan].rp_filter = 2",
            "net.ipv6.conf.all.forwarding = 1",
            "net.ipv6.conf.[pod c7/eth0].accept_ra = 0",
            "net.ipv6.conf.[vxlan].accept_ra = 0",
        ]
    );
    let inside = planner.pod_side_rows(&pod());
    let mac = host_mac(&id(7));
    assert_eq!(
        texts(inside.routes.iter()),
        [
            "0.0.0.0/0 via 169.254.1.1 dev eth0",
            "169.254.1.1/32 dev eth0",
            "::/0 via fe80::1 dev eth0",
        ]
    );
    assert_eq!(
        texts(inside.neighbours.iter()),
        [
            format!("169.254.1.1 dev eth0 mac {mac}"),
            format!("fe80::1 dev eth0 mac {mac}")
        ]
    );
    assert_eq!(
        texts(inside.addresses.iter()),
        ["10.244.0.2/32 dev eth0", "fd00:10::2/128 dev eth0"]
    );
}

#[test]
fn bridge_is_a_port_that_only_the_pod_speaks_at() {
    let planner = wired(Wiring::Bridge);
    assert!(check::findings(&planner).is_empty());
    let rows = planner.rows_of(&id(7));
    let mac = pod_mac(&id(7));
    assert!(rows.routes.is_empty());
    assert!(
        rows.links
            .iter()
            .any(|row| row.to_string().contains("bridge port"))
    );
    assert_eq!(texts(rows.fdb.iter()), [format!("{mac} dev pod c7/eth0")]);
    assert_eq!(
        texts(rows.neighbours.iter()),
        [
            format!("10.244.0.2 dev bridge mac {mac}"),
            format!("fd00:10::2 dev bridge mac {mac}"),
        ]
    );
    let link_local = mac.link_local();
    assert_eq!(
        texts(rows.port_guards.iter()),
        [
            format!("10.244.0.2 dev pod c7/eth0 mac {mac}"),
            format!("fd00:10::2 dev pod c7/eth0 mac {mac}"),
            format!("{link_local} dev pod c7/eth0 mac {mac}"),
        ]
    );
    let all = planner.rows();
    assert_eq!(
        texts(all.addresses.iter()),
        [
            "10.244.0.1/24 dev bridge",
            "fd00:10::1/64 dev bridge",
            "10.244.0.0/32 dev vxlan",
        ]
    );
    assert_eq!(
        texts(all.routes.iter()),
        [
            "10.244.0.0/24 dev bridge src 192.168.0.1",
            "10.244.1.0/24 via 192.168.0.2 dev uplink src 192.168.0.1",
            "fd00:10::/64 dev bridge src fd00::1",
            "fd00:10:1::/64 via fd00::2 dev uplink src fd00::1",
        ]
    );
    let inside = planner.pod_side_rows(&pod());
    assert_eq!(
        texts(inside.addresses.iter()),
        ["10.244.0.2/24 dev eth0", "fd00:10::2/64 dev eth0"]
    );
    assert_eq!(
        texts(inside.routes.iter()),
        [
            "0.0.0.0/0 via 10.244.0.1 dev eth0",
            "10.244.0.0/24 dev eth0",
            "::/0 via fd00:10::1 dev eth0",
            "fd00:10::/64 dev eth0",
        ]
    );
    assert!(inside.neighbours.is_empty());
}

#[test]
fn a_node_can_move_from_one_wiring_to_the_other() {
    let mut planner = wired(Wiring::Routed);
    let settings = planner.settings().clone();
    planner.apply(Input::Settings(Settings {
        wiring: Wiring::Bridge,
        ..settings.clone()
    }));
    assert_eq!(planner.rows(), wired(Wiring::Bridge).rows());
    planner.apply(Input::Settings(settings));
    assert_eq!(planner.rows(), wired(Wiring::Routed).rows());
}

#[test]
fn k9_ports_of_the_node_lead_to_the_pod() {
    let mut planner = wired(Wiring::Routed);
    let port = |host_port, protocol, host_ip| PortMapping {
        host_port,
        container_port: 80,
        protocol,
        host_ip,
    };
    let ports = vec![
        port(8080, Protocol::Tcp, None),
        port(8081, Protocol::Udp, Some(ip("192.168.0.1"))),
        port(8082, Protocol::Sctp, Some(ip("::"))),
        port(0, Protocol::Tcp, None),
    ];
    planner.apply(Input::Attach(Attachment {
        extras: Extras {
            ports,
            ..Extras::default()
        },
        ..pod()
    }));
    assert_eq!(
        texts(planner.rows().host_ports.iter()),
        [
            "IPv4 tcp port 8080 to 10.244.0.2:80",
            "udp 192.168.0.1:8081 to 10.244.0.2:80",
            "IPv6 tcp port 8080 to [fd00:10::2]:80",
            "IPv6 sctp port 8082 to [fd00:10::2]:80",
        ]
    );
    assert_eq!(
        texts(planner.rows().addresses.iter()),
        [
            "169.254.83.83/32 dev lo",
            "fd5e:a83::83/128 dev lo",
            "10.244.0.0/32 dev vxlan",
        ]
    );
    planner.apply(Input::Attach(pod()));
    assert_eq!(planner.rows(), wired(Wiring::Routed).rows());
}

#[test]
fn k9_rates_are_limited_both_ways() {
    let mut planner = wired(Wiring::Routed);
    let rate = |rate| Rate { rate, burst: 8000 };
    planner.apply(Input::Attach(Attachment {
        extras: Extras {
            ports: vec![],
            ingress: Some(rate(1_000_000)),
            egress: Some(rate(2_000_000)),
        },
        ..pod()
    }));
    let rows = planner.rows_of(&id(7));
    assert_eq!(
        texts(rows.shapes.iter()),
        [
            "dev pod c7/eth0 1000000 bit/s burst 8000 bit",
            "dev shaper c7/eth0 2000000 bit/s burst 8000 bit",
        ]
    );
    assert_eq!(
        texts(rows.redirects.iter()),
        ["from pod c7/eth0 through shaper c7/eth0"]
    );
    assert_eq!(rows.links.len(), 2);
    planner.apply(Input::Detach(id(7)));
    assert!(planner.rows().of_attachment(&id(7)).is_empty());
}

#[test]
fn a_pod_whose_cidr_is_gone_keeps_its_way() {
    for wiring in Wiring::ALL {
        let mut planner = wired(wiring);
        let mut node = crate::inputs::dual_node(0);
        node.pod_cidrs = vec![net("10.9.0.0/24")];
        planner.apply(upsert(node.clone()));
        let rows = planner.rows();
        let device = match wiring {
            Wiring::Routed => "pod c7/eth0",
            Wiring::Bridge => "bridge",
        };
        let routes = texts(rows.routes.iter());
        assert!(routes.contains(&format!("10.244.0.2/32 dev {device} src 192.168.0.1")));
        assert!(routes.contains(&format!("fd00:10::2/128 dev {device} src fd00::1")));
        let firewall = rows.firewall.iter().next().expect("planned");
        for own in ["10.9.0.0/24", "10.244.0.2/32", "fd00:10::2/128"] {
            assert!(firewall.own_nets.contains(&net(own)), "{own}");
        }
        assert!(rows.cluster_nets.get(&net("10.244.0.2/32")).is_some());
        let addresses = planner.pod_addresses(&pod());
        assert_eq!(addresses[0].net, net("10.244.0.2/32"));
        node.pod_cidrs.clear();
        planner.apply(upsert(node));
        assert_eq!(planner.rows().firewall.len(), 1, "the Pod is still guarded");
        planner.apply(Input::Detach(id(7)));
        let firewall = planner.rows().firewall.iter().next().expect("for Services");
        assert!(firewall.own_nets.is_empty() && firewall.services.is_some());
        planner.apply(Input::Settings(Settings {
            services: None,
            ..planner.settings().clone()
        }));
        assert!(planner.rows().firewall.is_empty());
    }
}

#[test]
fn a_bridge_without_address_of_a_family_is_reached_all_the_same() {
    let mut planner = wired(Wiring::Bridge);
    let mut node = crate::inputs::dual_node(0);
    node.pod_cidrs = vec![net("10.9.0.0/24")];
    planner.apply(upsert(node));
    let inside = planner.pod_side_rows(&pod());
    assert_eq!(
        texts(inside.routes.iter()),
        [
            "0.0.0.0/0 via 10.9.0.1 dev eth0",
            "10.9.0.1/32 dev eth0",
            "::/0 via fe80::1 dev eth0",
        ]
    );
    let mac = bridge_mac(&name(0));
    assert_eq!(
        texts(inside.neighbours.iter()),
        [format!("fe80::1 dev eth0 mac {mac}")]
    );
}
