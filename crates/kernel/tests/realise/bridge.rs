//! Bridge wiring: the bridge, its ports and forwarding entries, and packets between Pods of a node.

use seaway_kernel::netlink::{LinkSet, LinkTarget, PortInfo, Request};
use seaway_kernel::realise::BRIDGE_GROUP;
use seaway_model::{Device, MacAddr, Transport, Wiring, bridge_name, pod_mac};
use seaway_plan::{ChangeSet, Input, RowState};

use crate::rig::{Rig, attachment, net, reaches, settings};

fn rig() -> Rig {
    Rig::alone(settings(Wiring::Bridge, Transport::Direct))
}

#[test]
fn pods_of_a_node_reach_each_other_and_the_node_and_are_adopted() {
    let mut rig = rig();
    rig.attach(2);
    rig.attach(3);
    rig.peer(2);
    assert_eq!(rig.drift(), vec![]);
    assert_eq!(rig.changes_of_a_successor(), ChangeSet::default());
    for (source, target) in attachment(1, 2)
        .addresses
        .into_iter()
        .zip(attachment(1, 3).addresses)
    {
        let seen = reaches(&rig.pods[&2], source, &rig.pods[&3], target);
        assert_eq!(seen, source);
        let node = crate::rig::node(1).addresses;
        let node = node.into_iter().find(|a| a.is_ipv4() == source.is_ipv4());
        let node = node.expect("dual stack");
        assert_eq!(reaches(&rig.netns, node, &rig.pods[&2], source), node);
        assert_eq!(reaches(&rig.pods[&2], source, &rig.netns, node), source);
    }
    assert_eq!(rig.drift(), vec![]);
}

#[test]
fn drift_of_bridge_port_and_entries_is_seen_and_repaired() {
    let mut rig = rig();
    rig.attach(2);
    let (bridge, port) = (rig.index(&Device::Bridge), rig.index(&rig.pod_link(2)));
    let mac = pod_mac(&attachment(1, 2).id);
    let flags = |flags| LinkSet {
        port: Some(flags),
        ..LinkSet::default()
    };
    let flooding = PortInfo {
        unicast_flood: true,
        hairpin: false,
        ..PortInfo::POD
    };
    let stray = MacAddr([2, 0, 0, 0, 0, 9]);
    rig.meddle(&[
        Request::set_link(LinkTarget::Index(port), flags(flooding)),
        Request::delete_fdb(port, mac, None),
        Request::add_fdb(port, stray, None),
        Request::add_address(bridge, net("10.55.0.1/24")),
        Request::delete_address(bridge, net("10.100.1.1/24")),
        Request::delete_neighbour(bridge, attachment(1, 2).addresses[1]),
    ]);
    let drift = rig.drift();
    let count = |table: &str, state| {
        let wanted = |(key, found): &&(String, RowState)| key.starts_with(table) && *found == state;
        drift.iter().filter(wanted).count()
    };
    assert_eq!(count("links", RowState::Differs), 1, "{drift:?}");
    assert_eq!(count("fdb", RowState::Missing), 1, "{drift:?}");
    assert_eq!(count("fdb", RowState::Unplanned), 1, "{drift:?}");
    assert_eq!(count("addresses", RowState::Missing), 1, "{drift:?}");
    assert_eq!(count("addresses", RowState::Unplanned), 1, "{drift:?}");
    assert_eq!(count("neighbours", RowState::Missing), 1, "{drift:?}");
    rig.repair();
    // The last address of a family takes routes and neighbours along.
    rig.meddle(&[Request::delete_address(bridge, net("10.100.1.1/24"))]);
    assert_eq!(rig.drift().len(), 3);
    rig.repair();
    let freed = LinkSet {
        master: Some(0),
        ..LinkSet::default()
    };
    rig.meddle(&[Request::set_link(LinkTarget::Index(port), freed)]);
    rig.repair();
    let set_up = LinkSet {
        group: Some(0),
        alias: Some("br0"),
        ..LinkSet::default()
    };
    rig.meddle(&[Request::set_link(LinkTarget::Index(bridge), set_up)]);
    assert_eq!(
        rig.drift(),
        vec![("links bridge".to_owned(), RowState::Differs)]
    );
    rig.repair();
}

#[test]
fn a_deleted_bridge_comes_back_with_its_ports() {
    let mut rig = rig();
    rig.attach(2);
    let bridge = rig.index(&Device::Bridge);
    rig.meddle(&[Request::delete_link(LinkTarget::Index(bridge))]);
    rig.repair();
    let (source, gateway) = (attachment(1, 2).addresses[0], crate::rig::ip("10.100.1.1"));
    assert_eq!(reaches(&rig.pods[&2], source, &rig.netns, gateway), source);
}

#[test]
fn a_drained_node_moves_from_one_wiring_to_the_other_and_back() {
    let mut rig = rig();
    rig.attach(2);
    rig.detach(2);
    for wiring in [Wiring::Routed, Wiring::Bridge, Wiring::Routed] {
        rig.input(Input::Settings(settings(wiring, Transport::Direct)));
        assert_eq!(rig.drift(), vec![], "{wiring}");
        assert_eq!(rig.changes_of_a_successor(), ChangeSet::default());
        rig.attach(2);
        assert_eq!(rig.drift(), vec![], "{wiring} with a Pod");
        rig.detach(2);
    }
    let links = rig.netlink(|netlink| netlink.links().expect("dump"));
    assert!(
        links
            .iter()
            .all(|l| l.group != BRIDGE_GROUP && l.name != bridge_name().as_str())
    );
}
