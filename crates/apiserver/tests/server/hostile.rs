//! Clients that are wrong, broken or greedy: clear answers, and the server goes on.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use seaway_apiserver::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Server, eventually, read_answer};
use crate::objects::from;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn lives(server: &Server) {
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    maps.list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn without_a_token_only_health_and_version_are_open() {
    let server = Server::start().await;
    for (path, expected) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/healthz", 200),
        ("/version", 200),
        ("/api", 401),
        ("/apis/apps/v1", 401),
        ("/openapi/v3", 401),
        (MAPS, 401),
        ("/nope", 401),
    ] {
        for token in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Basic eDp5\r\n",
        ] {
            let mut stream = server.connect().await.unwrap();
            let text =
                format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
            let (code, _, body) = read_answer(&mut stream).await;
            assert_eq!(code, expected, "{path} {token}: {body}");
            assert!(expected == 200 || body.contains("Unauthorized"), "{body}");
        }
    }
}

#[tokio::test]
async fn broken_bodies_get_a_clear_answer() {
    let server = Server::start().await;
    let named = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
    for (content_type, body, code) in [
        ("application/json", &b"{"[..], 400),
        ("application/json", b"[]", 400),
        ("application/json", b"", 400),
        ("application/json", b"\xff\xfe", 400),
        ("application/json", br#"{"kind":"ConfigMap"}"#, 400),
        (
            "application/json",
            br#"{"apiVersion":"v1","kind":"Pod"}"#,
            400,
        ),
        (
            "application/json",
            br#"{"apiVersion":"v1","kind":"ConfigMap","data":7}"#,
            400,
        ),
        ("application/yaml", b"a: [", 400),
        ("application/yaml", b"a: &x [*x]", 400),
        ("text/plain", named, 415),
        ("application/cbor", named, 415),
        (
            "application/yaml",
            b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
            201,
        ),
    ] {
        let headers = format!("Content-Type: {content_type}\r\n");
        let (got, _, answer) = server.ask("POST", MAPS, &headers, body).await;
        assert_eq!(
            got,
            code,
            "{content_type} {}: {answer}",
            String::from_utf8_lossy(body)
        );
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(code == 201 || answer["kind"] == "Status", "{answer}");
    }
    for query in [
        "limit=x",
        "continue=!",
        "resourceVersion=x",
        "labelSelector=a%20b",
    ] {
        let (code, _, answer) = server.ask("GET", &format!("{MAPS}?{query}"), "", b"").await;
        assert_eq!(code, 400, "{query}: {answer}");
    }
    let protobuf = "Accept: application/vnd.kubernetes.protobuf\r\n";
    assert_eq!(server.ask("GET", MAPS, protobuf, b"").await.0, 406);
    lives(&server).await;
}

#[tokio::test]
async fn a_body_of_10_mb_is_refused() {
    let server = Server::start().await;
    let body = vec![b' '; 10 << 20];
    let (code, _, answer) = server.ask("POST", MAPS, "", &body).await;
    assert_eq!(code, 413, "{answer}");
    assert!(answer.contains("RequestEntityTooLarge"), "{answer}");
    let large = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" },
        "data": { "a": "x".repeat(2 << 20) },
    });
    let (code, _, answer) = server
        .ask("POST", MAPS, "", large.to_string().as_bytes())
        .await;
    assert!(code == 413 || code == 422, "{code} {answer}");
    lives(&server).await;
}

#[tokio::test]
async fn connections_that_do_nothing_do_not_keep_others_out() {
    let limits = Limits {
        connections: 16,
        handshake_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    lives(&server).await;
    for _ in 0..16 {
        let mut stream = server.connect().await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        lives(&server).await;
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_recovers() {
    let limits = Limits {
        stored_bytes: 300_000,
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let filled = |name: String| -> ConfigMap {
        from(json!({ "metadata": { "name": name }, "data": { "a": "x".repeat(50_000) } }))
    };
    let mut refused = None;
    for at in 0..20 {
        let outcome = maps
            .create(&PostParams::default(), &filled(format!("m{at}")))
            .await;
        if let Err(kube::Error::Api(status)) = outcome {
            refused = Some(status.code);
            break;
        }
    }
    assert_eq!(refused, Some(507));
    maps.delete("m0", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    maps.create(&PostParams::default(), &filled("again".into()))
        .await
        .unwrap();
}

/// What a slow reader of a list holds of the past is no more than the log remembers.
#[tokio::test]
async fn a_list_that_is_read_too_slowly_is_cut_off() {
    let limits = Limits {
        log_events: 3,
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let filled = |name: String, size: usize| -> ConfigMap {
        from(json!({ "metadata": { "name": name }, "data": { "a": "x".repeat(size) } }))
    };
    let make = async |name: String, size: usize| {
        let map = filled(name, size);
        maps.create(&PostParams::default(), &map).await.unwrap();
    };
    // More than sockets hold.
    for at in 0..40 {
        make(format!("m{at}"), 1_000_000).await;
    }
    let request = b"GET /api/v1/configmaps HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                    Authorization: Bearer s3cret\r\n\r\n";
    let mut slow = server.connect().await.unwrap();
    slow.write_all(request).await.unwrap();
    slow.read_exact(&mut [0; 1000]).await.unwrap();
    for at in 0..4 {
        make(format!("n{at}"), 1).await;
    }
    let (_, _, body) = read_answer(&mut slow).await;
    assert!(body.len() < 40_000_000 && !body.ends_with("0\r\n\r\n"));
    let (code, _, body) = server.ask("GET", "/api/v1/configmaps", "", b"").await;
    assert!(code == 200 && body.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn a_failing_handshake_harms_nobody() {
    let server = Server::start().await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    eventually("others are served", || async {
        lives(&server).await;
        Some(())
    })
    .await;
}
