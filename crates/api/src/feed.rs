//! Changes of what is watched as the cluster events of an agent. Pure.
//!
//! An object that cannot be right gives a problem, and no event: its last good version stays
//! until a better one comes or it is deleted.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use seaway_model::{
    ClusterEvent, EndpointSlice, NodeName, PodName, Service, ServiceName, SliceName,
};

use crate::convert::{self, FieldError, Read};
use crate::parcel::Parcel;
use crate::{Change, ObjectKey, Problem};

/// How many objects are named when many are wrong.
const NAMED: usize = 8;

/// A Service as a watch hands it on.
pub type ServiceParcel = Parcel<Result<Read<Service>, FieldError>>;
/// A slice as a watch hands it on.
pub type SliceParcel = Parcel<SliceContent>;

/// What a slice says.
#[derive(Debug)]
pub struct SliceContent {
    read: Result<Option<Read<EndpointSlice>>, FieldError>,
    /// When it happened.
    trigger: Option<SystemTime>,
}

/// What an agent needs of a Service.
pub fn service_parcel(object: &core::Service) -> ServiceParcel {
    Parcel::new(convert::service(object))
}

/// What an agent needs of a slice.
pub fn slice_parcel(object: &discovery::EndpointSlice) -> SliceParcel {
    Parcel::new(SliceContent {
        read: convert::slice(object),
        trigger: convert::trigger_time(object),
    })
}

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

    /// Notes fields that are passed over: the first, and how many more there are.
    fn pass_over(&mut self, kind: &str, key: &ObjectKey, fields: Vec<FieldError>) {
        let more = fields.len().saturating_sub(1);
        if let Some(mut first) = fields.into_iter().next() {
            if more > 0 {
                first
                    .reason
                    .push_str(&format!(" (and {more} more like it)"));
            }
            self.objects
                .insert(key.clone(), first.passed_over(kind, key));
        }
    }
}

/// Turns the changes of the watches into one stream of events.
#[derive(Debug, Default)]
pub struct ClusterFeed {
    nodes: Kind,
    pods: Kind,
    /// Services and slices, if they are followed.
    balancing: Option<Balancing>,
    synced: bool,
}

#[derive(Debug, Default)]
struct Balancing {
    services: Kind,
    slices: Kind,
    triggers: Vec<SystemTime>,
}

impl ClusterFeed {
    /// A feed of Services and slices, too: nothing is synced before they are.
    pub fn with_services() -> ClusterFeed {
        ClusterFeed {
            balancing: Some(Balancing::default()),
            ..ClusterFeed::default()
        }
    }

    /// The events that follow from changes of nodes. [`ClusterEvent::Synced`] comes once, when
    /// all watches have told everything.
    pub fn nodes(&mut self, changes: Vec<Change<core::Node>>) -> Vec<ClusterEvent> {
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Upsert(key, node) => {
                    let good = self.nodes.judge("node", &key, convert::node(&node));
                    if let (Some(_), Err(error)) = (&good, convert::transport(&node)) {
                        self.nodes.pass_over("node", &key, vec![error]);
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
                    let (namespace, name) = parts(&key);
                    let name = PodName::new(namespace, name);
                    events.extend(name.ok().map(ClusterEvent::PodDelete));
                }
                Change::Synced => self.pods.synced = true,
                Change::Problems(problems) => self.pods.watch = problems,
            }
        }
        events.extend(self.newly_synced());
        events
    }

    /// The events that follow from changes of Services. Takes the parcels' content.
    pub fn services(&mut self, changes: Vec<Change<ServiceParcel>>) -> Vec<ClusterEvent> {
        let mut events = Vec::with_capacity(changes.len());
        let all = &mut self.balancing.get_or_insert_default().services;
        for change in changes {
            match change {
                Change::Upsert(key, parcel) => {
                    let read = parcel.take();
                    let good = read.and_then(|read| all.judge("Service", &key, read));
                    events.extend(good.map(|read| {
                        all.pass_over("Service", &key, read.passed_over);
                        ClusterEvent::ServiceUpsert(read.value)
                    }));
                }
                Change::Delete(key, _) => {
                    all.objects.remove(&key);
                    let (namespace, name) = parts(&key);
                    let name = ServiceName::new(namespace, name);
                    events.extend(name.ok().map(ClusterEvent::ServiceDelete));
                }
                Change::Synced => all.synced = true,
                Change::Problems(problems) => all.watch = problems,
            }
        }
        events.extend(self.newly_synced());
        events
    }

    /// The events that follow from changes of slices. Takes the parcels' content.
    pub fn slices(&mut self, changes: Vec<Change<SliceParcel>>) -> Vec<ClusterEvent> {
        let mut events = Vec::with_capacity(changes.len());
        let synced = self.synced;
        let balancing = self.balancing.get_or_insert_default();
        for change in changes {
            match change {
                Change::Upsert(key, parcel) => {
                    let Some(content) = parcel.take() else {
                        continue;
                    };
                    balancing
                        .triggers
                        .extend(content.trigger.filter(|_| synced));
                    let good = balancing.slices.judge("EndpointSlice", &key, content.read);
                    events.extend(good.and_then(|read| balancing.slice(&key, read)));
                }
                Change::Delete(key, _) => {
                    balancing.slices.objects.remove(&key);
                    events.extend(slice_gone(&key));
                }
                Change::Synced => balancing.slices.synced = true,
                Change::Problems(problems) => balancing.slices.watch = problems,
            }
        }
        events.extend(self.newly_synced());
        events
    }

    /// When what the slices told since the last call had happened, as far as they say so (S44).
    pub fn take_triggers(&mut self) -> Vec<SystemTime> {
        let balancing = self.balancing.as_mut();
        balancing
            .map(|all| std::mem::take(&mut all.triggers))
            .unwrap_or_default()
    }

    fn kinds(&self) -> impl Iterator<Item = &Kind> {
        let balancing = self.balancing.iter();
        [&self.nodes, &self.pods]
            .into_iter()
            .chain(balancing.flat_map(|all| [&all.services, &all.slices]))
    }

    fn newly_synced(&mut self) -> Option<ClusterEvent> {
        let now = self.kinds().all(|kind| kind.synced);
        let news = now && !self.synced;
        self.synced |= now;
        news.then_some(ClusterEvent::Synced)
    }

    /// All that is wrong at present, in words; `None` when nothing is.
    pub fn problem(&self) -> Option<String> {
        let mut texts: Vec<String> = Vec::new();
        for problem in self.kinds().flat_map(|kind| &kind.watch) {
            let text = problem.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts.extend(self.refused());
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Objects that are wrong, or of which something is passed over: the first few, in words.
    pub fn refused(&self) -> Option<String> {
        let all = self.kinds().flat_map(|kind| kind.objects.values());
        let mut texts: Vec<String> = all.take(NAMED).map(ToString::to_string).collect();
        let count: usize = self.kinds().map(|kind| kind.objects.len()).sum();
        if count > texts.len() {
            texts.push(format!(
                "{} more objects are like that",
                count - texts.len()
            ));
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

impl Balancing {
    /// A slice that leads nowhere (any more) is as good as gone.
    fn slice(
        &mut self,
        key: &ObjectKey,
        read: Option<Read<EndpointSlice>>,
    ) -> Option<ClusterEvent> {
        let Some(read) = read else {
            return slice_gone(key);
        };
        self.slices
            .pass_over("EndpointSlice", key, read.passed_over);
        Some(ClusterEvent::SliceUpsert(read.value))
    }
}

fn slice_gone(key: &ObjectKey) -> Option<ClusterEvent> {
    let (namespace, name) = parts(key);
    let name = SliceName::new(namespace, name);
    name.ok().map(ClusterEvent::SliceDelete)
}

fn parts(key: &ObjectKey) -> (&str, &str) {
    (key.namespace.as_deref().unwrap_or_default(), &key.name)
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

    fn slice_change(name: &str, mut value: serde_json::Value) -> Change<SliceParcel> {
        value["metadata"]["name"] = json!(name);
        value["metadata"]["namespace"] = json!("default");
        let slice = serde_json::from_value(value).expect("an EndpointSlice");
        let key = ObjectKey::namespaced("default", name);
        Change::Upsert(key, Arc::new(slice_parcel(&slice)))
    }

    fn service_change(name: &str, port: u32) -> Change<ServiceParcel> {
        let value = json!({"metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]}});
        let service = serde_json::from_value(value).expect("a Service");
        let key = ObjectKey::namespaced("default", name);
        Change::Upsert(key, Arc::new(service_parcel(&service)))
    }

    #[test]
    fn services_are_waited_for_where_they_are_followed() {
        let mut feed = ClusterFeed::with_services();
        assert_eq!(feed.nodes(vec![Change::Synced]), []);
        assert_eq!(feed.pods(vec![Change::Synced]), []);
        assert_eq!(feed.services(vec![Change::Synced]), []);
        assert_eq!(feed.slices(vec![Change::Synced]), [ClusterEvent::Synced]);
    }

    #[test]
    fn a_bad_service_leaves_the_last_good_one_and_a_bad_endpoint_the_others() {
        let mut feed = ClusterFeed::with_services();
        assert_eq!(feed.services(vec![service_change("web", 80)]).len(), 1);
        assert_eq!(feed.services(vec![service_change("web", 99_999)]), []);
        let refused = feed.refused().expect("told");
        assert!(
            refused.contains("Service default/web: spec.ports.port: 99999"),
            "{refused}"
        );
        assert!(refused.contains("last good version"), "{refused}");
        let endpoints = json!({"metadata": {"labels": {convert::SERVICE_NAME_LABEL: "web"}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n"},
                {"addresses": ["010.0.0.1"]}, {"addresses": ["x"]}]});
        let events = feed.slices(vec![slice_change("web-x", endpoints.clone())]);
        let [ClusterEvent::SliceUpsert(slice)] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(slice.endpoints.len(), 1);
        let problem = feed.problem().expect("told");
        assert!(
            problem.contains("EndpointSlice default/web-x: endpoints.addresses"),
            "{problem}"
        );
        assert!(
            problem.contains("(and 1 more like it); it is passed over"),
            "{problem}"
        );
        // Somebody takes the label away: its endpoints are nobody's.
        let mut nobodys = endpoints;
        nobodys["metadata"] = json!({});
        let events = feed.slices(vec![slice_change("web-x", nobodys)]);
        assert!(
            matches!(events[..], [ClusterEvent::SliceDelete(_)]),
            "{events:?}"
        );
        assert_eq!(feed.services(vec![service_change("web", 80)]).len(), 1);
        assert_eq!(feed.problem(), None);
    }

    #[test]
    fn a_thousand_bad_objects_are_told_in_few_words() {
        let mut feed = ClusterFeed::with_services();
        let all = (0..1000).map(|i| service_change(&format!("s{i}"), 0));
        feed.services(all.collect());
        let refused = feed.refused().expect("told");
        assert!(
            refused.ends_with("; 992 more objects are like that"),
            "{refused}"
        );
    }

    #[test]
    fn s44_only_what_happens_after_the_first_list_counts() {
        let mut feed = ClusterFeed::with_services();
        let slice = || {
            let time = json!({convert::TRIGGER_TIME_ANNOTATION: "2025-01-01T00:00:00Z"});
            slice_change(
                "a",
                json!({"metadata": {"annotations": time}, "addressType": "IPv4",
                "endpoints": []}),
            )
        };
        feed.slices(vec![slice(), Change::Synced]);
        assert_eq!(feed.take_triggers(), []);
        feed.nodes(vec![Change::Synced]);
        feed.pods(vec![Change::Synced]);
        feed.services(vec![Change::Synced]);
        feed.slices(vec![slice()]);
        assert_eq!(feed.take_triggers().len(), 1);
        assert_eq!(feed.take_triggers(), []);
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
