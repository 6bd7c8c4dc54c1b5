//! One of several API servers goes away: agents and controllers go on with another. The lab's one
//! server has an address of each family; to everybody these are two servers, and each can be cut off
//! without the other.

use std::time::{Duration, Instant};

use seaway_testkit::{eventually, isolate};
use seaway_tests::lab::{Lab, good};

use crate::{agent, deploy, end_without_loss, pid, pings};

/// Where the lab's server is, by the family that it is cut off by.
const SERVERS: [(&str, &str); 2] = [
    ("ipv4", "https://172.18.255.1:6443"),
    ("ipv6", "https://[fd00:5ea::ffff]:6443"),
];
/// A connection that hears nothing more is given up after 25 s, and everything follows at once.
const LIMIT: Duration = Duration::from_secs(60);

/// Cuts the server of one family off, and gives the other one back.
fn cut(lab: &Lab, family: &str, verdict: &str) {
    let rules = format!(
        "add table inet cut; flush table inet cut; \
         add chain inet cut in {{ type filter hook input priority 0; }}; \
         add rule inet cut in meta nfproto {family} tcp dport 6443 {verdict}"
    );
    lab.exec("control", &["nft", &rules]);
}

fn server_of(lab: &Lab, node: &str) -> String {
    let status = agent(lab, node);
    status["source"].as_str().expect("told").to_owned()
}

/// Waits until the agent uses this server and nothing is wrong.
fn await_server(lab: &Lab, node: &str, url: &str) {
    eventually(&format!("{node} uses {url}"), LIMIT, || {
        let (server, problem) = (server_of(lab, node), crate::problem(lab, node));
        match server == url && problem.is_none() {
            true => Ok(()),
            false => Err((server, problem)),
        }
    });
}

#[test]
fn r12_agents_and_controllers_go_on_with_another_api_server() {
    isolate();
    let both = SERVERS.map(|(_, url)| url).join(",");
    let arguments = ["--nodes", "2", "--pods", "1"];
    let lab = Lab::up_with("o-servers-1", &arguments, &[("SEAWAY_API_SERVERS", &both)]);
    let pings = pings(&lab);
    let refuse = "reject with tcp reset";
    // Whoever is not where it must go moves in the first round, and everybody in all others.
    for (round, verdict) in [refuse, refuse, "drop", "drop"].into_iter().enumerate() {
        let ((family, _), (_, other)) = (SERVERS[round % 2], SERVERS[(round + 1) % 2]);
        cut(&lab, family, verdict);
        let start = Instant::now();
        for node in ["node1", "node2"] {
            await_server(&lab, node, other);
        }
        let moved = start.elapsed();
        // The controller has moved, too, or does so now.
        deploy(&lab, &format!("round{round}"));
        let (did, deployed) = (start.elapsed() - moved, start.elapsed());
        eprintln!(
            "{family} {verdict}: agents moved after {moved:?}, a Deployment took {did:?} more"
        );
        assert!(deployed < 2 * LIMIT);
    }
    lab.exec("control", &["nft", "delete table inet cut"]);
    end_without_loss(pings);
    good(&["check", "--name", lab.name]);
}

#[test]
fn r12_agents_learn_from_the_cluster_where_its_api_servers_are() {
    isolate();
    let lab = Lab::up("o-servers-2", &["--nodes", "2", "--pods", "1"]);
    let pings = pings(&lab);
    let given = server_of(&lab, "node1");
    let place = SERVERS.iter().position(|(_, url)| *url == given);
    let place = place.unwrap_or_else(|| panic!("{given} is none of {SERVERS:?}"));
    let ((family, _), (_, other)) = (SERVERS[place], SERVERS[1 - place]);
    cut(&lab, family, "reject with tcp reset");
    for node in ["node1", "node2"] {
        await_server(&lab, node, other);
    }
    // One that starts now was never at the server that it was given.
    let before = pid(&lab, "node1/agent");
    good(&["kill", "--name", lab.name, "node1/agent"]);
    eventually("another agent runs", LIMIT, || {
        match pid(&lab, "node1/agent") {
            now if now.is_some() && now != before => Ok(()),
            now => Err(now),
        }
    });
    eventually("it serves", LIMIT, || {
        let status = seaway_tests::lab::lab(&[
            "exec", "--name", lab.name, "node1", "--", "seaway", "status", "-o", "json",
        ]);
        match serde_json::from_slice::<serde_json::Value>(&status.stdout) {
            Ok(status) if status["ready"] == true && status["source"] == other => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    lab.exec("control", &["nft", "delete table inet cut"]);
    end_without_loss(pings);
}
