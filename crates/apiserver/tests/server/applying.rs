//! Server-side apply and the managers of fields, as kube-rs uses and sees them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::harness::{Server, status};
use crate::objects::from;

fn managers(metadata: &ObjectMeta) -> Vec<String> {
    let entries = metadata.managed_fields.iter().flatten();
    entries
        .map(|entry| {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            let (manager, operation) = (text(&entry.manager), text(&entry.operation));
            format!("{manager} {operation} {}", text(&entry.subresource))
        })
        .collect()
}

fn fields(metadata: &ObjectMeta, manager: &str) -> Value {
    let mut entries = metadata.managed_fields.iter().flatten();
    let entry = entries.find(|entry| entry.manager.as_deref() == Some(manager));
    let fields = entry.and_then(|entry| entry.fields_v1.clone());
    fields.map_or(Value::Null, |fields| fields.0)
}

fn config(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[tokio::test]
async fn applying_creates_changes_and_removes() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let one = PatchParams::apply("one");
    let made = maps
        .patch(
            "a",
            &one,
            &Patch::Apply(config(json!({"x": "1", "y": "1"}))),
        )
        .await
        .unwrap();
    assert_eq!(managers(&made.metadata), ["one Apply "]);
    let same = maps
        .patch(
            "a",
            &one,
            &Patch::Apply(config(json!({"x": "1", "y": "1"}))),
        )
        .await
        .unwrap();
    assert_eq!(same, made, "nothing changed, the resourceVersion neither");
    let two = PatchParams::apply("two");
    let fight = maps
        .patch("a", &two, &Patch::Apply(config(json!({"x": "2"}))))
        .await;
    let fight = status(fight);
    assert_eq!((fight.code, fight.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        fight.message,
        "Apply failed with 1 conflict: conflict with \"one\": .data.x"
    );
    let causes = fight.details.unwrap().causes;
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(causes[0].field, ".data.x");
    let forced = maps
        .patch(
            "a",
            &two.clone().force(),
            &Patch::Apply(config(json!({"x": "2"}))),
        )
        .await
        .unwrap();
    assert_eq!(
        fields(&forced.metadata, "one"),
        json!({"f:data": {"f:y": {}}})
    );
    let given_up = maps
        .patch("a", &two, &Patch::Apply(config(json!({}))))
        .await
        .unwrap();
    assert_eq!(
        given_up.data.unwrap().into_iter().collect::<Vec<_>>(),
        [("y".into(), "1".into())]
    );
    let dry = PatchParams {
        dry_run: true,
        ..one.clone()
    };
    let tried = maps
        .patch("a", &dry, &Patch::Apply(config(json!({"y": "9"}))))
        .await
        .unwrap();
    assert_eq!(tried.data.unwrap()["y"], "9");
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["y"], "1");
}

#[tokio::test]
async fn every_way_of_writing_is_written_down() {
    let server = Server::start().await;
    let all: Api<Deployment> = Api::default_namespaced(server.client().await);
    let made: Deployment = from(json!({
        "metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "main", "image": "seaway"}]}}},
    }));
    let creator = PostParams {
        field_manager: Some("creator".into()),
        ..PostParams::default()
    };
    let made = all.create(&creator, &made).await.unwrap();
    assert_eq!(managers(&made.metadata), ["creator Update "]);
    let spec = &fields(&made.metadata, "creator")["f:spec"];
    // Defaults are its author's too, except those that the server allocates.
    assert_eq!(spec["f:revisionHistoryLimit"], json!({}));
    assert_eq!(spec["f:selector"], json!({}));
    let patcher = PatchParams {
        field_manager: Some("patcher".into()),
        ..PatchParams::default()
    };
    let status_of = json!({"status": {"replicas": 1, "observedGeneration": 1}});
    all.patch_status("a", &patcher, &Patch::Merge(status_of))
        .await
        .unwrap();
    let scale = json!({"spec": {"replicas": 3}});
    all.patch_scale("a", &patcher, &Patch::Merge(scale))
        .await
        .unwrap();
    let now = all.get("a").await.unwrap();
    let mut known = managers(&now.metadata);
    known.sort();
    assert_eq!(
        known,
        [
            "creator Update ",
            "patcher Update scale",
            "patcher Update status"
        ]
    );
    assert_eq!(now.spec.replicas, Some(3));
    assert!(
        fields(&now.metadata, "creator")["f:spec"]
            .get("f:replicas")
            .is_none()
    );
    let applied = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"paused": true}, "status": {"readyReplicas": 1}});
    let applied = all
        .patch_status("a", &PatchParams::apply("keeper"), &Patch::Apply(applied))
        .await
        .unwrap();
    assert_eq!(applied.status.unwrap().ready_replicas, Some(1));
    assert_eq!(applied.spec.paused, None);
    assert_eq!(
        fields(&applied.metadata, "keeper"),
        json!({"f:status": {"f:readyReplicas": {}}})
    );
}

#[tokio::test]
async fn lists_and_watches_show_managers_and_clients_may_set_them() {
    let server = Server::start().await;
    let client = server.client().await;
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = from(json!({"metadata": {"name": "n", "labels": {"a": "b"}}}));
    let mut node = nodes.create(&PostParams::default(), &node).await.unwrap();
    let listed = nodes.list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(listed.items[0], node);
    let seen = nodes
        .list_metadata(&kube::api::ListParams::default())
        .await
        .unwrap();
    assert_eq!(
        seen.items[0].metadata.managed_fields,
        node.metadata.managed_fields
    );
    let mut events = std::pin::pin!(nodes.watch(&WatchParams::default(), "0").await.unwrap());
    let first = futures_util::StreamExt::next(&mut events)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(first, WatchEvent::Added(shown) if shown == node));
    // An update without managers keeps them, one with a bare entry forgets them.
    node.metadata.managed_fields = None;
    let kept = nodes
        .replace("n", &PostParams::default(), &node)
        .await
        .unwrap();
    assert_eq!(
        kept.metadata.resource_version,
        node.metadata.resource_version
    );
    assert_eq!(managers(&kept.metadata).len(), 1);
    let bare = json!({"metadata": {"managedFields": [{}]}});
    let bare = nodes
        .patch("n", &PatchParams::default(), &Patch::Merge(bare))
        .await
        .unwrap();
    assert_eq!(bare.metadata.managed_fields, None);
    let nothing = json!({"metadata": {"labels": {"a": "c"}}});
    let still = nodes
        .patch("n", &PatchParams::default(), &Patch::Merge(nothing))
        .await
        .unwrap();
    assert_eq!(still.metadata.managed_fields, None);
    let config = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    let known = nodes
        .patch("n", &PatchParams::apply("me"), &Patch::Apply(config))
        .await
        .unwrap();
    assert_eq!(managers(&known.metadata), ["before-first-apply Update "]);
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps/a?fieldManager=me";
    let apply = "Content-Type: application/apply-patch+yaml\r\n";
    let cases = [
        ("/api/v1/namespaces/default/configmaps/a", "{}", 400),
        (path, "[]", 400),
        (
            path,
            "{apiVersion: v1, kind: Pod, metadata: {name: a}}",
            400,
        ),
        (path, "{apiVersion: v1, kind: ConfigMap, metadata: {}}", 400),
        (
            path,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}",
            400,
        ),
        (
            path,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, dada: {}}",
            400,
        ),
        (
            path,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: other}}",
            400,
        ),
        (
            path,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: x}}",
            409,
        ),
        (
            path,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, resourceVersion: '1'}}",
            404,
        ),
        (
            path,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, managedFields: []}}",
            400,
        ),
    ];
    for (path, body, expected) in cases {
        let (code, _, answer) = server.ask("PATCH", path, apply, body.as_bytes()).await;
        assert_eq!(code, expected, "{body}: {answer}");
    }
    let whole = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
    let (code, _, answer) = server.ask("PATCH", cases[0].0, apply, whole).await;
    assert_eq!(code, 422, "{answer}");
    assert!(
        answer.contains("fieldManager: Required value: is required for apply patch"),
        "{answer}"
    );
    let (code, _, answer) = server.ask("PATCH", path, apply, whole).await;
    assert_eq!(code, 201, "{answer}");
    let merge = "Content-Type: application/merge-patch+json\r\n";
    let forced = format!("{path}&force=true");
    let (code, _, answer) = server.ask("PATCH", &forced, merge, b"{}").await;
    assert_eq!(code, 422, "{answer}");
    let long = format!("{}?fieldManager={}", cases[0].0, "x".repeat(129));
    let (code, _, _) = server.ask("PATCH", &long, merge, b"{}").await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn allocated_addresses_belong_to_nobody() {
    let server = Server::start().await;
    let services: Api<Service> = Api::default_namespaced(server.client().await);
    let config = |port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
               "spec": {"selector": {"a": "b"}, "ports": [{"port": port}]}})
    };
    let me = PatchParams::apply("me");
    let made = services
        .patch("s", &me, &Patch::Apply(config(80)))
        .await
        .unwrap();
    assert_eq!(
        fields(&made.metadata, "me"),
        json!({"f:spec": {"f:selector": {}, "f:ports": {
            "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}})
    );
    let moved = services
        .patch("s", &me, &Patch::Apply(config(81)))
        .await
        .unwrap();
    let (made, moved) = (made.spec.unwrap(), moved.spec.unwrap());
    assert_eq!(moved.cluster_ip, made.cluster_ip);
    let ports: Vec<i32> = moved.ports.unwrap().iter().map(|port| port.port).collect();
    assert_eq!(ports, [81]);
}

#[tokio::test]
async fn what_the_server_rewrites_is_not_written_again() {
    let server = Server::start().await;
    let secrets: Api<Secret> = Api::default_namespaced(server.client().await);
    let me = PatchParams::apply("me");
    let config = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "x"},
    }));
    let made = secrets.patch("s", &me, &config).await.unwrap();
    // As if it had been applied long ago.
    let mut entries = made.metadata.managed_fields.unwrap();
    entries[0].time = Some(from(json!("2020-01-01T00:00:00Z")));
    let past = Patch::Merge(json!({
        "metadata": {"managedFields": entries, "labels": {"old": "yes"}},
    }));
    let old = PatchParams::default();
    let old = secrets.patch("s", &old, &past).await.unwrap();
    let again = secrets.patch("s", &me, &config).await.unwrap();
    assert_eq!(again, old, "nothing changed, the resourceVersion neither");
    assert_eq!(again.data.unwrap()["a"].0, b"x");
    // Other times alone are no change either.
    let mut entries = old.metadata.managed_fields.unwrap();
    entries[0].time = None;
    let untimed = Patch::Merge(json!({"metadata": {"managedFields": entries}}));
    let untimed = secrets.patch("s", &PatchParams::default(), &untimed).await;
    assert_eq!(
        untimed.unwrap().metadata.resource_version,
        old.metadata.resource_version
    );
}

#[tokio::test]
async fn a_scale_is_applied_as_carefully_as_it_is_put() {
    let server = Server::start().await;
    let all: Api<Deployment> = Api::default_namespaced(server.client().await);
    let made: Deployment = from(json!({
        "metadata": {"name": "a"},
        "spec": {"replicas": 5, "selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "main", "image": "seaway"}]}}},
    }));
    let made = all.create(&PostParams::default(), &made).await.unwrap();
    let me = PatchParams::apply("me").force();
    let scale = |metadata: Value, spec: Value| {
        Patch::Apply(json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec,
        }))
    };
    let named = || json!({"name": "a"});
    // Who says nothing of the replicas leaves them to others.
    let silent = all.patch_scale("a", &me, &scale(named(), json!({}))).await;
    assert_eq!(silent.unwrap().spec.unwrap().replicas, Some(5));
    let refused = [
        (named(), json!({"replicas": -1}), 422),
        (named(), json!({"replicas": 1_u64 << 31}), 422),
        (named(), json!({"replicas": "3"}), 400),
        (json!({"name": "b"}), json!({"replicas": 3}), 400),
        (
            json!({"name": "a", "namespace": "b"}),
            json!({"replicas": 3}),
            400,
        ),
        (
            json!({"name": "a", "uid": "b"}),
            json!({"replicas": 3}),
            409,
        ),
        (
            json!({"name": "a", "resourceVersion": "1"}),
            json!({"replicas": 3}),
            409,
        ),
        (
            json!({"name": "a", "managedFields": []}),
            json!({"replicas": 3}),
            400,
        ),
    ];
    for (metadata, spec, code) in refused {
        let text = format!("{metadata} {spec}");
        let answer = all.patch_scale("a", &me, &scale(metadata, spec)).await;
        assert_eq!(status(answer).code, code, "{text}");
    }
    let other = Patch::Apply(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": named(), "spec": {"replicas": 3},
    }));
    assert_eq!(status(all.patch_scale("a", &me, &other).await).code, 400);
    let kept = all.get("a").await.unwrap();
    assert_eq!(kept.spec.replicas, Some(5));
    let current = json!({
        "name": "a", "uid": made.metadata.uid, "resourceVersion": kept.metadata.resource_version,
    });
    let three = scale(current, json!({"replicas": 3}));
    let scaled = all.patch_scale("a", &me, &three).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(3));
    let scaled = all.get("a").await.unwrap();
    assert_eq!(
        fields(&scaled.metadata, "me"),
        json!({"f:spec": {"f:replicas": {}}})
    );
    // Who alone wanted them and does so no more wants none.
    let none = all.patch_scale("a", &me, &scale(named(), json!({}))).await;
    assert_eq!(none.unwrap().spec.unwrap().replicas.unwrap_or(0), 0);
}
