//! Pods find nodes, or are told why not.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::ListParams;
use seaway_control::ControlConfig;
use serde_json::json;

use crate::harness::{Cluster, eventually};

#[tokio::test]
async fn a_burst_spreads_evenly() {
    let cluster = Cluster::start(ControlConfig::default()).await;
    for node in ["node1", "node2", "node3"] {
        cluster.add_node(node, json!({})).await;
    }
    let names: Vec<String> = (0..90).map(|number| format!("p{number}")).collect();
    let requests = names.iter().map(|name| {
        cluster.create::<Pod>(json!({"metadata": {"name": name},
            "spec": {"containers": [{"name": "main", "image": "seaway"}]}}))
    });
    futures_util::future::join_all(requests).await;
    let pods: Api<Pod> = cluster.api();
    let counts = eventually("all are bound", async || {
        let pods = pods
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items;
        let mut counts = BTreeMap::<String, usize>::new();
        for node in pods
            .iter()
            .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        {
            *counts.entry(node).or_default() += 1;
        }
        if counts.values().sum::<usize>() == 90 {
            Ok(counts)
        } else {
            Err(counts)
        }
    })
    .await;
    assert!(counts.values().all(|count| *count == 30), "{counts:?}");
}

#[tokio::test]
async fn a_pod_without_a_node_is_told_why_and_gets_one_later() {
    let cluster = Cluster::start(ControlConfig::default()).await;
    let tainted = json!({"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]});
    cluster.add_node("node1", tainted).await;
    cluster
        .create::<Pod>(json!({"metadata": {"name": "p"},
            "spec": {"nodeSelector": {"kubernetes.io/hostname": "node2"},
                     "containers": [{"name": "main", "image": "seaway"}]}}))
        .await;
    let message = "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.";
    let pods: Api<Pod> = cluster.api();
    eventually("the reason is told", async || {
        let pod = pods.get("p").await.expect("there");
        let conditions = pod
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let mut told = conditions
            .iter()
            .filter(|condition| condition.type_ == "PodScheduled");
        match told.any(|c| c.status == "False" && c.message.as_deref() == Some(message)) {
            true => Ok(()),
            false => Err(conditions),
        }
    })
    .await;
    let events: Api<Event> = cluster.api();
    eventually("the event is there", async || {
        let events = events
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items;
        let told = events.iter().any(|event| {
            event.reason.as_deref() == Some("FailedScheduling")
                && event.message.as_deref() == Some(message)
        });
        if told { Ok(()) } else { Err(events) }
    })
    .await;
    cluster.add_node("node2", json!({})).await;
    eventually("it is bound and says so", async || {
        let pod = pods.get("p").await.expect("there");
        let node = pod.spec.and_then(|spec| spec.node_name);
        let conditions = pod
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let scheduled = conditions
            .iter()
            .any(|c| c.type_ == "PodScheduled" && c.status == "True");
        match node.as_deref() == Some("node2") && scheduled {
            true => Ok(()),
            false => Err((node, conditions)),
        }
    })
    .await;
}
