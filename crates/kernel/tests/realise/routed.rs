//! Routed wiring: links, routes and neighbours of Pods, and what every wiring has in common.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use seaway_kernel::netlink::{Exclusive, LinkSet, LinkTarget, Netlink, Request, RouteSpec};
use seaway_model::{Family, IfName, ServiceSettings, Settings, Transport, Wiring, dns_address};
use seaway_plan::{ChangeSet, Input, RowState};

use crate::rig::{Rig, attachment, net, node, settings};

fn rig() -> Rig {
    Rig::alone(settings(Wiring::Routed, Transport::Direct))
}

#[test]
fn attached_pods_are_in_force_and_adopted_by_a_new_realiser() {
    let mut rig = rig();
    rig.attach(2);
    rig.attach(3);
    rig.peer(2);
    assert_eq!(rig.drift(), vec![]);
    assert_eq!(rig.changes_of_a_successor(), ChangeSet::default());
    let attachments = rig.observe().attachments;
    assert_eq!(attachments, vec![attachment(1, 2), attachment(1, 3)]);
}

#[test]
fn k14_the_first_packets_pass_at_once() {
    let mut rig = rig();
    rig.attach(2);
    rig.attach(3);
    for target in attachment(1, 3).addresses {
        let server = rig.pods[&3]
            .run(|| UdpSocket::bind((target, 7)).expect("the Pod has its address"))
            .expect("namespace");
        let source = attachment(1, 2).addresses;
        let source = source
            .iter()
            .find(|a| a.is_ipv4() == target.is_ipv4())
            .expect("dual stack");
        let client = rig.pods[&2]
            .run(|| UdpSocket::bind((*source, 0)).expect("the Pod has its address"))
            .expect("namespace");
        client.send_to(b"first", (target, 7)).expect("sent");
        let limit = Some(Duration::from_secs(5));
        server.set_read_timeout(limit).expect("timeout");
        let mut buffer = [0; 8];
        let (length, from) = server
            .recv_from(&mut buffer)
            .expect("the first packet arrives");
        assert_eq!((&buffer[..length], from.ip()), (&b"first"[..], *source));
    }
}

#[test]
fn drift_is_seen_and_repaired_and_strangers_are_left_alone() {
    let mut rig = rig();
    rig.attach(2);
    let index = rig.index(&rig.pod_link(2));
    let target = LinkTarget::Index(index);
    let renamed = IfName::new("mine").expect("valid");
    let alias = LinkSet {
        alias: Some("x:1"),
        ..LinkSet::default()
    };
    let mtu = LinkSet {
        mtu: Some(1300),
        ..LinkSet::default()
    };
    let name = LinkSet {
        name: Some(&renamed),
        ..LinkSet::default()
    };
    let stranger = RouteSpec::by_device(net("10.99.0.0/24"), index);
    rig.meddle(&[
        Request::delete_neighbour(index, attachment(1, 2).addresses[0]),
        Request::set_link(target, alias),
        Request::set_link(target, mtu),
        Request::set_link(target, name),
        // As `ip route add … proto static` would.
        Request::add_route(&stranger, Exclusive::Yes).with_protocol(4),
    ]);
    let strangers = |netlink: &mut Netlink| {
        let routes = netlink.routes().expect("dump").into_iter();
        let found = routes.filter(|r| r.destination == stranger.destination);
        found.collect::<Vec<_>>()
    };
    let before = rig.netlink(strangers);
    let expected = [
        ("links pod c2/eth0".to_owned(), RowState::Differs),
        (
            "neighbours 10.100.1.2 dev pod c2/eth0".to_owned(),
            RowState::Missing,
        ),
    ];
    assert_eq!(rig.drift(), expected);
    rig.repair();
    assert_eq!((before.len(), before), (1, rig.netlink(strangers)));
}

#[test]
fn a_route_of_a_stranger_in_the_way_is_named_and_left() {
    let mut rig = rig();
    let index = rig.index(&seaway_model::Device::Uplink);
    let stranger = RouteSpec::by_device(net("10.100.2.0/24"), index);
    rig.meddle(&[Request::add_route(&stranger, Exclusive::Yes).with_protocol(4)]);
    let node = seaway_model::ClusterEvent::NodeUpsert(crate::rig::node(2));
    let changes = rig.planner.apply(Input::Cluster(node));
    let failures = rig.apply(&changes);
    assert_eq!(failures.len(), 1, "{failures:?}");
    let text = failures[0].to_string();
    assert!(
        text.contains("10.100.2.0/24") && text.contains("protocol 4"),
        "{text}"
    );
}

#[test]
fn condemned_links_are_reaped_together_and_their_rows_are_gone() {
    let mut rig = rig();
    (2..12).for_each(|i| rig.attach(i));
    for i in 2..12 {
        let changes = rig.input(Input::Detach(attachment(1, i).id));
        assert_eq!(rig.apply(&changes), vec![], "gone already is as good");
    }
    let observed = rig.observe();
    assert_eq!(observed.dying.len(), 10);
    assert_eq!(observed.attachments, vec![]);
    rig.node.reap().expect("reaped");
    rig.node.reap().expect("nothing to reap is no error");
    let links = rig.netlink(|netlink| netlink.links().expect("dump"));
    let of_pods = links.iter().filter(|l| l.name.starts_with("sea"));
    assert_eq!(of_pods.count(), 0);
    assert_eq!(rig.drift(), vec![]);
}

/// What a node needs for Services beside filters: a way to their addresses for its own processes, and
/// the address at which its Pods ask for names.
#[test]
fn s17_the_node_has_a_way_to_services() {
    let services = ServiceSettings {
        service_cidrs: vec![net("10.96.0.0/16"), net("fd00:96::/112")],
        dns: true,
        ..ServiceSettings::default()
    };
    let plain = || settings(Wiring::Routed, Transport::Direct);
    let mut rig = Rig::alone(Settings {
        services: Some(services),
        ..plain()
    });
    assert_eq!(rig.drift(), []);
    assert!(rig.changes_of_a_successor().is_empty());
    let tried = rig.netns.run(|| {
        for to in ["10.96.1.2:80", "[fd00:96::12]:80"] {
            let to: SocketAddr = to.parse().expect("valid");
            let any = match to {
                SocketAddr::V4(_) => "0.0.0.0:0",
                SocketAddr::V6(_) => "[::]:0",
            };
            let socket = UdpSocket::bind(any).expect("bound");
            socket.connect(to).expect("there is a way");
            let own = socket.local_addr().expect("connected").ip();
            assert!(node(1).addresses.contains(&own), "{own} is of the node");
        }
        for family in Family::ALL {
            UdpSocket::bind((dns_address(family), 53)).expect("the node has it");
        }
    });
    tried.expect("entered");
    rig.input(Input::Settings(Settings {
        services: None,
        ..plain()
    }));
    assert_eq!(rig.drift(), []);
    assert!(rig.changes_of_a_successor().is_empty());
}
