//! Ranges of nodes, and nodes that fall silent.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use seaway_control::ControlConfig;
use serde_json::json;

use crate::harness::{Cluster, eventually};

async fn ranges(cluster: &Cluster, name: &str) -> Vec<String> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    eventually("the node has ranges", async || {
        let spec = nodes
            .get(name)
            .await
            .expect("there")
            .spec
            .unwrap_or_default();
        match spec.pod_cidrs.clone() {
            Some(ranges) if spec.pod_cidr.as_ref() == ranges.first() => Ok(ranges),
            _ => Err(spec),
        }
    })
    .await
}

#[tokio::test]
async fn nodes_get_ranges_of_both_families_and_give_them_back() {
    let config = ControlConfig::default()
        .with_cluster_cidr("10.244.0.0/16".parse().expect("a range"), 24, 1)
        .and_then(|config| {
            config.with_cluster_cidr("fd00:5ea:244::/56".parse().expect("a range"), 64, 1)
        })
        .expect("ranges that can be cut");
    let cluster = Cluster::start(config).await;
    for number in 1..=3 {
        let name = format!("node{number}");
        cluster.add_node(&name, json!({})).await;
        let expected = [
            format!("10.244.{number}.0/24"),
            format!("fd00:5ea:244:{number}::/64"),
        ];
        assert_eq!(ranges(&cluster, &name).await, expected);
    }
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes
        .delete("node2", &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("the node is gone", async || {
        match nodes.get_opt("node2").await.expect("asked") {
            None => Ok(()),
            Some(node) => Err(node),
        }
    })
    .await;
    cluster.silence("node2");
    let has_others = json!({"podCIDR": "10.244.4.0/24", "podCIDRs": ["10.244.4.0/24"]});
    cluster.add_node("stranger", has_others).await;
    cluster.add_node("node9", json!({})).await;
    assert_eq!(ranges(&cluster, "node9").await[0], "10.244.2.0/24");
    cluster.add_node("node10", json!({})).await;
    assert_eq!(ranges(&cluster, "node10").await[0], "10.244.5.0/24");
}

#[tokio::test]
async fn a_silent_node_loses_its_pods_and_may_come_back() {
    let config = ControlConfig {
        node_grace: Duration::from_secs(3),
        pod_stay: Duration::ZERO,
        ..ControlConfig::default()
    };
    let cluster = Cluster::start(config).await;
    cluster.add_node("node1", json!({})).await;
    cluster.add_node("node2", json!({})).await;
    let pods: Api<Pod> = cluster.api();
    for node in ["node1", "node2"] {
        cluster
            .create::<Pod>(json!({"metadata": {"name": format!("on-{node}")},
                "spec": {"nodeName": node, "containers": [{"name": "main", "image": "seaway"}]}}))
            .await;
    }
    let states = async || {
        let listed = pods
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items;
        let states = listed.into_iter().map(|pod| {
            let conditions = pod.status.and_then(|status| status.conditions);
            let mut ready = conditions.iter().flatten().filter(|c| c.type_ == "Ready");
            let ready = ready.any(|condition| condition.status == "True");
            (
                pod.metadata.name.unwrap_or_default(),
                ready,
                pod.metadata.deletion_timestamp.is_some(),
            )
        });
        states.collect::<Vec<_>>()
    };
    let state = |node: &str, ready, going| (format!("on-{node}"), ready, going);
    eventually("both run", async || {
        let seen = states().await;
        let wanted = [state("node1", true, false), state("node2", true, false)];
        if seen == wanted { Ok(()) } else { Err(seen) }
    })
    .await;

    cluster.silence("node2");
    eventually("the silent node's Pod has to go", async || {
        let seen = states().await;
        let wanted = [state("node1", true, false), state("node2", false, true)];
        if seen == wanted { Ok(()) } else { Err(seen) }
    })
    .await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let taints = async || {
        let node = nodes.get("node2").await.expect("there");
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints
            .into_iter()
            .map(|taint| format!("{}:{}", taint.key, taint.effect))
            .collect::<Vec<_>>()
    };
    let lost = "node.kubernetes.io/unreachable";
    assert_eq!(
        taints().await,
        [format!("{lost}:NoSchedule"), format!("{lost}:NoExecute")]
    );

    cluster.revive("node2").await;
    eventually("the taints are gone", async || {
        let seen = taints().await;
        if seen.is_empty() { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn pods_of_a_node_that_is_gone_are_deleted_and_others_stay() {
    let config = ControlConfig {
        node_quarantine: Duration::from_secs(1),
        ..ControlConfig::default()
    };
    let cluster = Cluster::start(config).await;
    cluster.add_node("node1", json!({})).await;
    cluster.add_node("node2", json!({})).await;
    for node in ["node1", "node2", "never"] {
        cluster
            .create::<Pod>(json!({"metadata": {"name": format!("on-{node}")},
                "spec": {"nodeName": node, "containers": [{"name": "main", "image": "seaway"}]}}))
            .await;
    }
    let pods: Api<Pod> = cluster.api();
    let names = async || {
        let listed = pods.list(&ListParams::default()).await.expect("listed");
        let names = listed.items.into_iter().filter_map(|pod| pod.metadata.name);
        names.collect::<Vec<_>>()
    };
    eventually("no Pod is on a node that never was", async || {
        let seen = names().await;
        if seen == ["on-node1", "on-node2"] {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    cluster.silence("node2");
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let params = DeleteParams::default();
    nodes.delete("node2", &params).await.expect("deleted");
    eventually("the Pod is gone with its node", async || {
        let seen = names().await;
        if seen == ["on-node1"] {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
}
