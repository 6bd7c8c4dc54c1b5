//! The agent and the runtime's configuration: `seaway agent --cni-conf-dir`.

use std::fs;
use std::time::Duration;

use seaway_testkit::eventually;
use seaway_tests::{Node, Pod};
use serde_json::Value;

use crate::host::{FLANNEL, Folders};

const LIMIT: Duration = Duration::from_secs(20);

/// The cluster's state as long as the node has no addresses for Pods.
const NOTHING: &str = "nodes: [{name: node1, addresses: [192.168.7.1, 'fd00:7::1']}]";
const POOLS: &str = "nodes: [{name: node1, addresses: [192.168.7.1, 'fd00:7::1'], \
                     podCIDRs: [10.244.1.0/24, 'fd00:10:244:1::/64']}]";

fn findings(node: &Node) -> Vec<String> {
    let status = node.status();
    let findings = status["findings"].as_array().expect("a list").iter();
    let ours = findings.filter(|finding| finding["field"] == "CNI configuration");
    ours.map(|finding| finding["message"].to_string()).collect()
}

/// Runtimes that never ask for STATUS take a network for ready when it has a configuration.
#[test]
fn the_configuration_comes_when_pods_can_be_attached() {
    let mut node = Node::without_agent();
    let folders = Folders::make();
    folders.run("install", &["--plugin-only"]);
    node.write_cluster(NOTHING);
    node.flags = ["--cni-conf-dir", "/run/cni/net.d"]
        .map(str::to_owned)
        .to_vec();
    node.spawn_agent(&[]);
    let unready = |status: Option<Value>| match status {
        Some(status)
            if status["reason"]
                .as_str()
                .is_some_and(|why| why.contains("CIDR")) =>
        {
            Ok(())
        }
        other => Err(other),
    };
    eventually("the agent waits for addresses", LIMIT, || {
        unready(node.try_status())
    });
    // Longer than any of its own waits.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!folders.conflist().exists());
    node.write_cluster(POOLS);
    eventually("the configuration is there", LIMIT, || {
        match folders.conflist().exists() {
            true => Ok(()),
            false => Err(node.try_status()),
        }
    });
    assert_eq!(node.status()["ready"], true);
    Pod::attached("a");
    node.kill_agent();
    assert!(
        folders.conflist().exists(),
        "the network goes on without its agent"
    );
}

#[test]
fn what_somebody_does_to_it_is_undone() {
    let mut node = Node::without_agent();
    let folders = Folders::make();
    node.flags = ["--cni-conf-dir", "/run/cni/net.d"]
        .map(str::to_owned)
        .to_vec();
    node.start_agent();
    let conflist = folders.conflist();
    let read = || fs::read_to_string(&conflist);
    let first = eventually("it is there", LIMIT, read);
    let is_back = |how: &str| {
        eventually(how, LIMIT, || match read() {
            Ok(text) if text == first => Ok(()),
            other => Err(other),
        });
    };
    fs::remove_file(&conflist).expect("it was there");
    is_back("removed");
    fs::write(&conflist, "{}").expect("written");
    is_back("overwritten");
    fs::rename(&conflist, "/run/cni/net.d/05-seaway.conflist.bak").expect("renamed");
    is_back("renamed away");
    fs::rename("/run/cni/net.d", "/run/cni/old").expect("renamed");
    is_back("the folder is another one");
    fs::remove_file(&conflist).expect("it was there");
    is_back("removed from that one");
}

#[test]
fn a_configuration_that_comes_first_is_a_problem() {
    let mut node = Node::without_agent();
    let folders = Folders::make();
    folders.write_other("10-flannel.conflist", FLANNEL);
    node.flags = ["--cni-conf-dir", "/run/cni/net.d"]
        .map(str::to_owned)
        .to_vec();
    node.start_agent();
    eventually("it is there", LIMIT, || {
        fs::read_to_string(folders.conflist())
    });
    assert_eq!(
        findings(&node),
        Vec::<String>::new(),
        "it comes behind ours"
    );
    folders.write_other("00-first.conf", r#"{"name": "old", "type": "bridge"}"#);
    let found = eventually("the finding", LIMIT, || match findings(&node) {
        found if found.len() == 1 => Ok(found),
        other => Err(other),
    });
    let told = ["00-first.conf", "network old", "--replace-others"];
    assert!(told.iter().all(|word| found[0].contains(word)), "{found:?}");
    let events = node.status()["events"].to_string();
    assert!(events.contains("ConfigurationImpaired"), "{events}");
    folders.run("install", &["--plugin-only", "--replace-others"]);
    eventually("it is over", LIMIT, || match findings(&node) {
        found if found.is_empty() => Ok(()),
        other => Err(other),
    });
    assert!(folders.conflist().exists());
    assert!(!fs::exists("/run/cni/net.d/10-flannel.conflist").expect("known"));
}

/// The value `replaceOthers`: others go once ours is there, and only then; whoever goes on to write
/// one is named.
#[test]
fn others_are_put_aside_when_asked_for_and_given_back() {
    let mut node = Node::without_agent();
    let folders = Folders::make();
    folders.run("install", &["--plugin-only"]);
    let old = r#"{"name": "old", "type": "bridge"}"#;
    folders.write_other("00-first.conf", old);
    folders.write_other("10-flannel.conflist", FLANNEL);
    node.write_cluster(NOTHING);
    node.flags = ["--cni-conf-dir", "/run/cni/net.d", "--replace-others"]
        .map(str::to_owned)
        .to_vec();
    node.spawn_agent(&[]);
    let waits = || match node.try_status() {
        Some(status) if status["reason"].to_string().contains("CIDR") => Ok(()),
        other => Err(other),
    };
    eventually("the agent waits for addresses", LIMIT, waits);
    let there = |name: &str| fs::exists(format!("/run/cni/net.d/{name}")).expect("known");
    assert!(there("00-first.conf"), "never a node without a network");
    node.write_cluster(POOLS);
    let names = ["00-first.conf", "10-flannel.conflist"];
    eventually("the others are aside", LIMIT, || {
        let aside = |name: &&str| !there(name) && there(&format!("{name}.seaway-saved"));
        match folders.conflist().exists() && names.iter().all(aside) {
            true => Ok(()),
            false => Err(node.try_status()),
        }
    });
    folders.write_other("00-first.conf", r#"{"name": "new", "type": "bridge"}"#);
    eventually("who insists is named", LIMIT, || match findings(&node) {
        found if found.iter().any(|f| f.contains("network new")) => Ok(()),
        other => Err(other),
    });
    assert!(there("00-first.conf"), "and not fought with");
    fs::remove_file("/run/cni/net.d/00-first.conf").expect("it was there");
    node.kill_agent();
    folders.run("uninstall", &[]);
    assert!(names.iter().all(|name| there(name)), "given back");
    let read = fs::read_to_string("/run/cni/net.d/00-first.conf");
    assert_eq!(read.expect("readable"), old);
}
