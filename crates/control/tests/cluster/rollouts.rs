//! Deployments from creation to deletion, through restarts.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use seaway_control::ControlConfig;
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually, from};

fn web(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                         "spec": {"containers": [{"name": "main", "image": "web:1"}]}},
        },
    })
}

async fn patch(cluster: &Cluster, spec: Value) {
    let patch = Patch::Strategic(json!({"spec": spec}));
    let deployments: Api<Deployment> = cluster.api();
    deployments
        .patch("web", &PatchParams::default(), &patch)
        .await
        .expect("patched");
}

fn image(number: i32) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "main", "image": format!("web:{number}")}]}}})
}

/// What `kubectl rollout status` waits for.
async fn rolled_out(cluster: &Cluster, replicas: i32, image: &str) -> BTreeMap<String, usize> {
    let deployments: Api<Deployment> = cluster.api();
    let pods: Api<Pod> = cluster.api();
    eventually("the rollout ends", async || {
        let deployment = deployments
            .get("web")
            .await
            .map_err(|error| error.to_string())?;
        let status = deployment.status.clone().unwrap_or_default();
        let all = [
            status.updated_replicas,
            status.available_replicas,
            status.replicas,
        ];
        let done = status.observed_generation == deployment.metadata.generation
            && all.iter().all(|count| count.unwrap_or(0) == replicas);
        let progressing = status.conditions.iter().flatten().any(|condition| {
            condition.type_.as_deref() == Some("Progressing")
                && condition.reason.as_deref() == Some("NewReplicaSetAvailable")
        });
        let listed = pods.list(&ListParams::default().labels("app=web")).await;
        let listed = listed.map_err(|error| error.to_string())?.items;
        let mut nodes = BTreeMap::new();
        for spec in listed.iter().filter_map(|pod| pod.spec.as_ref()) {
            if spec.containers[0].image.as_deref() != Some(image) {
                return Err("an old Pod".to_owned());
            }
            *nodes
                .entry(spec.node_name.clone().unwrap_or_default())
                .or_default() += 1;
        }
        let count = usize::try_from(replicas).expect("small");
        match done && progressing && listed.len() == count {
            true => Ok(nodes),
            false => Err(format!("{status:?} and {} Pods", listed.len())),
        }
    })
    .await
}

async fn two_nodes() -> Cluster {
    let cluster = Cluster::start(ControlConfig::default()).await;
    cluster.add_node("node1", json!({})).await;
    cluster.add_node("node2", json!({})).await;
    cluster
}

#[tokio::test]
async fn a_deployment_rolls_out_scales_rolls_back_and_tells() {
    let cluster = two_nodes().await;
    cluster.create::<Deployment>(web(4)).await;
    let nodes = rolled_out(&cluster, 4, "web:1").await;
    assert_eq!(
        nodes,
        BTreeMap::from([("node1".into(), 2), ("node2".into(), 2)])
    );

    patch(&cluster, json!({"replicas": 7})).await;
    rolled_out(&cluster, 7, "web:1").await;
    patch(&cluster, image(2)).await;
    rolled_out(&cluster, 7, "web:2").await;
    patch(&cluster, json!({"replicas": 3})).await;
    rolled_out(&cluster, 3, "web:2").await;
    patch(&cluster, image(1)).await;
    rolled_out(&cluster, 3, "web:1").await;

    let sets: Api<ReplicaSet> = cluster.api();
    let sets = sets
        .list(&ListParams::default())
        .await
        .expect("listed")
        .items;
    let revisions: BTreeSet<_> = sets
        .iter()
        .filter_map(|set| {
            set.metadata
                .annotations
                .as_ref()?
                .get("deployment.kubernetes.io/revision")
                .cloned()
        })
        .collect();
    assert_eq!(revisions, ["2".to_owned(), "3".to_owned()].into());

    let events: Api<Event> = cluster.api();
    eventually("events tell of it", async || {
        let events = events
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items;
        let told: BTreeSet<_> = events
            .iter()
            .filter_map(|event| event.reason.clone())
            .collect();
        let wanted = [
            "ScalingReplicaSet",
            "SuccessfulCreate",
            "SuccessfulDelete",
            "Scheduled",
        ];
        match wanted.iter().all(|reason| told.contains(*reason)) {
            true => Ok(()),
            false => Err(told),
        }
    })
    .await;
}

#[tokio::test]
async fn loops_that_are_killed_again_and_again_go_on_where_they_were() {
    let mut cluster = two_nodes().await;
    cluster.create::<Deployment>(web(10)).await;
    let pods: Api<Pod> = cluster.api();
    for number in 2..5 {
        let before = pods
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items
            .len();
        eventually("something moves", async || {
            let now = pods
                .list(&ListParams::default())
                .await
                .expect("listed")
                .items
                .len();
            if now != before || now > 0 {
                Ok(())
            } else {
                Err(now)
            }
        })
        .await;
        cluster.restart_control();
        patch(&cluster, image(number)).await;
        cluster.restart_control();
    }
    rolled_out(&cluster, 10, "web:4").await;
}

#[tokio::test]
async fn an_orphan_is_adopted_and_counts() {
    let cluster = two_nodes().await;
    let orphan = json!({"metadata": {"name": "orphan", "labels": {"app": "web"}},
                        "spec": {"containers": [{"name": "main", "image": "web:1"}]}});
    cluster.create::<Pod>(orphan).await;
    cluster
        .create::<ReplicaSet>(json!({
            "metadata": {"name": "set"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                             "spec": {"containers": [{"name": "main", "image": "web:1"}]}},
            },
        }))
        .await;
    let sets: Api<ReplicaSet> = cluster.api();
    eventually("two are ready", async || {
        let status = sets
            .get("set")
            .await
            .expect("there")
            .status
            .unwrap_or_default();
        if status.ready_replicas == Some(2) {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    let pods: Api<Pod> = cluster.api();
    let pods = pods
        .list(&ListParams::default())
        .await
        .expect("listed")
        .items;
    let owned = pods.iter().filter(|pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners
            .filter(|owner| owner.name == "set" && owner.controller == Some(true))
            .count()
            == 1
    });
    assert_eq!((pods.len(), owned.count()), (2, 2));
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_served_again() {
    let mut cluster = two_nodes().await;
    cluster.create::<Deployment>(web(2)).await;
    rolled_out(&cluster, 2, "web:1").await;
    cluster.restart_server().await;
    let nodes = async || {
        cluster.add_node("node3", json!({})).await;
        cluster.create::<Deployment>(web(3)).await;
    };
    nodes().await;
    let nodes = rolled_out(&cluster, 3, "web:1").await;
    assert_eq!(nodes, BTreeMap::from([("node3".into(), 3)]));
}

#[tokio::test]
async fn every_namespace_has_its_account() {
    let config = ControlConfig {
        root_ca: Some("a certificate".into()),
        ..ControlConfig::default()
    };
    let cluster = Cluster::start(config).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let mine: Namespace = from(json!({"metadata": {"name": "mine"}}));
    namespaces
        .create(&PostParams::default(), &mine)
        .await
        .expect("created");
    for namespace in ["default", "mine"] {
        let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
        eventually("the account is there", async || {
            accounts.get("default").await.map(drop)
        })
        .await;
        let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
            Api::namespaced(cluster.client.clone(), namespace);
        eventually("the CA is there", async || {
            maps.get("kube-root-ca.crt").await.map(drop)
        })
        .await;
    }
}
