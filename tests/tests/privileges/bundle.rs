//! Row 42, the support archive with an API that does not give everything, or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use seaway_testkit::isolate;
use seaway_tests::binary;
use serde_json::{Value, json};

/// What may be read of the API that answers here: everything else is forbidden.
fn given() -> BTreeMap<&'static str, Value> {
    let version = json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0", "gitCommit": "",
        "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
    let node = json!({"metadata": {"name": "n1", "annotations": {"example.com/key": "canary"}},
        "spec": {"podCIDRs": ["10.244.1.0/24"], "providerID": "canary"}});
    let nodes = json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": [node]});
    // No object: names are texts.
    let pod = json!({"metadata": {"name": 5}, "spec": {"containers": [{"env": [
        {"name": "KEY", "value": "canary-of-what-cannot-be-read"}]}]}});
    let pods = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod]});
    BTreeMap::from([
        ("/version", version),
        ("/api/v1/nodes", nodes),
        ("/api/v1/pods", pods),
    ])
}

/// An API server that forbids nearly everything; it ends with the test's process.
fn stingy_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let (code, body) = match given().remove(path) {
        Some(body) => ("200 OK", body),
        None => {
            let words = format!("{path} is forbidden for token=canary-in-an-answer");
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 403,
                "status": "Failure", "reason": "Forbidden", "message": words});
            ("403 Forbidden", status)
        }
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    (&stream).write_all((head + &body).as_bytes())
}

/// Runs `seaway bundle` with a kubeconfig that names this server.
fn bundle(server: SocketAddr, out: &str) -> Output {
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": format!("http://{server}")}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "users": [{"name": "x", "user": {"token": "canary-of-a-kubeconfig"}}]});
    fs::write("/run/kubeconfig", config.to_string()).expect("written");
    Command::new(binary("seaway"))
        .args(["--log", "trace", "bundle", "-o", "json", "--out", out])
        .args(["--kubeconfig", "/run/kubeconfig"])
        .output()
        .expect("started")
}

#[test]
fn r42_what_may_not_be_read_is_told_and_fails_nothing() {
    isolate();
    let output = bundle(stingy_server(), "/run/a.tar.gz");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("canary"), "{text}");
    assert!(errors.contains("TRACE"), "{errors}");
    assert!(!errors.contains("canary"), "{errors}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let names = |list: &str, field: &str| -> Vec<String> {
        let all = report[list].as_array().expect("a list").iter();
        all.map(|one| one[field].as_str().expect("a name").to_owned())
            .collect()
    };
    let wanted = [
        "cluster/version.json",
        "cluster/nodes.jsonl",
        "bundle.json",
        "README.txt",
    ];
    assert_eq!(names("entries", "file"), wanted);
    let left = names("left", "what");
    for file in [
        "cluster/pods.jsonl",
        "cluster/config.jsonl",
        "logs",
        "cluster/status.json",
    ] {
        assert!(left.iter().any(|name| name == file), "{file}: {left:?}");
    }
    let why = names("left", "why").join("\n");
    assert!(why.contains("is forbidden for token=[REDACTED]"), "{why}");
    let nodes = Command::new("tar")
        .args(["-xzOf", "/run/a.tar.gz"])
        .stderr(Stdio::inherit())
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&nodes.stdout);
    assert!(
        text.contains("10.244.1.0/24") && !text.contains("canary"),
        "{text}"
    );
}

#[test]
fn r42_an_archive_can_be_a_stream() {
    isolate();
    let output = bundle(stingy_server(), "-");
    assert!(output.status.success());
    assert_eq!(output.stdout[..2], [0x1f, 0x8b], "nothing but the archive");
    fs::write("/run/b.tar.gz", output.stdout).expect("written");
    let list = Command::new("tar").args(["-tzf", "/run/b.tar.gz"]).output();
    let list = list.expect("started");
    assert!(list.status.success());
    assert!(String::from_utf8_lossy(&list.stdout).contains("seaway-bundle/README.txt"));
}

#[test]
fn r42_with_nothing_to_take_there_is_no_archive() {
    isolate();
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = closed.local_addr().expect("an address");
    drop(closed);
    fs::create_dir("/run/out").expect("made");
    let output = bundle(server, "/run/out/a.tar.gz");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("there is nothing to take"),
        "{errors}"
    );
    assert!(!errors.contains("canary"), "{errors}");
    let left = fs::read_dir(Path::new("/run/out"))
        .expect("a folder")
        .count();
    assert_eq!(left, 0);
}
