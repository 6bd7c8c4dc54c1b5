//! Watches: transitions, bookmarks, expiry, streaming lists, clients that do not read.

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::watcher;
use seaway_apiserver::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Server, eventually, resident_kib};
use crate::objects::from;

fn map(name: &str, labels: Value) -> ConfigMap {
    from(json!({ "metadata": { "name": name, "labels": labels } }))
}

async fn told<S>(events: &mut S) -> (&'static str, String)
where
    S: Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin,
{
    match events.next().await.expect("the watch goes on").unwrap() {
        WatchEvent::Added(object) => ("ADDED", object.metadata.name.unwrap()),
        WatchEvent::Modified(object) => ("MODIFIED", object.metadata.name.unwrap()),
        WatchEvent::Deleted(object) => ("DELETED", object.metadata.name.unwrap()),
        WatchEvent::Bookmark(mark) => ("BOOKMARK", mark.metadata.resource_version),
        WatchEvent::Error(status) => ("ERROR", status.code.to_string()),
    }
}

fn is(event: (&'static str, String), kind: &str, name: &str) {
    assert_eq!((event.0, event.1.as_str()), (kind, name));
}

#[tokio::test]
async fn a_selecting_watch_tells_what_begins_and_stops_to_match() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let params = PostParams::default();
    maps.create(&params, &map("old", json!({ "x": "y" })))
        .await
        .unwrap();
    let selecting = WatchParams::default().labels("x=y");
    let mut events = pin!(maps.watch(&selecting, "0").await.unwrap());
    is(told(&mut events).await, "ADDED", "old");
    maps.create(&params, &map("a", json!({}))).await.unwrap();
    let label = |value: Value| Patch::Merge(json!({ "metadata": { "labels": { "x": value } } }));
    let patch = PatchParams::default();
    maps.patch("a", &patch, &label("y".into())).await.unwrap();
    is(told(&mut events).await, "ADDED", "a");
    let annotation = Patch::Merge(json!({ "metadata": { "annotations": { "b": "c" } } }));
    maps.patch("a", &patch, &annotation).await.unwrap();
    is(told(&mut events).await, "MODIFIED", "a");
    maps.patch("a", &patch, &label(Value::Null)).await.unwrap();
    is(told(&mut events).await, "DELETED", "a");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    maps.delete("old", &DeleteParams::default()).await.unwrap();
    is(told(&mut events).await, "DELETED", "old");
}

#[tokio::test]
async fn a_watch_goes_on_where_a_list_ended() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let params = PostParams::default();
    maps.create(&params, &map("before", json!({})))
        .await
        .unwrap();
    let list = maps.list(&ListParams::default()).await.unwrap();
    maps.create(&params, &map("after", json!({})))
        .await
        .unwrap();
    let from = list.metadata.resource_version.unwrap();
    let one = WatchParams::default().timeout(1);
    let events: Vec<_> = maps.watch(&one, &from).await.unwrap().collect().await;
    let named = |event: &kube::Result<WatchEvent<ConfigMap>>| match event {
        Ok(WatchEvent::Added(object)) => object.metadata.name.clone(),
        _ => None,
    };
    let added: Vec<String> = events.iter().filter_map(named).collect();
    assert_eq!(added, ["after"]);
    assert!(
        matches!(events.last(), Some(Ok(WatchEvent::Bookmark(_)))),
        "the end is marked"
    );
    let mut old = pin!(maps.watch(&WatchParams::default(), "1").await.unwrap());
    is(told(&mut old).await, "ERROR", "410");
    assert!(old.next().await.is_none());
}

#[tokio::test]
async fn bookmarks_come_by_themselves() {
    let limits = Limits {
        bookmark_interval: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let mut events = pin!(maps.watch(&WatchParams::default(), "0").await.unwrap());
    let (first, revision) = told(&mut events).await;
    assert_eq!(first, "BOOKMARK");
    maps.create(&PostParams::default(), &map("a", json!({})))
        .await
        .unwrap();
    loop {
        match told(&mut events).await {
            ("BOOKMARK", later) if later > revision => break,
            ("BOOKMARK", _) => {}
            event => is(event, "ADDED", "a"),
        }
    }
}

async fn names_until_done<S>(events: &mut S) -> Vec<String>
where
    S: Stream<Item = watcher::Result<watcher::Event<ConfigMap>>> + Unpin,
{
    let mut names = Vec::new();
    loop {
        match events.next().await.unwrap() {
            Ok(watcher::Event::Init) => names.clear(),
            Ok(watcher::Event::InitApply(object)) => names.extend(object.metadata.name),
            Ok(watcher::Event::InitDone) => return names,
            // Changes and errors on the way to a new start.
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) | Err(_) => {}
        }
    }
}

#[tokio::test]
async fn kube_rs_watchers_start_both_ways_and_survive_an_empty_restart() {
    let mut server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    maps.create(&PostParams::default(), &map("a", json!({})))
        .await
        .unwrap();
    let listing = watcher(maps.clone(), watcher::Config::default());
    let streaming = watcher(maps.clone(), watcher::Config::default().streaming_lists());
    let (mut listing, mut streaming) = (pin!(listing), pin!(streaming));
    assert_eq!(names_until_done(&mut listing).await, ["a"]);
    assert_eq!(names_until_done(&mut streaming).await, ["a"]);
    server.restart().await;
    eventually("the new server answers", || async {
        let made = maps
            .create(&PostParams::default(), &map("b", json!({})))
            .await;
        made.is_ok().then_some(())
    })
    .await;
    assert_eq!(names_until_done(&mut listing).await, ["b"]);
    assert_eq!(names_until_done(&mut streaming).await, ["b"]);
}

#[tokio::test]
async fn a_table_watch_sends_tables() {
    let server = Server::start().await;
    let path =
        "/api/v1/namespaces?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Ddefault";
    let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n";
    let (code, _, body) = server.ask("GET", path, table, b"").await;
    assert_eq!(code, 200);
    let line = body.lines().find(|line| line.starts_with('{')).unwrap();
    let event: Value = serde_json::from_str(line).unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["kind"], "Table");
    assert_eq!(event["object"]["rows"][0]["cells"][0], "default");
}

#[tokio::test]
async fn clients_that_never_read_cost_little_and_are_cut_off() {
    let limits = Limits {
        connections: 48,
        write_timeout: Duration::from_millis(500),
        log_bytes: 4 << 20,
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut stream = server.connect().await.unwrap();
        let request = "GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\
                       Authorization: Bearer s3cret\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let before = resident_kib();
    let text = "x".repeat(200_000);
    for at in 0..100 {
        let patch = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": format!("{at}{text}") },
        });
        if at == 0 {
            maps.create(&PostParams::default(), &map("a", json!({})))
                .await
                .unwrap();
        }
        maps.patch("a", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
    // A queue for each watcher would hold 20 MB forty times.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 400 << 10, "grew by {grown} KiB");
    // There is room for so many others only when these have been cut off.
    for _ in 0..40 {
        let mut stream = server.connect().await.unwrap();
        let request = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        open.push(stream);
    }
}
