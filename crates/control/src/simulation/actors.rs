//! The controllers' side: the real decisions, with requests to the cluster in memory.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::store::Refusal;
use super::world::World;
use crate::deployments::{self, Input, Resize, plan as plan_rollout};
use crate::ledger::{Ledger, Stage};
use crate::meta::{self, Key};
use crate::replicasets::{self, Step};
use crate::view::Change;

impl World {
    /// Whether the next request fails before it reaches the server.
    fn fails(&mut self) -> bool {
        self.faulty && self.below(8) == 0
    }

    /// Brings events of Pods, and tells the ledgers.
    pub(super) fn deliver_pods(&mut self, count: usize) {
        let changes = if self.faulty && self.below(10) == 0 {
            self.pods.relist()
        } else {
            self.pods.deliver(count)
        };
        let listed = self.pods.view.listed();
        let own = self.deployment().metadata.uid.clone();
        let others = self
            .ledgers
            .iter_mut()
            .filter(|(uid, _)| own.as_ref() != Some(*uid));
        others.for_each(|(_, ledger)| hear(ledger, &changes, listed));
    }

    /// Brings events of sets, and tells the Deployment's ledger.
    pub(super) fn deliver_sets(&mut self, count: usize) {
        let changes = if self.faulty && self.below(10) == 0 {
            self.sets.relist()
        } else {
            self.sets.deliver(count)
        };
        let listed = self.sets.view.listed();
        let own = self.deployment().metadata.uid.clone().unwrap_or_default();
        hear(self.ledgers.entry(own).or_default(), &changes, listed);
    }

    /// One round of the Deployment's controller; answers whether there was something to do.
    pub(super) fn run_deployment(&mut self) -> bool {
        let key = Key::of(self.deployment());
        let Some(deployment) = self.deployments.view.get(&key) else {
            return false;
        };
        let sets = self.sets.view.all();
        let pods = self.pods.view.all();
        let own = meta::uid(&deployment.metadata).to_owned();
        let ledger = self.ledgers.entry(own).or_default();
        for name in ledger.doubtful() {
            let mut keys = self.sets.objects.keys();
            let found = keys.any(|key| key.name == name);
            let stage = found.then(|| Stage::Answered(self.sets.view.begun()));
            ledger.created(&name, stage);
        }
        let unseen = ledger.creating() > 0;
        let plan = plan_rollout(&Input {
            deployment: &deployment,
            sets: &sets,
            pods: &pods,
            unseen,
            now: self.now,
        });
        let busy = !plan.steps.is_empty();
        let mut current = deployment;
        for step in plan.steps {
            if self.fails() {
                break;
            }
            match self.perform(&current, step) {
                Ok(changed) => current = changed,
                Err(_) => break,
            }
        }
        busy
    }

    fn perform(
        &mut self,
        now: &Arc<Deployment>,
        step: deployments::Step,
    ) -> Result<Arc<Deployment>, Refusal> {
        let version = self.next_version();
        let lost = self.fails();
        match step {
            deployments::Step::Create(set) => {
                let mut set = *set;
                set.metadata.creation_timestamp = Some(meta::to_time(self.now));
                let name = meta::name(&set.metadata).to_owned();
                // A name that is taken is taken by this very set.
                let _ = self.sets.create(set, version);
                let begun = self.sets.view.begun();
                let own = meta::uid(&now.metadata).to_owned();
                let ledger = self.ledgers.entry(own).or_default();
                ledger.will_create(&name);
                let stage = match lost {
                    true => Stage::Doubtful,
                    false => Stage::Answered(begun),
                };
                ledger.created(&name, Some(stage));
            }
            deployments::Step::Resize(resize) => self.resize(&resize, version)?,
            deployments::Step::Delete(set) => self.sets.remove(&Key::of(&*set))?,
            deployments::Step::Revision(revision) => {
                return self.write(now, version, |deployment| {
                    let notes = deployment.metadata.annotations.get_or_insert_default();
                    notes.insert("deployment.kubernetes.io/revision".into(), revision);
                });
            }
            deployments::Step::Status(status) => {
                return self.write(now, version, |deployment| deployment.status = Some(*status));
            }
            deployments::Step::Adopt(_) | deployments::Step::Release(_) => {
                panic!("nothing to adopt or release here")
            }
        }
        Ok(now.clone())
    }

    fn write(
        &mut self,
        now: &Deployment,
        version: u64,
        change: impl FnOnce(&mut Deployment),
    ) -> Result<Arc<Deployment>, Refusal> {
        let base = now.metadata.resource_version.as_deref();
        let changed = self
            .deployments
            .update(&Key::of(now), base, version, change)?;
        self.deployments.view.learn(base, changed.clone());
        Ok(Arc::new(changed))
    }

    fn resize(&mut self, resize: &Resize, version: u64) -> Result<(), Refusal> {
        let base = resize.set.metadata.resource_version.as_deref();
        let changed = self
            .sets
            .update(&Key::of(&*resize.set), base, version, |set| {
                let notes = set.metadata.annotations.get_or_insert_default();
                notes.extend(resize.annotations.clone());
                if let Some(size) = resize.to {
                    set.spec.replicas = Some(size);
                    *set.metadata.generation.get_or_insert(0) += 1;
                }
            })?;
        self.sets.view.learn(base, changed);
        Ok(())
    }

    /// One round of the ReplicaSets' controller over all sets that it sees.
    pub(super) fn run_sets(&mut self) -> bool {
        let mut busy = false;
        for set in self.sets.view.all() {
            if self.faulty && self.below(3) == 0 {
                continue;
            }
            busy |= self.run_set(&set);
        }
        busy
    }

    fn run_set(&mut self, set: &Arc<ReplicaSet>) -> bool {
        let uid = meta::uid(&set.metadata).to_owned();
        let mut ledger = self.ledgers.remove(&uid).unwrap_or_default();
        for name in ledger.doubtful() {
            let found = self
                .pods
                .objects
                .values()
                .any(|pod| meta::name(&pod.metadata) == name);
            let stage = found.then(|| Stage::Answered(self.pods.view.begun()));
            ledger.created(&name, stage);
        }
        let pods: Vec<_> = self.pods.view.all();
        let pods: Vec<_> = pods
            .into_iter()
            .filter(|pod| replicasets::concerns(set, pod))
            .collect();
        let claim = replicasets::claim(set, &pods, &ledger);
        let mut busy = false;
        for step in replicasets::plan(set, &claim, &ledger, &|_| 1) {
            busy = true;
            match step {
                Step::Create(count) => (0..count).for_each(|_| self.create_pod(set, &mut ledger)),
                Step::Delete(pod) => {
                    self.delete_pod(&Key::of(&*pod), meta::uid(&pod.metadata), &mut ledger);
                }
                Step::Adopt(_) | Step::Release(_) => panic!("nothing to adopt or release here"),
            }
        }
        let after = replicasets::claim(set, &pods, &ledger);
        let (told, _) = replicasets::status(set, &after, &ledger, None, self.now);
        if set.status.as_ref() != Some(&told) && !self.fails() {
            busy = true;
            let version = self.next_version();
            let base = set.metadata.resource_version.as_deref();
            let key = Key::of(&**set);
            if let Ok(changed) = self
                .sets
                .update(&key, base, version, |set| set.status = Some(told))
            {
                self.sets.view.learn(base, changed);
            }
        }
        self.ledgers.insert(uid, ledger);
        busy
    }

    fn create_pod(&mut self, set: &ReplicaSet, ledger: &mut Ledger) {
        let version = self.next_version();
        let name = replicasets::pod_name(meta::name(&set.metadata), version);
        ledger.will_create(&name);
        if self.fails() {
            // Nobody knows whether it arrived: here it did not.
            return ledger.created(&name, Some(Stage::Doubtful));
        }
        let mut pod = replicasets::from_template(set, &name);
        pod.metadata.creation_timestamp = Some(meta::to_time(self.now));
        self.pods.create(pod, version).expect("a name of its own");
        let stage = match self.fails() {
            true => Stage::Doubtful,
            false => Stage::Answered(self.pods.view.begun()),
        };
        ledger.created(&name, Some(stage));
    }

    fn delete_pod(&mut self, key: &Key, uid: &str, ledger: &mut Ledger) {
        ledger.will_delete(uid);
        if self.fails() {
            return ledger.deleted(uid, None);
        }
        let version = self.next_version();
        let now = meta::to_time(self.now);
        // Gone already is as good.
        let _ = self.pods.update(key, None, version, |pod| {
            pod.metadata.deletion_timestamp.get_or_insert(now);
        });
        let lost = self.fails();
        let stage = Stage::Answered(self.pods.view.begun());
        ledger.deleted(uid, (!lost).then_some(stage));
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
