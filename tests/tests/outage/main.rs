//! The API server goes away, goes silent, and comes back as another one: what runs goes on.
//! Row 12 of the scorecard, and the promise that nothing is deleted because it cannot be seen.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

mod servers;

use seaway_testkit::{eventually, isolate};
use seaway_tests::binary;
use seaway_tests::lab::{Lab, good, lab};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// A server that takes connections and says nothing is given the time between a few bookmarks.
const SILENCE: Duration = Duration::from_secs(150);

/// A ping from one Pod to another that goes on until it is asked how it was.
struct Ping(Child);

impl Ping {
    fn start(lab: &Lab, from: &str, target: &str) -> Ping {
        let arguments = ["lab", "exec", "--name", lab.name, from, "--"];
        let ping = ["seaway", "tool", "ping", target, "--interval-ms", "10"];
        let child = Command::new(binary("seaway"))
            .args(arguments)
            .args(ping)
            .args(["--until-stdin-closes", "-o", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        Ping(child)
    }

    /// Requests sent, and answers received.
    fn end(mut self) -> (u64, u64) {
        drop(self.0.stdin.take());
        let mut text = String::new();
        let mut output = self.0.stdout.take().expect("a pipe");
        output.read_to_string(&mut text).expect("the summary");
        self.0.wait().expect("ended");
        let summary: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let count = |name: &str| summary[name].as_u64().expect("a number");
        (count("sent"), count("received"))
    }
}

/// Pings in both families between the first Pods of two nodes.
fn pings(lab: &Lab) -> Vec<Ping> {
    let pod = lab.kubectl(&["get", "pod", "pod-2-1", "-o", "json"]);
    let pod: Value = serde_json::from_str(&pod).expect("JSON");
    let addresses = pod["status"]["podIPs"].as_array().expect("addresses");
    assert_eq!(addresses.len(), 2, "both families, always");
    let target = |address: &Value| {
        let ip: std::net::IpAddr = address["ip"]
            .as_str()
            .expect("text")
            .parse()
            .expect("an IP");
        std::net::SocketAddr::new(ip, 7777).to_string()
    };
    let start = |address| Ping::start(lab, "pod-1-1", &target(address));
    addresses.iter().map(start).collect()
}

fn end_without_loss(pings: Vec<Ping>) {
    for ping in pings {
        let (sent, received) = ping.end();
        assert!(sent > 50, "{sent} requests");
        assert_eq!(sent, received, "requests and answers");
    }
}

fn agent(lab: &Lab, node: &str) -> Value {
    // The exit code tells of readiness; the text is the same.
    let arguments = [
        "exec", "--name", lab.name, node, "--", "seaway", "status", "-o", "json",
    ];
    let output = self::lab(&arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn attachments(lab: &Lab, node: &str) -> usize {
    let status = agent(lab, node);
    status["attachments"].as_array().expect("a list").len()
}

fn problem(lab: &Lab, node: &str) -> Option<String> {
    agent(lab, node)["source_problem"]
        .as_str()
        .map(str::to_owned)
}

fn await_problem(lab: &Lab, node: &str, what: &str) -> String {
    eventually(what, SILENCE, || {
        problem(lab, node).ok_or("no problem is told")
    })
}

fn await_no_problem(lab: &Lab) {
    for node in ["node1", "node2"] {
        eventually("the agent sees the cluster again", LIMIT, || {
            problem(lab, node).map_or(Ok(()), Err)
        });
    }
}

/// A Deployment that is made, and gets as many Pods as it wants.
fn deploy(lab: &Lab, name: &str) {
    lab.kubectl(&[
        "create",
        "deployment",
        name,
        "--image=seaway",
        "--replicas=2",
    ]);
    let deployment = format!("deployment/{name}");
    lab.kubectl(&["rollout", "status", &deployment, "--timeout=60s"]);
}

/// The API server is there again: what is asked for now comes true, and nothing was lost meanwhile.
fn assert_caught_up(lab: &Lab, pings: Vec<Ping>) {
    await_no_problem(lab);
    deploy(lab, "after");
    end_without_loss(pings);
    good(&["check", "--name", lab.name]);
}

fn pid(lab: &Lab, process: &str) -> Option<i64> {
    let status: Value =
        serde_json::from_str(&good(&["status", "--name", lab.name, "-o", "json"])).expect("JSON");
    let pods = status["pods"].as_array().expect("Pods").iter();
    let nodes = status["nodes"].as_array().expect("nodes").iter();
    let owners = pods.chain(nodes);
    let mut all = owners.flat_map(|owner| owner["processes"].as_array().expect("processes"));
    all.find(|p| p["name"] == process)?["pid"].as_i64()
}

/// A container that is killed while nobody can be asked is started again all the same.
fn a_killed_container_comes_back(lab: &Lab) {
    let before = pid(lab, "pod-1-1/sidecar").expect("it runs");
    good(&["kill", "--name", lab.name, "pod-1-1/sidecar"]);
    eventually("the container runs again", LIMIT, || {
        match pid(lab, "pod-1-1/sidecar") {
            Some(now) if now != before => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn r12_a_silent_api_server_harms_nothing_and_is_caught_up_with() {
    isolate();
    let lab = Lab::up("o-isolated-1", &["--nodes", "2", "--pods", "1"]);
    let pings = pings(&lab);
    // Stopped, it still takes connections and never answers: a black hole.
    good(&[
        "kill",
        "--name",
        lab.name,
        "control/apiserver",
        "--signal",
        "19",
    ]);
    await_problem(&lab, "node1", "the silence is noticed");
    a_killed_container_comes_back(&lab);
    // An agent that starts now knows nothing of the cluster, and changes nothing.
    let agent_before = pid(&lab, "node1/agent");
    good(&["kill", "--name", lab.name, "node1/agent"]);
    eventually("another agent runs", LIMIT, || {
        let now = pid(&lab, "node1/agent");
        if now.is_some() && now != agent_before {
            Ok(())
        } else {
            Err(now)
        }
    });
    eventually("it has taken over what runs", LIMIT, || {
        let output = self::lab(&[
            "exec", "--name", lab.name, "node1", "--", "seaway", "status", "-o", "json",
        ]);
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        match status["attachments"].as_array().map(Vec::len) {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    good(&[
        "kill",
        "--name",
        lab.name,
        "control/apiserver",
        "--signal",
        "18",
    ]);
    assert_caught_up(&lab, pings);
}

#[test]
fn r12_a_server_that_refuses_and_then_is_cut_off_harms_nothing_and_is_caught_up_with() {
    isolate();
    let lab = Lab::up("o-isolated-2", &["--nodes", "2", "--pods", "1"]);
    let pings = pings(&lab);
    // The server runs and keeps its store; nobody on the nodes can reach it.
    let verdict = |verdict: &str| {
        let rules = format!(
            "add table inet gone; flush table inet gone; \
             add chain inet gone in {{ type filter hook input priority 0; }}; \
             add rule inet gone in tcp dport 6443 {verdict}"
        );
        lab.exec("control", &["nft", &rules]);
    };
    verdict("reject with tcp reset");
    for node in ["node1", "node2"] {
        await_problem(&lab, node, "the refusal is noticed");
    }
    let rows = agent(&lab, "node1")["rows"].clone();
    a_killed_container_comes_back(&lab);
    assert_eq!(agent(&lab, "node1")["rows"], rows, "nothing is given up");
    assert_eq!(
        agent(&lab, "node1")["ready"],
        true,
        "Pods could still be attached"
    );
    lab.exec("control", &["nft", "delete table inet gone"]);
    await_no_problem(&lab);
    deploy(&lab, "between");
    // Now packets vanish: connections that are open hear nothing more.
    verdict("drop");
    for node in ["node1", "node2"] {
        await_problem(&lab, node, "the cut is noticed");
        assert_eq!(
            agent(&lab, node)["ready"],
            true,
            "Pods could still be attached"
        );
    }
    lab.exec("control", &["nft", "delete table inet gone"]);
    assert_caught_up(&lab, pings);
}

#[test]
fn an_api_server_with_an_empty_store_makes_nobody_delete_what_runs() {
    isolate();
    let lab = Lab::up("o-isolated-3", &["--nodes", "2", "--pods", "1"]);
    let pings = pings(&lab);
    let cidrs = |lab: &Lab| {
        let path = "{range .items[*]}{.metadata.name} {.spec.podCIDRs}{\"\\n\"}{end}";
        lab.kubectl(&["get", "nodes", "-o", &format!("jsonpath={path}")])
    };
    let before = cidrs(&lab);
    good(&["kill", "--name", lab.name, "control/apiserver"]);
    eventually(
        "the nodes are registered anew, with the same networks",
        LIMIT,
        || {
            let output = lab.try_kubectl(&["get", "nodes", "-o", "name"]);
            match output.status.success() && cidrs(&lab) == before {
                true => Ok(()),
                false => Err(output),
            }
        },
    );
    for node in ["node1", "node2"] {
        let told = await_problem(&lab, node, "the agent says that this is another cluster");
        assert!(told.contains("kube-system"), "{told}");
        assert_eq!(attachments(&lab, node), 1, "{node}");
    }
    // The new cluster works, beside what is kept of the old one.
    deploy(&lab, "new");
    for node in ["node1", "node2"] {
        assert_eq!(attachments(&lab, node), 2, "{node}");
        assert_eq!(agent(&lab, node)["drifted"], 0, "{node}");
    }
    end_without_loss(pings);
    let addresses = lab.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.podIP}"]);
    for pod in ["pod-1-1", "pod-2-1"] {
        let own = lab.exec(pod, &["ip", "-4", "-o", "addr", "show", "eth0"]);
        for address in addresses.split_whitespace() {
            assert!(
                !own.contains(&format!("{address}/")),
                "{address} is given twice: {own}"
            );
        }
    }
}
