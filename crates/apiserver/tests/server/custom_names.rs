//! Names of custom kinds: who gets them, what they may be, and whose they are.

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};

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

async fn change(client: &Client, name: &str, names: Value) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let names = Patch::Merge(json!({ "spec": { "names": names } }));
    definitions
        .patch(name, &PatchParams::default(), &names)
        .await
        .unwrap();
}

/// Waits until names are refused; gives the status.
async fn refused(client: &Client, name: &str) -> Value {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    eventually("the names are refused", async || {
        let status = definitions.get(name).await.unwrap().status?;
        let mut conditions = status.conditions.iter().flatten();
        conditions
            .any(|one| one.type_ == "NamesAccepted" && one.status == "False")
            .then(|| serde_json::to_value(&status).unwrap())
    })
    .await
}

#[tokio::test]
async fn who_asks_for_the_name_of_another_takes_nobody_out_of_service() {
    for changes_the_older in [true, false] {
        let server = Server::start().await;
        let client = server.client().await;
        let mut gadgets = widgets();
        gadgets["metadata"]["name"] = "gadgets.example.com".into();
        gadgets["spec"]["names"] =
            json!({"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"]});
        let mut both = [widgets(), gadgets];
        let (wants, has) = ("widgets.example.com", "gadgets.example.com");
        if !changes_the_older {
            both.reverse();
        }
        for definition in both {
            install(&client, definition).await;
        }
        let watching = api(&client, "v1");
        let mut watch = watching
            .watch(&WatchParams::default(), "0")
            .await
            .unwrap()
            .boxed();
        change(
            &client,
            wants,
            json!({ "shortNames": ["gd"], "singular": "wdgt" }),
        )
        .await;
        let told = refused(&client, wants).await;
        let condition = |kind: &str| {
            let mut conditions = told["conditions"].as_array().unwrap().iter();
            conditions.find(|one| one["type"] == kind).unwrap().clone()
        };
        assert_eq!(condition("NamesAccepted")["reason"], "ShortNamesConflict");
        assert_eq!(condition("Established")["status"], "True");
        assert_eq!(
            told["acceptedNames"],
            json!({
                "categories": ["all"], "kind": "Widget", "listKind": "WidgetList",
                "plural": "widgets", "shortNames": ["wd"], "singular": "wdgt",
            })
        );
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let other = definitions.get(has).await.unwrap().status.unwrap();
        let mut conditions = other.conditions.iter().flatten();
        assert!(conditions.all(|one| one.status == "True"));
        let (_, resources) = get(&server, "/apis/example.com/v1", "*/*").await;
        let resources = resources["resources"].as_array().unwrap();
        for (name, short) in [("widgets", "wd"), ("gadgets", "gd")] {
            let served = resources.iter().find(|one| one["name"] == name).unwrap();
            assert_eq!(served["shortNames"], json!([short]));
            let path = format!("/apis/example.com/v1/namespaces/default/{name}");
            assert_eq!(get(&server, &path, "*/*").await.0, 200);
        }
        // Who watched before sees what comes now.
        watching
            .create(&PostParams::default(), &widget("a", &json!({ "size": 2 })))
            .await
            .unwrap();
        let seen = watch.try_next().await.unwrap();
        assert!(matches!(seen, Some(WatchEvent::Added(_))), "{seen:?}");
        // The name is free when who has it gives it up.
        change(&client, has, json!({ "shortNames": [] })).await;
        eventually("the name is given", async || {
            let names = definitions
                .get(wants)
                .await
                .unwrap()
                .status?
                .accepted_names?;
            (names.short_names? == ["gd"]).then_some(())
        })
        .await;
    }
}
