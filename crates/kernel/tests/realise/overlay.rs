//! VXLAN: the device, who is where behind it, routes and rules of their own, and packets through it.

use seaway_kernel::netlink::{
    Exclusive, KindSpec, LinkSet, LinkSpec, LinkTarget, Request, RouteSpec, SEAWAY_PROTOCOL,
    VxlanInfo,
};
use seaway_kernel::realise::NODE_GROUP;
use seaway_model::{
    Device, Family, IfName, MacAddr, RouteTable, Settings, Transport, VxlanSettings, Wiring,
    vtep_mac, vxlan_name,
};
use seaway_plan::{ChangeSet, Input, RowState};

use crate::rig::{Rig, attachment, cable, ip, namespace, net, node, node_name, reaches, settings};

fn vxlan(wiring: Wiring) -> Settings {
    settings(wiring, Transport::Vxlan)
}

#[test]
fn peers_are_in_force_and_adopted_and_gone_without_a_trace() {
    let mut rig = Rig::alone(vxlan(Wiring::Routed));
    rig.attach(2);
    rig.peer(2);
    rig.peer(3);
    assert_eq!(rig.drift(), vec![]);
    assert_eq!(rig.changes_of_a_successor(), ChangeSet::default());
    let rows = rig.planner.rows();
    assert!(!rows.fdb.is_empty() && !rows.rules.is_empty());
    let from_pods = |r: &&seaway_model::RouteRow| r.table == RouteTable::FromPods;
    assert!(rows.routes.iter().filter(from_pods).count() > 0);

    let without = Settings {
        vxlan: None,
        ..settings(Wiring::Routed, Transport::Direct)
    };
    rig.input(Input::Settings(without));
    assert_eq!(rig.drift(), vec![]);
    let left = rig.netlink(|netlink| {
        let links = netlink.links().expect("dump").into_iter();
        let rules = netlink.rules().expect("dump").into_iter();
        let routes = netlink.routes().expect("dump").into_iter();
        (
            links.filter(|l| l.kind.as_deref() == Some("vxlan")).count(),
            rules.filter(|r| r.protocol == SEAWAY_PROTOCOL).count(),
            routes.filter(|r| r.table == RouteTable::FromPods).count(),
        )
    });
    assert_eq!(left, (0, 0, 0));
}

#[test]
fn drift_is_seen_and_repaired_and_strangers_are_left_alone() {
    let mut rig = Rig::alone(vxlan(Wiring::Routed));
    rig.peer(2);
    let index = rig.index(&Device::Vxlan);
    let renamed = IfName::new("flannel.9").expect("valid");
    let rename = LinkSet {
        name: Some(&renamed),
        group: Some(0),
        ..LinkSet::default()
    };
    let mac = vtep_mac(&node_name(2));
    let stray = MacAddr([2, 0, 0, 0, 0, 9]);
    let to_node = RouteSpec {
        table: RouteTable::FromPods,
        gateway: Some(ip("10.100.2.0")),
        on_link: true,
        ..RouteSpec::by_device(net("10.9.0.2/32"), index)
    };
    let source = net("10.100.1.0/24");
    let elsewhere = RouteTable::Main;
    rig.meddle(&[
        Request::add_fdb(index, mac, Some(ip("10.9.0.77"))),
        Request::add_fdb(index, stray, Some(ip("10.9.0.77"))),
        Request::delete_neighbour(index, ip("10.100.2.0")),
        Request::delete_route(&to_node),
        Request::delete_rule(source, RouteTable::FromPods, seaway_model::RULE_PRIORITY),
        Request::add_rule(source, elsewhere, 4000).with_protocol(4),
        Request::set_link(LinkTarget::Index(index), rename),
    ]);
    let drift = rig.drift();
    let states: Vec<(&str, RowState)> = drift.iter().map(|(k, s)| (k.as_str(), *s)).collect();
    assert!(
        states.contains(&("links vxlan", RowState::Differs)),
        "{states:?}"
    );
    let kinds = |table: &str| states.iter().filter(|(k, _)| k.starts_with(table)).count();
    assert_eq!((kinds("fdb"), kinds("neighbours")), (2, 1), "{states:?}");
    assert_eq!((kinds("routes"), kinds("rules")), (1, 1), "{states:?}");
    rig.repair();
    let rules = rig.netlink(|netlink| netlink.rules().expect("dump"));
    assert!(rules.iter().any(|r| r.priority == 4000), "{rules:?}");
    let link = rig.netlink(move |n| n.link(LinkTarget::Index(index)).expect("dump"));
    assert_eq!(link.expect("there").name, vxlan_name().as_str());

    let down = LinkSet {
        up: Some(false),
        ..LinkSet::default()
    };
    rig.meddle(&[Request::set_link(LinkTarget::Index(index), down)]);
    rig.repair();
    let learning = VxlanInfo {
        vni: 0x5ea1,
        port: 4789,
        local: Some(ip("10.9.0.1")),
        remote: None,
        learning: true,
    };
    let learn = LinkSet {
        vxlan: Some(learning),
        ..LinkSet::default()
    };
    rig.meddle(&[Request::set_link(LinkTarget::Index(index), learn)]);
    assert_eq!(
        rig.drift(),
        vec![("links vxlan".to_owned(), RowState::Differs)]
    );
    rig.repair();
}

#[test]
fn what_cannot_change_is_made_anew_and_what_hung_on_it_follows() {
    let mut rig = Rig::alone(vxlan(Wiring::Routed));
    rig.peer(2);
    let before = rig.index(&Device::Vxlan);
    for underlay in [Family::V6, Family::V4] {
        let settings = Settings {
            vxlan: Some(VxlanSettings {
                vni: 7,
                port: 8472,
                underlay: Some(underlay),
            }),
            ..vxlan(Wiring::Routed)
        };
        let changes = rig.planner.apply(Input::Settings(settings));
        let failures = rig.apply(&changes);
        assert!(
            failures[0].to_string().contains("made anew"),
            "{failures:?}"
        );
        rig.repair();
    }
    assert_ne!(rig.index(&Device::Vxlan), before);
}

#[test]
fn another_address_of_the_node_changes_the_device_and_keeps_what_hangs_on_it() {
    let mut rig = Rig::alone(vxlan(Wiring::Routed));
    rig.peer(2);
    let before = rig.index(&Device::Vxlan);
    let uplink = rig.index(&Device::Uplink);
    rig.meddle(&[Request::add_address(uplink, net("10.9.0.50/16"))]);
    let mut chosen = rig.planner.uplink().expect("chosen").clone();
    chosen.addresses[0] = ip("10.9.0.50");
    rig.input(Input::Uplink(Some(chosen)));
    assert_eq!(rig.drift(), vec![]);
    assert_eq!(rig.index(&Device::Vxlan), before);
    let link = rig.netlink(move |n| n.link(LinkTarget::Index(before)).expect("dump"));
    let local = link.and_then(|link| link.vxlan?.local);
    assert_eq!(local, Some(ip("10.9.0.50")));
}

#[test]
fn a_name_or_a_network_that_is_taken_is_told_with_whose_it_is() {
    let settings = settings(Wiring::Routed, Transport::Direct);
    let mut rig = Rig::alone(settings);
    let name = vxlan_name();
    let stranger = LinkSpec {
        name: name.as_str(),
        index: None,
        mac: None,
        mtu: None,
        group: None,
        kind: KindSpec::Ifb,
    };
    rig.meddle(&[Request::link(&stranger)]);
    let changes = rig.planner.apply(Input::Settings(vxlan(Wiring::Routed)));
    let failures = rig.apply(&changes);
    let text = failures[0].to_string();
    assert!(
        text.contains("ifb called seaway-vxlan that is not ours"),
        "{text}"
    );
    rig.meddle(&[Request::delete_link(LinkTarget::Name(name.as_str()))]);

    let info = VxlanInfo {
        vni: 0x5ea1,
        port: 4789,
        ..VxlanInfo::default()
    };
    let same_network = LinkSpec {
        name: "other",
        kind: KindSpec::Vxlan(info),
        ..stranger
    };
    rig.meddle(&[Request::link(&same_network)]);
    let observed = rig.observe();
    let changes = rig.planner.rows().changes_from(&observed.tables);
    let failures = rig.apply(&changes);
    let text = failures[0].to_string();
    assert!(text.contains("VNI"), "{text}");
    rig.meddle(&[Request::delete_link(LinkTarget::Name("other"))]);
    rig.repair();
}

#[test]
fn pods_of_two_nodes_reach_each_other_over_either_family() {
    seaway_testkit::isolate();
    for (underlay, wiring) in [
        (Family::V4, Wiring::Routed),
        (Family::V6, Wiring::Routed),
        (Family::V6, Wiring::Bridge),
    ] {
        let settings = Settings {
            vxlan: Some(VxlanSettings {
                underlay: Some(underlay),
                ..VxlanSettings::default()
            }),
            ..vxlan(wiring)
        };
        let (here, there) = (namespace(), namespace());
        cable(&here, 1, &there, 2);
        let mut a = Rig::new(1, here, settings.clone());
        let mut b = Rig::new(2, there, settings);
        a.peer(2);
        b.peer(1);
        a.attach(2);
        b.attach(2);
        let ends = attachment(1, 2).addresses.into_iter();
        for (source, target) in ends.zip(attachment(2, 2).addresses) {
            let seen = reaches(&a.pods[&2], source, &b.pods[&2], target);
            assert_eq!(seen, source, "{underlay} {wiring}");
        }
        // A Pod's address never appears on the underlay: also the way to another node is the
        // overlay's.
        for (source, target) in attachment(1, 2)
            .addresses
            .into_iter()
            .zip(node(2).addresses)
        {
            let seen = reaches(&a.pods[&2], source, &b.netns, target);
            assert_eq!(seen, source, "{underlay} {wiring} to the node");
        }
        let index = b.index(&Device::Vxlan);
        let link = b.netlink(move |n| n.link(LinkTarget::Index(index)).expect("dump"));
        assert_eq!(link.expect("there").group, NODE_GROUP);
    }
}

#[test]
fn a_stranger_in_our_table_of_routes_is_left_alone() {
    let mut rig = Rig::alone(vxlan(Wiring::Routed));
    rig.peer(2);
    let stranger = RouteSpec {
        table: RouteTable::FromPods,
        ..RouteSpec::by_device(net("10.77.0.0/16"), rig.index(&Device::Uplink))
    };
    rig.meddle(&[Request::add_route(&stranger, Exclusive::Yes).with_protocol(4)]);
    assert_eq!(rig.drift(), vec![]);
}
