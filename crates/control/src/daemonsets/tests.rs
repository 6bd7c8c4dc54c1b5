//! Tables for the decisions of a DaemonSet.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::fixtures::{daemon_set, node, pod, recorded, set_image};
use super::*;

const NOW: i64 = 1000;
const WELL: Option<i64> = Some(1);

fn rolling(unavailable: &Value, surge: &Value) -> DaemonSet {
    daemon_set(&json!({"type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}))
}

fn usual() -> DaemonSet {
    rolling(&json!(1), &json!(0))
}

/// What there is beside the set.
#[derive(Default)]
struct There {
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    revisions: Vec<Arc<ControllerRevision>>,
    ledger: Ledger,
    unseen: bool,
    retry_at: Option<Timestamp>,
}

impl There {
    /// Ready nodes and the revision of the set.
    fn of(set: &DaemonSet, nodes: &[&str]) -> There {
        There {
            nodes: nodes.iter().map(|name| node(name, &[])).collect(),
            revisions: vec![recorded(set, 1)],
            ..There::default()
        }
    }

    fn with(mut self, pods: impl IntoIterator<Item = Pod>) -> There {
        self.pods.extend(pods.into_iter().map(Arc::new));
        self
    }

    fn plan(&self, set: &DaemonSet) -> Plan {
        plan(&Input {
            set,
            nodes: &self.nodes,
            pods: &self.pods,
            revisions: &self.revisions,
            ledger: &self.ledger,
            unseen: self.unseen,
            retry_at: &|_| self.retry_at.unwrap_or(Timestamp::MIN),
            now: Timestamp::from_second(NOW).expect("a time"),
        })
    }

    /// The steps in words, without the status.
    fn steps(&self, set: &DaemonSet) -> Vec<String> {
        let name = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            meta.name.clone().unwrap_or_default()
        };
        let number = |revision: &ControllerRevision| revision.revision.unwrap_or_default();
        let say = |step: &Step| match step {
            Step::Adopt(pod) => Some(format!("adopt {}", name(&pod.metadata))),
            Step::Release(pod) => Some(format!("release {}", name(&pod.metadata))),
            Step::AdoptRevision(r) => Some(format!("adopt revision {}", number(r))),
            Step::ReleaseRevision(r) => Some(format!("release revision {}", number(r))),
            Step::Record(r) => Some(format!("record {}", number(r))),
            Step::Renumber(r, to) => Some(format!("renumber {} {to}", number(r))),
            Step::Forget(r) => Some(format!("forget {}", number(r))),
            Step::Create { node, .. } => Some(format!("create {node}")),
            Step::Delete(pod) => Some(format!("delete {}", name(&pod.metadata))),
            Step::Bury { pod, node } => Some(format!("bury {} {node}", name(&pod.metadata))),
            Step::Status(_) => None,
        };
        self.plan(set).steps.iter().filter_map(say).collect()
    }

    fn status(&self, set: &DaemonSet) -> DaemonSetStatus {
        let steps = self.plan(set).steps;
        let told = steps.into_iter().find_map(|step| match step {
            Step::Status(status) => Some(*status),
            _ => None,
        });
        told.expect("a status")
    }
}

fn failed(set: &DaemonSet, node: &str, name: &str) -> Pod {
    let mut pod = pod(set, node, name, None);
    pod.status = serde_json::from_value(json!({"phase": "Failed"})).ok();
    pod
}

fn leaving(mut pod: Pod) -> Pod {
    pod.metadata.deletion_timestamp = Some(meta::to_time(Timestamp::UNIX_EPOCH));
    pod
}

#[test]
fn the_template_is_recorded_before_any_pod() {
    let set = usual();
    let mut there = There {
        nodes: vec![node("a", &[])],
        ..There::default()
    };
    assert_eq!(there.steps(&set), ["record 1"]);
    there.unseen = true;
    assert!(there.plan(&set).steps.is_empty(), "it is on its way");
    let revision = recorded(&set, 1);
    let annotations = revision.metadata.annotations.clone().expect("annotations");
    assert_eq!(
        annotations.into_iter().collect::<Vec<_>>(),
        [(
            "kubernetes.io/change-cause".to_owned(),
            "because".to_owned()
        )]
    );
    assert_eq!(
        revision.data.0,
        json!({"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "agent"}},
            "spec": {"containers": [{"image": "agent:1", "name": "main", "resources": {}}]}}}})
    );
}

#[test]
fn every_node_that_fits_has_one_pod() {
    let set = usual();
    let there = There::of(&set, &["a", "b", "c"]).with([
        pod(&set, "a", "a1", WELL),
        pod(&set, "b", "b1", WELL),
        pod(&set, "b", "b2", WELL),
        pod(&set, "gone", "bound", WELL),
    ]);
    assert_eq!(there.steps(&set), ["delete b2", "create c"]);
    let mut stray = pod(&set, "gone", "stray", None);
    stray.spec.as_mut().expect("a spec").node_name = None;
    let there = There::of(&set, &[]).with([stray]);
    assert_eq!(there.steps(&set), ["delete stray"]);
    let there = There::of(&set, &["a"]).with([leaving(pod(&set, "a", "a1", WELL))]);
    assert_eq!(there.steps(&set), [""; 0], "it is waited for");
}

/// Taints of a node, and the steps without a Pod there and with one.
type Case = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static [&'static str],
);

#[test]
fn taints_selectors_and_readiness_decide() {
    let mut set = usual();
    let pods = |set: &DaemonSet| [pod(set, "a", "a1", WELL)];
    let cases: [Case; 6] = [
        (&[("x", "NoSchedule")], &[], &[]),
        (&[("x", "NoExecute")], &[], &["delete a1"]),
        (&[("x", "PreferNoSchedule")], &["create a"], &[]),
        (
            &[("node.kubernetes.io/unreachable", "NoExecute")],
            &["create a"],
            &[],
        ),
        (
            &[("node.kubernetes.io/unschedulable", "NoSchedule")],
            &["create a"],
            &[],
        ),
        (
            &[("node.kubernetes.io/network-unavailable", "NoSchedule")],
            &[],
            &[],
        ),
    ];
    for (taints, without, with) in cases {
        let mut there = There::of(&set, &[]);
        there.nodes = vec![node("a", taints)];
        assert_eq!(there.steps(&set), without, "{taints:?}");
        let there = there.with(pods(&set));
        assert_eq!(there.steps(&set), with, "{taints:?}");
    }
    let unready = json!({"metadata": {"name": "a"}, "status": {}});
    let mut there = There::of(&set, &[]);
    there.nodes = vec![Arc::new(serde_json::from_value(unready).expect("a Node"))];
    assert_eq!(there.steps(&set), [""; 0]);
    let spec = set.spec.template.spec.as_mut().expect("a spec");
    spec.node_selector = Some([("zone".to_owned(), "b".to_owned())].into());
    let there = There::of(&set, &["a", "b"]).with(pods(&set));
    assert_eq!(there.steps(&set), ["delete a1", "create b"]);
    assert_eq!(there.status(&set).number_misscheduled, 1);
}

#[test]
fn what_has_ended_is_replaced_with_patience() {
    let set = usual();
    let mut there = There::of(&set, &["a"]).with([failed(&set, "a", "a1")]);
    assert_eq!(there.steps(&set), ["bury a1 a"]);
    let later = Timestamp::from_second(NOW + 5).expect("a time");
    there.retry_at = Some(later);
    assert_eq!(there.steps(&set), [""; 0]);
    assert_eq!(there.plan(&set).again, Some(later));
    let mut over = There::of(&set, &["a"]).with([leaving(failed(&set, "a", "a1"))]);
    assert_eq!(over.steps(&set), ["create a"], "it ended and goes");
    over.ledger.will_create("a2");
    assert_eq!(over.steps(&set), [""; 0], "one is on its way");
}

#[test]
fn old_pods_go_as_fast_as_the_limit_allows() {
    let old = usual();
    let cases = [
        (json!(1), vec!["delete a1"]),
        (json!(2), vec!["delete a1", "delete b1"]),
        (json!("34%"), vec!["delete a1", "delete b1"]),
        (json!("0%"), vec!["delete a1"]),
    ];
    for (limit, expected) in cases {
        let mut set = rolling(&limit, &json!(0));
        set_image(&mut set, "agent:2");
        let mut there = There::of(&set, &["a", "b", "c"]).with([
            pod(&old, "a", "a1", WELL),
            pod(&old, "b", "b1", WELL),
            pod(&old, "c", "c1", WELL),
        ]);
        assert_eq!(there.steps(&set), expected, "{limit}");
        there.pods[2] = Arc::new(pod(&old, "c", "c1", None));
        let steps = there.steps(&set);
        assert_eq!(steps[0], "delete c1", "it serves nobody: {limit}");
        assert_eq!(steps.len(), expected.len(), "{limit}");
    }
    let mut set = daemon_set(&json!({"type": "OnDelete"}));
    set_image(&mut set, "agent:2");
    let there = There::of(&set, &["a"]).with([pod(&old, "a", "a1", WELL)]);
    assert_eq!(there.steps(&set), [""; 0]);
    assert_eq!(there.status(&set).updated_number_scheduled, None);
}

#[test]
fn a_surge_brings_the_new_pod_before_the_old_one_goes() {
    let old = usual();
    let mut set = rolling(&json!(0), &json!(1));
    set_image(&mut set, "agent:2");
    let both = || {
        There::of(&set, &["a", "b"]).with([pod(&old, "a", "a1", WELL), pod(&old, "b", "b1", WELL)])
    };
    assert_eq!(both().steps(&set), ["create a"]);
    let there = both().with([pod(&set, "a", "a2", None)]);
    assert_eq!(there.steps(&set), [""; 0], "it is not ready");
    assert_eq!(there.status(&set).number_available, Some(2));
    let there = both().with([pod(&set, "a", "a2", WELL)]);
    assert_eq!(there.steps(&set), ["delete a1"]);
    let there = both().with([pod(&set, "a", "a2", WELL), pod(&set, "a", "a3", WELL)]);
    assert_eq!(there.steps(&set), ["delete a1", "delete a3"]);
    let mut there = both();
    there.pods[1] = Arc::new(pod(&old, "b", "b1", None));
    assert_eq!(there.steps(&set), ["create b", "create a"]);
}

#[test]
fn a_template_that_returns_gets_its_revision_back() {
    let first = usual();
    let mut second = first.clone();
    set_image(&mut second, "agent:2");
    let mut third = first.clone();
    set_image(&mut third, "agent:3");
    let mut there = There {
        revisions: vec![recorded(&first, 1), recorded(&second, 2)],
        ..There::default()
    };
    assert_eq!(there.steps(&first), ["renumber 1 3"]);
    assert_eq!(there.steps(&second), [""; 0]);
    assert_eq!(there.steps(&third), ["record 3"]);
    there.revisions.push(recorded(&third, 3));
    assert_eq!(there.steps(&third), ["forget 1"], "one old one is kept");
    there.nodes = vec![node("a", &[("x", "NoSchedule")])];
    let there = there.with([pod(&first, "a", "a1", WELL)]);
    assert_eq!(there.steps(&third), ["forget 2"], "a Pod names the first");
}

#[test]
fn what_is_nobodys_is_adopted_and_what_does_not_match_is_released() {
    let set = usual();
    let mut found = pod(&set, "a", "found", WELL);
    found.metadata.owner_references = None;
    let mut lost = pod(&set, "b", "lost", WELL);
    lost.metadata.labels = None;
    let mut ended = failed(&set, "a", "ended");
    ended.metadata.owner_references = None;
    let mut revision = (*recorded(&set, 1)).clone();
    revision.metadata.owner_references = None;
    let mut there = There::of(&set, &["a"]).with([found, lost, ended]);
    there.revisions = vec![Arc::new(revision)];
    assert_eq!(
        there.steps(&set),
        ["adopt found", "release lost", "adopt revision 1"]
    );
    let mut going = set.clone();
    going.metadata.deletion_timestamp = Some(meta::to_time(Timestamp::UNIX_EPOCH));
    assert!(there.plan(&going).steps.is_empty());
    let mut all = set;
    all.spec.selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default();
    assert!(there.plan(&all).steps.is_empty(), "it would select all");
}

#[test]
fn the_status_counts_nodes() {
    let mut set = usual();
    set.spec.min_ready_seconds = Some(10);
    let old = set.clone();
    set_image(&mut set, "agent:2");
    let there = There::of(&set, &["a", "b", "c", "d"]).with([
        pod(&set, "a", "a1", WELL),
        pod(&set, "b", "b1", Some(NOW - 4)),
        pod(&old, "c", "c1", WELL),
    ]);
    let expected = json!({"desiredNumberScheduled": 4, "currentNumberScheduled": 3, "numberReady": 3,
        "numberAvailable": 2, "numberUnavailable": 2, "updatedNumberScheduled": 2,
        "numberMisscheduled": 0, "observedGeneration": 2});
    let told = serde_json::to_value(there.status(&set)).expect("JSON");
    assert_eq!(told, expected);
    let at = Timestamp::from_second(NOW + 6).expect("a time");
    assert_eq!(there.plan(&set).again, Some(at), "when b1 is available");
}

#[test]
fn pods_are_made_for_their_node() {
    let mut set = usual();
    let spec = set.spec.template.spec.as_mut().expect("a spec");
    spec.host_network = Some(true);
    spec.tolerations = serde_json::from_value(json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}]))
    .ok();
    let made = place::pod(&set, "hash", "a", "agent-x");
    assert_eq!(place::node_of(&made), Some("a"));
    assert_eq!(
        meta::labels(&made.metadata)["controller-revision-hash"],
        "hash"
    );
    let spec = made.spec.as_ref().expect("a spec");
    assert_eq!(spec.node_name, None, "the scheduler binds it");
    let tolerations = spec.tolerations.as_ref().expect("tolerations");
    let keys: Vec<_> = tolerations
        .iter()
        .filter_map(|toleration| toleration.key.as_deref())
        .map(|key| key.trim_start_matches("node.kubernetes.io/"))
        .collect();
    assert_eq!(
        keys,
        [
            "unreachable",
            "not-ready",
            "disk-pressure",
            "memory-pressure",
            "pid-pressure",
            "unschedulable",
            "network-unavailable"
        ]
    );
}
