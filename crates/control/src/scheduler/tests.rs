//! Tables and properties of scheduling.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, extra: Value) -> Node {
    let mut value = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"},
        },
    });
    merge(&mut value, extra);
    serde_json::from_value(value).expect("a Node")
}

fn pod(name: &str, extra: Value) -> Arc<Pod> {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "main"}]},
    });
    merge(&mut value, extra);
    Arc::new(serde_json::from_value(value).expect("a Pod"))
}

fn owned(name: &str, owner: &str) -> Arc<Pod> {
    pod(
        name,
        json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": owner, "uid": owner, "controller": true}]}}),
    )
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn one(nodes: &[Node], pod: Arc<Pod>) -> Result<String, String> {
    schedule(&mut Fleet::new(nodes), vec![pod]).remove(0).node
}

#[test]
fn the_message_names_each_objection_as_upstream_does() {
    let nodes = [
        node(
            "n1",
            json!({"spec": {"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]}}),
        ),
        node("n2", json!({"spec": {"unschedulable": true}})),
        node(
            "n3",
            json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        ),
        node(
            "n4",
            json!({"status": {"allocatable": {"cpu": "100m", "memory": "1Mi"}}}),
        ),
        node("n5", json!({"metadata": {"labels": {"disk": "hdd"}}})),
    ];
    let big = json!({"spec": {"containers": [{"name": "main", "resources": {
        "requests": {"cpu": "3", "memory": "2Gi"}}}]}});
    assert_eq!(
        one(&nodes, pod("big", big)),
        Err(
            "0/5 nodes are available: 1 node(s) had untolerated taint {dedicated: db}, \
             1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, \
             1 node(s) were unschedulable, 2 Insufficient cpu, 2 Insufficient memory."
                .into()
        )
    );
    assert_eq!(
        one(&[], pod("lonely", json!({}))),
        Err("no nodes available to schedule pods".into())
    );
}

#[test]
fn selectors_tolerations_and_room_are_honoured() {
    let nodes = [
        node("n1", json!({"status": {"allocatable": {"pods": "0"}}})),
        node("n2", json!({"metadata": {"labels": {"disk": "ssd"}}})),
        node(
            "n3",
            json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}),
        ),
    ];
    let cases = [
        (json!({}), "n2"),
        (json!({"spec": {"nodeSelector": {"disk": "ssd"}}}), "n2"),
        (
            json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}],
                            "nodeSelector": {"kubernetes.io/hostname": "n3"}}}),
            "n3",
        ),
    ];
    for (extra, expected) in cases {
        assert_eq!(
            one(&nodes, pod("p", extra.clone())),
            Ok(expected.into()),
            "{extra}"
        );
    }
    let nowhere = json!({"spec": {"nodeSelector": {"disk": "tape"}}});
    let message = one(&nodes, pod("p", nowhere)).expect_err("no such node");
    assert!(
        message.contains("2 node(s) didn't match Pod's node affinity/selector"),
        "{message}"
    );
}

#[test]
fn host_ports_do_not_meet_on_one_node() {
    let port = |name: &str, address: &str| {
        pod(
            name,
            json!({"spec": {"containers": [{"name": "main", "ports": [
                {"containerPort": 80, "hostPort": 80, "hostIP": address}]}]}}),
        )
    };
    let mut fleet = Fleet::new(&[node("n1", json!({}))]);
    let decisions = schedule(
        &mut fleet,
        vec![
            port("a", "127.0.0.1"),
            port("b", "127.0.0.2"),
            port("c", "0.0.0.0"),
        ],
    );
    let placed: Vec<_> = decisions
        .iter()
        .map(|decision| decision.node.is_ok())
        .collect();
    assert_eq!(placed, [true, true, false]);
    assert_eq!(
        decisions[2].node,
        Err("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.".into())
    );
}

#[test]
fn owners_spread_before_the_total_counts() {
    let mut fleet = Fleet::new(&[node("n1", json!({})), node("n2", json!({}))]);
    for filler in ["x", "y", "z"] {
        fleet.place(&pod(filler, json!({})), "n1");
    }
    let pods = vec![
        owned("a", "web"),
        owned("b", "web"),
        owned("c", "web"),
        owned("d", "web"),
    ];
    let nodes: Vec<_> = schedule(&mut fleet, pods)
        .into_iter()
        .map(|decision| decision.node.expect("a node"))
        .collect();
    assert_eq!(nodes, ["n2", "n1", "n2", "n1"]);
}

#[test]
fn who_waits() {
    assert!(is_waiting(&pod("p", json!({}))));
    assert!(is_waiting(&pod(
        "p",
        json!({"spec": {"schedulerName": "default-scheduler"}})
    )));
    assert!(!is_waiting(&pod(
        "p",
        json!({"spec": {"schedulerName": "mine"}})
    )));
    assert!(!is_waiting(&pod("p", json!({"spec": {"nodeName": "n1"}}))));
    assert!(!is_waiting(&pod(
        "p",
        json!({"spec": {"schedulingGates": [{"name": "g"}]}})
    )));
    assert!(!is_waiting(&pod(
        "p",
        json!({"status": {"phase": "Failed"}})
    )));
    assert!(!is_waiting(&pod(
        "p",
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    )));
}

#[test]
fn init_containers_count_by_their_peak() {
    let request = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let needs = Needs::of(&pod(
        "p",
        json!({"spec": {
            "initContainers": [
                {"name": "first", "resources": request("900m")},
                {"name": "side", "restartPolicy": "Always", "resources": request("200m")},
                {"name": "second", "resources": request("800m")},
            ],
            "containers": [{"name": "main", "resources": request("500m")}],
            "overhead": {"cpu": "10m"},
        }}),
    ));
    assert_eq!(needs.resources.cpu, 1010);
}

proptest! {
    /// A burst spreads evenly, within every node's room, whatever the numbers.
    #[test]
    fn a_burst_spreads(nodes in 1usize..8, pods in 0usize..60) {
        let nodes: Vec<Node> = (0..nodes).map(|n| node(&format!("n{n}"), json!({}))).collect();
        let mut fleet = Fleet::new(&nodes);
        let burst = (0..pods).map(|p| owned(&format!("p{p}"), "web")).collect();
        let placed = schedule(&mut fleet, burst)
            .iter()
            .filter(|decision| decision.node.is_ok())
            .count();
        prop_assert_eq!(placed, pods.min(nodes.len() * 10));
        let counts: Vec<usize> = fleet.nodes().map(|node| node.pods).collect();
        let most = counts.iter().max().copied().unwrap_or(0);
        let least = counts.iter().min().copied().unwrap_or(0);
        prop_assert!(most <= 10 && most - least <= 1);
    }

    /// The order in which Pods are listed changes nothing.
    #[test]
    fn the_order_of_the_list_does_not_matter(count in 1usize..30, seed in any::<u64>()) {
        let nodes = [node("n1", json!({})), node("n2", json!({})), node("n3", json!({}))];
        let mut pods: Vec<_> = (0..count).map(|p| owned(&format!("p{p}"), "web")).collect();
        let place = |pods: Vec<Arc<Pod>>| {
            let decisions = schedule(&mut Fleet::new(&nodes), pods);
            let mut placed: Vec<_> = decisions
                .into_iter()
                .map(|decision| (decision.pod.metadata.name.clone(), decision.node))
                .collect();
            placed.sort();
            placed
        };
        let before = place(pods.clone());
        let turn = usize::try_from(seed % 30).unwrap_or(0) % count;
        pods.rotate_left(turn);
        prop_assert_eq!(before, place(pods));
    }
}
