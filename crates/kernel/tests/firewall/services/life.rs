//! How rows of Services come, change, are adopted, repaired and go.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use seaway_kernel::conntrack::{UdpFlow, reconcile_udp};
use seaway_kernel::realise::{Firewall, FirewallWatch, Services};
use seaway_model::{
    BackendKey, BackendRow, ClusterIpRow, Family, FirewallRow, FrontendAction, FrontendKey,
    FrontendRow, GroupId, MemberRow, Protocol, SourceRangeRow, View, Wiring,
};
use seaway_plan::{ChangeSet, FlowTruth};

use super::servers::{answer, ask, ask_udp, udp_client};
use super::{Balanced, KEPT, firewall, frontend, outside, rules, virtual_ip};
use crate::rig::{Rig, net, nft, node_address, row, ruleset};

/// Some of everything.
fn busy(wiring: Wiring) -> Balanced {
    let mut balanced = Balanced::new(wiring, 3);
    for family in Family::ALL {
        let targets = balanced.targets(0, family, 3);
        let at = SocketAddr::new(virtual_ip(family, 1), 80);
        balanced.service(at, &targets);
        balanced.lead(
            frontend(SocketAddr::new(at.ip(), 81), Protocol::Tcp),
            &targets,
            Some(KEPT),
        );
        let key = frontend(SocketAddr::new(node_address(family), 30_080), Protocol::Udp);
        balanced.lead(key, &targets, None);
        balanced.set(outside(key), FrontendAction::Drop);
        balanced.rig.planned.source_ranges.insert(SourceRangeRow {
            address: at.ip(),
            protocol: Protocol::Tcp,
            port: 443,
            net: Family::host_net(at.ip()),
        });
    }
    balanced.rig.converge();
    balanced
}

#[test]
fn another_agent_finds_all_as_it_is_to_be() {
    for wiring in Wiring::ALL {
        let mut rig = busy(wiring).rig;
        let before = ruleset();
        rig.firewall = Firewall::default();
        let observed = rig.observed();
        assert_eq!(rig.planned.changes_from(&observed), ChangeSet::default());
        assert_eq!(observed.firewall.iter().count(), 1);
        assert_eq!(ruleset(), before);
    }
}

#[test]
fn meddling_with_services_is_seen_and_repaired() {
    let mut rig = busy(Wiring::Routed).rig;
    let mut watch = FirewallWatch::open().expect("socket");
    assert!(!watch.drain().expect("read"));
    for command in [
        "delete table inet seaway",
        "flush map inet seaway frontends-v4",
        "flush map inet seaway frontends-outside-v6",
        "flush map inet seaway backends-v6",
        "flush set inet seaway members-v4",
        "flush set inet seaway source-ranges-v4",
        "flush set inet seaway cluster-ips-v6",
        "flush map inet seaway fates-v4",
        "flush chain inet seaway draw-4-v4",
        "flush map inet seaway draws-v4",
        "add element inet seaway draws-v6 { 99 : accept }",
        // Of another shape, under a name of ours.
        "flush chain inet seaway remember; flush map inet seaway remember-v4;
         delete map inet seaway remember-v4;
         add map inet seaway remember-v4 { type ipv6_addr : verdict; }",
        "insert rule inet seaway service-refuse accept",
        "add element inet seaway backends-v4 { 1 . 2 . 3 : 10.0.0.1 . 80 }",
        "add element inet seaway backends-v4 { 1 . 2 . 0x10000 : 10.0.0.1 . 80 }",
        "add element inet seaway frontends-v4 { 10.9.9.9 . tcp . 80 : 0 . 0 . 0 . 0x1f }",
        "add element inet seaway frontends-v4 { 10.9.9.9 . tcp . 80 : 0 . 7 . 0 . 0x1f }",
        "add element inet seaway members-v6 { fd00::7 . 80 . 1 . 2 }",
        "add element inet seaway cluster-ips-v4 { 10.96.7.7 }",
        "add map inet seaway mine { type mark : verdict; elements = { 1 : accept }; }",
    ] {
        nft(command);
        assert!(watch.drain().expect("read"), "{command}");
        let observed = rig.observed();
        let changes = rig.planned.changes_from(&observed);
        assert_ne!(changes, ChangeSet::default(), "{command}");
        assert_eq!(rig.apply(&changes), vec![], "{command}");
        let observed = rig.observed();
        let left = rig.planned.changes_from(&observed);
        assert_eq!(left, ChangeSet::default(), "{command}");
    }
}

#[test]
fn services_that_nobody_changed_are_taken_as_planned_unless_their_filters_are_not() {
    let mut rig = busy(Wiring::Routed).rig;
    let planned = rig.planned.clone();
    // Nobody looks at what a map leads to ...
    nft("flush map inet seaway frontends-v4");
    let trusting = rig.observed_with(Services::Unchanged);
    assert_eq!(planned.changes_from(&trusting), ChangeSet::default());
    let omitted = rig.observed_with(Services::Omitted);
    assert!(omitted.frontends.is_empty() && omitted.backends.is_empty());
    assert_eq!(omitted.local_pods, planned.local_pods);
    assert_ne!(
        planned.changes_from(&rig.observed()).frontends,
        vec![],
        "a reader sees it"
    );
    // ... but rules, sets and tables themselves are read in any case, and with them all else.
    for command in [
        "flush chain inet seaway draw-4-v4",
        "delete table inet seaway",
    ] {
        nft(command);
        let changes = planned.changes_from(&rig.observed_with(Services::Unchanged));
        assert!(!changes.frontends.is_empty(), "{command}");
        assert_eq!(rig.apply(&changes), vec![], "{command}");
        let left = planned.changes_from(&rig.observed());
        assert_eq!(left, ChangeSet::default(), "{command}");
        nft("flush map inet seaway frontends-v4");
    }
}

/// Values of maps change in place, those of many at once too.
#[test]
fn what_a_key_leads_to_changes_in_place() {
    let mut balanced = busy(Wiring::Routed);
    let family = Family::V4;
    let at = SocketAddr::new(virtual_ip(family, 1), 80);
    for count in [1, 3, 2, 3] {
        let targets = balanced.targets(1, family, count);
        balanced.service(at, &targets);
        let client = &balanced.rig.pods[0].netns;
        let backend = answer(client, Protocol::Tcp, at).backend;
        assert!(targets.contains(&backend));
    }
    for action in [FrontendAction::Refuse, FrontendAction::Drop] {
        balanced.set(frontend(at, Protocol::Tcp), action);
        balanced.rig.converge();
    }
}

#[test]
fn services_are_switched_off_and_on() {
    let mut balanced = busy(Wiring::Routed);
    let family = Family::V4;
    let at = SocketAddr::new(virtual_ip(family, 1), 80);
    balanced.rig.planned.firewall.insert(row(Wiring::Routed));
    balanced.rig.converge();
    assert!(!nft("list chains").contains("service"));
    let on = firewall(Wiring::Routed, rules());
    balanced.rig.planned.firewall.insert(on);
    balanced.rig.converge();
    answer(&balanced.rig.pods[1].netns, Protocol::Tcp, at);
}

/// New connections all the while: each is led somewhere, whatever changes.
#[test]
fn new_rules_lose_no_connection() {
    const REPLACEMENTS: u8 = 12;
    let mut balanced = busy(Wiring::Routed);
    let at = SocketAddr::new(virtual_ip(Family::V4, 1), 80);
    let all = balanced.targets(0, Family::V4, 3);
    let netns = balanced.rig.pods[1]
        .netns
        .enter(|| seaway_kernel::netns::Netns::current().expect("own"));
    let client = netns.expect("namespace");
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for protocol in [Protocol::Tcp, Protocol::Udp].into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                ask(&client, protocol, at)?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, std::io::Error>(())
        });
        for i in 0..REPLACEMENTS {
            let mut next = FirewallRow {
                ..firewall(Wiring::Routed, rules())
            };
            next.cluster_lengths.insert((Family::V4, i % 20));
            balanced.rig.planned.firewall.insert(next);
            balanced.rig.converge();
            // And other backends.
            let count = usize::from(i % 3) + 1;
            balanced.service(at, &all[..count]);
        }
        stop.store(true, Ordering::Relaxed);
        asking.join().expect("no panic").expect("each was answered");
    });
    assert!(asked.load(Ordering::Relaxed) > REPLACEMENTS.into());
}

#[test]
fn s27_udp_flows_follow_their_service() {
    let mut balanced = Balanced::new(Wiring::Routed, 1);
    for family in Family::ALL {
        let at = SocketAddr::new(virtual_ip(family, 7), 53);
        let node_port = SocketAddr::new(node_address(family), 30_053);
        let [first, second] = [0, 1].map(|pod| balanced.targets(pod, family, 1));
        let truth = |frontend, targets: &[SocketAddr]| FlowTruth {
            frontend,
            may_answer: targets.iter().copied().collect(),
        };
        // Somebody of the node hears what is sent before there is a Service.
        let heard = UdpSocket::bind(node_port).expect("bound");
        let nobody = || |_: &UdpFlow| false;
        let early = udp_client(&balanced.rig.out.netns, node_port);
        early.send(b"?").expect("sent");
        heard.recv(&mut [0; 8]).expect("heard");
        for at in [at, node_port] {
            balanced.lead(frontend(at, Protocol::Udp), &first, None);
        }
        balanced.rig.converge();
        let truths = [truth(at, &first), truth(node_port, &first)];
        reconcile_udp(&truths, nobody).expect("conntrack");
        assert_eq!(ask_udp(&early, b"?").expect("answered").backend, first[0]);
        let client = udp_client(&balanced.rig.out.netns, at);
        assert_eq!(ask_udp(&client, b"?").expect("answered").backend, first[0]);
        assert_eq!(
            reconcile_udp(&truths, nobody).expect("conntrack"),
            0,
            "all is well"
        );
        // The backend is another.
        for at in [at, node_port] {
            balanced.lead(frontend(at, Protocol::Udp), &second, None);
        }
        balanced.rig.converge();
        let still = ask_udp(&client, b"?").expect("answered").backend;
        assert_eq!(still, first[0], "the kernel keeps to the flow");
        let truths = [truth(at, &second), truth(node_port, &second)];
        let all = || |_: &UdpFlow| true;
        assert_eq!(reconcile_udp(&truths, all).expect("conntrack"), 0, "spared");
        assert_eq!(reconcile_udp(&truths, nobody).expect("conntrack"), 2);
        for client in [&early, &client] {
            assert_eq!(ask_udp(client, b"?").expect("answered").backend, second[0]);
        }
        // Nobody is left: the next packet is refused.
        balanced.set(frontend(at, Protocol::Udp), FrontendAction::Refuse);
        balanced.rig.converge();
        assert_eq!(
            reconcile_udp(&[truth(at, &[])], nobody).expect("conntrack"),
            1
        );
        let error = ask_udp(&client, b"?").expect_err("nobody");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

/// Two backends, a frontend and what goes with them, of service `i`.
fn service(i: u32, rig: &mut Rig) {
    let [_, a, b, c] = (0x0060_0000 + i).to_be_bytes();
    let address = std::net::IpAddr::from([10, a, b, c]);
    let group = GroupId(u64::from(i) << 20);
    for slot in 0..2 {
        let target = SocketAddr::new([10, 244, b, c].into(), 8000 + slot);
        let key = BackendKey { group, slot };
        rig.planned.backends.insert(BackendRow { key, target });
        if i.is_multiple_of(10) {
            rig.planned.members.insert(MemberRow { group, target });
        }
    }
    rig.planned.cluster_ips.insert(ClusterIpRow { address });
    rig.planned.frontends.insert(FrontendRow {
        key: FrontendKey {
            address,
            protocol: Protocol::Tcp,
            port: 80,
            view: View::Everyone,
        },
        action: FrontendAction::Balance {
            group,
            slots: 1,
            affinity: i.is_multiple_of(10).then_some(KEPT),
        },
        guarded: false,
    });
}

/// More than fits one transaction. The times are for reading, not for judging; how many there are
/// can be said by the variable `SEAWAY_SERVICES`.
#[test]
fn many_services_are_in_force_and_adopted() {
    let count = std::env::var("SEAWAY_SERVICES").ok();
    let count = count.map_or(6_000, |text| text.parse().expect("a number"));
    let mut rig = Rig::new(Wiring::Routed);
    rig.planned.firewall.insert(FirewallRow {
        own_nets: [net("10.244.0.0/24")].into(),
        ..firewall(Wiring::Routed, rules())
    });
    rig.converge();
    (0..count).for_each(|i| service(i, &mut rig));
    let observed = rig.observed();
    let changes = rig.planned.changes_from(&observed);
    let mut watch = FirewallWatch::open().expect("socket");
    let cold = Instant::now();
    assert_eq!(rig.apply(&changes), vec![]);
    eprintln!(
        "{count} Services: {} rows in {:?}",
        changes.len(),
        cold.elapsed()
    );
    // What we do ourselves does not look like somebody else's doing, however much it is.
    assert!(!watch.drain().expect("read"));
    let read = Instant::now();
    rig.firewall = Firewall::default();
    let observed = rig.observed();
    eprintln!("{count} Services: observed in {:?}", read.elapsed());
    let trusting = Instant::now();
    let unchanged = rig.observed_with(Services::Unchanged);
    let elapsed = trusting.elapsed();
    eprintln!("{count} Services: observed as unchanged in {elapsed:?}");
    assert_eq!(rig.planned.changes_from(&unchanged), ChangeSet::default());
    assert_eq!(rig.planned.changes_from(&observed), ChangeSet::default());
    let rules = ChangeSet {
        firewall: vec![seaway_plan::Change::Upsert(
            rig.planned.firewall.iter().next().expect("one").clone(),
        )],
        ..ChangeSet::default()
    };
    let rebuilt = Instant::now();
    assert_eq!(rig.apply(&rules), vec![]);
    eprintln!("{count} Services: rules rebuilt in {:?}", rebuilt.elapsed());
    // One backend is another, again and again.
    let key = BackendKey {
        group: GroupId(1 << 20),
        slot: 1,
    };
    let mut times = Vec::new();
    for port in 1..=9 {
        let before = rig.planned.clone();
        let target = SocketAddr::new([10, 244, 9, 9].into(), port);
        rig.planned.backends.insert(BackendRow { key, target });
        let one = rig.planned.changes_from(&before);
        let alone = Instant::now();
        assert_eq!(rig.apply(&one), vec![]);
        times.push(alone.elapsed());
    }
    times.sort();
    eprintln!("{count} Services: one backend changed in {times:?}");
    // Half of them go.
    let before = rig.planned.clone();
    rig.planned.frontends = before
        .frontends
        .iter()
        .take(count as usize / 2)
        .cloned()
        .collect();
    rig.planned.backends = before
        .backends
        .iter()
        .take(count as usize)
        .cloned()
        .collect();
    let less = rig.planned.changes_from(&before);
    let going = Instant::now();
    assert_eq!(rig.apply(&less), vec![]);
    eprintln!(
        "{count} Services: {} rows gone in {:?}",
        less.len(),
        going.elapsed()
    );
    let observed = rig.observed();
    assert_eq!(rig.planned.changes_from(&observed), ChangeSet::default());
}
