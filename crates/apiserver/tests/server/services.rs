//! Addresses and ports of Services, through the API.

use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Server, status};
use crate::objects::from;

fn service(name: &str, mut spec: Value) -> Service {
    spec["ports"] = json!([{ "port": 80 }]);
    spec["selector"] = json!({ "a": "b" });
    from(json!({ "metadata": { "name": name }, "spec": spec }))
}

#[tokio::test]
async fn services_get_keep_and_give_back_addresses() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let kubernetes = services.get("kubernetes").await.unwrap().spec.unwrap();
    assert_eq!(kubernetes.cluster_ip.as_deref(), Some("10.96.0.1"));
    let params = PostParams::default();
    let made = services
        .create(&params, &service("a", json!({})))
        .await
        .unwrap();
    let address = made.spec.unwrap().cluster_ip.unwrap();
    let taken = service("b", json!({ "clusterIP": address }));
    let refused = status(services.create(&params, &taken).await);
    assert_eq!(refused.code, 422);
    assert!(
        refused.message.contains("provided IP is already allocated"),
        "{}",
        refused.message
    );
    let patch = json!({ "spec": { "type": "NodePort", "ipFamilyPolicy": "RequireDualStack" } });
    let patched = services
        .patch("a", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(patched.cluster_ip.as_deref(), Some(address.as_str()));
    assert_eq!(patched.cluster_ips.unwrap().len(), 2);
    let port = patched.ports.unwrap()[0].node_port.unwrap();
    assert!((30000..=32767).contains(&port));
    let changed = json!({ "spec": { "clusterIP": "10.96.5.5", "clusterIPs": ["10.96.5.5"] } });
    let changed = services
        .patch("a", &PatchParams::default(), &Patch::Merge(changed))
        .await;
    assert_eq!(status(changed).code, 422);
    services
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    services.create(&params, &taken).await.unwrap();
}

#[tokio::test]
async fn replacing_a_service_without_its_address_keeps_it() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let wanted = service("a", json!({ "type": "NodePort" }));
    let made = services
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    let again = services
        .replace("a", &PostParams::default(), &wanted)
        .await
        .unwrap();
    assert_eq!(again.spec, made.spec);
}

fn spec(service: Service) -> k8s_openapi::api::core::v1::ServiceSpec {
    service.spec.expect("a spec")
}

async fn patch(services: &Api<Service>, change: Value) -> Result<Service, kube::Error> {
    let patch = Patch::Merge(change);
    services.patch("a", &PatchParams::default(), &patch).await
}

#[tokio::test]
async fn s23_a_health_check_port_is_given_kept_and_given_back() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let params = PostParams::default();
    let local = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
    let made = services.create(&params, &service("a", local)).await;
    let port = spec(made.unwrap()).health_check_node_port.unwrap();
    assert!((30000..=32767).contains(&port));
    let other = json!({ "spec": { "healthCheckNodePort": port + 1 } });
    let refused = status(patch(&services, other).await);
    assert!(
        refused.message.contains("field is immutable"),
        "{}",
        refused.message
    );
    let wanted = |name: &str| {
        let mut wanted = service(name, json!({ "type": "NodePort" }));
        let spec = wanted.spec.as_mut().unwrap();
        spec.ports.as_mut().unwrap()[0].node_port = Some(port);
        wanted
    };
    let taken = status(services.create(&params, &wanted("b")).await);
    assert_eq!(taken.code, 422);
    let everywhere = json!({ "spec": { "externalTrafficPolicy": "Cluster" } });
    let now = spec(patch(&services, everywhere).await.unwrap());
    assert_eq!(now.health_check_node_port, None);
    services.create(&params, &wanted("b")).await.unwrap();
    let again = json!({ "spec": { "externalTrafficPolicy": "Local" } });
    let now = spec(patch(&services, again).await.unwrap());
    assert_ne!(now.health_check_node_port, Some(port));
    assert!(now.health_check_node_port.is_some());
}

#[tokio::test]
async fn s19_the_status_of_a_balancer_is_written_and_forgotten() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let params = PostParams::default();
    let balanced = service("a", json!({ "type": "LoadBalancer" }));
    services.create(&params, &balanced).await.unwrap();
    let write = async |ingress: Value| {
        let change = json!({ "status": { "loadBalancer": { "ingress": ingress } },
            "spec": { "externalIPs": ["192.0.2.9"] } });
        let patch = Patch::Merge(change);
        services
            .patch_status("a", &PatchParams::default(), &patch)
            .await
    };
    let refused = status(write(json!([{ "ip": "nonsense" }])).await);
    assert_eq!(refused.code, 422);
    let written = write(json!([{ "ip": "192.0.2.1" }])).await.unwrap();
    assert_eq!(written.spec.unwrap().external_ips, None, "the status alone");
    let ingress = |service: Service| {
        let balancer = service.status.and_then(|status| status.load_balancer);
        balancer
            .and_then(|balancer| balancer.ingress)
            .unwrap_or_default()
    };
    let kept = patch(&services, json!({ "metadata": { "labels": { "a": "b" } } })).await;
    let kept = ingress(kept.unwrap());
    assert_eq!(kept[0].ip_mode.as_deref(), Some("VIP"));
    let plain = patch(&services, json!({ "spec": { "type": "ClusterIP" } })).await;
    assert_eq!(ingress(plain.unwrap()), []);
    assert_eq!(
        status(write(json!([{ "ip": "192.0.2.1" }])).await).code,
        422
    );
}

#[tokio::test]
async fn s41_a_service_keeps_what_it_has_until_its_last_finalizer_is_gone() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let params = PostParams::default();
    let mut held = service("a", json!({ "type": "NodePort" }));
    let cleanup = "service.kubernetes.io/load-balancer-cleanup".to_owned();
    held.metadata.finalizers = Some(vec![cleanup]);
    let made = spec(services.create(&params, &held).await.unwrap());
    let port = made.ports.unwrap()[0].node_port;
    let mut wanted = service(
        "b",
        json!({ "type": "NodePort", "clusterIP": made.cluster_ip }),
    );
    let ports = wanted.spec.as_mut().unwrap().ports.as_mut();
    ports.unwrap()[0].node_port = port;
    services
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    let going = services.get("a").await.unwrap();
    assert!(going.metadata.deletion_timestamp.is_some());
    assert_eq!(status(services.create(&params, &wanted).await).code, 422);
    let done = json!({ "metadata": { "finalizers": null } });
    patch(&services, done).await.unwrap();
    assert!(services.get_opt("a").await.unwrap().is_none());
    services.create(&params, &wanted).await.unwrap();
}

#[tokio::test]
async fn s37_a_change_of_type_gives_back_what_the_new_type_has_not() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let params = PostParams::default();
    let exposed = service("a", json!({ "type": "NodePort" }));
    let made = spec(services.create(&params, &exposed).await.unwrap());
    let port = made.ports.unwrap()[0].node_port;
    let plain = patch(&services, json!({ "spec": { "type": "ClusterIP" } })).await;
    let plain = spec(plain.unwrap());
    assert_eq!(plain.ports.unwrap()[0].node_port, None);
    assert_eq!(plain.external_traffic_policy, None);
    let name = json!({ "spec": { "type": "ExternalName", "externalName": "a.example" } });
    let named = spec(patch(&services, name).await.unwrap());
    assert_eq!((named.cluster_ip, named.ip_families), (None, None));
    let mut wanted = service(
        "b",
        json!({ "type": "NodePort", "clusterIP": made.cluster_ip }),
    );
    let ports = wanted.spec.as_mut().unwrap().ports.as_mut();
    ports.unwrap()[0].node_port = port;
    services.create(&params, &wanted).await.unwrap();
}

#[tokio::test]
async fn s4_a_second_family_goes_only_where_one_is_asked_for() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let both = service("a", json!({ "ipFamilyPolicy": "RequireDualStack" }));
    let made = spec(
        services
            .create(&PostParams::default(), &both)
            .await
            .unwrap(),
    );
    let first = made.cluster_ips.unwrap().remove(0);
    let one = json!({ "spec": { "clusterIPs": [first], "ipFamilies": ["IPv4"] } });
    let refused = status(patch(&services, one).await);
    assert!(
        refused.message.contains("'SingleStack'"),
        "{}",
        refused.message
    );
    let single = json!({ "spec": { "ipFamilyPolicy": "SingleStack" } });
    let now = spec(patch(&services, single).await.unwrap());
    assert_eq!(now.cluster_ips, Some(vec![first]));
}
