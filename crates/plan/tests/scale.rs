//! What another node costs, as the cluster grows. Measured by
//! `cargo test -p seaway-plan --test scale -- --ignored --nocapture`; what must hold whatever the
//! machine is a law (`a_node_costs_the_same_however_many_there_are`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use seaway_model::{ClusterEvent, Node, NodeName, Settings, Transport};
use seaway_plan::{Input, Planner, Uplink};

/// How often a join is repeated for one number.
const REPEATS: usize = 200;

fn node(i: usize) -> Node {
    let n = u32::try_from(i).expect("few");
    let v4 = |base: Ipv4Addr, step: u32| IpAddr::from(Ipv4Addr::from(u32::from(base) + n * step));
    let v6 = |base: Ipv6Addr, step: u128| {
        IpAddr::from(Ipv6Addr::from(u128::from(base) + u128::from(n) * step))
    };
    let (pods_v4, pods_v6) = (
        v4(Ipv4Addr::new(10, 64, 0, 0), 256),
        v6(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0), 1 << 64),
    );
    Node {
        name: NodeName::new(format!("node-{i:05}.example.org")).expect("valid"),
        addresses: vec![
            v4(Ipv4Addr::new(172, 16, 0, 1), 1),
            v6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), 1),
        ],
        pod_cidrs: vec![
            IpNet::new(pods_v4, 24).expect("valid"),
            IpNet::new(pods_v6, 64).expect("valid"),
        ],
        transport: None,
    }
}

fn upsert(node: Node) -> Input {
    Input::Cluster(ClusterEvent::NodeUpsert(node))
}

fn cluster(transport: Transport, peers: usize) -> Planner {
    let settings = Settings {
        transport,
        ..Settings::default()
    };
    let own = node(0);
    let mut planner = Planner::new(own.name.clone(), settings);
    planner.apply(Input::Uplink(Some(Uplink {
        mtu: 1500,
        addresses: own.addresses.clone(),
        networks: vec![
            "172.16.0.0/12".parse().expect("valid"),
            "fd00::/64".parse().expect("valid"),
        ],
        learns_routes: false,
        strict: false,
    })));
    for i in 0..=peers {
        planner.apply(upsert(node(i)));
    }
    planner
}

/// The memory of this process in bytes: its second field, in pages of 4 KiB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0usize) * 4096
}

fn join(planner: &mut Planner, peers: usize) -> Duration {
    let mut best = Duration::MAX;
    for i in 0..REPEATS {
        let newcomer = node(peers + 1 + i);
        let name = newcomer.name.clone();
        let start = Instant::now();
        planner.apply(upsert(newcomer));
        best = best.min(start.elapsed());
        planner.apply(Input::Cluster(ClusterEvent::NodeDelete(name)));
    }
    best
}

#[test]
#[ignore = "a measurement, not a check"]
fn what_a_node_costs() {
    println!("transport  peers  rows  rows/peer  cold ms  B/peer  join us  node change ms");
    for transport in [Transport::Vxlan, Transport::Direct, Transport::L2] {
        for peers in [5000, 1000, 100, 10, 1] {
            let before = resident();
            let start = Instant::now();
            let mut planner = cluster(transport, peers);
            let cold = start.elapsed();
            let bytes = resident().saturating_sub(before) / peers;
            let rows = planner.rows().len();
            let each = (rows - cluster(transport, 0).rows().len()) / peers;
            let best = join(&mut planner, peers);
            let start = Instant::now();
            let mut own = node(0);
            own.addresses.reverse();
            own.pod_cidrs.reverse();
            planner.apply(upsert(own));
            let change = start.elapsed();
            println!(
                "{transport:9} {peers:6} {rows:6} {each:9} {:8.1} {bytes:7} {:8.1} {:10.1}",
                cold.as_secs_f64() * 1e3,
                best.as_secs_f64() * 1e6,
                change.as_secs_f64() * 1e3,
            );
        }
    }
}
