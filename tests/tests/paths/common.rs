//! What the tests of this suite share: ends of paths, cases each in a cluster of its own.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use seaway_kernel::netlink::Netlink;
use seaway_kernel::netns::Netns;
use seaway_model::{Family, GATEWAY_V4, MacAddr, NodeName, Wiring, bridge_mac};
use seaway_tests::Pod;

/// How long anything may take that is not measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// How long a packet may take that is to come.
pub(crate) const SOON: Duration = Duration::from_millis(500);

/// Where a Pod is, for what takes a namespace and an address there.
pub(crate) fn end(pod: &Pod, family: Family) -> (&Netns, IpAddr) {
    (pod.netns(), pod.address(family))
}

/// Runs a test for each case on a thread, and so in namespaces, of its own.
pub(crate) fn for_each<T: Debug + Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    for case in cases {
        println!("--- {case:?}");
        let result = std::thread::scope(|scope| scope.spawn(|| test(case)).join());
        assert!(result.is_ok(), "failed for {case:?}");
    }
}

/// The same for all cases at once: for tests that wait much and do little.
pub(crate) fn for_all_at_once<T: Debug + Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    let results: Vec<bool> = std::thread::scope(|scope| {
        let test = &test;
        let spawn = |case| scope.spawn(move || test(case));
        let threads: Vec<_> = cases.iter().map(spawn).collect();
        let results = threads.into_iter().map(|thread| thread.join().is_ok());
        results.collect()
    });
    let failed: Vec<&T> = cases
        .iter()
        .zip(results)
        .filter_map(|(case, good)| (!good).then_some(case))
        .collect();
    assert!(failed.is_empty(), "failed for {failed:?}");
}

/// The Ethernet address to which a Pod of node 1 sends what is for others.
pub(crate) fn gateway(pod: &Pod, wiring: Wiring) -> MacAddr {
    if wiring == Wiring::Bridge {
        return bridge_mac(&NodeName::new("node1").expect("valid"));
    }
    let mut netlink = Netlink::open_in(pod.netns()).expect("rtnetlink");
    let neighbours = netlink.neighbours().expect("dump").into_iter();
    let mut found = neighbours.filter(|n| n.address == IpAddr::from(GATEWAY_V4));
    found.next().expect("a permanent neighbour").mac
}
