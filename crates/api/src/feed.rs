//! Changes of watched nodes and Pods as the cluster events of an agent. Pure.
//!
//! An object that cannot be right gives a problem, and no event: its last good version stays
//! until a better one comes or it is deleted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use seaway_model::{ClusterEvent, NodeName, PodName};

use crate::convert::{self, FieldError};
use crate::{Change, ObjectKey, Problem};

/// What became of one kind's watch.
#[derive(Debug, Default)]
struct Kind {
    synced: bool,
    watch: Vec<Problem>,
    objects: BTreeMap<ObjectKey, Problem>,
}

impl Kind {
    fn judge<T>(
        &mut self,
        kind: &str,
        key: &ObjectKey,
        converted: Result<T, FieldError>,
    ) -> Option<T> {
        match converted {
            Ok(good) => {
                self.objects.remove(key);
                Some(good)
            }
            Err(error) => {
                self.objects.insert(key.clone(), error.of(kind, key));
                None
            }
        }
    }

    fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.watch.iter().chain(self.objects.values())
    }
}

/// Turns the changes of two watches into one stream of events.
#[derive(Debug, Default)]
pub struct ClusterFeed {
    nodes: Kind,
    pods: Kind,
    synced: bool,
}

impl ClusterFeed {
    /// The events that follow from changes of nodes. [`ClusterEvent::Synced`] comes once, when
    /// both watches have told everything.
    pub fn nodes(&mut self, changes: Vec<Change<core::Node>>) -> Vec<ClusterEvent> {
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Upsert(key, node) => {
                    let good = self.nodes.judge("node", &key, convert::node(&node));
                    if let (Some(_), Err(error)) = (&good, convert::transport(&node)) {
                        let problem = error.passed_over("node", &key);
                        self.nodes.objects.insert(key, problem);
                    }
                    events.extend(good.map(ClusterEvent::NodeUpsert));
                }
                Change::Delete(key, _) => {
                    self.nodes.objects.remove(&key);
                    events.extend(NodeName::new(key.name).ok().map(ClusterEvent::NodeDelete));
                }
                Change::Synced => self.nodes.synced = true,
                Change::Problems(problems) => self.nodes.watch = problems,
            }
        }
        events.extend(self.newly_synced());
        events
    }

    /// The events that follow from changes of Pods.
    pub fn pods(&mut self, changes: Vec<Change<core::Pod>>) -> Vec<ClusterEvent> {
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Upsert(key, pod) => {
                    let pod = self.pods.judge("Pod", &key, convert::pod(&pod));
                    events.extend(pod.map(ClusterEvent::PodUpsert));
                }
                Change::Delete(key, _) => {
                    self.pods.objects.remove(&key);
                    let namespace = key.namespace.unwrap_or_default();
                    let name = PodName::new(&namespace, &key.name);
                    events.extend(name.ok().map(ClusterEvent::PodDelete));
                }
                Change::Synced => self.pods.synced = true,
                Change::Problems(problems) => self.pods.watch = problems,
            }
        }
        events.extend(self.newly_synced());
        events
    }

    fn newly_synced(&mut self) -> Option<ClusterEvent> {
        let now = self.nodes.synced && self.pods.synced;
        let news = now && !self.synced;
        self.synced |= now;
        news.then_some(ClusterEvent::Synced)
    }

    /// All that is wrong at present, in words; `None` when nothing is.
    pub fn problem(&self) -> Option<String> {
        let mut texts: Vec<String> = Vec::new();
        for problem in self.nodes.problems().chain(self.pods.problems()) {
            let text = problem.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn node(name: &str, cidr: &str) -> Change<core::Node> {
        let value = json!({"metadata": {"name": name}, "spec": {"podCIDRs": [cidr]}});
        let node = serde_json::from_value(value).expect("a Node");
        Change::Upsert(ObjectKey::cluster(name), Arc::new(node))
    }

    #[test]
    fn synced_comes_once_and_after_both_kinds() {
        let mut feed = ClusterFeed::default();
        assert_eq!(feed.nodes(vec![Change::Synced]), []);
        assert_eq!(feed.pods(vec![Change::Synced]), [ClusterEvent::Synced]);
        assert_eq!(feed.pods(vec![Change::Synced]), []);
    }

    #[test]
    fn garbage_gives_a_problem_and_no_event_until_it_is_mended() {
        let mut feed = ClusterFeed::default();
        assert_eq!(feed.nodes(vec![node("a", "10.0.0.0/24")]).len(), 1);
        assert_eq!(feed.nodes(vec![node("a", "garbage")]), []);
        let problem = feed.problem().expect("a problem");
        assert!(
            problem.contains("node a: spec.podCIDRs: \"garbage\""),
            "{problem}"
        );
        assert!(problem.contains("last good version"), "{problem}");
        assert_eq!(feed.nodes(vec![node("a", "10.0.1.0/24")]).len(), 1);
        assert_eq!(feed.problem(), None);
        feed.nodes(vec![node("a", "garbage")]);
        let Change::Upsert(key, object) = node("a", "garbage") else {
            unreachable!("made above");
        };
        assert_eq!(feed.nodes(vec![Change::Delete(key, object)]).len(), 1);
        assert_eq!(feed.problem(), None);
    }

    #[test]
    fn a_transport_that_nobody_knows_is_a_problem_and_no_more() {
        let mut feed = ClusterFeed::default();
        let node = |transport: &str| {
            let annotations = json!({convert::TRANSPORT_ANNOTATION: transport});
            let value = json!({"metadata": {"name": "a", "annotations": annotations}});
            let node = serde_json::from_value(value).expect("a Node");
            Change::Upsert(ObjectKey::cluster("a"), Arc::new(node))
        };
        assert_eq!(feed.nodes(vec![node("pigeon")]).len(), 1);
        let problem = feed.problem().expect("a problem");
        assert!(problem.contains("\"pigeon\" is no transport"), "{problem}");
        assert!(problem.contains("passed over"), "{problem}");
        assert_eq!(feed.nodes(vec![node("vxlan")]).len(), 1);
        assert_eq!(feed.problem(), None);
    }

    #[test]
    fn the_problems_of_both_watches_are_told_each_once() {
        let mut feed = ClusterFeed::default();
        let away = Problem::Away {
            operation: "get namespace kube-system".to_owned(),
            reason: "connection refused".to_owned(),
        };
        feed.nodes(vec![Change::Problems(vec![away.clone()])]);
        feed.pods(vec![Change::Problems(vec![away])]);
        let problem = feed.problem().expect("a problem");
        assert_eq!(problem, "get namespace kube-system: connection refused");
        feed.nodes(vec![Change::Problems(vec![])]);
        feed.pods(vec![Change::Problems(vec![])]);
        assert_eq!(feed.problem(), None);
    }
}
