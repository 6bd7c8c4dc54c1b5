//! Layer 2: proxies on the uplink, and settings of the uplink that are given back.

use seaway_kernel::netlink::{LinkTarget, Netlink, Request, RouteInfo};
use seaway_model::{Device, Transport, Wiring};
use seaway_plan::{ChangeSet, Input, RowState};
use seaway_testkit::{Wire, packet};

use crate::rig::{Rig, UPLINK, attachment, cable, ip, namespace, net, reaches, settings};

/// `RTPROT_RA`: learned from a router advertisement.
const RA: u8 = 9;

#[test]
fn pods_of_two_nodes_reach_each_other_and_strangers_proxies_stay() {
    seaway_testkit::isolate();
    let (here, there) = (namespace(), namespace());
    cable(&here, 1, &there, 2);
    let settings = settings(Wiring::Routed, Transport::L2);
    let mut a = Rig::new(1, here, settings.clone());
    let mut b = Rig::new(2, there, settings);
    a.peer(2);
    b.peer(1);
    a.attach(2);
    b.attach(2);
    assert_eq!(a.drift(), vec![]);
    assert_eq!(a.changes_of_a_successor(), ChangeSet::default());
    let ends = attachment(1, 2).addresses.into_iter();
    for (source, target) in ends.zip(attachment(2, 2).addresses) {
        assert_eq!(reaches(&a.pods[&2], source, &b.pods[&2], target), source);
    }

    let uplink = a.index(&Device::Uplink);
    let stray = Request::add_proxy(uplink, ip("10.100.1.99"));
    let stranger = Request::add_proxy(uplink, ip("10.100.1.98")).with_protocol(4);
    let lost = Request::delete_proxy(uplink, attachment(1, 2).addresses[1]);
    a.meddle(&[stray, stranger, lost]);
    let expected = [
        (
            "proxies 10.100.1.99 dev uplink".to_owned(),
            RowState::Unplanned,
        ),
        ("proxies fd00:1::2 dev uplink".to_owned(), RowState::Missing),
    ];
    let mut drift = a.drift();
    drift.sort_by(|(x, _), (y, _)| x.cmp(y));
    assert_eq!(drift, expected);
    a.repair();
    a.detach(2);
    let proxies = a.netlink(|netlink| netlink.proxies().expect("dump"));
    let left: Vec<_> = proxies.iter().map(|p| p.address).collect();
    assert_eq!(left, [ip("10.100.1.98")]);
}

#[test]
fn settings_of_the_uplink_are_given_back_also_by_a_later_agent() {
    let accept_ra = "net/ipv6/conf/up0/accept_ra";
    let proxy_ndp = "net/ipv6/conf/up0/proxy_ndp";
    let delay = "net/ipv4/neigh/up0/proxy_delay";
    let mut rig = Rig::alone(settings(Wiring::Routed, Transport::Direct));
    let values = |rig: &Rig| [accept_ra, proxy_ndp, delay].map(|name| rig.sysctl(name));
    // The node learned routes before us, and the first plan took that over.
    assert_eq!(values(&rig)[0], "2");
    let before = [String::from("1"), rig.sysctl(proxy_ndp), rig.sysctl(delay)];
    rig.input(Input::Settings(settings(Wiring::Routed, Transport::L2)));
    assert_eq!(values(&rig), ["2", "1", "0"]);
    assert_eq!(rig.drift(), vec![]);
    // Choosing again does not take our own value for what was before.
    rig.choose_uplink();
    assert!(rig.planner.uplink().expect("chosen").learns_routes);

    // An agent that knows nothing but the file, of a node that uses no proxies any more, finds
    // what is to be given back.
    rig.planner
        .apply(Input::Settings(settings(Wiring::Routed, Transport::Direct)));
    let changes = rig.changes_of_a_successor();
    assert_eq!(changes.sysctls.len(), 3, "{changes:?}");
    assert_eq!(rig.apply(&changes), vec![]);
    assert_eq!(values(&rig)[1..], before[1..]);
    assert_eq!(values(&rig)[0], "2");
    assert_eq!(rig.drift(), vec![]);
}

#[test]
fn a_strict_uplink_is_loose_as_long_as_vxlan_is_in_use() {
    let rp_filter = "net/ipv4/conf/up0/rp_filter";
    let mut rig = Rig::alone(settings(Wiring::Routed, Transport::Direct));
    let strict = || {
        seaway_kernel::sysctl::write("net/ipv4/conf/all/rp_filter", "0").expect("all");
        seaway_kernel::sysctl::write(rp_filter, "1").expect("written");
    };
    rig.netns.enter(strict).expect("entered");
    rig.choose_uplink();
    assert_eq!(rig.sysctl(rp_filter), "1");
    rig.input(Input::Settings(settings(Wiring::Routed, Transport::Vxlan)));
    assert_eq!(rig.sysctl(rp_filter), "2");
    assert_eq!(rig.drift(), vec![]);
    // Choosing again does not take our own value for what was before.
    rig.choose_uplink();
    assert!(rig.planner.uplink().expect("chosen").strict);
    rig.input(Input::Settings(settings(Wiring::Routed, Transport::Direct)));
    assert_eq!(rig.sysctl(rp_filter), "1");
    assert_eq!(rig.drift(), vec![]);
}

#[test]
fn a_node_that_begins_to_forward_keeps_the_router_that_it_learned_of() {
    seaway_testkit::isolate();
    let (here, there) = (namespace(), namespace());
    cable(&here, 1, &there, 2);
    let mut netlink = Netlink::open_in(&there).expect("socket");
    let router = netlink.link(LinkTarget::Name(UPLINK)).expect("dump");
    let mac = router.expect("there").mac.expect("Ethernet");
    let source = "fe80::2".parse().expect("valid");
    let prefix = "fd0a::".parse().expect("valid");
    let all_nodes = ip("ff02::1");
    let advertisement = packet::router_advertisement(source, prefix, mac);
    let frame = advertisement.frame(mac, packet::multicast_mac(all_nodes));
    let wire = Wire::open(&there, UPLINK);
    let routers = |netns: &seaway_kernel::netns::Netns| {
        let mut netlink = Netlink::open_in(netns).expect("socket");
        let routes = netlink.routes().expect("dump").into_iter();
        let learned = |r: &RouteInfo| r.destination == net("::/0") && r.protocol == RA;
        routes.filter(learned).count()
    };
    let limit = std::time::Duration::from_secs(20);
    seaway_testkit::eventually("the router is known", limit, || {
        wire.send(&frame);
        (routers(&here) == 1).then_some(()).ok_or("not yet")
    });
    let rig = Rig::new(1, here, settings(Wiring::Routed, Transport::Direct));
    assert_eq!(rig.sysctl("net/ipv6/conf/all/forwarding"), "1");
    assert_eq!(rig.sysctl("net/ipv6/conf/up0/accept_ra"), "2");
    assert_eq!(routers(&rig.netns), 1);
}

#[test]
fn settings_are_given_back_when_another_device_becomes_the_uplink() {
    seaway_testkit::isolate();
    let (here, there, other) = (namespace(), namespace(), namespace());
    cable(&here, 1, &there, 2);
    let renamed = seaway_model::IfName::new("old0").expect("valid");
    let mut rig = Rig::new(1, here, settings(Wiring::Routed, Transport::L2));
    assert_eq!(rig.sysctl("net/ipv6/conf/up0/proxy_ndp"), "1");
    let target = LinkTarget::Index(rig.index(&Device::Uplink));
    let rename = seaway_kernel::netlink::LinkSet {
        name: Some(&renamed),
        ..Default::default()
    };
    rig.meddle(&[Request::set_link(target, rename)]);
    // The values follow the name.
    rig.choose_uplink_named("old0");
    rig.repair();
    cable(&rig.netns, 3, &other, 4);
    rig.choose_uplink_named(UPLINK);
    rig.repair();
    assert_eq!(rig.sysctl("net/ipv6/conf/up0/proxy_ndp"), "1");
    assert_eq!(rig.sysctl("net/ipv6/conf/old0/proxy_ndp"), "0");
    assert_eq!(rig.sysctl("net/ipv6/conf/old0/accept_ra"), "1");
}
