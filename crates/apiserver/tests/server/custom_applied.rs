//! Server-side apply of definitions and of their objects.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};

use crate::custom::{self, api, get, widgets};
use crate::harness::{Server, eventually, status};

/// Applies the definition of Widgets that have parts, twice.
async fn install(client: &Client) -> Api<DynamicObject> {
    let mut definition = widgets();
    definition["apiVersion"] = "apiextensions.k8s.io/v1".into();
    definition["kind"] = "CustomResourceDefinition".into();
    for at in 0..2 {
        let spec = "/schema/openAPIV3Schema/properties/spec/properties";
        let version = &mut definition["spec"]["versions"][at];
        version.pointer_mut(spec).unwrap()["parts"] = json!({
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object", "required": ["name"],
                "properties": { "name": { "type": "string" }, "n": { "type": "integer" } },
            },
        });
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let (by, definition) = (PatchParams::apply("installer"), Patch::Apply(&definition));
    for _ in 0..2 {
        let applied = definitions.patch("widgets.example.com", &by, &definition);
        applied.await.unwrap();
    }
    let established = conditions::is_crd_established();
    await_condition(definitions, "widgets.example.com", established)
        .await
        .unwrap();
    api(client, "v1")
}

fn widget(spec: &Value) -> Patch<Value> {
    Patch::Apply(json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "a" }, "spec": spec,
    }))
}

fn part(name: &str, n: u8) -> Patch<Value> {
    widget(&json!({ "size": 2, "parts": [{ "name": name, "n": n }] }))
}

#[tokio::test]
async fn items_of_keyed_lists_have_owners_of_their_own() {
    let server = Server::start().await;
    let stable = install(&server.client().await).await;
    let by = PatchParams::apply;
    for (manager, name) in [("one", "x"), ("two", "y")] {
        stable
            .patch("a", &by(manager), &part(name, 1))
            .await
            .unwrap();
    }
    let merged = stable.get("a").await.unwrap();
    let parts = merged.data["spec"]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    for name in ["x", "y"] {
        assert!(parts.contains(&json!({ "name": name, "n": 1 })));
    }
    assert_eq!(merged.data["spec"]["colour"], "red");
    let taken = status(stable.patch("a", &by("two"), &part("x", 2)).await);
    assert_eq!(taken.code, 409);
    assert!(
        taken.message.contains("conflict with \"one\""),
        "{}",
        taken.message
    );
    // Who no longer names a part gives it up.
    let forced = stable
        .patch("a", &by("two").force(), &part("x", 2))
        .await
        .unwrap();
    assert_eq!(
        forced.data["spec"]["parts"],
        json!([{ "name": "x", "n": 2 }])
    );
}

#[tokio::test]
async fn a_status_is_applied_and_what_is_applied_is_checked() {
    let server = Server::start().await;
    let stable = install(&server.client().await).await;
    let by = PatchParams::apply;
    stable.patch("a", &by("one"), &part("x", 1)).await.unwrap();
    let told = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "a" },
        "status": { "replicas": 2 },
    });
    let told = stable
        .patch_status("a", &by("controller"), &Patch::Apply(told))
        .await
        .unwrap();
    assert_eq!(told.data["status"]["replicas"], 2);
    assert_eq!(told.data["spec"]["size"], 2);
    let managers = told.metadata.managed_fields.unwrap();
    let controller = managers
        .iter()
        .find(|entry| entry.manager.as_deref() == Some("controller"));
    assert_eq!(controller.unwrap().subresource.as_deref(), Some("status"));
    let large = widget(&json!({ "size": 10 }));
    let refused = stable.patch("a", &by("one"), &large).await;
    assert_eq!(status(refused).code, 422);
}

#[tokio::test]
async fn who_manages_what_outlives_a_change_of_the_definition() {
    let server = Server::start().await;
    let client = server.client().await;
    let stable = install(&client).await;
    let one = PatchParams::apply("one");
    let before = stable.patch("a", &one, &part("x", 1)).await.unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let column = json!([
        { "op": "replace", "path": "/spec/versions/1/additionalPrinterColumns/0/name", "value": "Girth" },
    ]);
    let column: Patch<()> = Patch::Json(serde_json::from_value(column).unwrap());
    definitions
        .patch("widgets.example.com", &PatchParams::default(), &column)
        .await
        .unwrap();
    let path = "/apis/example.com/v1/namespaces/default/widgets";
    eventually("the column is called otherwise", async || {
        let (_, table) = get(
            &server,
            path,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        )
        .await;
        (table["columnDefinitions"][1]["name"] == "Girth").then_some(())
    })
    .await;
    let now = stable.get("a").await.unwrap();
    assert!(before.metadata.managed_fields.is_some());
    assert_eq!(now.metadata.managed_fields, before.metadata.managed_fields);
    let next = stable.patch("a", &one, &part("x", 2)).await.unwrap();
    assert_eq!(next.data["spec"]["parts"], json!([{ "name": "x", "n": 2 }]));
}

#[tokio::test]
async fn a_scale_is_applied_where_the_definition_has_it() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut definition = widgets();
    for version in definition["spec"]["versions"].as_array_mut().unwrap() {
        version["subresources"]["scale"]["specReplicasPath"] = ".spec.size".into();
    }
    custom::install(&client, definition).await;
    let stable = api(&client, "v1");
    let made = custom::widget("a", &json!({ "size": 2 }));
    stable.create(&PostParams::default(), &made).await.unwrap();
    let scale = Patch::Apply(json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "a" },
        "spec": { "replicas": 5 },
    }));
    let by = PatchParams::apply("scaler");
    let fight = status(stable.patch_scale("a", &by, &scale).await);
    assert_eq!(fight.code, 409);
    assert!(fight.message.ends_with(".spec.size"), "{}", fight.message);
    let scaled = stable.patch_scale("a", &by.force(), &scale).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(5));
    let scaled = stable.get("a").await.unwrap();
    assert_eq!(scaled.data["spec"]["size"], 5);
}
