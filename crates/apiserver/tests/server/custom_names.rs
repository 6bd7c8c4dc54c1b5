//! Names of custom kinds: who gets them, what they may be, and whose they are.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;

use crate::custom::{api, get, install, widget, widgets};
use crate::harness::{Server, eventually, status};

#[tokio::test]
async fn who_has_a_name_keeps_it_and_rules_that_nobody_knows_are_told() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    let mut other = widgets();
    other["metadata"]["name"] = "gadgets.example.com".into();
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]});
    let rules = json!([{"rule": "quantity(self.size).isGreaterThan(1)"}]);
    for at in 0..2 {
        other["spec"]["versions"][at]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
            rules.clone();
    }
    other["apiVersion"] = "apiextensions.k8s.io/v1".into();
    other["kind"] = "CustomResourceDefinition".into();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let headers = "Content-Type: application/json\r\n";
    let (code, head, told) = server
        .ask("POST", path, headers, other.to_string().as_bytes())
        .await;
    assert_eq!(code, 201, "{told}");
    assert!(head.contains("is not evaluated by this server"), "{head}");
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let why = eventually("the name is refused", async || {
        let definition = definitions.get("gadgets.example.com").await.unwrap();
        let conditions = definition.status?.conditions?;
        conditions
            .into_iter()
            .find(|one| one.type_ == "NamesAccepted" && one.status == "False")
    })
    .await;
    assert_eq!(
        (why.reason.as_deref(), why.message.as_deref()),
        (Some("ShortNamesConflict"), Some("\"wd\" is already in use"))
    );
    definitions
        .delete("widgets.example.com", &DeleteParams::default())
        .await
        .unwrap();
    await_condition(
        definitions,
        "gadgets.example.com",
        conditions::is_crd_established(),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_custom_kind_may_be_called_as_a_built_in_one() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut definition = widgets();
    definition["metadata"]["name"] = "pods.example.com".into();
    definition["spec"]["names"] = json!({ "plural": "pods", "kind": "Pod" });
    install(&client, definition).await;
    let (_, resources) = get(&server, "/apis/example.com/v1", "*/*").await;
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pods", "pods/scale", "pods/status"]);
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Pod"));
    let pods: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind);
    let mut pod = widget("a", &json!({ "size": 2 }));
    pod.types = Some(kube::core::TypeMeta {
        api_version: "example.com/v1".into(),
        kind: "Pod".into(),
    });
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let log = "/apis/example.com/v1/namespaces/default/pods/a/log";
    assert_eq!(get(&server, log, "*/*").await.0, 404);
    let core: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(client);
    assert_eq!(status(core.get("a").await).code, 404);
}

#[tokio::test]
async fn servers_of_one_process_know_nothing_of_each_other() {
    let (one, other) = (Server::start().await, Server::start().await);
    install(&one.client().await, widgets()).await;
    let path = "/apis/example.com/v1/namespaces/default/widgets";
    assert_eq!(get(&one, path, "*/*").await.0, 200);
    assert_eq!(get(&other, path, "*/*").await.0, 404);
    install(&other.client().await, widgets()).await;
    let made = api(&other.client().await, "v1")
        .create(&PostParams::default(), &widget("a", &json!({"size": 1})))
        .await;
    made.unwrap();
    assert_eq!(
        api(&one.client().await, "v1")
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        0
    );
}
