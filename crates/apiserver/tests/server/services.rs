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
