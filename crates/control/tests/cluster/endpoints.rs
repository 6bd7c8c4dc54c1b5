//! Endpoints of Services with a selector, and slices of Endpoints without one.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use seaway_control::ControlConfig;
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

const MIRRORS: &str = "kubernetes.io/service-name=db,\
     endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io";

/// Waits until so many addresses are ready.
async fn wait_for(cluster: &Cluster, name: &str, ready: usize) -> Endpoints {
    let api: Api<Endpoints> = cluster.api();
    eventually("the Endpoints follow", async || {
        let found = api.get_opt(name).await.expect("an answer");
        let Some(found) = found else {
            return Err("none".to_owned());
        };
        let subsets = found.subsets.iter().flatten();
        let addresses = subsets.flat_map(|subset| subset.addresses.iter().flatten());
        let count = addresses.count();
        if count == ready {
            Ok(found)
        } else {
            Err(format!("{count} are ready"))
        }
    })
    .await
}

async fn mirrors(cluster: &Cluster, what: &str, addresses: &[&str]) {
    let api: Api<EndpointSlice> = cluster.api();
    eventually(what, async || {
        let slices = api.list(&ListParams::default().labels(MIRRORS)).await;
        let slices = slices.expect("listed").items.into_iter();
        let endpoints = slices.flat_map(|slice| slice.endpoints.unwrap_or_default());
        let mut found: Vec<String> = endpoints.flat_map(|one| one.addresses).collect();
        found.sort();
        if found == addresses {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
}

fn subsets(ips: &[&str]) -> Value {
    let addresses: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
    json!([{ "addresses": addresses, "ports": [{ "name": "sql", "port": 5432 }] }])
}

#[tokio::test]
async fn s40_services_with_a_selector_get_endpoints() {
    let mut cluster = Cluster::start(ControlConfig::default()).await;
    cluster.add_node("node1", json!({})).await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    cluster.create::<Service>(service).await;
    wait_for(&cluster, "web", 0).await;
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
                     "spec": {"containers": [{"name": "main", "image": "web:1"}]}}}});
    cluster.create::<Deployment>(deployment).await;
    let three = wait_for(&cluster, "web", 3).await;
    let subset = &three.subsets.expect("one")[0];
    assert_eq!(subset.ports.as_ref().expect("ports")[0].port, 8080);
    // What is written over them is set right, also after a new start.
    cluster.restart_control();
    let api: Api<Endpoints> = cluster.api();
    let wrong = Patch::Merge(json!({ "subsets": subsets(&["192.0.2.1"]) }));
    api.patch("web", &PatchParams::default(), &wrong)
        .await
        .expect("patched");
    wait_for(&cluster, "web", 3).await;
    let services: Api<Service> = cluster.api();
    let gone = DeleteParams::default();
    services.delete("web", &gone).await.expect("deleted");
    eventually("the Endpoints go with their Service", async || {
        match api.get_opt("web").await.expect("an answer") {
            None => Ok(()),
            Some(left) => Err(left),
        }
    })
    .await;
}

#[tokio::test]
async fn s40_endpoints_of_others_are_mirrored() {
    let mut cluster = Cluster::start(ControlConfig::default()).await;
    let made = json!({"metadata": {"name": "db"}, "subsets": subsets(&["192.0.2.5", "192.0.2.6"])});
    cluster.create::<Endpoints>(made).await;
    let service =
        json!({"metadata": {"name": "db"}, "spec": {"ports": [{"name": "sql", "port": 5432}]}});
    cluster.create::<Service>(service).await;
    mirrors(&cluster, "both are mirrored", &["192.0.2.5", "192.0.2.6"]).await;
    let api: Api<Endpoints> = cluster.api();
    let patch = async |change: Value| {
        let patch = Patch::Merge(change);
        let done = api.patch("db", &PatchParams::default(), &patch).await;
        done.expect("patched");
    };
    patch(json!({ "subsets": subsets(&["192.0.2.7"]) })).await;
    mirrors(&cluster, "changes follow", &["192.0.2.7"]).await;
    cluster.restart_control();
    let skip = "endpointslice.kubernetes.io/skip-mirror";
    patch(json!({ "metadata": { "labels": { skip: "true" } } })).await;
    mirrors(&cluster, "no more", &[]).await;
    patch(json!({ "metadata": { "labels": { skip: null } } })).await;
    mirrors(&cluster, "again", &["192.0.2.7"]).await;
    // The server's garbage collector takes the slices along.
    api.delete("db", &DeleteParams::default())
        .await
        .expect("deleted");
    mirrors(&cluster, "gone", &[]).await;
}
