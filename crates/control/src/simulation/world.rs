//! The cluster in memory, what users and nodes do in it, and what must hold.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::store::Store;
use crate::deployments::fixtures::{deployment, set_image};
use crate::deployments::{Limits, is_recreate, limits, replicas};
use crate::ledger::Ledger;
use crate::meta::{self, Key};

/// The true state of Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) active: usize,
    pub(super) available: usize,
}

#[derive(Debug)]
pub(super) struct World {
    random: u64,
    version: u64,
    pub(super) now: Timestamp,
    pub(super) deployments: Store<Deployment>,
    pub(super) sets: Store<ReplicaSet>,
    pub(super) pods: Store<Pod>,
    /// By the uid of the set, and of the Deployment.
    pub(super) ledgers: BTreeMap<String, Ledger>,
    /// Whether requests may fail.
    pub(super) faulty: bool,
}

impl World {
    pub(super) fn new(seed: u64, replicas: i32, surge: i32, unavailable: i32) -> Self {
        let mut world = Self {
            random: seed,
            version: 1,
            now: Timestamp::from_second(1_000_000).expect("a time"),
            deployments: Store::new(),
            sets: Store::new(),
            pods: Store::new(),
            ledgers: BTreeMap::new(),
            faulty: false,
        };
        let mut wished = deployment(replicas);
        let strategy = json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        wished.spec.strategy = serde_json::from_value(strategy).ok();
        let version = world.next_version();
        world
            .deployments
            .create(wished, version)
            .expect("the first");
        world
    }

    /// A random number below a bound.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(super) fn deployment(&self) -> &Deployment {
        self.deployments
            .objects
            .values()
            .next()
            .expect("the Deployment")
    }

    pub(super) fn limits(&self) -> Limits {
        limits(self.deployment())
    }

    pub(super) fn truth(&self) -> Truth {
        let active = self
            .pods
            .objects
            .values()
            .filter(|pod| meta::is_active(pod));
        let ready = active.clone().filter(|pod| meta::is_ready(pod));
        Truth {
            active: active.count(),
            available: ready.count(),
        }
    }

    fn wish(&mut self, change: impl FnOnce(&mut Deployment)) {
        let version = self.next_version();
        let key = Key::of(self.deployment());
        let changed = self.deployments.update(&key, None, version, change);
        changed.expect("the Deployment");
    }

    pub(super) fn set_version(&mut self, number: u64) {
        self.wish(|wished| set_image(wished, &format!("web:{number}")));
    }

    pub(super) fn use_recreate(&mut self) {
        self.wish(|wished| {
            wished.spec.strategy = serde_json::from_value(json!({"type": "Recreate"})).ok();
        });
    }

    /// What users do.
    pub(super) fn meddle(&mut self) {
        let number = self.below(4);
        match self.below(3) {
            0 => self.set_version(number),
            1 => self.wish(|wished| {
                wished.spec.replicas = i32::try_from(number * 2).ok();
                *wished.metadata.generation.get_or_insert(0) += 1;
            }),
            _ => self.wish(|wished| {
                wished.spec.paused = Some(wished.spec.paused != Some(true));
                *wished.metadata.generation.get_or_insert(0) += 1;
            }),
        }
    }

    fn some_pod(&mut self, test: impl Fn(&Pod) -> bool) -> Option<Key> {
        let keys: Vec<Key> = self
            .pods
            .objects
            .values()
            .filter(|pod| test(pod))
            .map(Key::of)
            .collect();
        let index = self.below(u64::try_from(keys.len()).expect("few").max(1));
        keys.into_iter().nth(usize::try_from(index).expect("small"))
    }

    pub(super) fn fail_a_pod(&mut self) {
        if let Some(key) = self.some_pod(meta::is_active) {
            let version = self.next_version();
            let failed = self.pods.update(&key, None, version, |pod| {
                pod.status = serde_json::from_value(json!({"phase": "Failed"})).ok();
            });
            failed.expect("the Pod");
        }
    }

    /// What nodes do: one Pod gets ready, or one that was asked to go is gone.
    pub(super) fn tend(&mut self) -> bool {
        if self.below(2) == 0
            && let Some(key) = self.some_pod(|pod| meta::is_terminating(&pod.metadata))
        {
            return self.pods.remove(&key).is_ok();
        }
        let waits = |pod: &Pod| meta::is_active(pod) && !meta::is_ready(pod);
        let Some(key) = self.some_pod(waits) else {
            let going = self.some_pod(|pod| meta::is_terminating(&pod.metadata));
            return going.is_some_and(|key| self.pods.remove(&key).is_ok());
        };
        let version = self.next_version();
        let since = meta::to_time(self.now);
        let ready = self.pods.update(&key, None, version, |pod| {
            pod.status = serde_json::from_value(json!({"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": since}]}))
            .ok();
        });
        ready.is_ok()
    }

    /// One random event.
    pub(super) fn disturb(&mut self) {
        self.faulty = true;
        let many = usize::try_from(self.below(4)).expect("small");
        match self.below(12) {
            0..3 => self.deliver_pods(many),
            3 => self.deliver_sets(many),
            4 => drop(self.deployments.deliver(many)),
            5..7 => drop(self.run_deployment()),
            7..9 => drop(self.run_sets()),
            9..11 => drop(self.tend()),
            _ if self.below(6) == 0 => self.restart(),
            _ => self.now += SignedDuration::from_secs(1),
        }
        self.faulty = false;
    }

    /// Controllers start anew, and see everything.
    fn restart(&mut self) {
        self.ledgers.clear();
        self.deployments.relist();
        self.sets.relist();
        self.pods.relist();
    }

    /// Without faults, until nothing happens any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..2000 {
            self.deployments.deliver(usize::MAX);
            self.deliver_sets(usize::MAX);
            self.deliver_pods(usize::MAX);
            let busy = self.run_deployment() | self.run_sets() | self.tend();
            if !busy {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.truth());
    }

    /// The end is what was wished for.
    pub(super) fn assert_done(&self) {
        let wished = self.deployment();
        if wished.spec.paused == Some(true) {
            return;
        }
        let count = usize::try_from(replicas(wished)).expect("small");
        let truth = self.truth();
        assert_eq!(
            (truth.active, truth.available),
            (count, count),
            "recreate: {}",
            is_recreate(wished)
        );
        let image = |spec: Option<&k8s_openapi::api::core::v1::PodSpec>| {
            spec.and_then(|spec| spec.containers[0].image.clone())
        };
        let expected = image(wished.spec.template.spec.as_ref());
        for pod in self
            .pods
            .objects
            .values()
            .filter(|pod| meta::is_active(pod))
        {
            assert_eq!(image(pod.spec.as_ref()), expected);
        }
        let status = wished.status.clone().expect("a status");
        assert_eq!(status.updated_replicas.unwrap_or(0), replicas(wished));
        assert_eq!(status.available_replicas.unwrap_or(0), replicas(wished));
        assert_eq!(status.unavailable_replicas, None);
        assert_eq!(status.observed_generation, wished.metadata.generation);
        let conditions = status.conditions.unwrap_or_default();
        let reason = |kind: &str| {
            let mut conditions = conditions.iter();
            let found = conditions.find(|c| c.type_.as_deref() == Some(kind));
            found.and_then(|condition| condition.reason.clone())
        };
        assert_eq!(
            reason("Available").as_deref(),
            Some("MinimumReplicasAvailable")
        );
        assert_eq!(
            reason("Progressing").as_deref(),
            Some("NewReplicaSetAvailable")
        );
        let old = self.sets.objects.len().saturating_sub(1);
        assert!(old <= 2, "history beyond the limit: {old} old sets");
    }
}
