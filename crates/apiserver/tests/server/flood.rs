//! More connections than the server holds: crowds that only sit there, and crowds that are busy.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seaway_apiserver::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::harness::{Server, eventually, resident_kib};
use crate::objects::from;

/// The size of the crowd.
const CROWD: usize = 10_000;
/// File descriptors for everything else, other tests among it.
const RESERVE: usize = 3_000;

fn map(name: &str) -> ConfigMap {
    from(json!({ "metadata": { "name": name } }))
}

/// How many connections the crowd may have.
fn crowd(connections: usize) -> usize {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let room = usize::try_from(most).unwrap_or(usize::MAX);
    let crowd = CROWD.min(room.saturating_sub(RESERVE));
    assert!(
        crowd >= 2 * connections,
        "the hard limit of {most} open files leaves {crowd} of {CROWD} connections for the crowd, \
         which shows nothing with {connections} connections allowed: raise it (ulimit -Hn)"
    );
    crowd
}

/// Connects and does nothing, or begins a handshake that never goes on.
async fn sit(server: &Server, at: usize) -> TcpStream {
    loop {
        // A full backlog may refuse for a moment.
        let Ok(mut stream) = TcpStream::connect(server.address).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if at.is_multiple_of(2) {
            // It may be closed already.
            let _sent = stream.write_all(b"\x16\x03\x01\x02").await;
        }
        return stream;
    }
}

fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Two requests: over a connection that may be kept, and over one of its own.
async fn ask_honestly(server: &Server, maps: &Api<ConfigMap>, at: usize) {
    let named = map(&format!("honest-{at}"));
    maps.create(&PostParams::default(), &named).await.unwrap();
    let path = "/api/v1/configmaps?limit=1";
    let (code, _, body) = server.ask("GET", path, "", b"").await;
    assert_eq!(code, 200, "{body}");
}

#[tokio::test]
async fn ten_thousand_idle_connections_lock_nobody_out() {
    let limits = Limits::default();
    let connections = limits.connections;
    let size = crowd(connections);
    let server = Server::with(limits).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let quiet: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    quiet.list(&ListParams::default()).await.unwrap();
    let watching: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let mut events = pin!(watching.watch(&WatchParams::default(), "0").await.unwrap());
    let (tasks, memory) = (
        Handle::current().metrics().num_alive_tasks(),
        resident_kib(),
    );

    let sitting = stream::iter(0..size)
        .map(|at| sit(&server, at))
        .buffer_unordered(256)
        .collect::<Vec<TcpStream>>();
    let mut sitting = pin!(sitting);
    let mut answered = 0;
    let streams = loop {
        let mut honest = pin!(ask_honestly(&server, &maps, answered));
        answered += 1;
        tokio::select! {
            () = &mut honest => {}
            streams = &mut sitting => {
                honest.await;
                break streams;
            }
        }
    };
    eventually(
        "all but those that are allowed have been closed",
        || async {
            let closed = streams.iter().filter(|stream| is_closed(stream)).count();
            (closed + connections >= size).then_some(())
        },
    )
    .await;
    let now = Handle::current().metrics().num_alive_tasks();
    assert!(
        now < tasks + connections + 200,
        "{now} tasks, {tasks} before"
    );
    let grown = resident_kib().saturating_sub(memory);
    assert!(grown < 256 << 10, "grew by {grown} KiB");
    quiet.list(&ListParams::default()).await.unwrap();
    for at in 0..answered {
        let Some(Ok(WatchEvent::Added(one))) = events.next().await else {
            panic!("the watch did not go on after {at} events");
        };
        assert_eq!(one.metadata.name, Some(format!("honest-{at}")));
    }
    drop(streams);
    eventually("the tasks of the crowd are gone", || async {
        (Handle::current().metrics().num_alive_tasks() < tasks + 100).then_some(())
    })
    .await;
}

#[tokio::test]
async fn idle_connections_make_room_but_watches_do_not() {
    // Nobody goes for being idle, only for others; without that this would never end.
    let limits = Limits {
        connections: 4,
        idle_timeout: Duration::from_secs(3600),
        handshake_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    tokio::time::timeout(Duration::from_secs(60), fill_with_watches(limits))
        .await
        .expect("idle connections make room");
}

async fn fill_with_watches(limits: Limits) {
    let server = Server::with(limits).await;
    let mut watches = Vec::new();
    for _ in 0..4 {
        // More idle ones than there is room for, each after a request.
        let mut idle = server.connect().await.unwrap();
        let request = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
        idle.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 15];
        idle.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        let mut watch = server.connect().await.unwrap();
        let request = "GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\
                       Authorization: Bearer s3cret\r\n\r\n";
        watch.write_all(request.as_bytes()).await.unwrap();
        watch.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        watches.push((watch, idle));
    }
    // All places are taken by watches, so this one has to wait until one of them ends.
    let body = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"told"}}"#;
    let path = "/api/v1/namespaces/default/configmaps";
    let waiting = server.ask("POST", path, "", body);
    let mut waiting = pin!(waiting);
    tokio::select! {
        biased;
        answer = &mut waiting => panic!("answered although all places are taken: {answer:?}"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    watches.pop();
    assert_eq!(waiting.await.0, 201);
    for (watch, _) in &mut watches {
        let mut seen = String::new();
        while !seen.contains("\"told\"") {
            let mut bytes = [0; 1024];
            let read = watch.read(&mut bytes).await.unwrap();
            assert!(read > 0, "a watch was cut off after {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
}
