//! Definitions that go take their objects along, whatever state they are in.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::custom::{api, install, widget, widgets};
use crate::harness::{Server, eventually};
use crate::objects::from;

const NAME: &str = "widgets.example.com";

fn definitions(client: &Client) -> Api<CustomResourceDefinition> {
    Api::all(client.clone())
}

async fn create(client: &Client, finalizer: Option<&str>) {
    let mut object = widget("a", &json!({ "size": 2 }));
    object.metadata.finalizers = finalizer.map(|held| vec![held.to_owned()]);
    let widgets = api(client, "v1");
    widgets
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

async fn delete(client: &Client) {
    let definitions = definitions(client);
    definitions
        .delete(NAME, &DeleteParams::default())
        .await
        .unwrap();
}

async fn gone(client: &Client) {
    eventually("the definition is gone", async || {
        let left = definitions(client).get_opt(NAME).await.unwrap();
        left.is_none().then_some(())
    })
    .await;
}

/// What a definition finds that comes anew.
async fn found_anew(client: &Client) -> usize {
    install(client, widgets()).await;
    let widgets = api(client, "v1");
    let left = widgets.list(&ListParams::default()).await.unwrap();
    left.items.len()
}

#[tokio::test]
async fn a_put_without_finalizers_leaves_no_objects_behind() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    create(&client, None).await;
    let mut written = widgets();
    let now = definitions(&client).get(NAME).await.unwrap();
    written["metadata"]["resourceVersion"] = now.metadata.resource_version.into();
    definitions(&client)
        .replace(NAME, &PostParams::default(), &from(written))
        .await
        .unwrap();
    delete(&client).await;
    gone(&client).await;
    assert_eq!(found_anew(&client).await, 0);
}

#[tokio::test]
async fn a_definition_whose_names_are_refused_takes_its_objects_along() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    create(&client, None).await;
    install(&client, gadgets("gd")).await;
    let names = Patch::Merge(json!({ "spec": { "names": { "shortNames": ["gd"] } } }));
    definitions(&client)
        .patch(NAME, &PatchParams::default(), &names)
        .await
        .unwrap();
    delete(&client).await;
    gone(&client).await;
    assert_eq!(found_anew(&client).await, 0);
}

#[tokio::test]
async fn a_definition_that_is_not_served_waits_for_what_was_left_under_its_name() {
    let server = Server::start().await;
    let client = server.client().await;
    install(&client, widgets()).await;
    create(&client, Some("example.com/x")).await;
    delete(&client).await;
    // Somebody tears it away from its objects.
    let torn = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    eventually("the definition is torn away", async || {
        let patched = definitions(&client)
            .patch(NAME, &PatchParams::default(), &torn)
            .await;
        patched.ok()
    })
    .await;
    gone(&client).await;
    install(&client, gadgets("wd")).await;
    definitions(&client)
        .create(&PostParams::default(), &from(widgets()))
        .await
        .unwrap();
    delete(&client).await;
    eventually("the definition is terminating", async || {
        let conditions = definitions(&client)
            .get(NAME)
            .await
            .unwrap()
            .status?
            .conditions?;
        let mut conditions = conditions.iter();
        conditions
            .any(|one| one.type_ == "Terminating" && one.status == "True")
            .then_some(())
    })
    .await;
    // The name is free, so it is served once more, and what held the object can let go.
    let other = "gadgets.example.com";
    definitions(&client)
        .delete(other, &DeleteParams::default())
        .await
        .unwrap();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    eventually("the object is let go", async || {
        let widgets = api(&client, "v1");
        let patched = widgets.patch("a", &PatchParams::default(), &free).await;
        patched.ok()
    })
    .await;
    gone(&client).await;
    assert_eq!(found_anew(&client).await, 0);
}

fn gadgets(short: &str) -> Value {
    let mut gadgets = widgets();
    gadgets["metadata"]["name"] = "gadgets.example.com".into();
    gadgets["spec"]["names"] =
        json!({ "plural": "gadgets", "kind": "Gadget", "shortNames": [short] });
    gadgets
}
