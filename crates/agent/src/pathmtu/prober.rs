//! All paths, and when which of them is asked: plain data, told the time.
//!
//! However many paths there are, packets go out at a bounded pace. Whoever is new, or whose path
//! may have changed, is asked first; the others in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use seaway_model::{Family, NodeName};

use super::Pace;
use super::path::{Finding, Next, Path, floor};

/// Tokens carry the number of their path in the upper half.
const NUMBER_SHIFT: u32 = 32;
/// No packet is larger.
const LARGEST: u32 = 65_535;

/// A packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) target: IpAddr,
    pub(super) size: u32,
    pub(super) token: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Send(Request),
    /// Nothing before this time.
    Wait(Instant),
}

/// What a node's path turned out to carry: the largest packet in bytes, or all that the uplink
/// takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) peer: NodeName,
    pub(super) size: Option<u32>,
}

/// The paths and their timetable.
pub(super) struct Prober {
    pace: Pace,
    /// The largest packet that the uplink takes.
    whole: u32,
    sources: Vec<IpAddr>,
    paths: BTreeMap<u32, Entry>,
    numbers: BTreeMap<(NodeName, Family), u32>,
    next_number: u32,
    next_packet: u32,
    /// Paths that want to send, by when.
    ready: BTreeSet<(Instant, u32)>,
    /// Paths that wait for an answer, by when they give up.
    waiting: BTreeSet<(Instant, u32)>,
    /// When the next packet may go out.
    free_at: Instant,
    told: BTreeMap<NodeName, u32>,
    changes: Vec<Change>,
}

struct Entry {
    path: Path,
    slot: Slot,
    /// The packets of the present question, with their sizes.
    asked: Vec<(u64, u32)>,
}

#[derive(Clone, Copy)]
enum Slot {
    Ready(Instant),
    Waiting(Instant),
}

impl Prober {
    pub(super) fn new(pace: Pace, now: Instant) -> Prober {
        Prober {
            pace,
            whole: 0,
            sources: Vec::new(),
            paths: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            next_packet: 0,
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            free_at: now,
            told: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// The uplink takes packets of this size, and the node has these addresses on it. Everything
    /// is asked anew when that changed.
    pub(super) fn set_uplink(&mut self, mtu: u32, sources: &[IpAddr], now: Instant) {
        let whole = mtu.min(LARGEST);
        if self.whole == whole && self.sources == sources {
            return;
        }
        self.whole = whole;
        self.sources = sources.to_vec();
        let numbers: Vec<u32> = self.paths.keys().copied().collect();
        for number in numbers {
            self.restart(number, now);
            if let Some(entry) = self.paths.get_mut(&number) {
                let path = &mut entry.path;
                if path.lowered().is_some_and(|size| size >= whole) {
                    path.finding = Finding::None;
                }
                let peer = path.peer.clone();
                self.tell(&peer);
            }
        }
    }

    /// The other nodes are these, with the addresses under which they are reached.
    pub(super) fn set_peers<'a>(
        &mut self,
        peers: impl Iterator<Item = (&'a NodeName, &'a [IpAddr])>,
        now: Instant,
    ) {
        let mut gone: BTreeMap<(NodeName, Family), u32> = std::mem::take(&mut self.numbers);
        for (name, addresses) in peers {
            for family in Family::ALL {
                let address = addresses.iter().find(|a| Family::of(**a) == family);
                let Some(address) = address.filter(|_| self.asks(family)) else {
                    continue;
                };
                let key = (name.clone(), family);
                let number = match gone.remove(&key) {
                    Some(number) => number,
                    None => self.add(Path::new(name.clone(), *address), now),
                };
                self.numbers.insert(key, number);
                self.retarget(number, *address, now);
            }
        }
        for ((peer, _), number) in gone {
            if let Some(entry) = self.paths.remove(&number) {
                self.leave(number, entry.slot);
            }
            self.tell(&peer);
        }
    }

    /// Whether there is anything to find out in a family.
    fn asks(&self, family: Family) -> bool {
        self.whole > floor(family) && self.sources.iter().any(|a| Family::of(*a) == family)
    }

    fn add(&mut self, path: Path, now: Instant) -> u32 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let entry = Entry {
            path,
            slot: Slot::Ready(now),
            asked: Vec::new(),
        };
        self.paths.insert(number, entry);
        self.ready.insert((now, number));
        number
    }

    fn retarget(&mut self, number: u32, address: IpAddr, now: Instant) {
        let Some(entry) = self.paths.get_mut(&number) else {
            return;
        };
        if entry.path.target != address {
            entry.path.target = address;
            self.restart(number, now);
        }
    }

    /// Forgets the check that is going on and asks anew as soon as it may.
    fn restart(&mut self, number: u32, now: Instant) {
        if let Some(entry) = self.paths.get_mut(&number) {
            entry.path.abandon();
            entry.asked.clear();
            self.move_to(number, Slot::Ready(now));
        }
    }

    /// What to do at `now`; to be called again at once after everything but [`Action::Wait`].
    pub(super) fn next(&mut self, now: Instant) -> Action {
        while let Some((_, number)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            let next = match self.paths.get_mut(&number) {
                Some(entry) => entry.path.lost(self.whole, &self.pace),
                None => Next::Rest,
            };
            self.follow(number, next, now);
        }
        let due = self.ready.first().map(|(at, _)| (*at).max(self.free_at));
        match (due, self.ready.first()) {
            (Some(due), Some((_, number))) if due <= now => Action::Send(self.send(*number, now)),
            _ => {
                let give_up = self.waiting.first().map(|(at, _)| *at);
                let next = due.into_iter().chain(give_up).min();
                Action::Wait(next.unwrap_or(now + self.pace.interval))
            }
        }
    }

    fn send(&mut self, number: u32, now: Instant) -> Request {
        let burst = self.pace.gap * self.pace.burst;
        let earliest = now.checked_sub(burst).unwrap_or(now);
        self.free_at = self.free_at.max(earliest) + self.pace.gap;
        self.next_packet = self.next_packet.wrapping_add(1);
        let token = u64::from(number) << NUMBER_SHIFT | u64::from(self.next_packet);
        let entry = self
            .paths
            .get_mut(&number)
            .expect("every ready path exists");
        let size = entry.path.next_size(self.whole, &self.pace);
        entry.asked.push((token, size));
        let target = entry.path.target;
        self.move_to(number, Slot::Waiting(now + self.pace.timeout));
        Request {
            target,
            size,
            token,
        }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, token: u64, from: IpAddr, now: Instant) {
        let number = u32::try_from(token >> NUMBER_SHIFT).expect("half of 64 bits");
        let Some(entry) = self.paths.get_mut(&number) else {
            return;
        };
        let asked = entry.asked.iter().find(|(own, _)| *own == token);
        let Some((_, size)) = asked.copied().filter(|_| entry.path.target == from) else {
            return;
        };
        if let Some(next) = entry.path.answered(size, self.whole, &self.pace) {
            self.follow(number, next, now);
        }
    }

    /// The uplink did not take a request although it should: what is known of it is out of date.
    pub(super) fn too_large(&mut self, token: u64, now: Instant) {
        let number = u32::try_from(token >> NUMBER_SHIFT).expect("half of 64 bits");
        if let Some(entry) = self.paths.get_mut(&number) {
            entry.path.abandon();
            self.follow(number, Next::Rest, now);
        }
    }

    fn follow(&mut self, number: u32, next: Next, now: Instant) {
        let interval = self.interval();
        let Some(entry) = self.paths.get_mut(&number) else {
            return;
        };
        match next {
            Next::Ask(after) => self.move_to(number, Slot::Ready(now + after)),
            Next::Rest => {
                entry.asked.clear();
                let peer = entry.path.peer.clone();
                self.move_to(number, Slot::Ready(now + interval));
                self.tell(&peer);
            }
        }
    }

    /// How long a path rests between two checks: half of the packets are left for questions that
    /// need more than one.
    fn interval(&self) -> Duration {
        let paths = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        self.pace.interval.max(self.pace.gap * 2 * paths)
    }

    fn move_to(&mut self, number: u32, slot: Slot) {
        let Some(entry) = self.paths.get_mut(&number) else {
            return;
        };
        let old = std::mem::replace(&mut entry.slot, slot);
        self.leave(number, old);
        match slot {
            Slot::Ready(at) => self.ready.insert((at, number)),
            Slot::Waiting(at) => self.waiting.insert((at, number)),
        };
    }

    fn leave(&mut self, number: u32, slot: Slot) {
        match slot {
            Slot::Ready(at) => self.ready.remove(&(at, number)),
            Slot::Waiting(at) => self.waiting.remove(&(at, number)),
        };
    }

    /// The size for a node is that of its narrower path.
    fn tell(&mut self, peer: &NodeName) {
        let of_family = |family| self.numbers.get(&(peer.clone(), family));
        let size = Family::ALL
            .into_iter()
            .filter_map(of_family)
            .filter_map(|number| self.paths.get(number)?.path.lowered())
            .min();
        let told = match size {
            Some(size) => self.told.insert(peer.clone(), size),
            None => self.told.remove(peer),
        };
        if told != size {
            let peer = peer.clone();
            self.changes.push(Change { peer, size });
        }
    }

    /// What changed since this was asked last.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// All paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.values().map(|entry| &entry.path)
    }
}
