//! The driver on a real kernel: a node, a router that swallows large packets, and another node.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;
use seaway_model::NodeName;
use seaway_plan::Uplink;
use seaway_testkit::isolate;

use super::driver::Driver;
use super::prober::Change;
use super::trial::Care;
use super::{Findings, Pace};
use crate::state::{Peer, Peers};

const NEAR: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
const FAR: [&str; 2] = ["198.51.100.2", "2001:db8:2::2"];
const LIMIT: Duration = Duration::from_secs(60);

fn tool(name: &str, arguments: &[&str]) {
    let output = Command::new(name).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{name}: {e}; install it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
}

fn ip(arguments: &str) {
    tool("ip", &arguments.split_whitespace().collect::<Vec<_>>());
}

fn link(name: &str, v4: &str, v6: &str) {
    ip(&format!("address add {v4} dev {name}"));
    ip(&format!("address add {v6} dev {name} nodad"));
    ip(&format!("link set {name} up"));
}

/// Makes the router and the other node around the calling thread's namespace.
fn surroundings() -> (Netns, Netns) {
    isolate();
    let made = |name: &str| {
        ip(&format!("netns add {name}"));
        Netns::open(format!("/run/netns/{name}").as_ref()).expect("made")
    };
    let (router, far) = (made("router"), made("far"));
    ip("link add near type veth peer name r1 netns router");
    ip("link add r2 netns router type veth peer name far0 netns far");
    link("near", "192.0.2.1/24", "2001:db8:1::1/64");
    ip("route add default via 192.0.2.254");
    ip("-6 route add default via 2001:db8:1::254");
    let on_router = || {
        link("r1", "192.0.2.254/24", "2001:db8:1::254/64");
        link("r2", "198.51.100.254/24", "2001:db8:2::254/64");
        sysctl::write("net/ipv4/ip_forward", "1").expect("a router");
        sysctl::write("net/ipv6/conf/all/forwarding", "1").expect("a router");
    };
    router.run(on_router).expect("a namespace");
    let on_far = || {
        link("far0", "198.51.100.2/24", "2001:db8:2::2/64");
        ip("route add default via 198.51.100.254");
        ip("-6 route add default via 2001:db8:2::254");
    };
    far.run(on_far).expect("a namespace");
    (router, far)
}

/// The router swallows packets of more than `size` bytes, without a word; `None` is none.
fn swallow(router: &Netns, family: &str, size: Option<u32>) {
    let rule = size.map(|size| {
        format!("add rule inet hole f meta nfproto {family} meta length > {size} drop")
    });
    let rules = format!(
        "table inet hole {{ chain f {{ type filter hook forward priority 0; }}; }}
         flush chain inet hole f
         {}",
        rule.unwrap_or_default()
    );
    router.run(|| tool("nft", &[&rules])).expect("a namespace");
}

fn pace() -> Pace {
    let care = |strikes| Care {
        strikes,
        misses: 8,
        spacing: Duration::ZERO,
    };
    Pace {
        gap: Duration::from_millis(1),
        burst: 10,
        timeout: Duration::from_millis(100),
        interval: Duration::from_millis(100),
        thorough: care(4),
        quick: care(3),
    }
}

fn parsed(addresses: [&str; 2]) -> Vec<IpAddr> {
    addresses.map(|a| a.parse().expect("valid")).to_vec()
}

fn peers() -> Peers {
    Peers {
        uplink: Some(Uplink {
            mtu: 1500,
            addresses: parsed(NEAR),
            networks: Vec::new(),
            learns_routes: false,
            strict: false,
        }),
        nodes: vec![Peer {
            name: NodeName::new("far").expect("valid"),
            addresses: parsed(FAR),
        }],
    }
}

/// Lets the driver work until the node's size is `wanted`.
fn until(driver: &mut Driver, wanted: Option<u32>) -> Findings {
    let end = Instant::now() + LIMIT;
    let mut last = None;
    while Instant::now() < end {
        driver.look(&peers(), Instant::now());
        for Change { size, .. } in driver.work(Instant::now() + Duration::from_millis(100)) {
            if size == wanted {
                return driver.findings(Instant::now());
            }
            last = Some(size);
        }
    }
    panic!("{wanted:?} not within {LIMIT:?}; last seen: {last:?}");
}

#[test]
fn a_router_that_swallows_large_packets_is_found_in_both_families() {
    let (router, _far) = surroundings();
    let mut driver = Driver::new(pace(), Instant::now());
    swallow(&router, "ipv4", Some(1400));
    let findings = until(&mut driver, Some(1400)).report(Instant::now());
    let told: Vec<_> = findings
        .lowered
        .iter()
        .map(|p| (p.address, p.size))
        .collect();
    assert_eq!(told, [(parsed(FAR)[0], 1400)]);
    assert!(findings.lowered[0].found.contains("more than 1400 bytes"));
    // The path gets better, and then it is the other family that is narrow.
    swallow(&router, "ipv4", None);
    until(&mut driver, None);
    swallow(&router, "ipv6", Some(1357));
    let findings = until(&mut driver, Some(1357)).report(Instant::now());
    let told: Vec<_> = findings
        .lowered
        .iter()
        .map(|p| (p.address, p.size))
        .collect();
    assert_eq!(told, [(parsed(FAR)[1], 1357)]);
}

/// A router that says what it takes (ICMP errors): the kernel would know, but Pods' routes are
/// lowered all the same.
#[test]
fn a_narrow_link_behind_an_honest_router_is_found() {
    let (router, _far) = surroundings();
    router
        .run(|| ip("link set r2 mtu 1320"))
        .expect("a namespace");
    let mut driver = Driver::new(pace(), Instant::now());
    until(&mut driver, Some(1320));
}

#[test]
fn a_node_that_does_not_answer_is_silent_and_nothing_follows() {
    let (router, _far) = surroundings();
    swallow(&router, "ipv4", Some(0));
    swallow(&router, "ipv6", Some(0));
    router
        .run(|| tool("nft", &["add rule inet hole f drop"]))
        .expect("a namespace");
    let mut driver = Driver::new(pace(), Instant::now());
    let end = Instant::now() + LIMIT;
    loop {
        driver.look(&peers(), Instant::now());
        let changes = driver.work(Instant::now() + Duration::from_millis(100));
        assert_eq!(changes, vec![]);
        let findings = driver.findings(Instant::now()).report(Instant::now());
        if (findings.paths, findings.silent) == (2, 2) {
            break;
        }
        assert!(Instant::now() < end, "{findings:?}");
    }
}
