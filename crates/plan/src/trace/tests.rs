//! Walks over the rows of a node with two Pods and two peers, and a Service of each kind.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    Attachment, AttachmentId, BackendRow, ClusterEvent, ClusterIpRow, ContainerId, Extras,
    FirewallKey, FrontendAction, FrontendKey, FrontendRow, GroupId, IfName, LocalPodRow,
    NetworkName, Node, NodeName, Protocol, ServiceRules, Settings, SourceRangeRow, View, Wiring,
    loopback_alias,
};

use super::*;
use crate::eval;
use crate::planner::{Input, Planner};
use crate::table::RowState;

const LOCAL: &str = "10.244.0.5";
const OTHER: &str = "10.244.0.6";
const OWN: &str = "172.18.0.1";
const STRANGER: &str = "203.0.113.9";
const VIP: &str = "10.96.0.10";
const GROUP: GroupId = GroupId(0x10);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

fn node(name: &str, address: &str, cidr: &str) -> Input {
    Input::Cluster(ClusterEvent::NodeUpsert(Node {
        name: NodeName::new(name).expect("valid"),
        addresses: vec![ip(address)],
        pod_cidrs: vec![net(cidr)],
        transport: None,
        zone: None,
        leaving: false,
    }))
}

fn pod(container: &str, address: &str) -> Input {
    Input::Attach(Attachment {
        id: AttachmentId {
            container: ContainerId::new(container).expect("valid"),
            interface: IfName::new("eth0").expect("valid"),
        },
        network: NetworkName::new("pods").expect("valid"),
        addresses: vec![ip(address)],
        extras: Extras::default(),
    })
}

fn uplink() -> Uplink {
    Uplink {
        mtu: 1500,
        addresses: vec![ip(OWN)],
        networks: vec![net("172.18.0.0/24")],
        learns_routes: false,
        strict: false,
    }
}

/// Node a with two Pods; b is on the link, c is behind a router.
fn rows(wiring: Wiring) -> Tables {
    let settings = Settings {
        wiring,
        ..Settings::default()
    };
    let mut planner = Planner::new(NodeName::new("a").expect("valid"), settings);
    for input in [
        Input::Uplink(Some(uplink())),
        node("a", OWN, "10.244.0.0/24"),
        node("b", "172.18.0.2", "10.244.1.0/24"),
        node("c", "172.19.0.3", "10.244.2.0/24"),
        pod("c1", LOCAL),
        pod("c2", OTHER),
    ] {
        planner.apply(input);
    }
    let mut rows = planner.rows().clone();
    let mut firewall = rows.firewall.get(&FirewallKey).expect("filters").clone();
    firewall.services = Some(ServiceRules {
        service_cidrs: [net("10.96.0.0/16")].into(),
        sources: [ip(OWN)].into(),
        dns: true,
        ..ServiceRules::default()
    });
    rows.firewall.insert(firewall);
    for address in [LOCAL, OTHER] {
        let address = ip(address);
        let owner = None;
        rows.local_pods.insert(LocalPodRow { address, owner });
    }
    let address = ip(VIP);
    rows.cluster_ips.insert(ClusterIpRow { address });
    rows
}

fn balance(group: GroupId, slots: u8) -> FrontendAction {
    FrontendAction::Balance {
        group,
        slots,
        affinity: None,
    }
}

fn offer(rows: &mut Tables, to: &str, view: View, action: FrontendAction, guarded: bool) {
    let to = at(to);
    let key = FrontendKey {
        address: to.ip(),
        protocol: Protocol::Tcp,
        port: to.port(),
        view,
    };
    rows.frontends.insert(FrontendRow {
        key,
        action,
        guarded,
    });
}

fn fill(rows: &mut Tables, group: GroupId, targets: &[&str]) {
    for (slot, target) in (0..).zip(targets) {
        rows.backends.insert(BackendRow {
            key: seaway_model::BackendKey { group, slot },
            target: at(target),
        });
    }
}

/// A Service at [`VIP`]:80 with these backends.
fn serve(rows: &mut Tables, targets: &[&str]) {
    let slots = targets.len().next_power_of_two().trailing_zeros() as u8;
    offer(
        rows,
        "10.96.0.10:80",
        View::Everyone,
        balance(GROUP, slots),
        false,
    );
    fill(rows, GROUP, targets);
}

fn look(planned: &Tables, observed: &Tables, basis: Basis, from: Entry, to: &str) -> Walk {
    let names = |address: IpAddr| match address.to_string().as_str() {
        LOCAL => Some("Pod default/web".to_owned()),
        "172.18.0.2" => Some("node b".to_owned()),
        "172.19.0.3" => Some("node c".to_owned()),
        _ => None,
    };
    let (own, uplink) = ([ip(OWN)], uplink());
    let scene = Scene {
        own: &own,
        uplink: Some(&uplink),
        who: &names,
        service: &|_| Some("Service default/web".to_owned()),
    };
    let packet = Packet {
        from,
        to: at(to),
        protocol: Protocol::Tcp,
    };
    walk(planned, observed, basis, &scene, &packet)
}

/// A walk where plan and kernel agree.
fn agreed(rows: &Tables, from: Entry, to: &str) -> Walk {
    let planned = look(rows, rows, Basis::Planned, from, to);
    let observed = look(rows, rows, Basis::Observed, from, to);
    assert!(planned.is_like(&observed), "one set of rows, one way");
    let cited = planned.ways.iter().flat_map(|way| &way.steps);
    let mut cited = planned
        .steps
        .iter()
        .chain(cited)
        .flat_map(|step| &step.rows);
    assert!(cited.all(|row| !row.drifts()));
    judge(rows, &planned, from, to);
    planned
}

fn sent_by(from: Entry) -> Option<IpAddr> {
    match from {
        Entry::Pod(address) | Entry::Outside(address) => Some(address),
        Entry::Node => Some(ip(OWN)),
    }
}

/// Whether all receivers see the sender's own source.
fn keeps_source(walk: &Walk, from: Entry) -> bool {
    walk.ways.iter().all(|way| way.source == sent_by(from))
}

/// What a walk tells is what the evaluator makes of the same rows.
fn judge(rows: &Tables, walk: &Walk, from: Entry, to: &str) {
    let asked = eval::Packet {
        node: NodeName::new("a").expect("valid"),
        from: match from {
            Entry::Pod(address) => eval::Source::Pod(address),
            Entry::Node => eval::Source::Node,
            Entry::Outside(address) => eval::Source::Outside(address),
        },
        destination: at(to),
        protocol: Protocol::Tcp,
    };
    let verdict = eval::by_rows(rows, &asked);
    match (&verdict, &walk.end) {
        (eval::Verdict::Refused, Some(End::Refused { .. })) => {}
        (eval::Verdict::Dropped(wanted), Some(End::Dropped { reason })) => {
            assert_eq!(wanted, reason);
        }
        (eval::Verdict::NotAService, None) => assert_eq!(walk.ways.len(), 1),
        (eval::Verdict::Backends { targets, .. }, None) => {
            assert_eq!(targets.len(), walk.ways.len() + walk.more);
            assert!(walk.ways.iter().all(|way| targets.contains(&way.to)));
            for way in &walk.ways {
                let sees = verdict.source_at(&asked, way.to).expect("a target");
                // The node's own source is the node's either way.
                let own = way.source == sent_by(from);
                assert_eq!(own, sees == eval::SourceSeen::Kept || from == Entry::Node);
            }
        }
        (verdict, end) => panic!("{verdict:?} is not {end:?}"),
    }
}

fn local() -> Entry {
    Entry::Pod(ip(LOCAL))
}

fn outside() -> Entry {
    Entry::Outside(ip(STRANGER))
}

fn text(steps: &[Step], stage: Stage) -> String {
    let found = steps.iter().filter(|step| step.stage == stage);
    let all: Vec<&str> = found.map(|step| step.text.as_str()).collect();
    assert!(!all.is_empty(), "no step {stage} in {steps:#?}");
    all.join("; ")
}

fn only(walk: &Walk) -> &Way {
    assert_eq!((walk.ways.len(), &walk.end), (1, &None), "{walk:#?}");
    &walk.ways[0]
}

#[test]
fn a_cluster_ip_leads_to_a_pod_of_this_node() {
    let mut rows = rows(Wiring::Routed);
    serve(&mut rows, &["10.244.0.6:8080"]);
    let walk = agreed(&rows, local(), "10.96.0.10:80");
    assert!(text(&walk.steps, Stage::Source).contains("Pod default/web (10.244.0.5)"));
    let frontend = text(&walk.steps, Stage::Frontend);
    assert!(
        frontend.contains("tcp 10.96.0.10:80 of Service default/web"),
        "{frontend}"
    );
    let way = only(&walk);
    let nat = text(&way.steps, Stage::Nat);
    assert!(nat.contains("becomes 10.244.0.6:8080"), "{nat}");
    assert!(nat.contains("keeps its source 10.244.0.5"), "{nat}");
    let tables: Vec<&str> = way
        .steps
        .iter()
        .flat_map(|s| &s.rows)
        .map(|r| r.table)
        .collect();
    for table in ["backends", "routes", "links", "neighbours"] {
        assert!(tables.contains(&table), "{table} in {tables:?}");
    }
    let to = at("10.244.0.6:8080");
    assert_eq!(way.end, End::Pod { to });
    assert!(keeps_source(&walk, local()) && walk.is_good());
}

#[test]
fn backends_of_other_nodes_are_ways_of_their_own() {
    let mut rows = rows(Wiring::Routed);
    serve(
        &mut rows,
        &["10.244.0.6:80", "10.244.1.7:80", "10.244.2.8:80"],
    );
    let walk = agreed(&rows, local(), "10.96.0.10:80");
    assert!(text(&walk.steps, Stage::Group).contains("3 backends in 3 of 4 slots"));
    let [near, linked, far] = &walk.ways[..] else {
        panic!("three ways: {walk:#?}");
    };
    assert!(matches!(near.end, End::Pod { .. }));
    assert!(text(&linked.steps, Stage::Transport).contains("direct, by node b (172.18.0.2)"));
    assert!(
        text(&linked.steps, Stage::Mtu).contains("1450 bytes"),
        "what Pods take"
    );
    assert!(text(&far.steps, Stage::Transport).contains("in VXLAN, to the VTEP of node c"));
    assert!(text(&far.steps, Stage::Mtu).contains("VXLAN takes packets of up to 1450 bytes"));
    let end = far.end.to_string();
    assert_eq!(
        end,
        "it leaves for node c, which is to get it to 10.244.2.8:80"
    );
}

#[test]
fn a_service_without_backends_refuses_and_one_without_local_ones_drops() {
    let mut rows = rows(Wiring::Routed);
    offer(
        &mut rows,
        "10.96.0.10:80",
        View::Everyone,
        FrontendAction::Refuse,
        false,
    );
    let walk = agreed(&rows, local(), "10.96.0.10:80");
    let reason = DropReason::ServiceRefused;
    assert_eq!(walk.end, Some(End::Refused { reason }));
    offer(
        &mut rows,
        "10.96.0.10:80",
        View::Everyone,
        FrontendAction::Drop,
        false,
    );
    let walk = agreed(&rows, local(), "10.96.0.10:80");
    let reason = DropReason::ServiceNotLocal;
    assert_eq!(walk.end, Some(End::Dropped { reason }));
    assert!(!walk.is_good() && walk.ways.is_empty());
}

#[test]
fn only_listed_sources_use_a_guarded_frontend() {
    let mut rows = rows(Wiring::Routed);
    offer(
        &mut rows,
        "198.51.100.7:80",
        View::Everyone,
        balance(GROUP, 0),
        true,
    );
    fill(&mut rows, GROUP, &["10.244.0.6:80"]);
    let reason = DropReason::ServiceSource;
    let walk = agreed(&rows, outside(), "198.51.100.7:80");
    assert_eq!(walk.end, Some(End::Dropped { reason }), "no range, nobody");
    rows.source_ranges.insert(SourceRangeRow {
        address: ip("198.51.100.7"),
        protocol: Protocol::Tcp,
        port: 80,
        net: net("203.0.113.0/24"),
    });
    let mut firewall = rows.firewall.get(&FirewallKey).expect("there").clone();
    let services = firewall.services.as_mut().expect("balanced");
    services
        .range_lengths
        .insert((seaway_model::Family::V4, 24));
    rows.firewall.insert(firewall);
    let walk = agreed(&rows, outside(), "198.51.100.7:80");
    assert!(text(&walk.steps, Stage::Guard).contains("the source is in 203.0.113.0/24"));
    assert!(walk.end.is_none());
    let walk = agreed(&rows, local(), "198.51.100.7:80");
    assert_eq!(walk.end, Some(End::Dropped { reason }));
    assert!(text(&walk.steps, Stage::Guard).contains("not among them: 203.0.113.0/24"));
    // Who may not use it is not told whether anybody is there.
    let refuse = FrontendAction::Refuse;
    offer(&mut rows, "198.51.100.7:80", View::Everyone, refuse, true);
    let walk = agreed(&rows, local(), "198.51.100.7:80");
    assert_eq!(walk.end, Some(End::Dropped { reason }));
    let walk = agreed(&rows, outside(), "198.51.100.7:80");
    assert!(matches!(walk.end, Some(End::Refused { .. })));
}

#[test]
fn a_node_port_lends_the_nodes_source_unless_the_policy_is_local() {
    let mut rows = rows(Wiring::Routed);
    offer(
        &mut rows,
        "172.18.0.1:30080",
        View::Everyone,
        balance(GROUP, 0),
        false,
    );
    fill(&mut rows, GROUP, &["10.244.1.7:80"]);
    let walk = agreed(&rows, outside(), "172.18.0.1:30080");
    let nat = text(&only(&walk).steps, Stage::Nat);
    assert!(
        nat.contains("the source becomes the node's own, 172.18.0.1"),
        "{nat}"
    );
    assert!(!keeps_source(&walk, outside()));
    let kept = GroupId(GROUP.0 | 1);
    offer(
        &mut rows,
        "172.18.0.1:30080",
        View::Outside,
        balance(kept, 0),
        false,
    );
    fill(&mut rows, kept, &["10.244.0.6:80"]);
    let walk = agreed(&rows, outside(), "172.18.0.1:30080");
    assert!(text(&walk.steps, Stage::Frontend).contains("from outside the node"));
    assert!(text(&only(&walk).steps, Stage::Nat).contains("the source stays"));
    assert!(keeps_source(&walk, outside()));
    let walk = agreed(&rows, Entry::Node, "172.18.0.1:30080");
    assert_eq!(
        only(&walk).to,
        at("10.244.1.7:80"),
        "the short cut of the node"
    );
}

#[test]
fn a_pod_that_meets_itself_gets_another_source() {
    let mut rows = rows(Wiring::Routed);
    serve(&mut rows, &["10.244.0.5:80"]);
    let walk = agreed(&rows, local(), "10.96.0.10:80");
    let nat = text(&only(&walk).steps, Stage::Nat);
    assert!(
        nat.contains("meets itself: its source becomes the node's own"),
        "{nat}"
    );
    assert!(matches!(only(&walk).end, End::Pod { .. }));
}

#[test]
fn a_loopback_port_of_the_node_takes_a_detour() {
    let mut rows = rows(Wiring::Routed);
    let walk = agreed(&rows, Entry::Node, "127.0.0.1:30080");
    assert!(
        matches!(only(&walk).end, End::Node { .. }),
        "a process, without a frontend"
    );
    let alias = loopback_alias(seaway_model::Family::V4);
    let frontend = format!("{alias}:30080");
    offer(
        &mut rows,
        &frontend,
        View::Everyone,
        balance(GROUP, 0),
        false,
    );
    fill(&mut rows, GROUP, &["10.244.0.6:80"]);
    let walk = agreed(&rows, Entry::Node, "127.0.0.1:30080");
    assert!(text(&walk.steps, Stage::Loopback).contains("stands for 127.0.0.1"));
    let nat = text(&only(&walk).steps, Stage::Nat);
    assert!(
        nat.contains("the loopback address, becomes the node's own"),
        "{nat}"
    );
    let reason = DropReason::LoopbackAlias;
    let walk = agreed(&rows, outside(), &frontend);
    assert_eq!(walk.end, Some(End::Dropped { reason }));
}

#[test]
fn addresses_of_services_without_frontend_are_refused_or_dropped() {
    let rows = rows(Wiring::Routed);
    let walk = agreed(&rows, local(), "10.96.0.10:81");
    assert!(
        matches!(walk.end, Some(End::Refused { .. })),
        "another port"
    );
    let walk = agreed(&rows, local(), "10.96.0.99:80");
    let reason = DropReason::ServiceUnknown;
    assert_eq!(walk.end, Some(End::Dropped { reason }));
}

#[test]
fn without_a_service_the_route_decides() {
    let rows = rows(Wiring::Routed);
    let walk = agreed(&rows, local(), "10.244.0.99:80");
    let End::Lost { why } = &only(&walk).end else {
        panic!("no such Pod: {walk:#?}");
    };
    assert!(why.contains("no Pod of this node has 10.244.0.99"), "{why}");
    let walk = agreed(&rows, local(), "203.0.113.9:443");
    let nat = text(&only(&walk).steps, Stage::Nat);
    assert!(nat.contains("it leaves the cluster"), "{nat}");
    assert!(matches!(only(&walk).end, End::Beyond { .. }));
    let walk = agreed(&rows, Entry::Node, "172.18.0.2:10250");
    assert!(matches!(only(&walk).end, End::Peer { .. }), "on the link");
    let walk = agreed(&rows, local(), "172.19.0.3:10250");
    let way = only(&walk);
    assert!(
        text(&way.steps, Stage::Route).contains("table 24225"),
        "Pods go in VXLAN"
    );
    assert!(matches!(way.end, End::Peer { .. }));
}

#[test]
fn bridged_pods_are_found_by_the_bridges_tables() {
    let mut rows = rows(Wiring::Bridge);
    serve(&mut rows, &["10.244.0.6:80"]);
    let walk = agreed(&rows, local(), "10.96.0.10:80");
    assert_eq!(walk.steps[0].rows[0].table, "port-guards");
    assert!(text(&only(&walk).steps, Stage::Transport).contains("is at the port pod c2"));
    assert!(matches!(only(&walk).end, End::Pod { .. }));
}

#[test]
fn what_the_kernel_lacks_is_drift_and_cited() {
    let mut planned = rows(Wiring::Routed);
    serve(&mut planned, &["10.244.0.6:80"]);
    let both = |observed: &Tables| {
        [Basis::Planned, Basis::Observed]
            .map(|basis| look(&planned, observed, basis, local(), "10.96.0.10:80"))
    };
    let mut no_frontend = planned.clone();
    let key = planned.frontends.iter().next().expect("one").key;
    no_frontend.frontends.remove(&key);
    let [plan, kernel] = both(&no_frontend);
    assert!(plan.is_good() && matches!(kernel.end, Some(End::Refused { .. })));
    assert!(!plan.is_like(&kernel));
    let cited = kernel.steps.iter().flat_map(|step| &step.rows);
    let missing = cited.filter(|row| row.state == Some(RowState::Missing));
    assert_eq!(
        missing.map(|row| row.table).collect::<Vec<_>>(),
        ["frontends"]
    );

    let mut no_route = planned.clone();
    no_route.routes.remove(&super::entry::host_route(ip(OTHER)));
    let [plan, kernel] = both(&no_route);
    assert!(plan.is_good() && !kernel.is_good());
    let route = &kernel.ways[0].steps;
    assert!(text(route, Stage::Route).contains("the plan has a route to 10.244.0.6"));

    let mut no_source = planned.clone();
    no_source
        .routes
        .remove(&super::entry::host_route(ip(LOCAL)));
    let [_, kernel] = both(&no_source);
    let reason = DropReason::PodSource;
    assert_eq!(kernel.end, Some(End::Dropped { reason }));

    let mut no_backend = planned.clone();
    let key = planned.backends.iter().next().expect("one").key;
    no_backend.backends.remove(&key);
    let [_, kernel] = both(&no_backend);
    assert!(matches!(&kernel.end, Some(End::Lost { why }) if why.contains("no slot")));
}

#[test]
fn of_many_backends_some_are_told_and_the_rest_counted() {
    let mut rows = rows(Wiring::Routed);
    offer(
        &mut rows,
        "10.96.0.10:80",
        View::Everyone,
        balance(GROUP, 7),
        false,
    );
    let targets: Vec<String> = (0..80).map(|i| format!("10.244.1.{i}:80")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    fill(&mut rows, GROUP, &targets);
    let walk = agreed(&rows, local(), "10.96.0.10:80");
    assert_eq!((walk.ways.len(), walk.more), (MAX_WAYS, 80 - MAX_WAYS));
}

#[test]
fn names_of_the_cluster_are_asked_at_the_node_only_by_its_own() {
    let rows = rows(Wiring::Routed);
    let walk = agreed(&rows, outside(), "169.254.83.53:53");
    let reason = DropReason::DnsAddress;
    assert_eq!(walk.end, Some(End::Dropped { reason }));
    let walk = agreed(&rows, local(), "169.254.83.53:53");
    assert!(matches!(only(&walk).end, End::Node { .. }));
}
