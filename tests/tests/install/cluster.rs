//! `seaway uninstall` of a cluster, against the API server of a lab. The nodes that are cleaned are
//! made up: the test is their kubelet.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::lab::Lab;
use seaway_tests::{binary, kubectl};
use serde_json::{Value, json};

const SYSTEM: &str = "seaway-system";
const LIMIT: Duration = Duration::from_secs(30);

struct Cluster(Lab);

impl Cluster {
    /// Seaway's objects, and nodes of these names; the lab's own node counts as none of Linux.
    fn with_nodes(names: &[&str]) -> Cluster {
        isolate();
        let cluster = Cluster(Lab::up("uninst", &["--pods", "0", "--nodes", "1"]));
        cluster.good(&[
            "label",
            "node",
            "node1",
            "kubernetes.io/os=windows",
            "--overwrite",
        ]);
        cluster.good(&["cordon", "node1"]);
        let install = Command::new(binary("seaway"))
            .arg("install")
            .output()
            .expect("it starts");
        cluster.apply(&String::from_utf8(install.stdout).expect("text"));
        for name in names {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {
                "name": name, "labels": {"kubernetes.io/os": "linux"},
                "annotations": {"network.seaway.dev/transport": "auto", "other.dev/note": "stays"}},
                "spec": {"taints": [{"key": "network.seaway.dev/agent-not-ready", "effect": "NoSchedule"}]}});
            cluster.apply(&node.to_string());
            let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
            let ready = ready.to_string();
            let patch = ["--subresource=status", "--type=merge", "-p", &ready];
            cluster.good(&[&["patch", "node", name], &patch[..]].concat());
        }
        eventually("every node has an agent", LIMIT, || {
            match cluster.agents().iter().filter(|pod| is_bound(pod)).count() {
                count if count == names.len() => Ok(()),
                count => Err(count),
            }
        });
        cluster
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(kubectl());
        command
            .arg("--kubeconfig")
            .arg(self.0.kubeconfig())
            .args(arguments);
        command.output().expect("it starts")
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn apply(&self, text: &str) {
        std::fs::write("/run/apply.yaml", text).expect("written");
        self.good(&["apply", "-f", "/run/apply.yaml"]);
    }

    fn get(&self, arguments: &[&str]) -> Value {
        let text = self.good(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    fn uninstall(&self, flags: &[&str]) -> (bool, Value) {
        let mut command = Command::new(binary("seaway"));
        command
            .args(["uninstall", "-o", "json", "--kubeconfig"])
            .arg(self.0.kubeconfig());
        let output = command.args(flags).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout);
        (
            output.status.success(),
            report.unwrap_or_else(|e| panic!("{e}: {said}")),
        )
    }

    /// All that carries Seaway's label.
    fn ours(&self) -> Vec<String> {
        let kinds = "daemonsets,deployments,pods,configmaps,leases,serviceaccounts,roles,rolebindings,\
                     clusterroles,clusterrolebindings,namespaces";
        let list = self.get(&[kinds, "-A", "-l", "app.kubernetes.io/part-of=seaway"]);
        let items = list["items"].as_array().expect("items").iter();
        let name = |item: &Value| format!("{} {}", item["kind"], item["metadata"]["name"]);
        items.map(name).collect()
    }

    fn pods(&self, selector: &str) -> Vec<Value> {
        let list = self.get(&["pods", "-n", SYSTEM, "-l", selector]);
        list["items"].as_array().expect("items").clone()
    }

    fn agents(&self) -> Vec<Value> {
        self.pods("app.kubernetes.io/component=agent")
    }

    /// One look of the kubelets: agents that are to go are gone.
    fn end_agents(&self) {
        for pod in self.agents() {
            if pod["metadata"]["deletionTimestamp"].is_string() {
                let name = pod["metadata"]["name"].as_str().expect("a name");
                let now = ["--ignore-not-found", "--force", "--grace-period=0"];
                self.good(&[&["delete", "pod", "-n", SYSTEM, name], &now[..]].concat());
            }
        }
    }

    /// One look of the kubelets: what becomes of the clean-up Pod of each node.
    fn run_pods(&self, seen: &mut BTreeSet<String>, outcome: &dyn Fn(&str) -> Option<Value>) {
        for pod in self.pods("network.seaway.dev/uninstall=true") {
            let node = pod["spec"]["nodeName"].as_str().expect("a node");
            let uid = pod["metadata"]["uid"].as_str().expect("a uid");
            let agents = self.agents();
            let agent_is_there = agents.iter().any(|agent| agent["spec"]["nodeName"] == node);
            assert!(!agent_is_there, "{node} is cleaned under its agent");
            if let Some(status) = outcome(node)
                && seen.insert(uid.to_owned())
            {
                let name = pod["metadata"]["name"].as_str().expect("a name");
                let patch = json!({"status": status}).to_string();
                let how = ["--subresource=status", "--type=merge", "-p", &patch];
                let output =
                    self.kubectl(&[&["patch", "pod", "-n", SYSTEM, name], &how[..]].concat());
                // A Pod of an earlier run is taken away meanwhile.
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(
                    output.status.success() || said.contains("not found"),
                    "{said}"
                );
            }
        }
    }

    /// Uninstalls while the nodes do what is said.
    fn uninstall_with(
        &self,
        flags: &[&str],
        outcome: &(dyn Fn(&str) -> Option<Value> + Sync),
    ) -> (bool, Value) {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let nodes = scope.spawn(|| {
                let mut seen = BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    self.end_agents();
                    self.run_pods(&mut seen, outcome);
                }
            });
            let result = self.uninstall(flags);
            done.store(true, Ordering::Relaxed);
            nodes.join().expect("the nodes' part");
            result
        })
    }
}

fn is_bound(pod: &Value) -> bool {
    pod["spec"]["nodeName"].is_string()
}

fn ended(phase: &str, code: i32, message: &str) -> Option<Value> {
    Some(json!({"phase": phase, "containerStatuses": [{
        "name": "uninstall", "image": "seaway", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "message": message}}}]}))
}

fn node<'a>(report: &'a Value, name: &str) -> &'a Value {
    let nodes = report["nodes"].as_array().expect("nodes");
    let found = nodes.iter().find(|node| node["node"] == name);
    found.unwrap_or_else(|| panic!("{name}: {report}"))
}

/// A node fails and another is away: what is needed for them stays, and a second run finishes.
#[test]
fn a_cluster_is_cleaned_node_by_node() {
    let cluster = Cluster::with_nodes(&["a", "b", "c"]);
    let before = cluster.ours();
    assert!(before.len() > 10, "{before:?}");

    let (works, report) = cluster.uninstall(&["--dry-run"]);
    assert!(
        works && report["nodes"].as_array().expect("nodes").len() == 3,
        "{report}"
    );
    assert!(
        report["deleted"]
            .to_string()
            .contains("DaemonSet seaway-system/seaway-agent"),
        "{report}"
    );
    assert_eq!(cluster.ours(), before, "nothing was done");

    let (works, report) = cluster.uninstall_with(&["--node-timeout", "20"], &|node| match node {
        "a" => ended("Succeeded", 0, ""),
        "b" => ended("Failed", 1, "removed  links\nseaway: no way"),
        _ => None,
    });
    assert!(!works);
    assert_eq!(node(&report, "a")["clean"], true);
    assert_eq!(
        node(&report, "b")["message"],
        "removed  links; seaway: no way"
    );
    assert!(
        node(&report, "c")["message"]
            .to_string()
            .contains("in time"),
        "{report}"
    );
    assert!(
        report["left"].to_string().contains("--keep-going"),
        "{report}"
    );
    let kept = cluster.ours();
    let is_kept = |what: &str| kept.iter().any(|object| object.contains(what));
    assert!(
        is_kept("seaway-agent") && is_kept("seaway-config"),
        "{kept:?}"
    );
    assert!(
        !is_kept("\"Deployment\""),
        "the controller would work against us: {kept:?}"
    );

    let (works, report) = cluster.uninstall_with(&[], &|_| ended("Succeeded", 0, ""));
    assert!(works, "{report}");
    assert_eq!(report["left"], json!([]));
    assert_eq!(cluster.ours(), Vec::<String>::new());
    for name in ["a", "b", "c"] {
        let node = cluster.get(&["node", name]);
        let annotations = &node["metadata"]["annotations"];
        assert_eq!(annotations["other.dev/note"], "stays");
        assert_eq!(annotations.get("network.seaway.dev/transport"), None);
        let taints = node["spec"]["taints"].to_string();
        assert!(!taints.contains("seaway"), "{taints}");
    }
}

/// Nodes that never come back can be given up.
#[test]
fn with_keep_going_everything_goes() {
    let cluster = Cluster::with_nodes(&["a", "b"]);
    let (works, report) = cluster.uninstall_with(
        &["--node-timeout", "15", "--keep-going"],
        &|node| match node {
            "a" => ended("Succeeded", 0, ""),
            _ => None,
        },
    );
    assert!(!works, "b is not clean, and that is said: {report}");
    assert_eq!(node(&report, "a")["clean"], true);
    assert_eq!(node(&report, "b")["clean"], false);
    assert_eq!(report["left"], json!([]));
    assert_eq!(cluster.ours(), Vec::<String>::new());
}
