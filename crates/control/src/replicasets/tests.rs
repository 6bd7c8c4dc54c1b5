//! Tables for the decisions of a ReplicaSet.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::status::Failure;
use super::*;

fn set(replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "default", "uid": "set", "generation": 4},
        "spec": {
            "replicas": replicas,
            "minReadySeconds": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "tier": "x"}},
                         "spec": {"containers": [{"name": "main"}]}},
        },
    }))
    .expect("a ReplicaSet")
}

fn pod(name: &str, owner: Option<&str>, app: &str) -> Pod {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}},
        "spec": {"containers": []},
    }))
    .expect("a Pod");
    if let Some(owner) = owner {
        let mut set = set(0);
        set.metadata.uid = Some(owner.to_owned());
        pod.metadata.owner_references = Some(vec![meta::controller_ref(&set)]);
    }
    pod
}

/// The steps in words.
fn steps(set: &ReplicaSet, pods: Vec<Pod>, ledger: &Ledger) -> Vec<String> {
    let pods: Vec<_> = pods
        .into_iter()
        .filter(|pod| concerns(set, pod))
        .map(Arc::new)
        .collect();
    let claim = claim(set, &pods, ledger);
    let name = |pod: &Pod| meta::name(&pod.metadata).to_owned();
    plan(set, &claim, ledger, &|_| 0)
        .iter()
        .map(|step| match step {
            Step::Adopt(pod) => format!("adopt {}", name(pod)),
            Step::Release(pod) => format!("release {}", name(pod)),
            Step::Create(count) => format!("create {count}"),
            Step::Delete(pod) => format!("delete {}", name(pod)),
        })
        .collect()
}

#[test]
fn missing_pods_are_made_and_surplus_ones_deleted() {
    let none = Ledger::default();
    let own = |name| pod(name, Some("set"), "web");
    assert_eq!(steps(&set(3), vec![own("a")], &none), ["create 2"]);
    assert_eq!(
        steps(&set(1), vec![own("a"), own("b")], &none),
        ["delete a"]
    );
    assert!(steps(&set(1), vec![own("a")], &none).is_empty());
}

#[test]
fn orphans_are_adopted_strangers_left_and_misfits_released() {
    let none = Ledger::default();
    let pods = vec![
        pod("orphan", None, "web"),
        pod("foreign", Some("other"), "web"),
        pod("unrelated", None, "db"),
        pod("misfit", Some("set"), "db"),
    ];
    assert_eq!(
        steps(&set(2), pods, &none),
        ["adopt orphan", "release misfit", "create 1"]
    );
}

#[test]
fn failed_and_terminating_pods_are_replaced() {
    let none = Ledger::default();
    let mut failed = pod("failed", Some("set"), "web");
    failed.status = serde_json::from_value(json!({"phase": "Failed"})).expect("a status");
    let mut going = pod("going", Some("set"), "web");
    going.metadata.deletion_timestamp = Some(meta::to_time(Timestamp::UNIX_EPOCH));
    assert_eq!(steps(&set(2), vec![failed, going], &none), ["create 2"]);
}

#[test]
fn what_was_asked_for_is_not_asked_for_again() {
    let mut ledger = Ledger::default();
    ledger.will_create("b");
    let own = |name| pod(name, Some("set"), "web");
    assert!(steps(&set(2), vec![own("a")], &ledger).is_empty());
    let mut ledger = Ledger::default();
    ledger.will_delete("a");
    assert!(steps(&set(1), vec![own("a"), own("b")], &ledger).is_empty());
    assert_eq!(
        steps(&set(2), vec![own("a"), own("b")], &ledger),
        ["create 1"]
    );
}

#[test]
fn nothing_is_deleted_while_new_pods_are_unseen() {
    let mut ledger = Ledger::default();
    ledger.will_create("c");
    let own = |name| pod(name, Some("set"), "web");
    assert!(steps(&set(1), vec![own("a"), own("b")], &ledger).is_empty());
}

#[test]
fn a_dying_set_does_nothing() {
    let mut dying = set(3);
    dying.metadata.deletion_timestamp = Some(meta::to_time(Timestamp::UNIX_EPOCH));
    assert!(steps(&dying, vec![pod("a", None, "web")], &Ledger::default()).is_empty());
}

#[test]
fn status_counts_and_tells_when_to_look_again() {
    let ready = |name: &str, since: &str| {
        let mut pod = pod(name, Some("set"), "web");
        pod.status = serde_json::from_value(json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": since}]}))
        .expect("a status");
        Arc::new(pod)
    };
    let pods = [
        ready("a", "2026-01-01T00:00:00Z"),
        ready("b", "2026-01-01T00:00:15Z"),
        Arc::new(pod("c", Some("set"), "web")),
    ];
    let claim = claim(&set(3), &pods, &Ledger::default());
    let now: Timestamp = "2026-01-01T00:00:20Z".parse().expect("a time");
    let (status, again) = status(&set(3), &claim, &Ledger::default(), None, now);
    assert_eq!(status.replicas, 3);
    assert_eq!(status.ready_replicas, Some(2));
    assert_eq!(status.available_replicas, Some(1));
    assert_eq!(status.fully_labeled_replicas, None);
    assert_eq!(status.observed_generation, Some(4));
    assert_eq!(again, "2026-01-01T00:00:25Z".parse().ok());
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let failure = Failure {
        reason: "FailedCreate",
        message: "no".into(),
    };
    let mut set = set(1);
    let (told, _) = status(
        &set,
        &Claim::default(),
        &Ledger::default(),
        Some(&failure),
        Timestamp::UNIX_EPOCH,
    );
    let conditions = told.conditions.clone().expect("conditions");
    assert_eq!(conditions[0].reason.as_deref(), Some("FailedCreate"));
    set.status = Some(told);
    let (over, _) = status(
        &set,
        &Claim::default(),
        &Ledger::default(),
        None,
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(over.conditions, None);
}
