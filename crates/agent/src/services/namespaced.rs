//! The whole agent on a real kernel, its cluster in a file: a node, and a host beside it that has
//! the endpoints.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use seaway_cni::request::{Reply, Request};
use seaway_cni::wire::{Connection, Deadline};
use seaway_kernel::netns::Netns;
use seaway_kernel::uplink::UplinkRule;
use seaway_model::{NodeName, ServiceSettings, Settings};
use seaway_testkit::{eventually, isolate};
use serde_json::Value;

use crate::{AgentConfig, ClusterSource, WebConfig};

const LIMIT: Duration = Duration::from_secs(30);
/// How long to wait for an answer that may not come.
const PATIENCE: Duration = Duration::from_millis(500);
const BACKENDS: [&str; 4] = ["192.0.2.2", "192.0.2.3", "2001:db8::2", "2001:db8::3"];

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.expect("install iproute2");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
}

/// A node with an agent, and the host beside it.
struct Node {
    folder: PathBuf,
    _far: Netns,
}

impl Node {
    /// The node is the calling thread's namespace from now on. Every address of the host beside it
    /// answers by TCP and UDP on port 8080 with itself.
    fn start(cluster: &str, services: ServiceSettings) -> Node {
        isolate();
        ip("netns add far");
        let far = Netns::open("/run/netns/far".as_ref()).expect("made");
        ip("link add near type veth peer name far0 netns far");
        for address in ["192.0.2.1/24", "2001:db8::1/64"] {
            ip(&format!("address add {address} dev near nodad"));
        }
        ip("link set near up");
        ip("route add default via 192.0.2.2");
        far.run(|| {
            for address in BACKENDS {
                let length = if address.contains(':') { 64 } else { 24 };
                ip(&format!("address add {address}/{length} dev far0 nodad"));
            }
            ip("link set far0 up");
            BACKENDS.into_iter().for_each(serve);
        })
        .expect("a namespace");
        // The test's own.
        let folder = PathBuf::from("/run/agent");
        std::fs::create_dir_all(&folder).expect("a folder");
        let node = Node { folder, _far: far };
        node.write(cluster);
        let config = AgentConfig {
            node: NodeName::new("a").expect("valid"),
            socket: node.folder.join("agent.sock"),
            state_dir: node.folder.join("state"),
            cluster: ClusterSource::File(node.folder.join("cluster.yaml")),
            uplink: UplinkRule::default(),
            settings: Settings {
                services: Some(services),
                ..Settings::default()
            },
            web: WebConfig::default(),
            namespace: seaway_api::heartbeat::NAMESPACE.to_owned(),
            name_servers: None,
            cni_conf_dir: None,
            replace_others: false,
        };
        thread::spawn(move || crate::run(&config));
        node
    }

    fn write(&self, cluster: &str) {
        let aside = self.folder.join("new");
        let text = format!(
            "nodes: [{{name: a, addresses: [192.0.2.1, '2001:db8::1'], podCIDRs: [10.244.0.0/24], \
             leaving: {}}}]\n{cluster}",
            cluster.contains("# leaving")
        );
        std::fs::write(&aside, text).expect("written");
        std::fs::rename(aside, self.folder.join("cluster.yaml")).expect("renamed");
    }

    fn status(&self) -> Option<Value> {
        let socket = self.folder.join("agent.sock");
        let mut connection = Connection::open(&socket, Deadline::after(LIMIT)).ok()?;
        match connection.exchange(&Request::Status, None).ok()? {
            Reply::Ok(value) => Some(value),
            Reply::Error(error) => panic!("{error}"),
        }
    }
}

impl Node {
    /// What was told last for a reason; waits until there is something.
    fn told(&self, reason: &str) -> String {
        eventually(reason, LIMIT, || {
            let status = self.status().ok_or("no answer")?;
            let events = status["events"].as_array().expect("a list").clone();
            let found = events.into_iter().find(|event| event["reason"] == reason);
            found
                .map(|event| event["message"].to_string())
                .ok_or("not told")
        })
    }
}

/// Answers at an address, for ever.
fn serve(address: &'static str) {
    let at = SocketAddr::new(address.parse().expect("valid"), 8080);
    let (tcp, udp) = (TcpListener::bind(at), UdpSocket::bind(at));
    let (tcp, udp) = (tcp.expect("bound"), udp.expect("bound"));
    thread::spawn(move || {
        for stream in tcp.incoming() {
            // The client may be gone.
            let _ = stream.expect("accepted").write_all(address.as_bytes());
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(address.as_bytes(), from);
        }
    });
}

/// Who answers at an address by TCP.
fn ask_tcp(at: &str) -> Result<String, String> {
    let at = at.parse().expect("valid");
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    Ok(text)
}

fn ask_udp(client: &UdpSocket) -> Result<String, String> {
    client.send(b"?").map_err(|e| e.to_string())?;
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer).map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn udp_client(to: &str) -> UdpSocket {
    let client = UdpSocket::bind("0.0.0.0:0").expect("bound");
    client.connect(to).expect("a route");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    client
}

/// Status code, headers and body.
fn get(at: &str, path: &str) -> Result<(u16, String, String), String> {
    let at = at.parse().expect("valid");
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(LIMIT)).expect("set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or("no code")?, head.to_lowercase(), body.to_owned()))
}

fn answered_by(wanted: &str, ask: impl Fn() -> Result<String, String>) {
    eventually(wanted, LIMIT, || match ask() {
        Ok(answer) if answer == wanted => Ok(()),
        other => Err(other),
    });
}

fn has_code(wanted: u16, at: &str, path: &str) -> (String, String) {
    eventually(&format!("{wanted} at {at}{path}"), LIMIT, || {
        match get(at, path) {
            Ok((code, head, body)) if code == wanted => Ok((head, body)),
            other => Err(other),
        }
    })
}

fn settings() -> ServiceSettings {
    ServiceSettings {
        service_cidrs: ["10.96.0.0/16", "fd00:96::/112"]
            .map(|net| net.parse().expect("valid"))
            .into(),
        ..ServiceSettings::default()
    }
}

/// A Service with one endpoint a family, which may be on the node.
fn web(more: &str, v4: &str, v6: &str, node: &str) -> String {
    format!(
        "services:
- {{name: x/web, cluster_ips: [10.96.0.7, 'fd00:96::7'], {more},
   ports: [{{name: t, protocol: tcp, port: 80}}, {{name: u, protocol: udp, port: 80}}]}}
endpointSlices:
- {{name: x/web-4, service: x/web, family: v4, endpoints: [{{address: {v4}, {node}}}],
   ports: [{{name: t, protocol: tcp, port: 8080}}, {{name: u, protocol: udp, port: 8080}}]}}
- {{name: x/web-6, service: x/web, family: v6, endpoints: [{{address: '{v6}', {node}}}],
   ports: [{{name: t, protocol: tcp, port: 8080}}, {{name: u, protocol: udp, port: 8080}}]}}
"
    )
}

#[test]
fn a_service_of_the_file_is_in_force_and_followed_and_measured() {
    let first = web("kind: ClusterIp", BACKENDS[0], BACKENDS[2], "");
    let node = Node::start(&first, settings());
    answered_by(BACKENDS[0], || ask_tcp("10.96.0.7:80"));
    answered_by(BACKENDS[2], || ask_tcp("[fd00:96::7]:80"));
    node.write(&web("kind: ClusterIp", BACKENDS[1], BACKENDS[3], ""));
    answered_by(BACKENDS[1], || ask_tcp("10.96.0.7:80"));
    answered_by(BACKENDS[3], || ask_tcp("[fd00:96::7]:80"));
    let (_, body) = has_code(200, "127.0.0.1:10249", "/metrics");
    for words in [
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 4",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
        "kubeproxy_sync_proxy_rules_service_changes_total 1",
        "kubeproxy_sync_proxy_rules_duration_seconds_count",
        "kubeproxy_network_programming_duration_seconds_count 0",
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"internal\"} 0",
        "seaway_rows{table=\"frontends\"} 4",
        "seaway_services 1",
        "seaway_drops_total{reason=\"service-refused\"}",
        "seaway_build_info{version=",
        "process_resident_memory_bytes",
        "# EOF",
    ] {
        assert!(body.contains(words), "{words}: {body}");
    }
    node.write("");
    let gone = || match ask_tcp("10.96.0.7:80") {
        Err(error) => Ok(error),
        Ok(answer) => Err(answer),
    };
    eventually("the Service is gone", LIMIT, gone);
    let status = node.status().expect("answers");
    assert_eq!(status["services"]["frontends"], 0, "{status}");
    assert_eq!(status["drifted"], 0, "{status}");
}

#[test]
fn s23_s24_health_follows_endpoints_and_the_node() {
    let balancer = "kind: LoadBalancer, external_policy: Local, health_port: 32000";
    let with = |node: &str| web(balancer, BACKENDS[0], BACKENDS[2], node);
    let node = Node::start(&with("node: b"), settings());
    let check = "192.0.2.1:32000";
    let (head, body) = has_code(503, check, "/");
    assert!(
        head.contains("x-load-balancing-endpoint-weight: 0"),
        "{head}"
    );
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        body["service"],
        serde_json::json!({"namespace": "x", "name": "web"})
    );
    assert_eq!(
        (&body["localEndpoints"], &body["serviceProxyHealthy"]),
        (&0.into(), &true.into())
    );
    node.write(&with("node: a"));
    let (head, _) = has_code(200, check, "/whatever");
    assert!(
        head.contains("x-load-balancing-endpoint-weight: 1"),
        "{head}"
    );
    has_code(200, "[2001:db8::1]:32000", "/");
    for at in ["127.0.0.1:10256", "[2001:db8::1]:10256"] {
        has_code(200, at, "/healthz");
        has_code(200, at, "/livez");
    }
    node.write(&format!("{}# leaving", with("node: a")));
    let (_, body) = has_code(503, "192.0.2.1:10256", "/healthz");
    assert!(body.contains("\"nodeEligible\":false"), "{body}");
    has_code(200, "192.0.2.1:10256", "/livez");
    node.write("");
    // What is being answered ends, too, so that the first failure may be another.
    let closed = || match get(check, "/") {
        Err(error) if error.contains("refused") => Ok(()),
        other => Err(other),
    };
    eventually("the check goes with its Service", LIMIT, closed);
    has_code(200, "192.0.2.1:10256", "/healthz");
}

#[test]
fn s23_a_port_that_is_taken_is_told_and_had_when_it_is_free() {
    let balancer = "kind: LoadBalancer, external_policy: Local, health_port: 32000";
    let node = Node::start("", settings());
    has_code(200, "127.0.0.1:10256", "/livez");
    let holder = TcpListener::bind("192.0.2.1:32000").expect("free");
    node.write(&web(balancer, BACKENDS[0], BACKENDS[2], "node: a"));
    let event = node.told("ListenFailed");
    assert!(
        event.contains("192.0.2.1:32000") && event.contains("Service x/web"),
        "{event}"
    );
    drop(holder);
    has_code(200, "192.0.2.1:32000", "/");
    node.told("ListenRestored");
}

#[test]
fn bad_endpoints_are_refused_and_told_and_nothing_else_suffers() {
    let good = web("kind: ClusterIp", BACKENDS[0], BACKENDS[2], "");
    let bad = |address: &str| {
        format!(
            "{good}
- {{name: x/bad, service: x/web, family: v4, endpoints: [{{address: {address}}}],
   ports: [{{name: t, protocol: tcp, port: 8080}}]}}
"
        )
    };
    let node = Node::start(&bad("127.0.0.1"), settings());
    answered_by(BACKENDS[0], || ask_tcp("10.96.0.7:80"));
    let event = node.told("ObjectRefused");
    assert!(
        event.contains("EndpointSlice x/bad") && event.contains("127.0.0.1"),
        "{event}"
    );
    for _ in 0..20 {
        assert_eq!(ask_tcp("10.96.0.7:80").as_deref(), Ok(BACKENDS[0]));
    }
    node.write(&bad("192.0.2.1"));
    eventually("the node's own address is told of", LIMIT, || {
        let event = node.told("ObjectRefused");
        event.contains("192.0.2.1").then_some(()).ok_or(event)
    });
    node.write(&good);
    node.told("ObjectAccepted");
}

#[test]
fn slow_clients_hold_nobody_up_for_long() {
    let _node = Node::start("", settings());
    let at = "127.0.0.1:10256";
    has_code(200, at, "/livez");
    let address = at.parse().expect("valid");
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..100 {
        let stream = TcpStream::connect_timeout(&address, LIMIT);
        let mut stream = stream.expect("a place in the queue");
        stream.write_all(b"GET /livez").expect("sent");
        slow.push(stream);
    }
    has_code(200, at, "/livez");
    has_code(200, "127.0.0.1:10249", "/metrics");
    has_code(404, at, "/other");
}

#[test]
fn s27_a_udp_flow_follows_the_service() {
    let kind = "kind: ClusterIp";
    // Without the Service's network the first flow goes out by the default route, untranslated.
    let node = Node::start("", ServiceSettings::default());
    has_code(200, "127.0.0.1:10256", "/livez");
    let client = udp_client("10.96.0.7:80");
    ask_udp(&client).expect_err("nobody is there");
    node.write(&web(kind, BACKENDS[0], BACKENDS[2], ""));
    answered_by(BACKENDS[0], || ask_udp(&client));
    node.write(&web(kind, BACKENDS[1], BACKENDS[3], ""));
    answered_by(BACKENDS[1], || ask_udp(&client));
    // One that is about to end goes on answering (S6), and the flow is not disturbed.
    let other = udp_client("10.96.0.7:80");
    answered_by(BACKENDS[1], || ask_udp(&other));
    node.write(&web(
        kind,
        BACKENDS[1],
        BACKENDS[3],
        "ready: false, terminating: true",
    ));
    answered_by(BACKENDS[1], || ask_udp(&other));
    node.write("");
    let gone = || match ask_udp(&client) {
        Err(error) => Ok(error),
        Ok(answer) => Err(answer),
    };
    eventually("nobody answers any more", LIMIT, gone);
}
