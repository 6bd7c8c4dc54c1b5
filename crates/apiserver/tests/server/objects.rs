//! Create, read, update, patch; selectors, pages, dry runs, validation.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, ValidationDirective,
};
use serde_json::{Value, json};

use crate::harness::{Server, status};

pub(crate) fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn map(name: &str, labels: Value) -> ConfigMap {
    from(json!({ "metadata": { "name": name, "labels": labels }, "data": { "a": "b" } }))
}

fn deployment(name: &str) -> Deployment {
    from(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "seaway" }] },
            },
        },
    }))
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let made = maps
        .create(&PostParams::default(), &map("a", json!({})))
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(maps.get("a").await.unwrap(), made);
    let again = status(
        maps.create(&PostParams::default(), &map("a", json!({})))
            .await,
    );
    assert_eq!((again.code, again.reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(again.message, "configmaps \"a\" already exists");
    let mut next = made.clone();
    next.data = Some([("a".to_owned(), "c".to_owned())].into());
    let changed = maps
        .replace("a", &PostParams::default(), &next)
        .await
        .unwrap();
    assert_ne!(
        changed.metadata.resource_version,
        made.metadata.resource_version
    );
    let stale = status(maps.replace("a", &PostParams::default(), &made).await);
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    assert!(
        stale
            .message
            .contains("the object has been modified; please apply your changes")
    );
    let same = maps
        .replace("a", &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_eq!(
        same.metadata.resource_version,
        changed.metadata.resource_version
    );
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = status(maps.get("a").await);
    assert_eq!(
        (gone.code, gone.message.as_str()),
        (404, "configmaps \"a\" not found")
    );
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let unnamed: ConfigMap = from(json!({ "metadata": { "generateName": "x-" } }));
    let one = maps.create(&PostParams::default(), &unnamed).await.unwrap();
    let two = maps.create(&PostParams::default(), &unnamed).await.unwrap();
    assert!(one.metadata.name.as_ref().unwrap().starts_with("x-"));
    assert_ne!(one.metadata.name, two.metadata.name);
    let wrong = status(
        maps.create(&PostParams::default(), &map("A_B", json!({})))
            .await,
    );
    assert_eq!((wrong.code, wrong.reason.as_str()), (422, "Invalid"));
    assert_eq!(wrong.details.unwrap().causes[0].field, "metadata.name");
    let nowhere: Api<ConfigMap> = Api::namespaced(server.client().await, "nowhere");
    let missing = status(
        nowhere
            .create(&PostParams::default(), &map("a", json!({})))
            .await,
    );
    assert_eq!(
        (missing.code, missing.message.as_str()),
        (404, "namespaces \"nowhere\" not found")
    );
}

#[tokio::test]
async fn all_three_patches_work_and_count_generations() {
    let server = Server::start().await;
    let all: Api<Deployment> = Api::default_namespaced(server.client().await);
    let params = PatchParams::default();
    let made = all
        .create(&PostParams::default(), &deployment("a"))
        .await
        .unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let merged = json!({ "spec": { "replicas": 3 } });
    let merged = all
        .patch("a", &params, &Patch::Merge(merged))
        .await
        .unwrap();
    assert_eq!(merged.metadata.generation, Some(2));
    let strategic = json!({ "spec": { "template": { "spec": {
        "containers": [{ "name": "more", "image": "seaway" }],
    } } } });
    let patched = all
        .patch("a", &params, &Patch::Strategic(strategic))
        .await
        .unwrap();
    let spec = patched.spec.template.spec.as_ref().unwrap();
    assert_eq!(spec.containers.len(), 2);
    let body = br#"[{"op":"add","path":"/metadata/labels","value":{"x":"y"}}]"#;
    let path = "/apis/apps/v1/namespaces/default/deployments/a";
    let json_patch = "Content-Type: application/json-patch+json\r\n";
    let (code, _, answer) = server.ask("PATCH", path, json_patch, body).await;
    assert_eq!(code, 200, "{answer}");
    let labelled = all.get("a").await.unwrap();
    assert_eq!(labelled.metadata.generation, patched.metadata.generation);
    assert_eq!(labelled.metadata.labels.unwrap()["x"], "y");
    for broken in [&b"{"[..], b"[]]", b"[{\"op\":\"nope\"}]", b"7"] {
        let (code, _, answer) = server.ask("PATCH", path, json_patch, broken).await;
        assert!(code == 400 || code == 422, "{code} {answer}");
    }
}

#[tokio::test]
async fn status_and_scale_are_parts_of_their_own() {
    let server = Server::start().await;
    let all: Api<Deployment> = Api::default_namespaced(server.client().await);
    let mut made = all
        .create(&PostParams::default(), &deployment("a"))
        .await
        .unwrap();
    made.spec.replicas = Some(9);
    made.status = Some(from(json!({ "replicas": 2 })));
    let told = all
        .replace_status("a", &PostParams::default(), &made)
        .await
        .unwrap();
    assert_eq!(told.status.as_ref().unwrap().replicas, Some(2));
    assert_eq!(told.spec.replicas, Some(2));
    assert_eq!(told.metadata.generation, Some(1));
    let scale = all.get_scale("a").await.unwrap();
    assert_eq!(scale.status.unwrap().selector.unwrap(), "app=a");
    let patch = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    let scale = all
        .patch_scale("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(5));
    let scaled = all.get("a").await.unwrap();
    assert_eq!(scaled.spec.replicas, Some(5));
    assert_eq!(scaled.status.unwrap().replicas, Some(2));
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_keeps_nothing() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    maps.create(&dry, &map("a", json!({}))).await.unwrap();
    assert_eq!(status(maps.get("a").await).code, 404);
    maps.create(&PostParams::default(), &map("a", json!({})))
        .await
        .unwrap();
    assert_eq!(
        status(maps.create(&dry, &map("a", json!({}))).await).code,
        409
    );
    maps.delete("a", &DeleteParams::default().dry_run())
        .await
        .unwrap();
    let patch = Patch::Merge(json!({ "data": { "a": "z" } }));
    maps.patch("a", &PatchParams::default().dry_run(), &patch)
        .await
        .unwrap();
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["a"], "b");
}

#[tokio::test]
async fn unknown_fields_are_told_of_or_refused() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let body = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "dta": {} })
            .to_string()
    };
    let (code, head, _) = server.ask("POST", path, "", body("a").as_bytes()).await;
    assert_eq!(code, 201);
    assert!(head.contains(r#"299 - "unknown field \"dta\"""#), "{head}");
    let strict = format!("{path}?fieldValidation=Strict");
    let (code, _, answer) = server.ask("POST", &strict, "", body("b").as_bytes()).await;
    assert_eq!(code, 400);
    assert!(
        answer.contains("strict decoding error: unknown field"),
        "{answer}"
    );
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "dta": {} }));
    assert_eq!(status(maps.patch("a", &params, &patch).await).code, 400);
}

#[tokio::test]
async fn lists_are_selected_and_paged_consistently() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    for at in 0..25 {
        let labels = json!({ "odd": (at % 2).to_string() });
        let name = format!("m{at:02}");
        maps.create(&PostParams::default(), &map(&name, labels))
            .await
            .unwrap();
    }
    let odd = maps
        .list(&ListParams::default().labels("odd in (1),odd"))
        .await
        .unwrap();
    assert_eq!(odd.items.len(), 12);
    let one = maps
        .list(&ListParams::default().fields("metadata.name=m03"))
        .await
        .unwrap();
    assert_eq!(one.items.len(), 1);
    let wrong = status(maps.list(&ListParams::default().fields("spec.x=y")).await);
    assert_eq!(wrong.code, 400);
    let first = maps.list(&ListParams::default().limit(10)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(15));
    maps.delete("m15", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &map("m16a", json!({})))
        .await
        .unwrap();
    let mut names: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        names.extend(
            page.items
                .iter()
                .filter_map(|item| item.metadata.name.clone()),
        );
        let Some(token) = page
            .metadata
            .continue_
            .clone()
            .filter(|token| !token.is_empty())
        else {
            break;
        };
        let params = ListParams::default().limit(10).continue_token(&token);
        page = maps.list(&params).await.unwrap();
    }
    let expected: Vec<String> = (0..25).map(|at| format!("m{at:02}")).collect();
    assert_eq!(names, expected, "all pages show the moment of the first");
    let selected = DeleteParams::default();
    maps.delete_collection(&selected, &ListParams::default().labels("odd=1"))
        .await
        .unwrap();
    assert_eq!(
        maps.list(&ListParams::default()).await.unwrap().items.len(),
        14
    );
}

#[tokio::test]
async fn tables_and_metadata_are_other_shapes_of_the_same() {
    let server = Server::start().await;
    let nodes: Api<Node> = Api::all(server.client().await);
    let node: Node = from(json!({ "metadata": { "name": "n" } }));
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n";
    let (code, _, body) = server.ask("GET", "/api/v1/nodes", table, b"").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["kind"]), (200, &json!("Table")));
    assert_eq!(body["columnDefinitions"][0]["name"], "Name");
    assert_eq!(body["rows"][0]["cells"][0], "n");
    assert_eq!(body["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let shown = nodes.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(shown.items[0].metadata.name.as_deref(), Some("n"));
}

#[tokio::test]
async fn events_are_the_same_in_both_their_apis() {
    let server = Server::start().await;
    let new = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": "e", "namespace": "default" },
        "eventTime": "2026-11-27T14:00:00.000000Z", "reportingController": "x/y",
        "reportingInstance": "z", "action": "Act", "reason": "Because", "type": "Normal",
        "note": "told", "regarding": { "kind": "Pod", "name": "p", "namespace": "default" },
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let (code, _, answer) = server
        .ask("POST", path, "", new.to_string().as_bytes())
        .await;
    assert_eq!(code, 201, "{answer}");
    let core = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp";
    let (_, _, answer) = server.ask("GET", core, "", b"").await;
    let list: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(list["items"][0]["message"], "told", "{answer}");
    assert_eq!(list["items"][0]["apiVersion"], "v1");
    let merge = "Content-Type: application/merge-patch+json\r\n";
    let patch = br#"{"note":"told again"}"#;
    let (code, _, answer) = server
        .ask("PATCH", &format!("{path}/e"), merge, patch)
        .await;
    assert!(code == 200 || code == 422, "{answer}");
    let selected = format!("{path}?fieldSelector=regarding.name%3Dp");
    let (_, _, answer) = server.ask("GET", &selected, "", b"").await;
    let list: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(list["items"][0]["regarding"]["name"], "p", "{answer}");
    assert_eq!(list["items"][0]["apiVersion"], "events.k8s.io/v1");
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let server = Server::start().await;
    let pods: Api<Pod> = Api::default_namespaced(server.client().await);
    let pod = from(json!({
        "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a", "image": "b" }] },
    }));
    pods.create(&PostParams::default(), &pod).await.unwrap();
    for (method, path, code, word) in [
        (
            "GET",
            "/api/v1/namespaces/default/pods/p/exec?command=true&stdout=1",
            501,
            "pods/exec without a container runtime",
        ),
        (
            "POST",
            "/api/v1/namespaces/default/pods/p/portforward",
            501,
            "not implemented",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/services/kubernetes/proxy/x",
            501,
            "services/proxy",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/p/nope",
            404,
            "could not find",
        ),
        (
            "GET",
            "/api/v1/gadgets",
            404,
            "could not find the requested resource",
        ),
        (
            "PUT",
            "/api/v1/namespaces/default/pods",
            405,
            "does not allow this method",
        ),
        ("POST", "/api/v1/pods", 405, "does not allow this method"),
        ("POST", "/version", 405, "does not allow this method"),
        (
            "GET",
            "/api/v1/namespaces/default/pods/p/log",
            400,
            "waiting to start",
        ),
    ] {
        let (got, _, body) = server.ask(method, path, "", b"").await;
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| json!({ "text": body }));
        assert_eq!(
            (got, &body["kind"]),
            (code, &json!("Status")),
            "{method} {path}: {body}"
        );
        assert!(
            body["message"].as_str().unwrap().contains(word),
            "{method} {path}: {body}"
        );
    }
}
