//! The prober against simulated paths, in simulated time: it converges to the true size, keeps to
//! it, is not fooled by loss and absence, and never asks faster than its pace.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use seaway_model::NodeName;

use super::Pace;
use super::prober::{Action, Change, Prober};

const MINUTE: Duration = Duration::from_secs(60);

/// What a path does to packets.
#[derive(Clone, Copy, Debug)]
struct Behaviour {
    /// Larger packets vanish.
    mtu: u32,
    /// Of a thousand round trips, so many fail.
    loss: u32,
    rtt: Duration,
    up: bool,
}

impl Behaviour {
    fn of(mtu: u32) -> Behaviour {
        Behaviour {
            mtu,
            loss: 0,
            rtt: Duration::from_millis(1),
            up: true,
        }
    }
}

/// A cluster in simulated time.
struct World {
    prober: Prober,
    start: Instant,
    now: Instant,
    peers: Vec<(NodeName, Vec<IpAddr>)>,
    paths: BTreeMap<IpAddr, Behaviour>,
    /// Answers under way.
    answers: BTreeMap<(Instant, u64), IpAddr>,
    random: u64,
    sent: Vec<(Instant, IpAddr)>,
    found: BTreeMap<NodeName, u32>,
    changes: Vec<(Duration, Change)>,
}

fn own() -> [IpAddr; 2] {
    [[10, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into()]
}

fn name(i: u16) -> NodeName {
    NodeName::new(format!("n{i:05}")).expect("valid")
}

fn v4(i: u16) -> IpAddr {
    let [a, b] = i.to_be_bytes();
    [10, 1, a, b].into()
}

fn v6(i: u16) -> IpAddr {
    [0xfd01, 0, 0, 0, 0, 0, 0, i].into()
}

impl World {
    /// A node with an uplink of `whole` bytes.
    fn new(seed: u64, whole: u32) -> World {
        let start = Instant::now();
        let mut world = World {
            prober: Prober::new(Pace::default(), start),
            start,
            now: start,
            peers: Vec::new(),
            paths: BTreeMap::new(),
            answers: BTreeMap::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            sent: Vec::new(),
            found: BTreeMap::new(),
            changes: Vec::new(),
        };
        world.uplink(whole);
        world
    }

    fn uplink(&mut self, whole: u32) {
        self.prober.set_uplink(whole, &own(), self.now);
    }

    fn join(&mut self, i: u16, addresses: &[IpAddr], behaviour: Behaviour) {
        self.peers.retain(|(known, _)| *known != name(i));
        self.peers.push((name(i), addresses.to_vec()));
        self.paths.extend(addresses.iter().map(|a| (*a, behaviour)));
        self.look();
    }

    fn look(&mut self) {
        let peers = self.peers.iter().map(|(name, list)| (name, &list[..]));
        self.prober.set_peers(peers, self.now);
        self.collect();
    }

    fn behave(&mut self, change: impl Fn(&mut Behaviour)) {
        self.paths.values_mut().for_each(change);
    }

    fn below(&mut self, limit: u32) -> u32 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from((self.random >> 33) % u64::from(limit)).expect("below 2^31")
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            while let Some(((at, token), from)) = self.answers.pop_first() {
                if at > self.now {
                    self.answers.insert((at, token), from);
                    break;
                }
                self.prober.answered(token, from, self.now);
            }
            self.collect();
            match self.prober.next(self.now) {
                Action::Send(request) => {
                    self.sent.push((self.now, request.target));
                    let path = self.paths[&request.target];
                    let lost = self.below(1000) < path.loss;
                    if path.up && !lost && request.size <= path.mtu {
                        let key = (self.now + path.rtt, request.token);
                        self.answers.insert(key, request.target);
                    }
                }
                Action::Wait(at) => {
                    assert!(at > self.now, "waiting for the past");
                    let answer = self.answers.keys().next().map(|(at, _)| *at);
                    let next = answer.into_iter().chain([at, end]).min();
                    self.now = next.expect("an end").max(self.now);
                }
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        for change in self.prober.take_changes() {
            match change.size {
                Some(size) => drop(self.found.insert(change.peer.clone(), size)),
                None => drop(self.found.remove(&change.peer)),
            }
            self.changes.push((self.now - self.start, change));
        }
    }

    fn found(&self, i: u16) -> Option<u32> {
        self.found.get(&name(i)).copied()
    }
}

fn one(seed: u64, whole: u32, behaviour: Behaviour) -> World {
    let mut world = World::new(seed, whole);
    world.join(1, &[v4(1)], behaviour);
    world
}

#[test]
fn the_true_size_is_found_and_kept_whatever_it_is() {
    for seed in 0..200 {
        let mut dice = World::new(seed, 1500);
        let whole = [1500, 9000, 1450, 65_535, 700][dice.below(5) as usize];
        let mtu = 576 + dice.below(whole - 576 + 100);
        let rtt = Duration::from_millis(1 + u64::from(dice.below(300)));
        let behaviour = Behaviour {
            rtt,
            ..Behaviour::of(mtu)
        };
        let mut world = one(seed, whole, behaviour);
        world.pass(3 * MINUTE);
        let expected = (mtu < whole).then_some(mtu);
        assert_eq!(world.found(1), expected, "seed {seed}: {whole} {mtu}");
        world.pass(120 * MINUTE);
        let changes = usize::from(expected.is_some());
        assert_eq!(world.changes.len(), changes, "seed {seed}: it flaps");
    }
}

#[test]
fn loss_of_three_in_ten_neither_hides_nor_makes_a_black_hole() {
    for seed in 0..200 {
        let mut dice = World::new(seed, 1500);
        let whole = 1500;
        let mtu = if seed % 2 == 0 {
            1500
        } else {
            600 + dice.below(900)
        };
        let behaviour = Behaviour {
            loss: dice.below(301),
            ..Behaviour::of(mtu)
        };
        let mut world = one(seed, whole, behaviour);
        world.pass(120 * MINUTE);
        let expected = (mtu < whole).then_some(mtu);
        assert_eq!(world.found(1), expected, "seed {seed}: {behaviour:?}");
        // What loss makes wrong at first is put right; it does not go on and off.
        let limit = 2 * usize::from(expected.is_some());
        assert!(
            world.changes.len() <= limit,
            "seed {seed}: {behaviour:?} {:?}",
            world.changes
        );
    }
}

#[test]
fn absence_changes_nothing() {
    for seed in 0..50 {
        for mtu in [1500, 1400] {
            let mut world = one(seed, 1500, Behaviour::of(mtu));
            world.pass(3 * MINUTE);
            let (before, changes) = (world.found(1), world.changes.len());
            for _ in 0..30 {
                let time = Duration::from_millis(u64::from(world.below(90_000)));
                world.behave(|path| path.up = !path.up);
                world.pass(time);
            }
            assert_eq!(world.found(1), before, "seed {seed}");
            assert_eq!(world.changes.len(), changes, "seed {seed}");
        }
    }
    // Not even when it never answered.
    let mut world = one(1, 1500, Behaviour::of(1400));
    world.behave(|path| path.up = false);
    world.pass(60 * MINUTE);
    assert_eq!(world.changes, vec![]);
}

#[test]
fn a_path_is_followed_up_and_down() {
    for seed in 0..20 {
        let mut world = one(seed, 1500, Behaviour::of(1500));
        for mtu in [1400, 1300, 1450, 9000, 1280, 1281, 1500, 576] {
            world.behave(|path| path.mtu = mtu);
            world.pass(4 * MINUTE);
            let expected = (mtu < 1500).then_some(mtu);
            assert_eq!(world.found(1), expected, "seed {seed}");
        }
        assert_eq!(world.changes.len(), 8, "{:?}", world.changes);
    }
}

#[test]
fn the_narrower_family_counts_and_nothing_below_its_floor_is_believed() {
    let mut world = World::new(7, 1500);
    world.join(1, &[v4(1), v6(1)], Behaviour::of(1500));
    world.paths.insert(v6(1), Behaviour::of(1380));
    world.pass(3 * MINUTE);
    assert_eq!(world.found(1), Some(1380));
    world.paths.insert(v4(1), Behaviour::of(1290));
    world.pass(3 * MINUTE);
    assert_eq!(world.found(1), Some(1290));
    world.paths.insert(v4(1), Behaviour::of(1500));
    world.paths.insert(v6(1), Behaviour::of(1000));
    world.pass(4 * MINUTE);
    assert_eq!(world.found(1), Some(1280));
}

#[test]
fn a_changed_uplink_or_address_is_asked_at_once() {
    let mut world = one(3, 1500, Behaviour::of(1400));
    world.pass(3 * MINUTE);
    assert_eq!(world.found(1), Some(1400));
    // A smaller uplink is never lowered to more than it takes.
    world.uplink(1400);
    world.look();
    assert_eq!(world.found(1), None);
    // A node at another place: what was known holds until it is known better.
    world.uplink(1500);
    world.pass(3 * MINUTE);
    assert_eq!(world.found(1), Some(1400));
    world.join(1, &[v4(2)], Behaviour::of(1500));
    assert_eq!(world.found(1), Some(1400));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.found(1), None);
}

#[test]
fn a_node_that_left_leaves_nothing() {
    let mut world = one(3, 1500, Behaviour::of(1400));
    world.pass(3 * MINUTE);
    world.peers.clear();
    world.look();
    assert_eq!(world.found(1), None);
    assert_eq!(world.prober.paths().count(), 0);
    world.sent.clear();
    world.pass(10 * MINUTE);
    assert_eq!(world.sent, vec![]);
}

#[test]
fn five_thousand_nodes_are_asked_at_a_bounded_pace() {
    let mut world = World::new(1, 1500);
    let nodes = 5_000;
    world.peers = (0..nodes).map(|i| (name(i), vec![v4(i), v6(i)])).collect();
    for i in 0..nodes {
        // A quarter of them is away, and some are behind black holes.
        let behaviour = Behaviour {
            up: i % 4 != 0,
            mtu: if i % 100 == 1 { 1400 } else { 1500 },
            ..Behaviour::of(1500)
        };
        world.paths.extend([(v4(i), behaviour), (v6(i), behaviour)]);
    }
    world.look();
    world.pass(40 * MINUTE);
    assert_eq!(world.found.len(), 50);
    assert!(world.found.values().all(|size| *size == 1400));
    // Ten at once, and then one every 25 ms.
    let per_second = 40 + 10 + 1;
    for window in world.sent.windows(per_second + 1) {
        let time = window[per_second].0 - window[0].0;
        assert!(time >= Duration::from_secs(1), "{time:?}");
    }
    // In a quiet cluster everybody has been asked in ten minutes.
    world.behave(|path| path.up = true);
    world.pass(20 * MINUTE);
    world.sent.clear();
    world.pass(10 * MINUTE);
    let asked: std::collections::BTreeSet<IpAddr> = world.sent.iter().map(|s| s.1).collect();
    assert_eq!(asked.len(), 2 * usize::from(nodes));
    // And who is new does not have to wait for its turn.
    world.join(nodes, &[v4(nodes)], Behaviour::of(1400));
    world.sent.clear();
    world.pass(Duration::from_secs(5));
    assert!(world.sent.iter().any(|sent| sent.1 == v4(nodes)));
}
