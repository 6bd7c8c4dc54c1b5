//! How long the repeated tests are, the chance that they are ruled by, and the loads that they bear.

use std::time::Duration;

use seaway_model::{Family, Protocol};
use seaway_tests::services::stage::ways;
use seaway_tests::services::{Load, Objects, Stage};

/// How long anything may take that is not measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Between two questions of one client.
const PACE: Duration = Duration::from_millis(25);

/// So many rounds, or as many as somebody asks for.
pub(crate) fn rounds(usual: usize) -> usize {
    let asked = std::env::var("SEAWAY_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A small generator, so that a failure can be repeated by its seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// One whose seed is printed; `SEAWAY_SEED` repeats it.
    pub(crate) fn new() -> Dice {
        let asked = std::env::var("SEAWAY_SEED").ok();
        let seed = asked.and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("SEAWAY_SEED={seed}");
        Dice(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// New flows from all sides to the Service `name`, which has a node port.
pub(crate) fn connecting(stage: &Stage, objects: &Objects, name: &str) -> Vec<Load> {
    let mut loads = Vec::new();
    for (family, protocol) in ways() {
        let cluster = objects.cluster_door(name, protocol, family);
        let port = objects.node_port(name, protocol);
        let node = stage.node_door(1, family, port);
        for (from, door) in [("pod1", cluster), ("outside", node), ("node2", cluster)] {
            let netns = stage.cast.place(from).netns();
            loads.push(Load::connecting(netns, door, protocol, PACE));
        }
    }
    loads
}

/// Flows that stay open, to the Service `name` and to a Pod by its own address.
pub(crate) fn staying(stage: &Stage, objects: &Objects, name: &str) -> Vec<Load> {
    let mut loads = Vec::new();
    let patience = Duration::from_secs(4);
    for family in Family::ALL {
        let port = |protocol| objects.node_port(name, protocol);
        let doors = |protocol| {
            [
                ("pod1", objects.cluster_door(name, protocol, family)),
                ("outside", stage.node_door(1, family, port(protocol))),
                (
                    "pod1",
                    std::net::SocketAddr::new(stage.cast.place("b2").address(family), 8080),
                ),
            ]
        };
        for (from, door) in doors(Protocol::Tcp) {
            loads.push(Load::streaming(stage.cast.place(from).netns(), door, PACE));
        }
        for (from, door) in doors(Protocol::Udp) {
            let netns = stage.cast.place(from).netns();
            loads.push(Load::datagrams(netns, door, patience));
        }
    }
    loads
}

/// Nothing has failed so far.
pub(crate) fn assert_unharmed(what: &str, loads: &[Load]) {
    loads.iter().for_each(|load| load.assert_unharmed(what));
}
