//! Row 42, secrets: what must stay secret goes into every input there is, agents, controllers and the
//! plugin run with their most talkative log, and it is looked for in everything that they give.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::lab::Lab;
use seaway_tests::{Node, Pod, binary};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
/// All canaries of these tests begin so; then comes the input that one was put into.
const CANARY: &str = "canary-7f3e-";
/// Asks for metrics from within a node.
const METRICS: &str = "exec 3<>/dev/tcp/127.0.0.1/10249; printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\
     Connection: close\\r\\n\\r\\n' >&3; cat <&3 | grep -a seaway_";

fn canary(input: &str) -> String {
    format!("{CANARY}{input}")
}

/// Outputs, and what must not be in them.
struct Search {
    secrets: Vec<(String, String)>,
    found: Vec<String>,
    outputs: usize,
}

impl Search {
    fn new() -> Search {
        Search {
            secrets: vec![("a canary".to_owned(), CANARY.to_owned())],
            found: Vec::new(),
            outputs: 0,
        }
    }

    fn output(&mut self, name: &str, text: &str) {
        assert!(!text.is_empty(), "{name} is empty");
        self.outputs += 1;
        for (what, secret) in &self.secrets {
            if let Some(at) = text.find(secret) {
                let line = text[at..].lines().next().unwrap_or_default();
                let line: String = line.chars().take(80).collect();
                self.found.push(format!("{what} in {name}: {line}"));
            }
        }
    }

    fn folder(&mut self, folder: &Path) {
        for file in files(folder) {
            let content = fs::read(&file).expect("readable");
            if !content.is_empty() {
                let text = String::from_utf8_lossy(&content);
                self.output(&file.display().to_string(), &text);
            }
        }
    }

    /// Nothing was found, and there were enough places to look.
    fn end(self, least: usize) {
        assert!(self.outputs >= least, "{} outputs", self.outputs);
        assert!(self.found.is_empty(), "{:#?}", self.found);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            all.extend(files(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all
}

/// The tokens of all daemons and people of the lab, and the server's key.
fn tokens(lab: &Lab) -> Vec<(String, String)> {
    let folder = lab.kubeconfig().with_file_name("credentials");
    let mut tokens = Vec::new();
    for file in files(&folder) {
        if file.extension().is_some_and(|end| end == "kubeconfig") {
            let text = fs::read_to_string(&file).expect("readable");
            let config: Value = serde_saphyr::from_str(&text).expect("YAML");
            let token = config["users"][0]["user"]["token"].as_str();
            let name = format!("the token of {}", file.display());
            tokens.push((name, token.expect("a token").to_owned()));
        }
    }
    let key = fs::read_to_string(folder.join("server.key")).expect("the key");
    let line = key.lines().nth(1).expect("a line of it").to_owned();
    tokens.push(("the server's key".to_owned(), line));
    assert!(tokens.len() > 3, "{tokens:?}");
    tokens
}

fn apply(lab: &Lab, name: &str, object: &Value) {
    let file = lab.kubeconfig().with_file_name(format!("{name}.json"));
    fs::write(&file, object.to_string()).expect("written");
    lab.kubectl(&["apply", "-f", file.to_str().expect("text")]);
    fs::remove_file(&file).expect("removed");
}

/// Objects with canaries wherever they may have secrets.
fn put_canaries(lab: &Lab) {
    let pod = |namespace: &str, labels: Value, script: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nest", "namespace": namespace,
                "labels": labels, "annotations": {"example.com/key": canary("pod-annotation")}},
            "spec": {"containers": [{"name": "main", "image": "any",
                "command": ["sh", "-c", script, "sh", canary("pod-argument")],
                "env": [{"name": "KEY", "value": canary("pod-environment")}],
                "ports": [{"containerPort": 80}]}]}})
    };
    let meta = |name: &str| json!({"name": name, "annotations": {"example.com/key": canary(&format!("{name}-annotation"))}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("secret"),
        "stringData": {"key": canary("secret")}});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("map"),
        "data": {"key": canary("map")}});
    let own_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seaway-config",
        "namespace": "seaway-system"}, "data": {"key": canary("own-map"), "SEAWAY_MTU": "1400"}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("service"),
        "spec": {"selector": {"app": "nest"}, "ports": [{"port": 80}]}});
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": meta("policy"), "spec": {"podSelector": {}}});
    let silent = "exec sleep 100000";
    // A program of ours that would log what it must not.
    let leak = format!(
        "echo 'Authorization: Bearer {0}'; echo 'https://u:{0}@192.0.2.1/'; echo 'token={0}'; {silent}",
        canary("own-log")
    );
    let name = "app.kubernetes.io/name";
    for (file, object) in [
        ("secret", &secret),
        ("map", &map),
        ("own-map", &own_map),
        ("service", &service),
        ("policy", &policy),
        ("pod", &pod("default", json!({"app": "nest"}), silent)),
        (
            "own-pod",
            &pod("seaway-system", json!({name: "seaway"}), &leak),
        ),
    ] {
        apply(lab, file, object);
    }
    let annotation = format!("example.com/key={}", canary("node-annotation"));
    lab.kubectl(&["annotate", "node", "node1", &annotation]);
    for namespace in ["default", "seaway-system"] {
        let wait = ["wait", "--for=condition=Ready", "pod/nest", "--timeout=60s"];
        lab.kubectl(&[&["-n", namespace], &wait[..]].concat());
    }
    let seen = lab.kubectl(&["get", "pod", "nest", "-o", "yaml"]);
    assert!(seen.contains(&canary("pod-environment")), "{seen}");
}

/// A controller that has its token as Pods have it.
pub(crate) struct InCluster {
    pub(crate) process: Child,
    log: PathBuf,
}

impl InCluster {
    /// Starts one with more flags.
    pub(crate) fn start(lab: &Lab, more: &[&str]) -> InCluster {
        let config = fs::read_to_string(lab.kubeconfig()).expect("readable");
        let config: Value = serde_saphyr::from_str(&config).expect("YAML");
        let server = &config["clusters"][0]["cluster"]["server"];
        let credentials = lab.kubeconfig().with_file_name("credentials");
        let file = credentials.join("network.kubeconfig");
        let network = fs::read_to_string(file).expect("readable");
        let network: Value = serde_saphyr::from_str(&network).expect("YAML");
        let token = &network["users"][0]["user"]["token"];
        let folder = PathBuf::from("/run/account");
        fs::create_dir_all(&folder).expect("made");
        fs::copy(credentials.join("ca.crt"), folder.join("ca.crt")).expect("copied");
        fs::write(folder.join("token"), token.as_str().expect("a token")).expect("written");
        fs::write(folder.join("namespace"), "seaway-system").expect("written");
        let log = PathBuf::from("/run/in-cluster.log");
        let output = fs::File::create(&log).expect("a log");
        let process = Command::new(binary("seaway"))
            .args([
                "--log",
                "trace",
                "controller",
                "--network-only",
                "--leader-elect",
            ])
            .args(["--in-cluster", "--pod-name", "x", "--service-account-dir"])
            .arg(&folder)
            .args(["--api-server", server.as_str().expect("a URL")])
            .args(more)
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("started");
        InCluster { process, log }
    }
}

impl Drop for InCluster {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// Runs `seaway bundle`, and unpacks what it makes.
fn bundle(lab: &Lab) -> (PathBuf, String) {
    use std::os::unix::fs::PermissionsExt;
    let archive = PathBuf::from("/run/cluster.tar.gz");
    let output = Command::new(binary("seaway"))
        .args(["--log", "trace", "bundle", "--out"])
        .arg(&archive)
        .env("SEAWAY_KUBECONFIG", lab.kubeconfig())
        .output()
        .expect("started");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    let mode = fs::metadata(&archive)
        .expect("written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    (unpack(&archive), text + &errors)
}

fn unpack(archive: &Path) -> PathBuf {
    let folder = archive.with_extension("d");
    fs::create_dir_all(&folder).expect("made");
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(&folder)
        .status();
    assert!(status.expect("started").success());
    folder.join("seaway-bundle")
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The archive is worth something: what helpers need is in it.
fn has_what_is_needed(folder: &Path) {
    for (file, words) in [
        ("cluster/status.json", "\"node1\""),
        ("cluster/nodes.jsonl", "podCIDRs"),
        ("cluster/pods.jsonl", "\"nest\""),
        ("cluster/services.jsonl", "\"clusterIP\""),
        ("cluster/endpointslices.jsonl", "\"addressType\""),
        ("cluster/networkpolicies.jsonl", "\"policy\""),
        ("cluster/leases.jsonl", "network.seaway.dev/summary"),
        ("cluster/config.jsonl", "SEAWAY_MTU"),
        ("logs/nest/main.log", "Bearer [REDACTED]"),
        ("README.txt", "cluster/pods.jsonl"),
    ] {
        let words = words.replace("Bearer [REDACTED]", "[REDACTED] [REDACTED]");
        let text = read(folder, file);
        assert!(text.contains(&words), "{file}: {words}: {text}");
    }
}

#[test]
fn r42_no_secret_of_a_cluster_is_found_anywhere() {
    isolate();
    let arguments = ["--nodes", "2", "--pods", "1"];
    let lab = Lab::up_with("canaries", &arguments, &[("SEAWAY_LOG", "trace")]);
    let mut search = Search::new();
    search.secrets.extend(tokens(&lab));
    put_canaries(&lab);
    let controller = InCluster::start(&lab, &[]);
    eventually("the controller works", LIMIT, || {
        let lease = ["-n", "seaway-system", "get", "lease", "seaway-controller"];
        let output = lab.try_kubectl(&lease);
        if output.status.success() {
            Ok(())
        } else {
            Err(output)
        }
    });
    for node in ["node1", "node2"] {
        for command in [
            &["seaway", "status", "-o", "json"][..],
            &["seaway", "tables", "-o", "json"],
            &["bash", "-c", METRICS],
        ] {
            search.output(&format!("{node}: {command:?}"), &lab.exec(node, command));
        }
    }
    let (folder, said) = bundle(&lab);
    search.output("what seaway bundle says", &said);
    has_what_is_needed(&folder);
    search.folder(&folder);
    let of_node = lab.kubeconfig().with_file_name("node.tar.gz");
    let path = of_node.to_str().expect("text");
    let command = ["seaway", "bundle", "--node", "--out", path, "-o", "json"];
    let said: Value = serde_json::from_str(&lab.exec("node1", &command)).expect("JSON");
    assert!(said["bytes"].as_u64() > Some(0), "{said}");
    let folder = unpack(&of_node);
    assert!(read(&folder, "node/status.json").contains("\"events\""));
    assert!(read(&folder, "node/tables/routes.json").contains("10.244."));
    search.folder(&folder);
    let logs = lab.kubeconfig().with_file_name("logs");
    let agent = read(&logs, "node1-agent.log");
    assert!(agent.contains("TRACE"), "the log is at its most talkative");
    search.folder(&logs);
    let own = fs::read_to_string(&controller.log).expect("a log");
    assert!(own.contains("TRACE"), "{own}");
    search.output("the controller in the cluster", &own);
    search.end(40);
}

#[test]
fn r42_no_secret_of_a_plugins_input_is_found_anywhere() {
    let mut node = Node::without_agent();
    node.flags = ["--log", "trace"].map(str::to_owned).to_vec();
    node.start_agent();
    let mut search = Search::new();
    let pod = Pod::new("nest");
    let mut result = Value::Null;
    for command in ["ADD", "CHECK", "STATUS", "GC", "DEL"] {
        let mut call = pod
            .call(command)
            .config("prevResult", result.clone())
            .config("example.com/key", json!(canary("plugin-input")))
            .config("args", json!({"cni": {"key": canary("plugin-args")}}))
            .config(
                "cni.dev/valid-attachments",
                json!([{"containerID": "nest", "ifname": "eth0"}]),
            );
        let names = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=nest";
        call.args = Some(format!("{names};KEY={}", canary("plugin-variable")));
        let output = call.spawn().wait_with_output().expect("ended");
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {text}");
        search.output(command, &format!("{command}: {text}"));
        if command == "ADD" {
            result = serde_json::from_slice(&output.stdout).expect("a result");
        }
    }
    search.output("status", &node.status().to_string());
    search.output("tables", &Value::Array(node.rows()).to_string());
    search.output("metrics", &metrics());
    let log = node.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    search.output("the agent's log", &log);
    search.folder(Path::new("/run/seaway"));
    search.end(10);
}

fn metrics() -> String {
    let mut stream = std::net::TcpStream::connect("127.0.0.1:10249").expect("metrics");
    let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    assert!(text.contains("seaway_ready"), "{text}");
    text
}
