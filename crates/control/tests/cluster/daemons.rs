//! DaemonSets on nodes that come, through restarts, and with Pods that end.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use seaway_control::ControlConfig;
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn agent(update: &Value) -> Value {
    json!({
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "revisionHistoryLimit": 2,
            "updateStrategy": {"rollingUpdate": update},
            "template": {"metadata": {"labels": {"app": "agent"}},
                         "spec": {"containers": [{"name": "main", "image": "agent:1"}]}},
        },
    })
}

async fn set_image(cluster: &Cluster, number: i32) {
    let image = format!("agent:{number}");
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec":
        {"containers": [{"name": "main", "image": image}]}}}}));
    let sets: Api<DaemonSet> = cluster.api();
    let patched = sets.patch("agent", &PatchParams::default(), &patch).await;
    patched.expect("patched");
}

async fn pods(cluster: &Cluster) -> Vec<Pod> {
    let pods: Api<Pod> = cluster.api();
    let listed = pods.list(&ListParams::default().labels("app=agent")).await;
    listed.expect("listed").items
}

/// What `kubectl rollout status` waits for, and that each node has one Pod of the image.
async fn rolled_out(cluster: &Cluster, nodes: &[&str], image: &str) {
    let sets: Api<DaemonSet> = cluster.api();
    let count = i32::try_from(nodes.len()).expect("few");
    eventually("the rollout ends", async || {
        let set = sets.get("agent").await.map_err(|error| error.to_string())?;
        let status = set.status.clone().unwrap_or_default();
        let pods = pods(cluster).await;
        let specs: Vec<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()).collect();
        let on: BTreeSet<_> = specs
            .iter()
            .filter_map(|s| s.node_name.as_deref())
            .collect();
        let new = |spec: &&k8s_openapi::api::core::v1::PodSpec| {
            spec.containers[0].image.as_deref() == Some(image)
        };
        let done = status.observed_generation == set.metadata.generation
            && status.desired_number_scheduled == count
            && status.updated_number_scheduled.unwrap_or(0) == count
            && status.number_available.unwrap_or(0) == count
            && pods.len() == nodes.len()
            && on == nodes.iter().copied().collect()
            && specs.iter().all(new);
        match done {
            true => Ok(()),
            false => Err(format!("{status:?} and Pods on {on:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn nodes_that_come_get_their_pod_and_rollouts_go_on_through_kills() {
    let mut cluster = Cluster::start(ControlConfig::default()).await;
    cluster.add_node("node1", json!({})).await;
    let tainted = json!({"taints": [{"key": "only", "effect": "NoSchedule"}]});
    cluster.add_node("other", tainted).await;
    cluster
        .create::<DaemonSet>(agent(&json!({"maxUnavailable": 1})))
        .await;
    rolled_out(&cluster, &["node1"], "agent:1").await;
    cluster.add_node("node2", json!({})).await;
    cluster
        .add_node("node3", json!({"unschedulable": true}))
        .await;
    let nodes = ["node1", "node2", "node3"];
    rolled_out(&cluster, &nodes, "agent:1").await;
    for number in 2..6 {
        set_image(&cluster, number).await;
        cluster.restart_control();
    }
    rolled_out(&cluster, &nodes, "agent:5").await;
    let revisions: Api<ControllerRevision> = cluster.api();
    eventually("history is short", async || {
        let listed = revisions.list(&ListParams::default()).await;
        match listed.expect("listed").items.len() {
            0..=3 => Ok(()),
            more => Err(more),
        }
    })
    .await;
    let surge = json!({"spec": {"updateStrategy": {"rollingUpdate":
        {"maxUnavailable": 0, "maxSurge": "50%"}}}});
    let sets: Api<DaemonSet> = cluster.api();
    let changed = sets
        .patch("agent", &PatchParams::default(), &Patch::Merge(surge))
        .await;
    changed.expect("patched");
    set_image(&cluster, 1).await;
    cluster.restart_control();
    rolled_out(&cluster, &nodes, "agent:1").await;
}

#[tokio::test]
async fn a_pod_that_ended_is_replaced_and_a_stranger_is_adopted() {
    let cluster = Cluster::start(ControlConfig::default()).await;
    cluster.add_node("node1", json!({})).await;
    let stranger = json!({"metadata": {"name": "stranger", "labels": {"app": "agent"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "main", "image": "agent:0"}]}});
    cluster.create::<Pod>(stranger).await;
    cluster.create::<DaemonSet>(agent(&Value::Null)).await;
    rolled_out(&cluster, &["node1"], "agent:1").await;
    let name = pods(&cluster).await[0]
        .metadata
        .name
        .clone()
        .expect("a name");
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    let api: Api<Pod> = cluster.api();
    let written = api
        .patch_status(&name, &PatchParams::default(), &failed)
        .await;
    written.expect("written");
    eventually("another one takes its place", async || {
        match pods(&cluster)
            .await
            .iter()
            .any(|pod| pod.metadata.name.as_ref() == Some(&name))
        {
            true => Err(name.clone()),
            false => Ok(()),
        }
    })
    .await;
    rolled_out(&cluster, &["node1"], "agent:1").await;
    let events: Api<Event> = cluster.api();
    eventually("events tell of it", async || {
        let listed = events.list(&ListParams::default()).await;
        let events = listed.expect("listed").items.into_iter();
        let told: BTreeSet<_> = events.filter_map(|event| event.reason).collect();
        let wanted = ["SuccessfulCreate", "SuccessfulDelete", "FailedDaemonPod"];
        match wanted.iter().all(|reason| told.contains(*reason)) {
            true => Ok(()),
            false => Err(told),
        }
    })
    .await;
}
