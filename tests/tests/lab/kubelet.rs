//! What a kubelet sees of the network, in a lab: addresses of Pods in their status, the node's own
//! network, ports of the node, probes, and Pods that come before their agent.

use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::lab::{Lab, good};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
/// Probes that pass in this time are a dozen.
const DOZEN: Duration = Duration::from_secs(13);

fn apply(lab: &Lab, object: &Value) {
    let path = "/run/object.json";
    std::fs::write(path, object.to_string()).expect("written");
    lab.kubectl(&["apply", "-f", path]);
}

fn get(lab: &Lab, kind: &str, name: &str) -> Value {
    let text = lab.kubectl(&["get", kind, name, "-o", "json"]);
    serde_json::from_str(&text).expect("JSON")
}

/// A Pod of one server on a node, asked by all three probes every second.
fn server(name: &str, node: &str, [http, echo]: [u16; 2]) -> Value {
    let by_http = json!({
        "httpGet": {"path": "/", "port": http}, "periodSeconds": 1, "failureThreshold": 1,
    });
    let by_tcp = json!({"tcpSocket": {"port": echo}, "periodSeconds": 1, "failureThreshold": 1});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "server", "image": "seaway",
                "args": ["serve", "--http", http.to_string(), "--echo", echo.to_string()],
                "ports": [{"containerPort": http}],
                "startupProbe": {"tcpSocket": {"port": echo}, "periodSeconds": 1},
                "livenessProbe": by_tcp,
                "readinessProbe": by_http,
            }],
        },
    })
}

/// One in the network of node 1.
fn on_node() -> Value {
    let mut pod = server("on-node", "node1", [18080, 17777]);
    pod["spec"]["hostNetwork"] = true.into();
    pod
}

fn wait_ready(lab: &Lab, name: &str) -> Value {
    let pod = format!("pod/{name}");
    lab.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=60s"]);
    get(lab, "pod", name)
}

fn addresses(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    let text = |item: &Value| {
        let address = item.get("ip").or_else(|| item.get("address"));
        let address = address.and_then(Value::as_str).expect("an address");
        address.to_owned()
    };
    items.map(text).collect()
}

/// The InternalIPs of a node, in its order.
fn of_node(lab: &Lab, node: &str) -> Vec<String> {
    let mut node = get(lab, "node", node);
    let list = node["status"]["addresses"].as_array_mut().expect("a list");
    list.retain(|address| address["type"] == "InternalIP");
    addresses(&node["status"]["addresses"])
}

fn attachments(lab: &Lab, node: &str) -> usize {
    let text = lab.exec(node, &["seaway", "status", "-o", "json"]);
    let status: Value = serde_json::from_str(&text).expect("JSON");
    status["attachments"].as_array().expect("a list").len()
}

fn url(address: &str, port: u16) -> String {
    let ip = address.parse().expect("an address");
    format!("http://{}/", std::net::SocketAddr::new(ip, port))
}

/// Who answers.
fn fetch(lab: &Lab, from: &str, address: &str, port: u16) -> String {
    let page = lab.exec(from, &["seaway", "tool", "fetch", &url(address, port)]);
    let page: Value = serde_json::from_str(&page).expect("JSON");
    page["host"].as_str().expect("a name").to_owned()
}

/// Addresses come in the order of the node's pod CIDRs; `podIP` is the first of them.
fn addresses_are_in_the_nodes_order(lab: &Lab) {
    for node in ["node1", "node2"] {
        let name = format!("plain-{node}");
        apply(lab, &server(&name, node, [8080, 7777]));
        let status = wait_ready(lab, &name)["status"].clone();
        let cidrs = get(lab, "node", node)["spec"]["podCIDRs"].clone();
        let ips = addresses(&status["podIPs"]);
        assert_eq!(status["podIP"], json!(ips[0]), "the first");
        let nets = cidrs.as_array().expect("both families").iter();
        let nets = nets.map(|net| net.as_str().expect("text").parse().expect("a network"));
        let nets: Vec<ipnet::IpNet> = nets.collect();
        assert_eq!((ips.len(), nets.len()), (2, 2));
        for (ip, net) in ips.iter().zip(&nets) {
            let ip: std::net::IpAddr = ip.parse().expect("an address");
            assert!(net.contains(&ip), "{ips:?} in the order of {cidrs}");
        }
        assert_eq!(addresses(&status["hostIPs"]), of_node(lab, node));
        assert_eq!(status["hostIP"], status["hostIPs"][0]["ip"]);
        for ip in &ips {
            assert_eq!(fetch(lab, &name, ip, 8080), name, "it reaches itself");
        }
    }
}

/// A Pod in the node's network has the node's addresses, takes none of the pool, and is reached from
/// Pods and nodes.
fn pods_of_the_nodes_network(lab: &Lab) {
    let before = attachments(lab, "node1");
    apply(lab, &on_node());
    let status = wait_ready(lab, "on-node")["status"].clone();
    let ips = addresses(&status["podIPs"]);
    assert_eq!(ips, of_node(lab, "node1"), "the node's, in its order");
    assert_eq!(status["podIP"], status["hostIP"]);
    assert_eq!(attachments(lab, "node1"), before, "no address of the pool");
    for from in ["plain-node1", "plain-node2", "node1", "node2"] {
        for ip in &ips {
            let page = fetch(lab, from, ip, 18080);
            assert_eq!(page, "node1", "from {from}");
        }
    }
}

/// A port of the node leads to its Pod, and to nobody when that is gone.
fn ports_of_the_node(lab: &Lab) {
    let mut pod = server("with-port", "node1", [8080, 7777]);
    let port = json!([{"containerPort": 8080, "hostPort": 18081}]);
    pod["spec"]["containers"][0]["ports"] = port;
    apply(lab, &pod);
    wait_ready(lab, "with-port");
    for ip in of_node(lab, "node1") {
        for from in ["node1", "node2", "plain-node1", "plain-node2", "with-port"] {
            assert_eq!(fetch(lab, from, &ip, 18081), "with-port", "from {from}");
        }
    }
    lab.kubectl(&["delete", "pod", "with-port", "--wait=true"]);
    let ip = &of_node(lab, "node1")[0];
    let url = url(ip, 18081);
    let arguments = ["exec", "--name", lab.name, "node2", "--"];
    let fetch = ["seaway", "tool", "fetch", &url, "--timeout-ms", "2000"];
    let after = seaway_tests::lab::lab(&[&arguments[..], &fetch[..]].concat());
    assert!(!after.status.success(), "nobody is there any more");
}

/// How often a Pod's containers were started again, and since when it is ready.
fn health(lab: &Lab, name: &str) -> (Value, Value) {
    let status = get(lab, "pod", name)["status"].clone();
    let conditions = status["conditions"].as_array().expect("a list").iter();
    let ready = conditions.clone().find(|c| c["type"] == "Ready");
    let ready = ready.expect("a condition").clone();
    assert_eq!(ready["status"], "True", "{name}: {ready}");
    let restarts = status["containerStatuses"][0]["restartCount"].clone();
    (restarts, ready["lastTransitionTime"].clone())
}

/// One failed probe would make a Pod unready or start it anew.
fn probes_reach_pods_whatever_happens_to_the_agent(lab: &Lab) {
    let names = ["plain-node1", "on-node"];
    let before = names.map(|name| health(lab, name));
    assert_eq!(before[0].0, 0, "{before:?}");
    for _ in 0..3 {
        good(&["kill", "--name", lab.name, "node1/agent"]);
        std::thread::sleep(DOZEN / 6);
    }
    good(&["stop", "--name", lab.name, "node1/agent"]);
    std::thread::sleep(DOZEN);
    assert_eq!(names.map(|name| health(lab, name)), before, "agent away");
    good(&["start", "--name", lab.name, "node1/agent"]);
}

/// Pods that are created while there is no agent, or one that is starting, come up after it.
fn pods_that_come_before_their_agent(lab: &Lab) {
    good(&["stop", "--name", lab.name, "node2/agent"]);
    apply(lab, &server("early", "node2", [8080, 7777]));
    eventually("the Pod waits, and says for what", LIMIT, || {
        let pod = get(lab, "pod", "early");
        let field = "involvedObject.name=early";
        let events = lab.kubectl(&["get", "events", "--field-selector", field, "-o", "name"]);
        match (&pod["status"]["phase"], events.is_empty()) {
            (phase, false) if phase == "Pending" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    good(&["start", "--name", lab.name, "node2/agent"]);
    let names: Vec<String> = (0..5).map(|i| format!("meanwhile-{i}")).collect();
    for name in &names {
        apply(lab, &server(name, "node2", [8080, 7777]));
    }
    for name in names.iter().map(String::as_str).chain(["early"]) {
        let pod = wait_ready(lab, name);
        assert_eq!(addresses(&pod["status"]["podIPs"]).len(), 2, "{name}");
    }
    let early = addresses(&get(lab, "pod", "early")["status"]["podIPs"]);
    for ip in &early {
        assert_eq!(fetch(lab, "plain-node1", ip, 8080), "early");
    }
}

#[test]
fn status_has_the_addresses_of_pods_and_ports_of_nodes_lead_to_them() {
    isolate();
    let lab = Lab::up("kubelet", &["--nodes", "2", "--pods", "1"]);
    addresses_are_in_the_nodes_order(&lab);
    pods_of_the_nodes_network(&lab);
    ports_of_the_node(&lab);
}

#[test]
fn probes_always_reach_pods_and_early_pods_come_up() {
    isolate();
    let lab = Lab::up("probes", &["--nodes", "2", "--pods", "1"]);
    apply(&lab, &server("plain-node1", "node1", [8080, 7777]));
    apply(&lab, &on_node());
    for name in ["plain-node1", "on-node"] {
        wait_ready(&lab, name);
    }
    probes_reach_pods_whatever_happens_to_the_agent(&lab);
    pods_that_come_before_their_agent(&lab);
}
