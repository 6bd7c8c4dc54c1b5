//! Rights are computed from use: real agents and controllers do all that they ever do, and what they
//! asked for is what the manifest allows, neither more nor less (scorecard, row 41).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::kubectl;
use seaway_tests::lab::{Lab, good};
use serde_json::Value;

use crate::controllers::Controller;
use crate::trail::{Request, Right, asked, granted};

const LIMIT: Duration = Duration::from_secs(90);
const SERVICE: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "odd"},
    "spec": {"ports": [{"port": 80}]}}"#;
/// A node's address among hand-written endpoints is refused by the agents, who say so.
const REFUSED: &str = "172.18.0.2";
const TAKEN: &str = "10.244.1.77";
const POLICY: &str = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
    "metadata": {"name": "none"}, "spec": {"podSelector": {}}}"#;

/// The trail of a test, which goes with it.
struct Trail(PathBuf);

impl Trail {
    fn new(name: &str) -> Trail {
        let file = format!("seaway-{name}-{}.jsonl", std::process::id());
        Trail(std::env::temp_dir().join(file))
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let _absent = std::fs::remove_file(&self.0);
    }
}

fn apply(lab: &Lab, object: &str) {
    use std::io::Write;
    let mut command = Command::new(kubectl());
    command.arg("--kubeconfig").arg(lab.kubeconfig());
    let mut child = command
        .args(["apply", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(object.as_bytes()).expect("written");
    drop(input);
    assert!(child.wait().expect("ended").success(), "{object}");
}

fn unused(trail: &Path, account: &str) -> BTreeSet<Right> {
    let requests = asked(trail, account);
    let is_used = |right: &Right| requests.iter().any(|request| right.allows(request));
    let rights = granted(account).into_iter();
    rights.filter(|right| !is_used(right)).collect()
}

fn not_granted(trail: &Path, account: &str) -> BTreeSet<Request> {
    let rights = granted(account);
    let is_allowed = |request: &Request| rights.iter().any(|right| right.allows(request));
    let requests = asked(trail, account).into_iter();
    requests.filter(|request| !is_allowed(request)).collect()
}

fn has_asked(trail: &Path, account: &str, verb: &str, resource: &str) -> Result<(), &'static str> {
    let requests = asked(trail, account);
    let found = requests
        .iter()
        .any(|request| request.verb == verb && request.resource == resource);
    found.then_some(()).ok_or("not asked for")
}

fn hold(trail: &Path, account: &str) {
    assert!(!granted(account).is_empty(), "{account}");
    eventually("every right is used", LIMIT, || {
        match unused(trail, account) {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    });
    assert_eq!(not_granted(trail, account), BTreeSet::new(), "{account}");
}

/// Writes the slice of the odd Service by hand.
fn lead_to(lab: &Lab, address: &str) {
    let slice = serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "odd-1", "labels": {"kubernetes.io/service-name": "odd"}},
        "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": [address]}],
    });
    apply(lab, &slice.to_string());
}

/// Waits until this is the last that the agent of node1 has told of the odd Service.
fn wait_told(lab: &Lab, reason: &str) {
    eventually(reason, LIMIT, || {
        let status = lab.exec("node1", &["seaway", "status", "-o", "json"]);
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let events = status["events"].as_array().expect("events").iter();
        let is_odd = |event: &&Value| event["message"].to_string().contains("default/odd");
        match events.clone().find(is_odd) {
            Some(newest) if newest["reason"] == reason => Ok(()),
            other => Err(other.cloned()),
        }
    });
}

#[test]
fn r41_agents_have_exactly_the_rights_that_they_use() {
    const AGENT: &str = "seaway-agent";
    isolate();
    let trail = Trail::new("agent");
    let lab = Lab::up_audited("rights", &["--nodes", "2", "--pods", "1"], &trail.0);
    apply(&lab, SERVICE);
    // The same Event twice is counted up. What holds is told again only after it was over.
    for _ in 0..2 {
        for (address, reason) in [(REFUSED, "ObjectRefused"), (TAKEN, "ObjectAccepted")] {
            lead_to(&lab, address);
            wait_told(&lab, reason);
        }
    }
    eventually("an Event is counted up", LIMIT, || {
        has_asked(&trail.0, AGENT, "patch", "events")
    });
    good(&["kill", "--name", lab.name, "node1/agent"]);
    lab.kubectl(&["run", "late", "--image=seaway", "--restart=Never"]);
    lab.kubectl(&["wait", "--for=condition=Ready", "pod/late", "--timeout=60s"]);
    lab.kubectl(&["delete", "pod", "late", "--now"]);
    hold(&trail.0, AGENT);
}

#[test]
fn r41_the_controller_has_exactly_the_rights_that_it_uses() {
    const CONTROLLER: &str = "seaway-controller";
    isolate();
    let trail = Trail::new("controller");
    let lab = Lab::up_audited("ruled", &["--nodes", "1", "--pods", "0"], &trail.0);
    let first = Controller::start(&lab, "first");
    eventually("the first controller leads", LIMIT, || {
        has_asked(&trail.0, CONTROLLER, "list", "networkpolicies")
    });
    let second = Controller::start(&lab, "second");
    eventually("the second one waits", LIMIT, || {
        has_asked(&trail.0, CONTROLLER, "watch", "leases")
    });
    apply(&lab, POLICY);
    let taint = "network.seaway.dev/agent-not-ready=:NoSchedule";
    lab.kubectl(&["taint", "node", "node1", taint]);
    let tainted = || {
        let path = "jsonpath={.spec.taints}";
        let taints = lab.kubectl(&["get", "node", "node1", "-o", path]);
        match taints.contains("agent-not-ready") {
            true => Err(taints),
            false => Ok(()),
        }
    };
    eventually("the start-up taint is taken away", LIMIT, tainted);
    drop(first);
    // Only who leads takes it.
    lab.kubectl(&["taint", "node", "node1", taint]);
    eventually("the second controller leads", LIMIT, tainted);
    hold(&trail.0, CONTROLLER);
    drop(second);
}
