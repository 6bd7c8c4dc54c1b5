//! DaemonSets against a cluster that exists in memory only, with faults: late watches, requests that
//! fail, answers that get lost, a controller that starts anew. The decisions are the real ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::fixtures::{daemon_set, node, set_image, status};
use super::{Input, Step, concerns, place, plan};
use crate::ledger::{Ledger, Stage};
use crate::meta::{self, Key};
use crate::replicasets::pod_name;
use crate::simulation::store::Store;
use crate::view::Change;

#[derive(Debug)]
struct World {
    random: u64,
    version: u64,
    now: Timestamp,
    faulty: bool,
    nodes: Vec<Arc<Node>>,
    sets: Store<DaemonSet>,
    pods: Store<Pod>,
    revisions: Store<ControllerRevision>,
    ledger: Ledger,
    records: Ledger,
}

impl World {
    fn new(seed: u64, nodes: usize, unavailable: i32, surge: i32) -> World {
        let strategy = json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
        let mut world = World {
            random: seed,
            version: 1,
            now: Timestamp::from_second(1_000_000).expect("a time"),
            faulty: false,
            nodes: (0..nodes).map(|n| node(&format!("n{n}"), &[])).collect(),
            sets: Store::new(),
            pods: Store::new(),
            revisions: Store::new(),
            ledger: Ledger::default(),
            records: Ledger::default(),
        };
        let version = world.next_version();
        let first = daemon_set(&strategy);
        world.sets.create(first, version).expect("the first");
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    fn fails(&mut self) -> bool {
        self.faulty && self.below(8) == 0
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn set(&self) -> &DaemonSet {
        self.sets.objects.values().next().expect("the DaemonSet")
    }

    fn set_version(&mut self, number: u64) {
        let version = self.next_version();
        let key = Key::of(self.set());
        let image = format!("agent:{number}");
        let changed = self
            .sets
            .update(&key, None, version, |set| set_image(set, &image));
        changed.expect("the DaemonSet");
    }

    /// The Pods of each node that are none on their way out, and how many of them are ready.
    fn truth(&self) -> BTreeMap<String, (usize, usize)> {
        let names = self
            .nodes
            .iter()
            .map(|n| meta::name(&n.metadata).to_owned());
        let mut truth: BTreeMap<_, _> = names.map(|name| (name, (0, 0))).collect();
        let pods = self.pods.objects.values();
        for pod in pods.filter(|pod| meta::is_active(pod)) {
            let node = place::node_of(pod).expect("made for a node");
            let counts = truth.get_mut(node).expect("a node that is there");
            counts.0 += 1;
            counts.1 += usize::from(meta::is_ready(pod));
        }
        truth
    }

    fn deliver(&mut self, count: usize) {
        let relist = self.faulty && self.below(10) == 0;
        let pods = match relist {
            true => self.pods.relist(),
            false => self.pods.deliver(count),
        };
        hear(&mut self.ledger, &pods, self.pods.view.listed());
        let revisions = self.revisions.deliver(count);
        hear(&mut self.records, &revisions, self.revisions.view.listed());
        self.sets.deliver(count);
    }

    fn restart(&mut self) {
        self.ledger = Ledger::default();
        self.records = Ledger::default();
        self.sets.relist();
        self.pods.relist();
        self.revisions.relist();
    }

    /// What nodes do: one Pod is bound and gets ready, or one that was asked to go is gone.
    fn tend(&mut self) -> bool {
        let pods: Vec<Pod> = self.pods.objects.values().cloned().collect();
        let busy = |pod: &&Pod| meta::is_terminating(&pod.metadata) || !meta::is_ready(pod);
        let waiting: Vec<&Pod> = pods.iter().filter(busy).collect();
        let index = self.below(u64::try_from(waiting.len()).expect("few").max(1));
        let Some(pod) = waiting.get(usize::try_from(index).expect("small")) else {
            return false;
        };
        let key = Key::of(*pod);
        if meta::is_terminating(&pod.metadata) {
            return self.pods.remove(&key).is_ok();
        }
        let node = place::node_of(pod).map(str::to_owned);
        let (version, second) = (self.next_version(), self.now.as_second());
        let ready = self.pods.update(&key, None, version, |pod| {
            pod.spec.as_mut().expect("a spec").node_name = node;
            pod.status = Some(status(Some(second)));
        });
        ready.is_ok()
    }

    fn disturb(&mut self) {
        self.faulty = true;
        let many = usize::try_from(self.below(4)).expect("small");
        match self.below(10) {
            0..4 => self.deliver(many),
            4..7 => drop(self.run()),
            7..9 => drop(self.tend()),
            _ if self.below(6) == 0 => self.restart(),
            _ => self.now += SignedDuration::from_secs(1),
        }
        self.faulty = false;
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            self.deliver(usize::MAX);
            if !(self.run() | self.tend()) {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.truth());
    }

    /// One round of the controller; answers whether there was something to do.
    fn run(&mut self) -> bool {
        let Some(set) = self.sets.view.all().pop() else {
            return false;
        };
        for name in self.ledger.doubtful() {
            let found = self.pods.objects.keys().any(|key| key.name == name);
            let stage = found.then(|| Stage::Answered(self.pods.view.begun()));
            self.ledger.created(&name, stage);
        }
        for name in self.records.doubtful() {
            let found = self.revisions.objects.keys().any(|key| key.name == name);
            let stage = found.then(|| Stage::Answered(self.revisions.view.begun()));
            self.records.created(&name, stage);
        }
        let mut pods = self.pods.view.all();
        pods.retain(|pod| concerns(&set, &**pod));
        let steps = plan(&Input {
            set: &set,
            nodes: &self.nodes,
            pods: &pods,
            revisions: &self.revisions.view.all(),
            ledger: &self.ledger,
            unseen: self.records.creating() > 0,
            retry_at: &|_| Timestamp::MIN,
            now: self.now,
        })
        .steps;
        let busy = !steps.is_empty();
        for step in steps {
            self.perform(&set, step);
        }
        busy
    }

    fn perform(&mut self, set: &DaemonSet, step: Step) {
        let version = self.next_version();
        match step {
            Step::Create { node, hash } => {
                let name = pod_name("agent", version);
                self.ledger.will_create(&name);
                let mut pod = place::pod(set, &hash, &node, &name);
                pod.metadata.creation_timestamp = Some(meta::to_time(self.now));
                let arrived = !self.fails();
                if arrived {
                    self.pods.create(pod, version).expect("a name of its own");
                }
                let stage = match !arrived || self.fails() {
                    true => Stage::Doubtful,
                    false => Stage::Answered(self.pods.view.begun()),
                };
                self.ledger.created(&name, Some(stage));
            }
            Step::Delete(pod) | Step::Bury { pod, .. } => {
                let uid = meta::uid(&pod.metadata);
                self.ledger.will_delete(uid);
                let now = meta::to_time(self.now);
                let arrived = !self.fails();
                if arrived {
                    // Gone already is as good.
                    let _ = self.pods.update(&Key::of(&*pod), None, version, |pod| {
                        pod.metadata.deletion_timestamp.get_or_insert(now);
                    });
                }
                let stage = Stage::Answered(self.pods.view.begun());
                let known = arrived && !self.fails();
                self.ledger.deleted(uid, known.then_some(stage));
            }
            Step::Record(revision) => {
                let name = meta::name(&revision.metadata).to_owned();
                self.records.will_create(&name);
                // A name that is taken is taken by this very revision.
                let made = self.revisions.create(*revision, version);
                let stage = match made.is_err() || self.fails() {
                    true => Stage::Doubtful,
                    false => Stage::Answered(self.revisions.view.begun()),
                };
                self.records.created(&name, Some(stage));
            }
            Step::Renumber(revision, number) => {
                let base = revision.metadata.resource_version.as_deref();
                let key = Key::of(&*revision);
                let changed = self.revisions.update(&key, base, version, |revision| {
                    revision.revision = Some(number);
                });
                if let Ok(changed) = changed {
                    self.revisions.view.learn(base, changed);
                }
            }
            Step::Forget(revision) => drop(self.revisions.remove(&Key::of(&*revision))),
            Step::Status(told) => {
                let base = set.metadata.resource_version.as_deref();
                let change = |set: &mut DaemonSet| set.status = Some(*told);
                if let Ok(changed) = self.sets.update(&Key::of(set), base, version, change) {
                    self.sets.view.learn(base, changed);
                }
            }
            step => panic!("nothing to adopt or release here: {step:?}"),
        }
    }

    /// The end is what was wished for.
    fn assert_done(&self) {
        assert!(self.truth().values().all(|counts| *counts == (1, 1)));
        let set = self.set();
        let wanted = &set.spec.template.spec.as_ref().expect("a spec").containers[0];
        for pod in self.pods.objects.values() {
            let has = &pod.spec.as_ref().expect("a spec").containers[0];
            assert_eq!(has.image, wanted.image);
        }
        let nodes = i32::try_from(self.nodes.len()).expect("few");
        let told = set.status.clone().expect("a status");
        assert_eq!(told.desired_number_scheduled, nodes);
        assert_eq!(told.updated_number_scheduled.unwrap_or(0), nodes);
        assert_eq!(told.number_available.unwrap_or(0), nodes);
        assert_eq!(told.observed_generation, set.metadata.generation);
        let kept = self.revisions.objects.len();
        assert!(kept <= 2, "history beyond the limit: {kept}");
    }
}

fn hear<K: kube::Resource>(ledger: &mut Ledger, changes: &[Change<K>], listed: u64) {
    for change in changes {
        let old = change.old.as_ref().map(|object| object.meta());
        let new = change.new.as_ref().map(|object| object.meta());
        ledger.seen(old, new);
    }
    ledger.listed(listed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens, a rollout stays within its bounds and comes to its end.
    #[test]
    fn rollouts_stay_within_bounds_and_converge(
        seed in 1u64..,
        nodes in 1usize..6,
        limit in 1usize..4,
        surges in any::<bool>(),
    ) {
        let count = i32::try_from(limit).expect("small");
        let (unavailable, surge) = if surges { (0, count) } else { (count, 0) };
        let mut world = World::new(seed, nodes, unavailable, surge);
        world.settle();
        world.assert_done();
        for _ in 0..4 {
            let version = world.below(3);
            world.set_version(version);
            for _ in 0..120 {
                world.disturb();
                let truth = world.truth();
                let ready = truth.values().filter(|(_, ready)| *ready > 0).count();
                let doubled = truth.values().filter(|(active, _)| *active > 1).count();
                let (down, double) = if surges { (0, limit) } else { (limit, 0) };
                prop_assert!(nodes - ready <= down, "{truth:?}");
                prop_assert!(doubled <= double, "{truth:?}");
                prop_assert!(truth.values().all(|(active, _)| *active <= 2), "{truth:?}");
            }
        }
        world.settle();
        world.assert_done();
    }
}
