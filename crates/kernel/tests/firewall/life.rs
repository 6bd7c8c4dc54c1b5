//! How the tables come, change, are repaired and go.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use seaway_kernel::realise::{Firewall, FirewallWatch};
use seaway_model::{
    ClusterNetRow, Device, DropReason, Family, FirewallRow, InnerSourceRow, LocalPodRow, MacAddr,
    PortGuardRow, Protocol, VtepRow, Wiring,
};
use seaway_plan::{Change, ChangeSet, Tables};
use seaway_testkit::{eventually, packet};

use crate::rig::{LIMIT, Rig, net, nft, node_address, row, run};

const FOREIGN: &str = "table inet stranger {
\tset s {
\t\ttype ipv4_addr
\t\telements = { 192.0.2.77 }
\t}

\tchain f {
\t\ttype filter hook forward priority filter; policy accept;
\t\tip saddr @s counter packets 0 bytes 0 drop
\t}
}
";

/// A node that knows some of everything.
fn busy(wiring: Wiring) -> Rig {
    let mut rig = Rig::new(wiring);
    let vtep: IpAddr = [192, 0, 2, 2].into();
    let planned = &mut rig.planned;
    planned.vteps.insert(VtepRow { address: vtep });
    planned.inner_sources.insert(InnerSourceRow {
        vtep,
        net: net("10.244.1.0/24"),
    });
    planned.inner_sources.insert(InnerSourceRow {
        vtep,
        net: net("fd00:0:0:1::/64"),
    });
    planned.cluster_nets.insert(ClusterNetRow {
        net: net("10.244.1.0/24"),
    });
    planned.cluster_nets.insert(ClusterNetRow {
        net: net("fd00:0:0:1::/64"),
    });
    let target: SocketAddr = "10.244.0.2:80".parse().expect("valid");
    rig.host_port(Protocol::Tcp, 80, None, target);
    rig.host_port(Protocol::Tcp, 80, Some([192, 0, 2, 1].into()), target);
    rig.host_port(
        Protocol::Sctp,
        81,
        None,
        "[fd00::2]:80".parse().expect("valid"),
    );
    rig.planned.local_pods.insert(LocalPodRow {
        address: target.ip(),
        owner: Some(rig.out.id.clone()),
    });
    if wiring == Wiring::Bridge {
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        for address in [[10, 244, 0, 9].into(), IpAddr::from(mac.link_local())] {
            let device = Device::PodLink(rig.out.id.clone());
            rig.planned.port_guards.insert(PortGuardRow {
                device,
                address,
                mac,
            });
        }
    }
    rig.converge();
    rig
}

fn is_seen(rig: &mut Rig, what: &str) {
    let observed = rig.observed();
    let changes = rig.planned.changes_from(&observed);
    assert_ne!(changes, ChangeSet::default(), "{what}");
    assert_eq!(rig.apply(&changes), vec![], "{what}");
    let observed = rig.observed();
    let left = rig.planned.changes_from(&observed);
    assert_eq!(left, ChangeSet::default(), "{what}");
}

#[test]
fn every_meddling_is_seen_and_repaired() {
    for wiring in Wiring::ALL {
        let mut rig = busy(wiring);
        let fresh = nft("list ruleset");
        let mut watch = FirewallWatch::open().expect("socket");
        assert!(!watch.drain().expect("read"));
        let meddling = [
            "flush ruleset",
            "delete table inet seaway",
            "flush table inet seaway",
            "flush chain inet seaway postrouting",
            "insert rule inet seaway input accept",
            "add rule inet seaway postrouting ip daddr 192.0.2.5 accept",
            "add chain inet seaway mine { type filter hook forward priority 5; policy drop; }",
            "add chain inet seaway other",
            "chain inet seaway input { policy drop; }",
            "table inet seaway { flags dormant; }",
            "flush set inet seaway vteps-v4",
            "flush map inet seaway host-ports-v4",
            "flush set inet seaway local-pods-v4",
            "add element inet seaway vteps-v4 { 192.0.2.9 }",
            "add element inet seaway cluster-v4 { 24 . 192.0.2.0 }",
            "add element inet seaway cluster-v4 { 77 . 192.0.2.0 }",
            "add element inet seaway local-pods-v4 { 10.0.0.1 . 10.0.0.2 }",
            "add element inet seaway local-pods-v4 { 10.0.0.1 . 10.0.0.1 }",
            "add element inet seaway host-ports-v4 { tcp . 99 : 10.244.0.2 . 99 }",
            "add set inet seaway mine { type mark; }",
        ];
        let arp = ["delete table arp seaway", "flush table arp seaway"];
        let second = match wiring {
            Wiring::Routed => vec![],
            Wiring::Bridge => vec![
                "delete table bridge seaway",
                "flush set bridge seaway port-macs",
                "add element bridge seaway port-macs { \"x\" . 02:00:00:00:00:07 }",
                "add element bridge seaway port-guards-v4 { \"x\" . 02:00:00:00:00:07 . 10.0.0.1 }",
            ],
        };
        for command in meddling.into_iter().chain(arp).chain(second) {
            nft(command);
            assert!(watch.drain().expect("read"), "{command}");
            is_seen(&mut rig, command);
            assert!(!watch.drain().expect("read"), "our own repair of {command}");
        }
        let counters_aside = |text: String| -> String {
            let lines = text.lines().filter(|line| !line.contains("packets"));
            lines.collect::<Vec<_>>().join("\n")
        };
        let mut repaired: Vec<String> = counters_aside(nft("list ruleset"))
            .lines()
            .map(str::to_owned)
            .collect();
        let mut before: Vec<String> = counters_aside(fresh).lines().map(str::to_owned).collect();
        repaired.sort();
        before.sort();
        assert_eq!(repaired, before);
    }
}

#[test]
fn a_strangers_table_stays_as_it_is() {
    let mut rig = Rig::new(Wiring::Routed);
    nft(FOREIGN);
    rig.planned.firewall.insert(FirewallRow {
        masquerade: false,
        ..row(Wiring::Routed)
    });
    rig.converge();
    rig.planned.firewall.insert(row(Wiring::Bridge));
    rig.converge();
    assert_eq!(nft("list table inet stranger"), FOREIGN);
    let mut watch = FirewallWatch::open().expect("socket");
    nft("add element inet stranger s { 192.0.2.78 }");
    assert!(!watch.drain().expect("read"), "not our table");
    nft("delete element inet stranger s { 192.0.2.78 }");
    rig.planned = Tables::default();
    rig.converge();
    assert_eq!(nft("list ruleset"), FOREIGN);
}

#[test]
fn new_rules_keep_elements_and_counters() {
    let mut rig = busy(Wiring::Routed);
    let sets = || {
        let list = |kind, set| run("nft", &["-a", "list", kind, "inet", "seaway", set]);
        (list("set", "vteps-v4"), list("map", "host-ports-v4"))
    };
    let before = sets();
    let mut lengths = row(Wiring::Routed);
    lengths.cluster_lengths.insert((Family::V4, 20));
    rig.planned.firewall.insert(lengths);
    let observed = rig.observed();
    let changes = rig.planned.changes_from(&observed);
    assert_eq!(
        (changes.len(), changes.firewall.len()),
        (1, 1),
        "only the rules"
    );
    rig.converge();
    let after = sets();
    assert_eq!(before, after);
}

#[test]
fn wirings_change_in_place() {
    let mut rig = busy(Wiring::Routed);
    for wiring in [Wiring::Bridge, Wiring::Routed] {
        rig.planned.firewall.insert(row(wiring));
        rig.converge();
        let tables = nft("list tables");
        assert_eq!(tables.contains("bridge seaway"), wiring == Wiring::Bridge);
        assert!(tables.contains("arp seaway"));
    }
    // A new process knows what is there.
    rig.firewall = Firewall::default();
    let observed = rig.observed();
    assert_eq!(rig.planned.changes_from(&observed), ChangeSet::default());
    let mut other = Tables::default();
    std::mem::swap(&mut rig.planned, &mut other);
    rig.converge();
    assert_eq!(nft("list ruleset"), "");
}

#[test]
fn a_wrong_row_is_named_and_the_rest_is_in_force() {
    let mut rig = busy(Wiring::Routed);
    let address: IpAddr = [10, 244, 0, 7].into();
    let mac = MacAddr([2, 0, 0, 0, 0, 7]);
    // There is no table of bridges in this wiring.
    let wrong = PortGuardRow {
        device: Device::PodLink(rig.out.id.clone()),
        address,
        mac,
    };
    let right = VtepRow {
        address: [192, 0, 2, 8].into(),
    };
    let mut wanted = rig.planned.clone();
    wanted.port_guards.insert(wrong);
    wanted.vteps.insert(right.clone());
    let changes = wanted.changes_from(&rig.planned);
    let failures = rig.apply(&changes);
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(
        (failures[0].table, failures[0].errno),
        ("port-guards", Some(ENOENT))
    );
    rig.planned.vteps.insert(right);
    let observed = rig.observed();
    assert_eq!(rig.planned.changes_from(&observed), ChangeSet::default());
}

/// No such object.
const ENOENT: i32 = 2;

/// A Pod forges all the while; not one packet slips through between the old rules and the new.
#[test]
fn rules_are_replaced_without_a_gap() {
    const REPLACEMENTS: u8 = 25;
    let mut rig = Rig::with_pods(Wiring::Routed);
    let to = SocketAddr::new(node_address(Family::V4), 9);
    let node = UdpSocket::bind(to).expect("bound");
    let pod = &rig.pods[0];
    let forged = packet::udp("203.0.113.7:1".parse().expect("valid"), to, b"forged");
    let (wire, frame) = (pod.wire(), forged.frame(pod.mac, pod.gateway));
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let forger = scope.spawn(|| {
            let mut sent = 0u64;
            while !stop.load(Ordering::Relaxed) {
                wire.send(&frame);
                sent += 1;
            }
            sent
        });
        for i in 0..REPLACEMENTS {
            let mut next = row(Wiring::Routed);
            next.cluster_lengths.insert((Family::V4, i % 20));
            rig.planned.firewall.insert(next);
            rig.converge();
        }
        stop.store(true, Ordering::Relaxed);
        forger.join().expect("the forger")
    });
    assert!(sent > u64::from(REPLACEMENTS), "{sent}");
    eventually("all dropped, and counted", LIMIT, || {
        let dropped = rig.drops()[&DropReason::PodSource];
        if dropped == sent {
            Ok(())
        } else {
            Err((dropped, sent))
        }
    });
    node.set_nonblocking(true).expect("set");
    assert!(node.recv(&mut [0; 8]).is_err(), "nothing slipped through");
}

fn peer(i: u16, planned: &mut Tables) {
    let [high, low] = i.to_be_bytes();
    let vtep = IpAddr::from([172, 16, high, low]);
    let nets = [
        format!("100.{}.{}.0/24", 64 + high, low),
        format!("fd00:0:1:{i:x}::/64"),
        format!("{vtep}/32"),
    ];
    planned.vteps.insert(VtepRow { address: vtep });
    for text in nets {
        planned.inner_sources.insert(InnerSourceRow {
            vtep,
            net: net(&text),
        });
        planned
            .cluster_nets
            .insert(ClusterNetRow { net: net(&text) });
    }
}

/// What one more peer costs does not depend on how many there are: the same rows and nothing else.
/// The times are for reading, not for judging.
#[test]
fn one_of_many_peers_is_seven_elements() {
    let mut rig = Rig::new(Wiring::Routed);
    for count in [10, 5_000] {
        let start = Instant::now();
        (0..count).for_each(|i| peer(i, &mut rig.planned));
        let observed = rig.observed();
        let changes = rig.planned.changes_from(&observed);
        let cold = Instant::now();
        assert_eq!(rig.apply(&changes), vec![]);
        eprintln!(
            "{count} peers: {} rows in force in {:?}",
            changes.len(),
            cold.elapsed()
        );
        let before = rig.planned.clone();
        peer(count, &mut rig.planned);
        let one = rig.planned.changes_from(&before);
        assert_eq!(one.len(), 7);
        let alone = Instant::now();
        assert_eq!(rig.apply(&one), vec![]);
        eprintln!("{count} peers: one more in {:?}", alone.elapsed());
        let read = Instant::now();
        let observed = rig.observed();
        eprintln!("{count} peers: observed in {:?}", read.elapsed());
        assert_eq!(rig.planned.changes_from(&observed), ChangeSet::default());
        let rules = ChangeSet {
            firewall: vec![Change::Upsert(row(Wiring::Routed))],
            ..ChangeSet::default()
        };
        let rebuilt = Instant::now();
        assert_eq!(rig.apply(&rules), vec![]);
        eprintln!(
            "{count} peers: rules rebuilt in {:?}; all {:?}",
            rebuilt.elapsed(),
            start.elapsed()
        );
    }
    let observed = rig.observed();
    assert_eq!(rig.planned.changes_from(&observed), ChangeSet::default());
}
