//! The slices of a Service, while what is behind it changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event, watcher};
use seaway_control::ControlConfig;
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

const OURS: &str = "kubernetes.io/service-name=web,\
                    endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

fn deployment(replicas: i32) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
                     "spec": {"containers": [{"name": "main", "image": "web:1",
                         "ports": [{"name": "http", "containerPort": 8080}]}]}}}})
}

fn service(change: Value) -> Value {
    let mut spec = json!({"selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]});
    spec.as_object_mut()
        .expect("an object")
        .extend(change.as_object().expect("an object").clone());
    json!({"metadata": {"name": "web", "labels": {"team": "a"}}, "spec": spec})
}

async fn start(replicas: i32, change: Value) -> Cluster {
    let cluster = Cluster::start(ControlConfig::default()).await;
    cluster.add_node("node1", json!({})).await;
    cluster.add_node("node2", json!({})).await;
    cluster.create::<Service>(service(change)).await;
    cluster.create::<Deployment>(deployment(replicas)).await;
    cluster
}

async fn slices(cluster: &Cluster) -> Vec<EndpointSlice> {
    let slices: Api<EndpointSlice> = cluster.api();
    let listed = slices.list(&ListParams::default().labels(OURS)).await;
    listed.expect("listed").items
}

fn endpoints(slices: &[EndpointSlice], family: &str) -> Vec<Endpoint> {
    let slices = slices.iter().filter(|slice| slice.address_type == family);
    slices
        .flat_map(|slice| slice.endpoints.iter().flatten().cloned())
        .collect()
}

fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|conditions| conditions.ready) == Some(true)
}

/// Waits for so many endpoints, and so many of them ready.
async fn wait_for(cluster: &Cluster, all: usize, ready: usize) -> Vec<EndpointSlice> {
    eventually("the slices follow", async || {
        let slices = slices(cluster).await;
        let endpoints = endpoints(&slices, "IPv4");
        let found = endpoints.iter().filter(|one| is_ready(one)).count();
        match (endpoints.len(), found) == (all, ready) {
            true => Ok(slices),
            false => Err(slices),
        }
    })
    .await
}

async fn patch<K>(cluster: &Cluster, name: &str, change: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let api: Api<K> = cluster.api();
    let patch = Patch::Merge(change);
    let done = api.patch(name, &PatchParams::default(), &patch).await;
    done.expect("patched");
}

async fn set_ready(cluster: &Cluster, name: &str, ready: bool) {
    let status = if ready { "True" } else { "False" };
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    let pods: Api<Pod> = cluster.api();
    let patch = Patch::Strategic(status);
    let done = pods
        .patch_status(name, &PatchParams::default(), &patch)
        .await;
    done.expect("patched");
}

fn pod_of(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().expect("a Pod");
    target.name.clone().expect("a name")
}

/// Every write of a slice of the Service from now on, by the version that it made.
async fn count_writes(cluster: &Cluster) -> Arc<Mutex<BTreeMap<String, EndpointSlice>>> {
    let slices: Api<EndpointSlice> = cluster.api();
    let mut events = Box::pin(watcher(slices, Config::default().labels(OURS)));
    while let Some(event) = events.next().await {
        if matches!(event.expect("no failure"), Event::InitDone) {
            break;
        }
    }
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let writes = seen.clone();
    tokio::spawn(async move {
        while let Some(Ok(event)) = events.next().await {
            if let Event::Apply(slice) = event {
                let version = slice.metadata.resource_version.clone();
                let mut seen = seen.lock().expect("unpoisoned");
                seen.insert(version.expect("a version"), slice);
            }
        }
    });
    writes
}

#[tokio::test]
async fn s40_slices_follow_a_deployment_by_the_fewest_writes() {
    let mut cluster = start(3, json!({})).await;
    let first = wait_for(&cluster, 3, 3).await;
    assert_eq!(first.len(), 1);
    let port = first[0].ports.clone().expect("ports").remove(0);
    assert_eq!(
        (port.name.as_deref(), port.port),
        (Some("http"), Some(8080))
    );
    let name = pod_of(&endpoints(&first, "IPv4")[1]);

    let writes = count_writes(&cluster).await;
    set_ready(&cluster, &name, false).await;
    let slices = wait_for(&cluster, 3, 2).await;
    let down = endpoints(&slices, "IPv4").into_iter();
    let down: Vec<_> = down.filter(|one| !is_ready(one)).collect();
    let conditions = down[0].conditions.clone().expect("told");
    assert_eq!(pod_of(&down[0]), name);
    assert_eq!(
        (conditions.serving, conditions.terminating),
        (Some(false), Some(false))
    );
    // Whoever starts anew finds all as it should be, and writes nothing.
    cluster.restart_control();
    set_ready(&cluster, &name, true).await;
    wait_for(&cluster, 3, 3).await;
    set_ready(&cluster, &name, false).await;
    wait_for(&cluster, 3, 2).await;
    set_ready(&cluster, &name, true).await;
    wait_for(&cluster, 3, 3).await;
    eventually("every flip is one write", async || {
        let seen = writes.lock().expect("unpoisoned").len();
        if seen == 4 { Ok(()) } else { Err(seen) }
    })
    .await;

    for replicas in [7, 2] {
        let spec = json!({"spec": {"replicas": replicas}});
        patch::<Deployment>(&cluster, "web", spec).await;
        wait_for(&cluster, replicas, replicas).await;
    }
    // Five Pods came, at most unready and then ready; five went, at most terminating and then gone.
    let seen = writes.lock().expect("unpoisoned").len();
    assert!(seen <= 4 + 2 * 10, "{seen} writes");
}

#[tokio::test]
async fn s12_zones_and_hints_come_and_go() {
    let cluster = start(2, json!({})).await;
    wait_for(&cluster, 2, 2).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for (node, zone) in [("node1", "east"), ("node2", "west")] {
        let labels = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        let patch = Patch::Merge(labels);
        let done = nodes.patch(node, &PatchParams::default(), &patch).await;
        done.expect("patched");
    }
    patch::<Service>(
        &cluster,
        "web",
        json!({"spec": {"trafficDistribution": "PreferSameNode"}}),
    )
    .await;
    let near = async |hinted: bool| {
        eventually("zones and hints", async || {
            let endpoints = endpoints(&slices(&cluster).await, "IPv4");
            let good = endpoints.iter().all(|one| {
                let hints = one.hints.clone().unwrap_or_default();
                let zones = hints.for_zones.into_iter().flatten().map(|zone| zone.name);
                let nodes = hints.for_nodes.into_iter().flatten().map(|node| node.name);
                let expected = |place: &Option<String>| {
                    let place = place.clone().into_iter();
                    place.filter(|_| hinted).collect::<Vec<_>>()
                };
                one.zone.is_some()
                    && zones.collect::<Vec<_>>() == expected(&one.zone)
                    && nodes.collect::<Vec<_>>() == expected(&one.node_name)
            });
            if good { Ok(()) } else { Err(endpoints) }
        })
        .await;
    };
    near(true).await;
    patch::<Service>(
        &cluster,
        "web",
        json!({"spec": {"trafficDistribution": null}}),
    )
    .await;
    near(false).await;
}

#[tokio::test]
async fn s40_a_service_takes_its_slices_along_and_leaves_those_of_others() {
    let cluster = start(2, json!({"clusterIP": "None"})).await;
    let slices_before = wait_for(&cluster, 2, 2).await;
    let headless = slices_before[0].metadata.labels.clone().expect("labels");
    assert!(headless.contains_key("service.kubernetes.io/headless"));
    let by_hand = json!({"metadata": {"name": "by-hand", "labels": {
            "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "me"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"]}],
        "ports": [{"name": "http", "port": 8080}]});
    cluster.create::<EndpointSlice>(by_hand).await;
    let all: Api<EndpointSlice> = cluster.api();
    let made = all.get("by-hand").await.expect("there");

    // Ours come back when they are deleted, and become right when they are changed.
    let name = slices_before[0].metadata.name.clone().expect("a name");
    let deleted = all.delete(&name, &DeleteParams::default()).await;
    deleted.expect("deleted");
    let again = wait_for(&cluster, 2, 2).await;
    let name = again[0].metadata.name.clone().expect("a name");
    patch::<EndpointSlice>(&cluster, &name, json!({"endpoints": []})).await;
    wait_for(&cluster, 2, 2).await;

    let services: Api<Service> = cluster.api();
    let deleted = services.delete("web", &DeleteParams::default()).await;
    deleted.expect("deleted");
    eventually("the slices are gone", async || {
        let left = slices(&cluster).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(all.get("by-hand").await.expect("there"), made);
}
