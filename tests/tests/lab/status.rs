//! `seaway status` of a whole cluster, from the API alone.

use std::process::{Command, Output};
use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::binary;
use seaway_tests::lab::{Lab, good};
use serde_json::{Value, json};

/// A Lease is good for 40 s, and connections may take a while to be given up.
const LIMIT: Duration = Duration::from_secs(120);

fn ask(lab: &Lab, more: &[&str]) -> Output {
    Command::new(binary("seaway"))
        .args(["status", "--cluster"])
        .args(more)
        .env("SEAWAY_KUBECONFIG", lab.kubeconfig())
        .output()
        .expect("started")
}

/// The status, and whether all is well by the exit code, which says the same.
fn status(lab: &Lab) -> Value {
    let output = ask(lab, &["-o", "json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    let status: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    assert_eq!(status["healthy"], output.status.success(), "{status}");
    status
}

fn until(lab: &Lab, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    eventually(what, LIMIT, || {
        let status = status(lab);
        if reached(&status) {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    })
}

fn problems(status: &Value) -> Vec<(String, Value)> {
    let all = status["problems"].as_array().expect("a list").iter();
    all.map(|problem| {
        let text = problem["text"].as_str().expect("a text");
        (text.to_owned(), problem["nodes"].clone())
    })
    .collect()
}

fn all_is_well(lab: &Lab) -> String {
    let output = ask(lab, &["--wait", "120"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn the_status_of_a_cluster_tells_what_happens_in_it() {
    isolate();
    let lab = Lab::up("s-isolated-2", &["--nodes", "2", "--pods", "2"]);
    let text = all_is_well(&lab);
    for words in ["all is well", "2 of 2 ready", " node1 ", " node2 "] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let whole = status(&lab);
    assert_eq!(
        (&whole["format"], &whole["podsWithoutAddress"]),
        (&json!(1), &json!(0))
    );
    let of_node = until(&lab, "both have their Pods", |status| {
        status["nodes"][0]["pods"] == 2 && status["nodes"][1]["pods"] == 2
    });
    let node = &of_node["nodes"][0];
    assert_eq!(
        (&node["node"], &node["agent"]),
        (&json!("node1"), &json!("ready"))
    );
    assert_eq!(
        node["podCidrs"].as_array().map(Vec::len),
        Some(2),
        "both families"
    );
    drift_is_counted(&lab);
    policies_are_loud(&lab);
    silence_is_noticed(&lab);
}

fn drift_is_counted(lab: &Lab) {
    let repaired = |status: &Value| status["nodes"][0]["rows"]["repaired"].as_u64();
    let before = repaired(&status(lab)).expect("a count");
    let routes = lab.exec("node1", &["ip", "-6", "route", "show", "proto", "83"]);
    let route = routes
        .lines()
        .find(|line| line.contains(" dev "))
        .expect("a route of ours");
    let network = route.split_whitespace().next().expect("a network");
    lab.exec(
        "node1",
        &["ip", "-6", "route", "del", network, "proto", "83"],
    );
    until(lab, "the repair is counted", |status| {
        repaired(status) > Some(before)
    });
}

fn policies_are_loud(lab: &Lab) {
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "wall", "namespace": "default"}, "spec": {"podSelector": {}}});
    let file = lab.kubeconfig().with_file_name("wall.json");
    std::fs::write(&file, policy.to_string()).expect("written");
    let file = file.to_str().expect("text");
    lab.kubectl(&["create", "-f", file]);
    let status = status(lab);
    assert_eq!(status["policiesNotEnforced"], 1);
    let (text, _) = &problems(&status)[0];
    assert!(text.contains("1 NetworkPolicy is NOT ENFORCED"), "{text}");
    let output = ask(lab, &["--wait", "1"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("waiting: 2 of 2 agents"),
        "{errors}"
    );
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("1 NOT ENFORCED") && table.contains("next: "),
        "{table}"
    );
    lab.kubectl(&["delete", "networkpolicy", "wall"]);
    all_is_well(lab);
}

/// An agent that ended, and one that cannot reach the API any more.
fn silence_is_noticed(lab: &Lab) {
    // By either family it is a server of its own to the agents, which go from one to another.
    let servers = lab.kubectl(&[
        "get",
        "endpointslices",
        "--selector=kubernetes.io/service-name=kubernetes",
        "--output=jsonpath={.items[*].endpoints[*].addresses[*]}",
    ]);
    let servers: Vec<&str> = servers.split_whitespace().collect();
    assert!(!servers.is_empty());
    for server in &servers {
        lab.exec("node1", &["ip", "route", "add", "blackhole", server]);
    }
    good(&["stop", "--name", lab.name, "node2/agent"]);
    let status = until(lab, "both are silent", |status| {
        status["agents"]["silent"] == 2
    });
    for node in status["nodes"].as_array().expect("nodes") {
        assert_eq!(node["agent"], "silent", "{node}");
        assert!(node["heartbeatSecondsAgo"].as_u64() > Some(40), "{node}");
    }
    let silent = problems(&status)
        .into_iter()
        .find(|(text, _)| text.contains("silent"));
    let (_, nodes) = silent.expect("told");
    assert_eq!(nodes, json!(["node1", "node2"]));
    for server in &servers {
        lab.exec("node1", &["ip", "route", "del", "blackhole", server]);
    }
    good(&["start", "--name", lab.name, "node2/agent"]);
    all_is_well(lab);
}
