//! The controller against a cluster that exists in memory only, with faults: late watches, requests
//! that fail, answers that get lost, others who meddle, controllers that start anew.
//!
//! The decisions and the ledger are the real ones; requests and watches are played. What must hold on
//! the server after every single event: who was ready and stays so is in a slice.

use proptest::prelude::*;

use super::*;
use crate::ledger::{Ledger, Stage};
use crate::meta::{self, Key};
use crate::simulation::store::{Refusal, Store as Late};

/// The Pods that never change once they are there: those with even numbers below twice this.
const STEADY: usize = 130;
/// The most slices that there ever are: three are enough for all Pods, and two may be on their way.
const MOST: usize = 5;

struct World {
    random: u64,
    version: u64,
    service: Service,
    pods: Late<Pod>,
    slices: Late<EndpointSlice>,
    ledger: Ledger,
    faulty: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: seed,
            version: 1,
            service: service(json!({})),
            pods: Late::new(),
            slices: Late::new(),
            ledger: Ledger::default(),
            faulty: false,
        };
        for number in 0..STEADY {
            let version = world.next_version();
            let steady = (*pod(2 * number, json!({}))).clone();
            let made = world.pods.create(steady, version);
            made.expect("the first of its name");
        }
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 11).expect("64 bits") % bound
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn fails(&mut self) -> bool {
        self.faulty && self.below(6) == 0
    }

    fn deliver(&mut self, count: usize) {
        let slices = if self.faulty && self.below(8) == 0 {
            self.slices.relist()
        } else {
            self.slices.deliver(count)
        };
        for change in slices {
            let [old, new] =
                [&change.old, &change.new].map(|it| it.as_ref().map(|it| &it.metadata));
            self.ledger.seen(old, new);
        }
        self.ledger.listed(self.slices.view.listed());
        self.pods.deliver(count);
    }

    /// One round of the controller; answers whether it had something to do.
    fn run(&mut self) -> bool {
        for name in self.ledger.doubtful() {
            let mut keys = self.slices.objects.keys();
            let found = keys.any(|key| key.name == name);
            let stage = found.then(|| Stage::Answered(self.slices.view.begun()));
            self.ledger.created(&name, stage);
        }
        if self.ledger.creating() > 0 {
            return true;
        }
        let mut slices = self.slices.view.all();
        slices.retain(|slice| !self.ledger.is_deleting(meta::uid(&slice.metadata)));
        let writes = plan(&Scene {
            service: &self.service,
            pods: &self.pods.view.all(),
            slices: &slices,
            place: &|_| Some(Place::default()),
        });
        let busy = writes.count() > 0;
        // Any failure ends the round.
        let _ = self.perform(writes);
        busy
    }

    fn perform(&mut self, writes: Writes) -> Result<(), Refusal> {
        for slice in writes.create {
            self.create(slice)?;
        }
        for slice in writes.update {
            self.update(slice)?;
        }
        for slice in writes.delete {
            let (key, uid) = (Key::of(&*slice), meta::uid(&slice.metadata));
            self.ledger.will_delete(uid);
            if self.fails() {
                self.ledger.deleted(uid, None);
                return Err(Refusal::Gone);
            }
            // Gone is gone.
            let _ = self.slices.remove(&key);
            let stage = Stage::Answered(self.slices.view.begun());
            let lost = self.fails();
            self.ledger.deleted(uid, (!lost).then_some(stage));
        }
        Ok(())
    }

    fn create(&mut self, mut slice: EndpointSlice) -> Result<(), Refusal> {
        let version = self.next_version();
        let name = format!("web-{version}");
        self.ledger.will_create(&name);
        slice.metadata.name = Some(name.clone());
        if self.fails() {
            self.ledger.created(&name, None);
            return Err(Refusal::Gone);
        }
        self.slices.create(slice, version)?;
        let stage = match self.fails() {
            true => Stage::Doubtful,
            false => Stage::Answered(self.slices.view.begun()),
        };
        self.ledger.created(&name, Some(stage));
        Ok(())
    }

    fn update(&mut self, slice: EndpointSlice) -> Result<(), Refusal> {
        if self.fails() {
            return Err(Refusal::Gone);
        }
        let (key, version) = (Key::of(&slice), self.next_version());
        let base = slice.metadata.resource_version.clone();
        let written = self
            .slices
            .update(&key, base.as_deref(), version, |old| *old = slice)?;
        if !self.fails() {
            self.slices.view.learn(base.as_deref(), written);
        }
        Ok(())
    }

    /// Pods come, change and go.
    fn churn(&mut self) {
        let number = 2 * self.below(STEADY) + 1;
        let change = [json!({}), unready(), going()][self.below(3)].clone();
        let (wanted, version) = ((*pod(number, change)).clone(), self.next_version());
        let key = Key::of(&wanted);
        let there = self.pods.objects.contains_key(&key);
        if there && self.below(3) == 0 {
            self.pods.remove(&key).expect("there");
        } else if there {
            let status = |pod: &mut Pod| {
                pod.status = wanted.status.clone();
                pod.metadata.deletion_timestamp = wanted.metadata.deletion_timestamp.clone();
            };
            let changed = self.pods.update(&key, None, version, status);
            changed.expect("there");
        } else {
            self.pods.create(wanted, version).expect("not there");
        }
    }

    /// Somebody takes a label off a slice.
    fn meddle(&mut self) {
        let keys: Vec<Key> = self.slices.objects.keys().cloned().collect();
        let Some(key) = keys.get(self.below(keys.len().max(1))) else {
            return;
        };
        let version = self.next_version();
        let changed = self.slices.update(key, None, version, |slice| {
            slice.metadata.labels.get_or_insert_default().remove("team");
        });
        changed.expect("there");
    }

    fn disturb(&mut self) {
        self.faulty = true;
        match self.below(12) {
            0..3 => {
                let count = self.below(6);
                self.deliver(count);
            }
            3..6 => drop(self.run()),
            6..9 => self.churn(),
            9 => self.meddle(),
            10 if self.below(4) == 0 => {
                let port = 8080 + self.below(2);
                self.service = service(json!({"ports": [{"name": "http", "port": 80,
                    "targetPort": port}]}));
            }
            11 if self.below(6) == 0 => {
                self.ledger = Ledger::default();
                self.slices.relist();
                self.pods.relist();
            }
            _ => {}
        }
        self.faulty = false;
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            self.deliver(usize::MAX);
            if !self.run() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// The Pods in slices on the server, each as often as it is there.
    fn published(&self) -> Vec<String> {
        let slices = self.slices.objects.values();
        let endpoints = slices.flat_map(|slice| slice.endpoints.iter().flatten());
        let names = endpoints.filter_map(|one| one.target_ref.as_ref()?.name.clone());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens, who is steady stays reachable, and the end is as it should be.
    #[test]
    fn nobody_is_lost_on_the_way(seed in 1_u64..) {
        let mut world = World::new(seed);
        for _ in 0..30 {
            world.disturb();
            let slices = world.slices.objects.len();
            prop_assert!(slices <= 2, "{slices} slices before any was seen");
        }
        world.settle();
        for _ in 0..3 {
            for _ in 0..80 {
                world.disturb();
                let mut names = world.published();
                names.dedup();
                let steady = names.iter().filter(|name| {
                    let number = name.trim_start_matches("web-").parse();
                    number.is_ok_and(|number: usize| number.is_multiple_of(2))
                });
                prop_assert_eq!(steady.count(), STEADY);
                let slices = world.slices.objects.len();
                prop_assert!(slices <= MOST, "{slices} slices");
            }
            world.settle();
            let mut wanted: Vec<_> = world.pods.objects.keys().map(|key| key.name.clone()).collect();
            wanted.sort();
            prop_assert_eq!(world.published(), wanted, "each once");
            let most = world.slices.objects.values().map(count).max();
            prop_assert!(most <= Some(100));
        }
    }
}
