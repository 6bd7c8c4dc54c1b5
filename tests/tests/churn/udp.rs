//! Row 25 and S27: datagrams of one client and one port follow the endpoints, from every place, while
//! those whose endpoint stays are never touched.

use std::net::SocketAddr;
use std::time::Duration;

use seaway_model::{Family, Protocol};
use seaway_testkit::eventually;
use seaway_tests::services::objects::loopback;
use seaway_tests::services::{Load, Objects, Stage};
use seaway_tests::shell;

use crate::rounds::LIMIT;

/// How long a client waits for one answer before it sends the next: one that is to follow, and one
/// that is to lose nothing.
const PATIENCE: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(4);

fn publish(stage: &mut Stage, rest: &str) -> Objects {
    stage.publish_written(&format!("[{{type: NodePort, {rest}}}]"))
}

/// Clients that keep their port, at every place.
fn clients(stage: &Stage, objects: &Objects, patience: Duration) -> Vec<Load> {
    let port = objects.node_port("s", Protocol::Udp);
    let mut loads = Vec::new();
    for family in Family::ALL {
        let cluster = objects.cluster_door("s", Protocol::Udp, family);
        let node = stage.node_door(1, family, port);
        for (from, door) in [
            ("pod1", cluster),
            ("node1", cluster),
            ("outside", node),
            ("pod2", node),
            ("node1", SocketAddr::new(loopback(family), port)),
        ] {
            let netns = stage.cast.place(from).netns();
            let mut load = Load::datagrams(netns, door, patience);
            load.what = format!("{from}: {}", load.what);
            loads.push(load);
        }
    }
    loads
}

fn follow(loads: &[Load], what: &str, names: &[&str]) {
    for load in loads {
        let lost = load.wait_for_only(names);
        if lost > 0 {
            println!("{what}: {} after {lost} unanswered", load.what);
        }
    }
}

/// Nobody answers any more, though everybody is still there to be asked.
fn hear_nothing(loads: &[Load], what: &str) {
    for load in loads {
        eventually(&format!("{what}: {}", load.what), LIMIT, || {
            load.forget();
            while load.tally().asked < 4 {
                std::thread::sleep(Duration::from_millis(2));
            }
            match load.tally() {
                none if none.answered.is_empty() => Ok(()),
                some => Err(some),
            }
        });
    }
}

/// e2e: "Conntrack should be able to preserve UDP traffic when server pod cycles for a ClusterIP
/// service", "… for a NodePort service", "… and client is hostNetwork", "… when initial unready
/// endpoints get ready", "should be able to cleanup conntrack entries when UDP service target port
/// changes for a NodePort service".
#[test]
fn r25_datagrams_follow_the_endpoints() {
    let mut stage = Stage::two_nodes();
    let objects = publish(&mut stage, "endpoints: [{at: b1, ready: false}]");
    let loads = clients(&stage, &objects, PATIENCE);
    hear_nothing(&loads, "none is ready");
    publish(&mut stage, "endpoints: [b1]");
    follow(&loads, "it gets ready", &["b1"]);
    publish(&mut stage, "endpoints: [b2]");
    follow(&loads, "another server", &["b2"]);
    publish(&mut stage, "endpoints: []");
    hear_nothing(&loads, "none");
    publish(&mut stage, "endpoints: [c1, b1]");
    follow(&loads, "some again", &["c1", "b1"]);
    publish(&mut stage, "ports: [{target: 8081}], endpoints: [b1]");
    follow(&loads, "another port", &["b1:8081"]);
    stage.publish(&Objects::default());
    hear_nothing(&loads, "the Service is gone");
    publish(&mut stage, "endpoints: [c2]");
    follow(&loads, "the Service is back", &["c2"]);
}

/// What is remembered of flows to live endpoints stays: whatever changes beside them, for policy or
/// topology, and when the agent starts anew.
#[test]
fn r25_live_flows_are_never_touched() {
    let mut stage = Stage::two_nodes();
    let objects = publish(&mut stage, "endpoints: [b1, b2]");
    let loads = clients(&stage, &objects, LONG);
    loads.iter().for_each(|load| load.wait_for_more(3));
    let before: Vec<Vec<String>> = loads.iter().map(names).collect();
    let harmless = [
        ("one more", "endpoints: [b1, b2, c1]"),
        ("one less", "endpoints: [b1, b2]"),
        (
            "policies",
            "external: Local, internal: Local, endpoints: [b1, b2]",
        ),
        (
            "topology",
            "endpoints: [{at: b1, nodes: [node1], zones: [east]}, {at: b2, nodes: [node2], zones: [east]}]",
        ),
        (
            "they end and serve",
            "endpoints: [{at: b1, ready: false, serving: true, terminating: true},
                         {at: b2, ready: false, serving: true, terminating: true}, c1]",
        ),
        ("affinity", "affinity: 60, endpoints: [b1, b2]"),
    ];
    for (what, rest) in harmless {
        publish(&mut stage, rest);
        loads.iter().for_each(|load| load.wait_for_more(5));
        assert_same(&loads, &before, what);
    }
    for agent in &mut stage.net.agents {
        agent.restart_agent();
    }
    stage.wait_heard();
    loads.iter().for_each(|load| load.wait_for_more(5));
    assert_same(&loads, &before, "the agents start anew");
}

fn names(load: &Load) -> Vec<String> {
    load.tally().answered.into_keys().collect()
}

fn assert_same(loads: &[Load], before: &[Vec<String>], what: &str) {
    for (load, before) in loads.iter().zip(before) {
        assert_eq!(names(load), *before, "{what}: {}", load.what);
        let failed = load.tally().failed;
        assert!(failed.is_empty(), "{what}: {}: {failed:?}", load.what);
    }
}

/// A client that sent before there were rules, and never paused since.
#[test]
fn r25_what_began_before_the_rules_is_led_too() {
    let mut stage = Stage::two_nodes();
    let objects = publish(&mut stage, "endpoints: [b1]");
    let loads = clients(&stage, &objects, PATIENCE);
    follow(&loads, "at first", &["b1"]);
    drop(loads);
    stage.net.agent_mut(1).kill_agent();
    shell::run(stage.net.node(1), "nft flush ruleset");
    let loads = clients(&stage, &objects, PATIENCE);
    hear_nothing(&loads, "nobody translates");
    stage.net.agent_mut(1).start_agent();
    stage.wait_heard();
    follow(&loads, "the agent is back", &["b1"]);
}
