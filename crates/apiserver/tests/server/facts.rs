//! What clients take for granted of watches and of the rules that upstream has.

use std::pin::pin;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::{Value, json};

use crate::harness::{Server, status};
use crate::objects::from;

const POD: &str = "/api/v1/namespaces/default/pods/p";

fn pod(name: &str) -> Pod {
    from(json!({
        "metadata": { "name": name, "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "main", "image": "seaway" }] },
    }))
}

fn map(name: &str) -> ConfigMap {
    from(json!({ "metadata": { "name": name } }))
}

/// The next event's type and object.
async fn next<K, S>(events: &mut S) -> (&'static str, Option<K>)
where
    K: Clone + std::fmt::Debug,
    S: Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
{
    match events.next().await.expect("the watch goes on").unwrap() {
        WatchEvent::Added(object) => ("ADDED", Some(object)),
        WatchEvent::Modified(object) => ("MODIFIED", Some(object)),
        WatchEvent::Deleted(object) => ("DELETED", Some(object)),
        WatchEvent::Bookmark(_) => ("BOOKMARK", None),
        WatchEvent::Error(status) => {
            assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
            ("EXPIRED", None)
        }
    }
}

#[tokio::test]
async fn a_deletion_has_a_resource_version_of_its_own() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let made = maps
        .create(&PostParams::default(), &map("a"))
        .await
        .unwrap();
    let revision = |map: &ConfigMap| -> u64 {
        map.metadata
            .resource_version
            .as_ref()
            .unwrap()
            .parse()
            .unwrap()
    };
    let from = revision(&made).to_string();
    let mut events = pin!(maps.watch(&WatchParams::default(), &from).await.unwrap());
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let (kind, gone) = next(&mut events).await;
    let gone = gone.unwrap();
    assert_eq!(kind, "DELETED");
    assert!(revision(&gone) > revision(&made));
    let list = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        list.metadata.resource_version,
        gone.metadata.resource_version
    );
    maps.create(&PostParams::default(), &map("b"))
        .await
        .unwrap();
    let from = revision(&gone).to_string();
    let mut later = pin!(maps.watch(&WatchParams::default(), &from).await.unwrap());
    let (kind, added) = next(&mut later).await;
    assert_eq!(
        (kind, added.unwrap().metadata.name.as_deref()),
        ("ADDED", Some("b"))
    );
}

#[tokio::test]
async fn the_future_is_refused_at_once() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let future = u64::MAX.to_string();
    let mut events = pin!(maps.watch(&WatchParams::default(), &future).await.unwrap());
    assert_eq!(next(&mut events).await.0, "EXPIRED");
    assert!(events.next().await.is_none());
    for path in [
        format!("/api/v1/configmaps?resourceVersion={future}"),
        format!("/api/v1/configmaps?resourceVersion={future}&resourceVersionMatch=Exact"),
        format!(
            "/api/v1/configmaps?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
             &resourceVersionMatch=NotOlderThan&resourceVersion={future}"
        ),
    ] {
        let (code, _, body) = server.ask("GET", &path, "", b"").await;
        assert_eq!(code, 504, "{path}: {body}");
        assert!(body.contains("ResourceVersionTooLarge"), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_pod_leaves_and_enters_watches_by_its_node() {
    let server = Server::start().await;
    let pods: Api<Pod> = Api::default_namespaced(server.client().await);
    let watch = |fields: &'static str| {
        let pods = pods.clone();
        async move {
            pods.watch(&WatchParams::default().fields(fields), "0")
                .await
        }
    };
    let mut waiting = pin!(watch("spec.nodeName=").await.unwrap());
    let mut placed = pin!(watch("spec.nodeName=n").await.unwrap());
    let mut pending = pin!(watch("status.phase=Pending,spec.nodeName=n").await.unwrap());
    pods.create(&PostParams::default(), &pod("p"))
        .await
        .unwrap();
    assert_eq!(next(&mut waiting).await.0, "ADDED");
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" },
        "target": { "kind": "Node", "name": "n" },
    });
    let path = format!("{POD}/binding");
    let (code, _, body) = server
        .ask("POST", &path, "", binding.to_string().as_bytes())
        .await;
    assert_eq!(code, 201, "{body}");
    let (kind, left) = next(&mut waiting).await;
    assert_eq!(kind, "DELETED");
    let (left, bound) = (left.unwrap(), pods.get("p").await.unwrap());
    assert_eq!(
        left.metadata.resource_version,
        bound.metadata.resource_version
    );
    assert_eq!(
        left.spec.unwrap().node_name,
        None,
        "it is as it was seen last"
    );
    assert_eq!(next(&mut placed).await.0, "ADDED");
    assert_eq!(next(&mut pending).await.0, "ADDED");
    let running = Patch::Merge(json!({ "status": { "phase": "Running" } }));
    pods.patch_status("p", &PatchParams::default(), &running)
        .await
        .unwrap();
    assert_eq!(next(&mut placed).await.0, "MODIFIED");
    assert_eq!(next(&mut pending).await.0, "DELETED");
}

#[tokio::test]
async fn a_pod_gets_its_node_by_creation_or_binding_only() {
    let server = Server::start().await;
    let pods: Api<Pod> = Api::default_namespaced(server.client().await);
    pods.create(&PostParams::default(), &pod("p"))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({ "spec": { "nodeName": "n" } }));
    let refused = status(pods.patch("p", &PatchParams::default(), &patch).await);
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert!(
        refused.message.contains("spec.nodeName"),
        "{}",
        refused.message
    );
    let mut placed = pod("q");
    placed.spec.as_mut().unwrap().node_name = Some("n".to_owned());
    pods.create(&PostParams::default(), &placed).await.unwrap();
}

#[tokio::test]
async fn a_status_may_bring_labels_but_nothing_that_is_wanted() {
    let server = Server::start().await;
    let pods: Api<Pod> = Api::default_namespaced(server.client().await);
    pods.create(&PostParams::default(), &pod("p"))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({
        "metadata": {
            "labels": { "c": "d" }, "annotations": { "e": "f" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y" }],
        },
        "spec": { "nodeName": "n" }, "status": { "phase": "Running" },
    }));
    let told = pods
        .patch_status("p", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let labels = told.metadata.labels.unwrap();
    assert_eq!((labels["a"].as_str(), labels["c"].as_str()), ("b", "d"));
    assert_eq!(told.metadata.annotations.unwrap()["e"], "f");
    assert_eq!(told.metadata.owner_references, None);
    assert_eq!(told.spec.unwrap().node_name, None);
    assert_eq!(told.status.unwrap().phase.as_deref(), Some("Running"));
}

#[tokio::test]
async fn patches_that_do_not_fit_say_why() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    maps.create(&PostParams::default(), &map("a"))
        .await
        .unwrap();
    let other = Patch::Merge(json!({ "metadata": { "uid": "another" } }));
    let refused = status(maps.patch("a", &PatchParams::default(), &other).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert!(refused.message.contains("UID"), "{}", refused.message);
    let stale = Patch::Merge(json!({ "metadata": { "resourceVersion": "1" } }));
    let refused = status(maps.patch("a", &PatchParams::default(), &stale).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    let one = json!({ "op": "test", "path": "/data/a", "value": "b" });
    let many: Value = std::iter::repeat_n(&one, 10_001).cloned().collect();
    let path = "/api/v1/namespaces/default/configmaps/a";
    let json_patch = "Content-Type: application/json-patch+json\r\n";
    for (patch, code, reason) in [
        (json!([one]), 422, "Invalid"),
        (many, 413, "RequestEntityTooLarge"),
        (json!({}), 400, "BadRequest"),
    ] {
        let patch = patch.to_string();
        let (got, _, body) = server
            .ask("PATCH", path, json_patch, patch.as_bytes())
            .await;
        assert_eq!(got, code, "{body}");
        assert!(body.contains(reason), "{body}");
    }
}

#[tokio::test]
async fn defaults_know_the_generated_name() {
    let server = Server::start().await;
    let namespaces: Api<Namespace> = Api::all(server.client().await);
    let unnamed: Namespace = from(json!({ "metadata": { "generateName": "team-" } }));
    let made = namespaces
        .create(&PostParams::default(), &unnamed)
        .await
        .unwrap();
    let labels = made.metadata.labels.unwrap();
    assert_eq!(
        labels.get("kubernetes.io/metadata.name"),
        made.metadata.name.as_ref()
    );
}

#[tokio::test]
async fn openapi_is_there_in_both_versions() {
    let server = Server::start().await;
    let protobuf = "Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf\r\n";
    let (code, head, body) = server.ask("GET", "/openapi/v2", protobuf, b"").await;
    assert_eq!(code, 200, "{body}");
    let media = "content-type: application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    assert!(head.to_lowercase().contains(media), "{head}");
    assert!(body.starts_with("\n\u{3}2.0\u{12}"), "{body:?}");
    let (_, _, body) = server.ask("GET", "/openapi/v2", "", b"").await;
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["swagger"], "2.0");
    let (_, _, body) = server.ask("GET", "/openapi/v3/apis/apps/v1", "", b"").await;
    let document: Value = serde_json::from_str(&body).unwrap();
    let schemas = &document["components"]["schemas"];
    let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"];
    assert_eq!(spec["replicas"]["type"], "integer");
}
