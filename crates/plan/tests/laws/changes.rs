//! What changes when something happens: just what it concerns, and nothing stale stays.

use seaway_model::{Node, Settings, Transport};
use seaway_plan::{Change, ChangeSet, Input, Uplink};

use crate::inputs::{attachment, cluster, delete, dual_node, dual_uplink, ip, net, texts, upsert};

fn settings(transport: Transport) -> Settings {
    Settings {
        transport,
        ..Settings::default()
    }
}

#[test]
fn a_node_costs_the_same_however_many_there_are() {
    for transport in Transport::ALL {
        let join = |others: usize| -> (ChangeSet, ChangeSet) {
            let mut planner = cluster(settings(transport), others);
            (
                planner.apply(upsert(dual_node(200))),
                planner.apply(delete(200)),
            )
        };
        let ((few, few_leave), (many, many_leave)) = (join(2), join(150));
        assert_eq!(few, many, "{transport}");
        assert_eq!(few_leave, many_leave, "{transport}");
        assert!(many.len() <= 16, "{transport}: {}", many.len());
    }
}

#[test]
fn a_node_that_says_nothing_new_changes_nothing() {
    let mut planner = cluster(Settings::default(), 3);
    assert!(planner.apply(upsert(dual_node(0))).is_empty());
    assert!(planner.apply(upsert(dual_node(1))).is_empty());
    assert!(planner.apply(Input::Uplink(Some(dual_uplink()))).is_empty());
    assert!(
        planner
            .apply(Input::Settings(Settings::default()))
            .is_empty()
    );
}

#[test]
fn the_address_of_a_peer_changes() {
    for transport in Transport::ALL {
        let mut planner = cluster(settings(transport), 2);
        let moved = Node {
            addresses: vec![ip("192.168.0.77"), ip("fd00::77")],
            ..dual_node(1)
        };
        planner.apply(upsert(moved.clone()));
        let mut fresh = cluster(settings(transport), 1);
        fresh.apply(upsert(moved));
        assert_eq!(planner.rows(), fresh.rows(), "{transport}");
        assert!(!format!("{:?}", planner.rows()).contains("192.168.0.2"));
    }
}

#[test]
fn the_address_of_the_node_itself_changes() {
    for transport in Transport::ALL {
        let mut planner = cluster(settings(transport), 2);
        planner.apply(Input::Attach(attachment(1, &["10.244.0.2", "fd00:10::2"])));
        let addresses = vec![ip("192.168.0.99"), ip("fd00::99")];
        planner.apply(Input::Uplink(Some(Uplink {
            addresses: addresses.clone(),
            ..dual_uplink()
        })));
        planner.apply(upsert(Node {
            addresses,
            ..dual_node(0)
        }));
        let stale = |text: &String| text.ends_with("src 192.168.0.1") || text.ends_with("fd00::1");
        let routes = texts(planner.rows().routes.iter());
        assert!(!routes.iter().any(stale), "{routes:?}");
        let nets = texts(planner.rows().cluster_nets.iter());
        assert!(nets.contains(&"192.168.0.99/32".to_owned()));
        assert!(!nets.contains(&"192.168.0.1/32".to_owned()));
    }
}

#[test]
fn a_second_pod_cidr_comes_and_goes() {
    for transport in Transport::ALL {
        let mut planner = cluster(settings(transport), 2);
        let before = planner.rows().clone();
        for own in [0, 1] {
            let mut node = dual_node(own);
            node.pod_cidrs.push(net(&format!("10.9.{own}.0/25")));
            let changes = planner.apply(upsert(node));
            let added = |c: &Change<_>| matches!(c, Change::Upsert(_));
            assert!(changes.routes.iter().all(added), "{transport}");
            let routes = texts(planner.rows().routes.iter());
            let route = format!("10.9.{own}.0/25");
            assert!(
                routes.iter().any(|text| text.contains(&route)),
                "{transport}"
            );
            let firewall = planner.rows().firewall.iter().next().expect("planned");
            assert!(firewall.to_string().contains("/25"));
        }
        planner.apply(upsert(dual_node(0)));
        planner.apply(upsert(dual_node(1)));
        assert_eq!(*planner.rows(), before, "{transport}");
    }
}

#[test]
fn the_mtu_of_the_uplink_changes() {
    let mut planner = cluster(settings(Transport::Vxlan), 2);
    planner.apply(Input::Attach(attachment(1, &["10.244.0.2"])));
    let changes = planner.apply(Input::Uplink(Some(Uplink {
        mtu: 9000,
        ..dual_uplink()
    })));
    assert_eq!(changes.len(), changes.links.len(), "links and nothing else");
    let links = planner.rows().links.iter().map(|link| link.mtu);
    assert_eq!(links.collect::<Vec<_>>(), [Some(8950), Some(8950)]);
    assert_eq!(planner.pod_mtu(), 8950);
}

#[test]
fn a_copy_of_the_rows_stays_as_it_was() {
    let mut planner = cluster(Settings::default(), 3);
    let copy = planner.rows().clone();
    let changes = planner.apply(delete(2));
    assert_ne!(copy, *planner.rows());
    let mut kernel = copy;
    kernel.apply(&changes);
    assert_eq!(kernel, *planner.rows());
}
