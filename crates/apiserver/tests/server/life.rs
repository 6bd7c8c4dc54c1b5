//! Finalizers, grace periods, owners, namespaces, bindings: how objects go.

use k8s_openapi::api::core::v1::{Binding, ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, status};
use crate::objects::from;

fn map(name: &str, metadata: Value) -> ConfigMap {
    let mut value = json!({ "metadata": metadata });
    value["metadata"]["name"] = name.into();
    from(value)
}

fn pod(name: &str) -> Pod {
    from(json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "main", "image": "seaway" }] },
    }))
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let held = map("a", json!({ "finalizers": ["example.org/x"] }));
    maps.create(&PostParams::default(), &held).await.unwrap();
    let answer = maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(answer.left().unwrap().metadata.deletion_timestamp.is_some());
    let more = Patch::Merge(json!({ "metadata": { "finalizers": ["example.org/x", "a/b"] } }));
    assert_eq!(
        status(maps.patch("a", &PatchParams::default(), &more).await).code,
        422
    );
    let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("a", &PatchParams::default(), &none)
        .await
        .unwrap();
    assert_eq!(status(maps.get("a").await).code, 404);
}

#[tokio::test]
async fn preconditions_are_honoured() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let made = maps
        .create(&PostParams::default(), &map("a", json!({})))
        .await
        .unwrap();
    let ask = |uid: Option<String>, resource_version: Option<String>| {
        DeleteParams::default().preconditions(Preconditions {
            uid,
            resource_version,
        })
    };
    assert_eq!(
        status(maps.delete("a", &ask(Some("x".into()), None)).await).code,
        409
    );
    assert_eq!(
        status(maps.delete("a", &ask(None, Some("1".into()))).await).code,
        409
    );
    maps.delete("a", &ask(made.metadata.uid, made.metadata.resource_version))
        .await
        .unwrap();
}

/// What is wrong in it would break every typed client that lists Pods or Namespaces.
#[tokio::test]
async fn parts_do_not_bring_in_what_no_whole_object_may_have() {
    let server = Server::start().await;
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("p"))
        .await
        .unwrap();
    let binding = |metadata: Value, node: &str| {
        json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": metadata,
            "target": { "kind": "Node", "name": node },
        })
    };
    let path = "/api/v1/namespaces/default/pods/p/binding";
    for (metadata, node, expected) in [
        (json!({ "labels": { "a": { "b": 1 } } }), "n", 400),
        (json!({ "annotations": { "a": 1 } }), "n", 400),
        (json!({ "labels": { "a": "not a value!" } }), "n", 422),
        (json!({}), "../n", 422),
    ] {
        let body = binding(metadata, node).to_string();
        let (code, _, answer) = server.ask("POST", path, "", body.as_bytes()).await;
        assert_eq!(code, expected, "{body}: {answer}");
    }
    assert_eq!(pods.get("p").await.unwrap().spec.unwrap().node_name, None);
    let path = "/api/v1/namespaces/kube-public/finalize";
    for finalizers in [json!("kubernetes"), json!([1]), json!({ "a": [] })] {
        let body =
            json!({ "metadata": { "name": "kube-public" }, "spec": { "finalizers": finalizers } });
        let body = body.to_string();
        let (code, _, answer) = server.ask("PUT", path, "", body.as_bytes()).await;
        assert_eq!(code, 400, "{body}: {answer}");
    }
    let namespaces: Api<Namespace> = Api::all(client);
    assert_eq!(
        namespaces
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .len(),
        4
    );
}

#[tokio::test]
async fn a_bound_pod_waits_for_its_node() {
    let server = Server::start().await;
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("p"))
        .await
        .unwrap();
    let binding: Binding = from(json!({
        "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "node" },
    }));
    let body = serde_json::to_vec(&binding).unwrap();
    pods.create_subresource::<Binding, Value>("binding", "p", &PostParams::default(), &binding)
        .await
        .unwrap();
    let bound = pods.get("p").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("node"));
    let conditions = bound.status.unwrap().conditions.unwrap();
    assert!(
        conditions
            .iter()
            .any(|one| one.type_ == "PodScheduled" && one.status == "True")
    );
    let path = "/api/v1/namespaces/default/bindings";
    let again = server.ask("POST", path, "", &body).await;
    assert_eq!(again.0, 409, "{}", again.2);
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    let going = pods.get("p").await.unwrap();
    assert!(going.metadata.deletion_timestamp.is_some());
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert_eq!(status(pods.get("p").await).code, 404);
    pods.create(&PostParams::default(), &pod("q"))
        .await
        .unwrap();
    let evicted = pods.evict("q", &kube::api::EvictParams::default()).await;
    evicted.unwrap();
    assert_eq!(status(pods.get("q").await).code, 404);
}

#[tokio::test]
async fn what_loses_its_owners_goes() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let params = PostParams::default();
    let mut owners = Vec::new();
    for name in ["one", "two", "free"] {
        let made = maps.create(&params, &map(name, json!({}))).await.unwrap();
        owners.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made.metadata.uid,
        }));
    }
    let owned = |by: &[Value]| json!({ "ownerReferences": by });
    maps.create(&params, &map("of-one", owned(&owners[..1])))
        .await
        .unwrap();
    maps.create(&params, &map("of-both", owned(&owners[..2])))
        .await
        .unwrap();
    maps.create(&params, &map("of-free", owned(&owners[2..])))
        .await
        .unwrap();
    let stranger = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "one", "uid": "another",
    });
    maps.create(&params, &map("of-nobody", owned(&[stranger])))
        .await
        .unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    maps.delete("free", &DeleteParams::orphan()).await.unwrap();
    for gone in ["of-one", "of-nobody"] {
        eventually(gone, || async {
            maps.get_opt(gone).await.unwrap().is_none().then_some(())
        })
        .await;
    }
    eventually("of-both has one owner left", || async {
        let both = maps.get("of-both").await.unwrap();
        (both.metadata.owner_references?.len() == 1).then_some(())
    })
    .await;
    let free = maps.get("of-free").await.unwrap();
    assert!(free.metadata.owner_references.is_none());
}

#[tokio::test]
async fn a_namespace_goes_with_everything_in_it() {
    let server = Server::start().await;
    let client = server.client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
    let namespace = from(json!({ "metadata": { "name": "n" } }));
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let held = map("held", json!({ "finalizers": ["example.org/x"] }));
    maps.create(&PostParams::default(), &held).await.unwrap();
    maps.create(&PostParams::default(), &map("free", json!({})))
        .await
        .unwrap();
    namespaces
        .delete("n", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the free one is gone", || async {
        maps.get_opt("free").await.unwrap().is_none().then_some(())
    })
    .await;
    let going = namespaces.get("n").await.unwrap();
    assert_eq!(going.status.unwrap().phase.as_deref(), Some("Terminating"));
    let late = status(
        maps.create(&PostParams::default(), &map("late", json!({})))
            .await,
    );
    assert_eq!((late.code, late.reason.as_str()), (403, "Forbidden"));
    let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("held", &PatchParams::default(), &none)
        .await
        .unwrap();
    eventually("the namespace is gone", || async {
        namespaces
            .get_opt("n")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let refused = status(namespaces.delete("default", &DeleteParams::default()).await);
    assert_eq!(refused.code, 403);
}

#[tokio::test]
async fn logs_are_shown_and_followed() {
    let server = Server::start().await;
    let pods: Api<Pod> = Api::default_namespaced(server.client().await);
    let made = pods
        .create(&PostParams::default(), &pod("p"))
        .await
        .unwrap();
    let uid = made.metadata.uid.unwrap();
    let directory = server.directory.join(format!("pods/default_p_{uid}/main"));
    std::fs::create_dir_all(&directory).unwrap();
    let line = |text: &str| format!("2026-11-27T14:00:00.5Z stdout F {text}\n");
    let text: String = (0..10).map(|at| line(&at.to_string())).collect();
    std::fs::write(directory.join("0.log"), text).unwrap();
    let path = "/api/v1/namespaces/default/pods/p/log";
    let shown = server
        .ask("GET", &format!("{path}?tailLines=2"), "", b"")
        .await;
    assert!(
        shown.2.contains("8\n9\n") && !shown.2.contains("7\n"),
        "{shown:?}"
    );
    let stamped = server
        .ask(
            "GET",
            &format!("{path}?timestamps=true&limitBytes=24"),
            "",
            b"",
        )
        .await;
    assert!(
        stamped.2.contains("2026-11-27T14:00:00.5Z 0"),
        "{stamped:?}"
    );
    let wrong = server
        .ask("GET", &format!("{path}?container=x"), "", b"")
        .await;
    assert_eq!(wrong.0, 400);
    let previous = server
        .ask("GET", &format!("{path}?previous=true"), "", b"")
        .await;
    assert_eq!(previous.0, 400, "{}", previous.2);
    let follow = format!("{path}?follow=true&tailLines=1");
    let followed = server.ask("GET", &follow, "", b"");
    let writing = async {
        let mut file = std::fs::File::options()
            .append(true)
            .open(directory.join("0.log"))
            .unwrap();
        std::io::Write::write_all(&mut file, line("last words").as_bytes()).unwrap();
        pods.delete("p", &DeleteParams::default()).await.unwrap();
    };
    let (followed, ()) = tokio::join!(followed, writing);
    assert!(
        followed.0 == 404 || followed.2.contains("last words"),
        "{followed:?}"
    );
}
