//! ServiceCIDRs and IPAddresses: what Services get of them, and what becomes of them.

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Server, status};
use crate::objects::from;

fn service(name: &str, mut spec: Value) -> Service {
    spec["ports"] = json!([{ "port": 80 }]);
    from(json!({ "metadata": { "name": name }, "spec": spec }))
}

fn range(name: &str, cidrs: &[&str]) -> ServiceCIDR {
    from(json!({ "metadata": { "name": name }, "spec": { "cidrs": cidrs } }))
}

/// Names and Services of all IPAddresses.
async fn held(client: &Client) -> Vec<(String, String)> {
    let addresses: Api<IPAddress> = Api::all(client.clone());
    let all = addresses.list(&ListParams::default()).await.unwrap();
    let row = |one: IPAddress| {
        let parent = one.spec.parent_ref;
        assert_eq!(parent.resource, "services");
        (one.metadata.name.unwrap(), parent.name)
    };
    all.items.into_iter().map(row).collect()
}

fn condition(range: &ServiceCIDR) -> (String, String) {
    let conditions = range.status.clone().unwrap().conditions.unwrap();
    (conditions[0].status.clone(), conditions[0].reason.clone())
}

#[tokio::test]
async fn each_cluster_ip_is_an_address_as_long_as_it_is_held() {
    let server = Server::start().await;
    let client = server.client().await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let kubernetes = ("10.96.0.1".to_owned(), "kubernetes".to_owned());
    assert_eq!(held(&client).await, std::slice::from_ref(&kubernetes));
    let wanted = service(
        "a",
        json!({ "clusterIP": "10.96.0.77", "ipFamilyPolicy": "PreferDualStack" }),
    );
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    services.create(&dry, &wanted).await.unwrap();
    assert_eq!(held(&client).await.len(), 1, "a dry run keeps nothing");
    let made = services
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    let ips = made.spec.unwrap().cluster_ips.unwrap();
    let names: Vec<String> = held(&client).await.into_iter().map(|one| one.0).collect();
    assert_eq!(names, ["10.96.0.1", &ips[0], &ips[1]]);
    // Refused ones leave nothing behind.
    let taken = service("b", json!({ "clusterIP": "10.96.0.77" }));
    assert_eq!(
        status(services.create(&PostParams::default(), &taken).await).code,
        422
    );
    let single = json!({ "spec": { "ipFamilyPolicy": "SingleStack" } });
    let patch = Patch::Merge(single);
    services
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let left = [
        kubernetes.clone(),
        ("10.96.0.77".to_owned(), "a".to_owned()),
    ];
    assert_eq!(held(&client).await, left);
    // It comes back when it is deleted, since the Service has it still.
    let addresses: Api<IPAddress> = Api::all(client.clone());
    addresses
        .delete("10.96.0.77", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(held(&client).await, left);
    services
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(held(&client).await, [kubernetes]);
}

#[tokio::test]
async fn an_address_that_somebody_reserves_is_no_services() {
    let server = Server::start().await;
    let client = server.client().await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let addresses: Api<IPAddress> = Api::all(client);
    let by_hand = |name: &str| -> IPAddress {
        from(json!({ "metadata": { "name": name },
            "spec": { "parentRef": { "resource": "services", "namespace": "default", "name": "x" } } }))
    };
    let params = PostParams::default();
    addresses
        .create(&params, &by_hand("10.96.0.99"))
        .await
        .unwrap();
    let wanted = service("a", json!({ "clusterIP": "10.96.0.99" }));
    let refused = status(services.create(&params, &wanted).await);
    assert!(
        refused.message.contains("already allocated"),
        "{}",
        refused.message
    );
    let taken = status(addresses.create(&params, &by_hand("10.96.0.1")).await);
    assert_eq!((taken.code, taken.reason.as_str()), (409, "AlreadyExists"));
    let mapped = status(addresses.create(&params, &by_hand("fd00:0::1")).await);
    assert_eq!(mapped.code, 422);
    addresses
        .delete("10.96.0.99", &DeleteParams::default())
        .await
        .unwrap();
    services.create(&params, &wanted).await.unwrap();
}

#[tokio::test]
async fn more_ranges_come_and_go() {
    let server = Server::start().await;
    let client = server.client().await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    let (params, gone) = (PostParams::default(), DeleteParams::default());
    let first = ranges.get("kubernetes").await.unwrap();
    assert_eq!(condition(&first), ("True".to_owned(), String::new()));
    let outside = service("a", json!({ "clusterIP": "10.200.0.9" }));
    let refused = status(services.create(&params, &outside).await);
    assert!(
        refused.message.contains("not in the valid range"),
        "{}",
        refused.message
    );
    ranges
        .create(&params, &range("more", &["10.200.0.0/24"]))
        .await
        .unwrap();
    services.create(&params, &outside).await.unwrap();

    ranges.delete("more", &gone).await.unwrap();
    let going = ranges.get("more").await.unwrap();
    assert_eq!(
        condition(&going),
        ("False".to_owned(), "Terminating".to_owned())
    );
    let late = service("b", json!({ "clusterIP": "10.200.0.10" }));
    assert_eq!(status(services.create(&params, &late).await).code, 422);
    services.delete("a", &gone).await.unwrap();
    assert!(ranges.get_opt("more").await.unwrap().is_none());

    // Who takes the finalizer away by force gets what he wants, but for the server's own.
    ranges.delete("kubernetes", &gone).await.unwrap();
    let none = service("c", json!({}));
    let full = status(services.create(&params, &none).await);
    assert!(full.message.contains("range is full"), "{}", full.message);
    let force = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    ranges
        .patch("kubernetes", &PatchParams::default(), &force)
        .await
        .unwrap();
    let again = ranges.get("kubernetes").await.unwrap();
    assert_ne!(again.metadata.uid, first.metadata.uid);
    assert_eq!(again.spec, first.spec);
    services.create(&params, &none).await.unwrap();
}

#[tokio::test]
async fn the_servers_own_endpoints_are_there() {
    let server = Server::start().await;
    let endpoints: Api<Endpoints> = Api::default_namespaced(server.client().await);
    let own = endpoints.get("kubernetes").await.unwrap();
    let labels = own.metadata.labels.unwrap();
    assert_eq!(labels["endpointslice.kubernetes.io/skip-mirror"], "true");
    let addresses = own.subsets.unwrap()[0].addresses.clone().unwrap();
    assert_eq!(addresses[0].ip, "192.0.2.1");
    let wrong: Endpoints = from(json!({ "metadata": { "name": "a" },
        "subsets": [{ "addresses": [{ "ip": "127.0.0.1" }] }] }));
    let refused = status(endpoints.create(&PostParams::default(), &wrong).await);
    assert_eq!(refused.code, 422);
}
