//! Tables for the decisions of a Deployment.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::family::{HISTORY, REVISION};
use super::fixtures::{deployment, set_image, settled};
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn planned(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Plan {
    plan(&Input {
        deployment,
        sets,
        pods: &[],
        unseen: false,
        now: at(1000),
    })
}

/// The steps in words, without the status.
fn steps(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<String> {
    let image = |set: &ReplicaSet| {
        let pod = set
            .spec
            .template
            .as_ref()
            .and_then(|template| template.spec.as_ref());
        pod.and_then(|pod| pod.containers[0].image.clone())
            .unwrap_or_default()
    };
    planned(deployment, sets)
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Adopt(set) => Some(format!("adopt {}", image(set))),
            Step::Release(set) => Some(format!("release {}", image(set))),
            Step::Create(set) => Some(format!(
                "create {} {}",
                image(set),
                replicasets::replicas(set)
            )),
            Step::Resize(resize) => Some(match resize.to {
                Some(size) => format!("resize {} {size}", image(&resize.set)),
                None => format!("note {} {:?}", image(&resize.set), resize.annotations),
            }),
            Step::Delete(set) => Some(format!("delete {}", image(set))),
            Step::Revision(revision) => Some(format!("revision {revision}")),
            Step::Status(_) => None,
        })
        .collect()
}

/// The set of a template, as this crate makes it.
fn version(image: &str, revision: i64, replicas: i32, created: i64) -> Arc<ReplicaSet> {
    let mut deployment = deployment(3);
    set_image(&mut deployment, image);
    let mut set = Family::default().make(&deployment, replicas);
    let notes = set.metadata.annotations.get_or_insert_default();
    notes.insert(REVISION.into(), revision.to_string());
    settled(set, created, replicas)
}

fn told(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> DeploymentStatus {
    let steps = planned(deployment, sets).steps;
    let written = steps.into_iter().find_map(|step| match step {
        Step::Status(status) => Some(*status),
        _ => None,
    });
    written
        .or_else(|| deployment.status.clone())
        .unwrap_or_default()
}

fn reasons(status: &DeploymentStatus) -> Vec<String> {
    let conditions = status.conditions.iter().flatten();
    conditions
        .map(|condition| {
            format!(
                "{}={} {}",
                condition.type_.as_deref().unwrap_or_default(),
                condition.status.as_deref().unwrap_or_default(),
                condition.reason.as_deref().unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn the_first_set_has_all_pods_and_carries_what_kubectl_reads() {
    let deployment = deployment(3);
    let plan = planned(&deployment, &[]);
    let Some(Step::Create(set)) = plan.steps.first() else {
        panic!("{:?}", plan.steps)
    };
    let name = set.metadata.name.clone().expect("a name");
    let hash = name
        .strip_prefix("web-")
        .expect("the Deployment's name")
        .to_owned();
    let notes = set.metadata.annotations.clone().expect("annotations");
    assert_eq!(notes["deployment.kubernetes.io/revision"], "1");
    assert_eq!(notes["deployment.kubernetes.io/desired-replicas"], "3");
    assert_eq!(notes["deployment.kubernetes.io/max-replicas"], "4");
    assert_eq!(notes["team"], "a");
    assert!(!notes.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    let template = set.spec.template.clone().expect("a template");
    for labels in [
        set.metadata.labels.clone(),
        set.spec.selector.match_labels.clone(),
        template.metadata.and_then(|metadata| metadata.labels),
    ] {
        assert_eq!(labels.expect("labels")["pod-template-hash"], hash);
    }
    let owner = &set.metadata.owner_references.as_ref().expect("owners")[0];
    assert_eq!(
        (owner.controller, owner.block_owner_deletion),
        (Some(true), Some(true))
    );
    assert_eq!(set.spec.replicas, Some(3));
}

#[test]
fn a_rollout_goes_up_by_the_surge_then_down_by_what_is_available() {
    let mut deployment = deployment(3);
    deployment
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(REVISION.into(), "1".into());
    let old = version("web:1", 1, 3, 1);
    assert!(steps(&deployment, std::slice::from_ref(&old)).is_empty());
    set_image(&mut deployment, "web:2");
    assert_eq!(
        steps(&deployment, std::slice::from_ref(&old)),
        ["create web:2 1"]
    );

    deployment
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(REVISION.into(), "2".into());
    let new = version("web:2", 2, 1, 2);
    assert_eq!(steps(&deployment, &[old.clone(), new]), ["resize web:1 2"]);
    let mut unready = (*version("web:2", 2, 1, 2)).clone();
    unready
        .status
        .as_mut()
        .expect("a status")
        .available_replicas = None;
    assert!(steps(&deployment, &[old.clone(), Arc::new(unready)]).is_empty());

    // The old set's controller has not yet deleted what it shall.
    let mut late = (*version("web:1", 1, 2, 1)).clone();
    late.status.as_mut().expect("a status").replicas = 3;
    assert!(steps(&deployment, &[Arc::new(late), version("web:2", 2, 1, 2)]).is_empty());
    let mut unobserved = (*version("web:1", 1, 2, 1)).clone();
    unobserved.metadata.generation = Some(2);
    assert!(
        steps(
            &deployment,
            &[Arc::new(unobserved), version("web:2", 2, 1, 2)]
        )
        .is_empty()
    );
    let both = [version("web:1", 1, 2, 1), version("web:2", 2, 1, 2)];
    assert_eq!(steps(&deployment, &both), ["resize web:2 2"]);
}

#[test]
fn an_old_template_gets_its_old_set_and_the_next_revision() {
    let mut deployment = deployment(3);
    set_image(&mut deployment, "web:1");
    let sets = [version("web:1", 1, 0, 1), version("web:2", 2, 3, 2)];
    let plan = planned(&deployment, &sets);
    assert!(matches!(&plan.steps[0], Step::Revision(revision) if revision == "3"));
    let Step::Resize(notes) = &plan.steps[1] else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!(notes.annotations[REVISION], "3");
    assert_eq!(notes.annotations[HISTORY], "1");
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut deployment = deployment(2);
    deployment.spec.strategy = serde_json::from_value(json!({"type": "Recreate"})).ok();
    set_image(&mut deployment, "web:2");
    let mut old = (*version("web:1", 1, 2, 1)).clone();
    old.metadata
        .annotations
        .get_or_insert_default()
        .insert(family::DESIRED.into(), "2".into());
    assert_eq!(
        steps(&deployment, &[Arc::new(old.clone())]),
        ["resize web:1 0"]
    );
    old.spec.replicas = Some(0);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "controller": true,
            "uid": old.metadata.uid}]},
    }))
    .expect("a Pod");
    let sets = [Arc::new(old)];
    let with = |pods: &[Arc<Pod>]| {
        let steps = plan(&Input {
            deployment: &deployment,
            sets: &sets,
            pods,
            unseen: false,
            now: at(0),
        })
        .steps;
        steps.iter().any(|step| matches!(step, Step::Create(_)))
    };
    assert!(!with(&[Arc::new(pod)]));
    assert!(with(&[]));
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut deployment = deployment(5);
    deployment.spec.paused = Some(true);
    set_image(&mut deployment, "web:2");
    let old = version("web:1", 1, 3, 1);
    assert_eq!(
        steps(&deployment, std::slice::from_ref(&old)),
        ["resize web:1 5"]
    );
    assert_eq!(
        reasons(&told(&deployment, &[old])),
        [
            "Available=False MinimumReplicasUnavailable",
            "Progressing=Unknown DeploymentPaused"
        ]
    );
}

#[test]
fn scaling_in_a_rollout_keeps_the_proportions() {
    let mut deployment = deployment(10);
    set_image(&mut deployment, "web:2");
    deployment
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(REVISION.into(), "2".into());
    let sized = |image: &str, revision, replicas, created| {
        let mut set = (*version(image, revision, replicas, created)).clone();
        let notes = set.metadata.annotations.get_or_insert_default();
        notes.insert(family::DESIRED.into(), "10".into());
        notes.insert(family::MAX.into(), "13".into());
        Arc::new(set)
    };
    let sets = [sized("web:1", 1, 8, 1), sized("web:2", 2, 5, 2)];
    deployment.spec.replicas = Some(20);
    // 13 of 13 become 25 of 25: 8 grow to 15 and 5 to 10.
    assert_eq!(
        steps(&deployment, &sets),
        ["resize web:1 15", "resize web:2 10"]
    );
    deployment.spec.replicas = Some(0);
    assert_eq!(
        steps(&deployment, &sets),
        ["resize web:1 0", "resize web:2 0"]
    );
}

#[test]
fn history_beyond_the_limit_goes_when_the_rollout_is_over() {
    let mut deployment = deployment(3);
    set_image(&mut deployment, "web:5");
    deployment
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(REVISION.into(), "5".into());
    let mut sets: Vec<_> = (1..5)
        .map(|n| version(&format!("web:{n}"), n, 0, n))
        .collect();
    sets.push(version("web:5", 5, 3, 5));
    assert_eq!(steps(&deployment, &sets), ["delete web:1", "delete web:2"]);
}

#[test]
fn misfits_are_released_and_orphans_adopted_first() {
    let deployment = deployment(3);
    let mut orphan = (*version("web:1", 1, 3, 1)).clone();
    orphan.metadata.owner_references = None;
    assert_eq!(steps(&deployment, &[Arc::new(orphan)]), ["adopt web:1"]);
    let mut misfit = (*version("web:1", 1, 3, 1)).clone();
    misfit.metadata.labels = None;
    assert_eq!(steps(&deployment, &[Arc::new(misfit)]), ["release web:1"]);
}

#[test]
fn the_status_tells_progress_completion_and_lateness() {
    let mut deployment = deployment(3);
    let status = told(&deployment, &[]);
    assert_eq!(
        reasons(&status),
        [
            "Available=False MinimumReplicasUnavailable",
            "Progressing=True NewReplicaSetCreated"
        ]
    );
    deployment.status = Some(status);
    let mut young = (*version("web:1", 1, 3, 1)).clone();
    young.status = serde_json::from_value(json!({"replicas": 3, "observedGeneration": 1})).ok();
    let young = [Arc::new(young)];
    deployment.status = Some(told(&deployment, &young));
    assert_eq!(
        reasons(deployment.status.as_ref().expect("a status"))[1],
        "Progressing=True ReplicaSetUpdated"
    );
    let later = |now| {
        plan(&Input {
            deployment: &deployment,
            sets: &young,
            pods: &[],
            unseen: false,
            now: at(now),
        })
    };
    assert_eq!(later(1000).again, Some(at(1600)));
    let late = later(1600);
    let Some(Step::Status(status)) = late.steps.last() else {
        panic!("{:?}", late.steps)
    };
    assert!(reasons(status).contains(&"Progressing=False ProgressDeadlineExceeded".to_owned()));
    assert_eq!(late.again, None);

    let status = told(&deployment, &[version("web:1", 1, 3, 1)]);
    assert_eq!(
        reasons(&status),
        [
            "Available=True MinimumReplicasAvailable",
            "Progressing=True NewReplicaSetAvailable"
        ]
    );
    assert_eq!(
        (
            status.updated_replicas,
            status.available_replicas,
            status.unavailable_replicas
        ),
        (Some(3), Some(3), None)
    );
    deployment.status = Some(status);
    let again = planned(&deployment, &[version("web:1", 1, 3, 1)]).steps;
    assert!(
        !again.iter().any(|step| matches!(step, Step::Status(_))),
        "nothing new to tell"
    );
}

#[test]
fn a_sets_failure_is_passed_on() {
    let deployment = deployment(3);
    let mut failed = (*version("web:1", 1, 3, 1)).clone();
    failed.status = serde_json::from_value(json!({"replicas": 0, "conditions": [{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]}))
    .ok();
    let told = reasons(&told(&deployment, &[Arc::new(failed)]));
    assert!(
        told.contains(&"ReplicaFailure=True FailedCreate".to_owned()),
        "{told:?}"
    );
}

#[test]
fn an_empty_selector_does_nothing() {
    let mut deployment = deployment(3);
    deployment.spec.selector =
        k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default();
    assert!(planned(&deployment, &[]).steps.is_empty());
}
