//! CustomResourceDefinitions: what they define is served as what is built in.

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, status};
use crate::objects::from;

/// A definition of Widgets with two versions.
pub(crate) fn widgets() -> Value {
    let schema = json!({
        "type": "object",
        "description": "A widget of the example.",
        "properties": {
            "spec": {
                "type": "object",
                "description": "What is wanted.",
                "required": ["size"],
                "properties": {
                    "size": { "type": "integer", "minimum": 1, "maximum": 9, "description": "How large." },
                    "colour": { "type": "string", "default": "red", "enum": ["red", "blue"] },
                    "replicas": { "type": "integer", "format": "int32", "default": 1 },
                    "fixed": { "type": "string" },
                },
                "x-kubernetes-validations": [
                    { "rule": "self.colour != 'blue' || self.size > 1", "message": "blue ones are larger than 1" },
                    { "rule": "!has(oldSelf.fixed) || has(self.fixed) && self.fixed == oldSelf.fixed", "message": "fixed stays" },
                ],
            },
            "status": {
                "type": "object",
                "properties": {
                    "replicas": { "type": "integer" },
                    "selector": { "type": "string" },
                    "conditions": { "type": "array", "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                },
            },
        },
    });
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage,
            "schema": { "openAPIV3Schema": schema },
            "subresources": {
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                },
            },
            "selectableFields": [{ "jsonPath": ".spec.colour" }],
            "additionalPrinterColumns": [
                { "name": "Size", "type": "integer", "jsonPath": ".spec.size" },
                { "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status" },
                { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1 },
            ],
        })
    };
    json!({
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"] },
            "versions": [version("v1beta1", false), version("v1", true)],
        },
    })
}

pub(crate) async fn install(client: &Client, definition: Value) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let made = definitions
        .create(&PostParams::default(), &from(definition))
        .await
        .unwrap();
    let established = conditions::is_crd_established();
    await_condition(definitions, &made.name_any(), established)
        .await
        .unwrap();
}

pub(crate) fn api(client: &Client, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", version, "Widget");
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk(&kind))
}

pub(crate) fn widget(name: &str, spec: &Value) -> DynamicObject {
    from(json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": name }, "spec": spec,
    }))
}

pub(crate) async fn get(server: &Server, path: &str, accept: &str) -> (u16, Value) {
    let (code, _, body) = server
        .ask("GET", path, &format!("Accept: {accept}\r\n"), b"")
        .await;
    (code, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn what_is_defined_is_served_in_all_versions() {
    let server = Server::start().await;
    let client = server.client().await;
    let path = "/apis/example.com/v1/namespaces/default/widgets";
    assert_eq!(get(&server, path, "*/*").await.0, 404);
    install(&client, widgets()).await;
    let (stable, beta) = (api(&client, "v1"), api(&client, "v1beta1"));
    let made = stable
        .create(&PostParams::default(), &widget("a", &json!({"size": 2})))
        .await
        .unwrap();
    assert_eq!(
        made.data["spec"],
        json!({"size": 2, "colour": "red", "replicas": 1})
    );
    assert_eq!(made.metadata.generation, Some(1));
    let seen = beta.get("a").await.unwrap();
    assert_eq!(seen.types.unwrap().api_version, "example.com/v1beta1");
    assert_eq!(
        seen.metadata.resource_version,
        made.metadata.resource_version
    );
    let merge = Patch::Merge(json!({"spec": {"size": 3}}));
    let patched = beta
        .patch("a", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(
        (patched.metadata.generation, &patched.data["spec"]["size"]),
        (Some(2), &json!(3))
    );
    assert_eq!(
        stable.get("a").await.unwrap().types.unwrap().api_version,
        "example.com/v1"
    );
    let red = stable
        .list(&ListParams::default().fields("spec.colour=red"))
        .await
        .unwrap();
    assert_eq!(red.items.len(), 1);
    let blue = stable
        .list(&ListParams::default().fields("spec.colour=blue"))
        .await
        .unwrap();
    assert_eq!(
        (blue.items.len(), blue.types.kind.as_str()),
        (0, "WidgetList")
    );
    let (_, group) = get(&server, "/apis/example.com", "*/*").await;
    let versions: Vec<&str> = group["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["version"].as_str().unwrap())
        .collect();
    assert_eq!(
        (versions, &group["preferredVersion"]["version"]),
        (vec!["v1", "v1beta1"], &json!("v1"))
    );
    let (_, resources) = get(&server, "/apis/example.com/v1", "*/*").await;
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));
    let (_, document) = get(&server, "/openapi/v3/apis/example.com/v1", "*/*").await;
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["size"]["description"],
        "How large."
    );
    assert!(
        document["paths"]
            .get("/apis/example.com/v1/namespaces/{namespace}/widgets")
            .is_some()
    );
}

#[tokio::test]
async fn objects_are_held_to_their_schema() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    let stable = api(&client, "v1");
    let refused = |spec: Value| {
        let stable = stable.clone();
        async move {
            let status = status(
                stable
                    .create(&PostParams::default(), &widget("a", &spec))
                    .await,
            );
            (status.code, status.message)
        }
    };
    for (spec, expected) in [
        (json!({}), "spec.size: Required value"),
        (
            json!({"size": 10}),
            "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
        ),
        (
            json!({"size": 1, "colour": "green"}),
            "spec.colour: Unsupported value: \"green\": supported values: \"blue\", \"red\"",
        ),
        (
            json!({"size": 1, "colour": "blue"}),
            "spec: Invalid value: \"object\": blue ones are larger than 1",
        ),
    ] {
        let wanted = format!("Widget.example.com \"a\" is invalid: {expected}");
        assert_eq!(refused(spec).await, (422, wanted));
    }
    let path = "/apis/example.com/v1/namespaces/default/widgets";
    let body = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "odd": 1},
        "spec": {"size": 1, "extra": 1, "fixed": "x"}, "status": {"replicas": 4},
    });
    let headers = "Content-Type: application/json\r\n";
    let body = body.to_string().into_bytes();
    let strict = format!("{path}?fieldValidation=Strict");
    let (code, _, told) = server.ask("POST", &strict, headers, &body).await;
    assert_eq!(code, 400, "{told}");
    for field in ["metadata.odd", "spec.extra"] {
        assert!(
            told.contains(&format!("unknown field \\\"{field}\\\"")),
            "{told}"
        );
    }
    let (code, head, told) = server.ask("POST", path, headers, &body).await;
    let made: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (code, made.pointer("/spec/extra"), made.get("status")),
        (201, None, None)
    );
    assert!(head.to_lowercase().contains("unknown field"), "{head}");
    let changed = Patch::Merge(json!({"spec": {"fixed": "y"}}));
    let told = status(stable.patch("a", &PatchParams::default(), &changed).await);
    assert!(told.message.ends_with("fixed stays"), "{}", told.message);
    let strategic = Patch::Strategic(json!({"spec": {"size": 2}}));
    let told = status(stable.patch("a", &PatchParams::default(), &strategic).await);
    assert_eq!(told.code, 415, "{}", told.message);
}

#[tokio::test]
async fn status_and_scale_are_parts_of_their_own() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    let stable = api(&client, "v1");
    stable
        .create(&PostParams::default(), &widget("a", &json!({"size": 2})))
        .await
        .unwrap();
    let merge = Patch::Merge(json!({
        "metadata": {"labels": {"x": "y"}}, "spec": {"size": 9},
        "status": {"replicas": 4, "selector": "a=b", "conditions": [{"type": "Ready", "status": "True", "more": 1}]},
    }));
    let patched = stable
        .patch_status("a", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(
        (&patched.data["spec"]["size"], patched.metadata.labels),
        (&json!(2), None)
    );
    assert_eq!(patched.data["status"]["conditions"][0]["more"], 1);
    let scale = stable.get_scale("a").await.unwrap();
    let (wanted, is) = (scale.spec.unwrap(), scale.status.unwrap());
    assert_eq!(
        (wanted.replicas, is.replicas, is.selector.as_deref()),
        (Some(1), 4, Some("a=b"))
    );
    let merge = Patch::Merge(json!({"spec": {"replicas": 7}}));
    stable
        .patch_scale("a", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(stable.get("a").await.unwrap().data["spec"]["replicas"], 7);
    let accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let (_, table) = get(
        &server,
        "/apis/example.com/v1/namespaces/default/widgets",
        accept,
    )
    .await;
    let headings: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(headings, ["Name", "Size", "Ready", "Age"]);
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..3],
        [json!("a"), json!(2), json!("True")]
    );
}

#[tokio::test]
async fn the_objects_go_with_their_definition_and_watches_end() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    let stable = api(&client, "v1");
    stable
        .create(&PostParams::default(), &widget("a", &json!({"size": 2})))
        .await
        .unwrap();
    let mut held = widget("held", &json!({"size": 2}));
    held.metadata.finalizers = Some(vec!["example.com/x".to_owned()]);
    stable.create(&PostParams::default(), &held).await.unwrap();
    let watching = stable.clone();
    let watch = tokio::spawn(async move {
        let events = watching.watch(&WatchParams::default(), "0").await.unwrap();
        let told = events.try_filter_map(async |event| {
            Ok(match event {
                WatchEvent::Added(object) => Some(format!("+{}", object.name_any())),
                WatchEvent::Deleted(object) => Some(format!("-{}", object.name_any())),
                _ => None,
            })
        });
        told.try_collect::<Vec<String>>().await.unwrap()
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .delete("widgets.example.com", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the definition is terminating", async || {
        let definition = definitions.get("widgets.example.com").await.ok()?;
        let conditions = definition.status?.conditions?;
        conditions
            .iter()
            .any(|one| one.type_ == "Terminating" && one.status == "True")
            .then_some(())
    })
    .await;
    let late = status(
        stable
            .create(&PostParams::default(), &widget("b", &json!({"size": 2})))
            .await,
    );
    assert_eq!(late.code, 405, "{}", late.message);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    eventually("the held object goes", async || {
        stable
            .patch("held", &PatchParams::default(), &free)
            .await
            .ok()
    })
    .await;
    eventually("the definition is gone", async || {
        definitions
            .get("widgets.example.com")
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert_eq!(watch.await.unwrap(), ["+a", "+held", "-a", "-held"]);
    eventually("the paths are gone", async || {
        (get(&server, "/apis/example.com/v1/widgets", "*/*").await.0 == 404).then_some(())
    })
    .await;
    // The same definition may come again, and finds nothing of before.
    install(&client, widgets()).await;
    assert_eq!(
        api(&client, "v1")
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        0
    );
}

#[tokio::test]
async fn a_definition_may_change_under_its_objects() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    let stable = api(&client, "v1");
    stable
        .create(&PostParams::default(), &widget("a", &json!({"size": 2})))
        .await
        .unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut definition: Value =
        serde_json::to_value(definitions.get("widgets.example.com").await.unwrap()).unwrap();
    for at in 0..2 {
        let version = &mut definition["spec"]["versions"][at];
        version["storage"] = (at == 0).into();
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["new"] =
            json!({"type": "string", "default": "n"});
    }
    definitions
        .replace(
            "widgets.example.com",
            &PostParams::default(),
            &from(definition),
        )
        .await
        .unwrap();
    eventually("the new default shows", async || {
        let object = stable.get("a").await.unwrap();
        assert_eq!(object.types.unwrap().api_version, "example.com/v1");
        (object.data["spec"]["new"] == "n").then_some(())
    })
    .await;
    let told = eventually("both versions were stored", async || {
        let stored = definitions
            .get("widgets.example.com")
            .await
            .unwrap()
            .status?
            .stored_versions?;
        (stored.len() == 2).then_some(stored)
    })
    .await;
    assert_eq!(told, ["v1", "v1beta1"]);
    let patch = Patch::Json::<()>(
        serde_json::from_value(json!([{"op": "remove", "path": "/spec/versions/1"}])).unwrap(),
    );
    let refused = status(
        definitions
            .patch("widgets.example.com", &PatchParams::default(), &patch)
            .await,
    );
    assert!(
        refused
            .message
            .contains("status.storedVersions[0]: Invalid value: \"v1\""),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a_namespace_and_an_owner_take_custom_objects_with_them() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": "n"}})),
        )
        .await
        .unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    let inside: Api<DynamicObject> = Api::namespaced_with(client.clone(), "n", &kind);
    inside
        .create(&PostParams::default(), &widget("a", &json!({"size": 2})))
        .await
        .unwrap();
    namespaces
        .delete("n", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the namespace is gone", async || {
        namespaces.get("n").await.is_err().then_some(())
    })
    .await;
    assert_eq!(status(inside.get("a").await).code, 404);
    let stable = api(&client, "v1");
    let owner = stable
        .create(
            &PostParams::default(),
            &widget("owner", &json!({"size": 2})),
        )
        .await
        .unwrap();
    let mut owned = widget("owned", &json!({"size": 2}));
    // By the other version: what counts are group and kind.
    owned.metadata.owner_references = Some(vec![from(json!({
        "apiVersion": "example.com/v1beta1", "kind": "Widget", "name": "owner", "uid": owner.uid().unwrap(),
    }))]);
    stable.create(&PostParams::default(), &owned).await.unwrap();
    stable
        .delete("owner", &DeleteParams::default())
        .await
        .unwrap();
    eventually("what it owns goes", async || {
        stable.get("owned").await.is_err().then_some(())
    })
    .await;
}
