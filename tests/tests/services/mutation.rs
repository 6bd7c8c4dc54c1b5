//! S37: whatever becomes of a Service, no old mapping stays. Each change is told to agents that run,
//! and tried from every side that it is seen from.

use seaway_tests::services::{Objects, Stage, at};

use crate::common::{node_door, publish, two_nodes, ways};

/// Who answers at the cluster address of `s`, seen from Pods, nodes and outside.
fn cluster_reaches(stage: &Stage, objects: &Objects, what: &str, names: &[&str]) {
    for (family, protocol) in ways() {
        let door = objects.cluster_door("s", protocol, family);
        for from in ["pod1", "node2", "outside"] {
            at(stage.cast.place(from).netns(), door, protocol).reaches(what, names);
        }
    }
}

/// Who answers at a node port.
fn node_port_reaches(stage: &Stage, port: u16, what: &str, names: &[&str]) {
    for (family, protocol) in ways() {
        let door = node_door(stage, 2, family, port);
        for from in ["pod1", "node2", "outside"] {
            at(stage.cast.place(from).netns(), door, protocol).reaches(what, names);
        }
    }
}

fn node_port_is_closed(stage: &Stage, port: u16, what: &str) {
    for (family, protocol) in ways() {
        let door = node_door(stage, 2, family, port);
        for from in ["pod1", "node2", "outside"] {
            at(stage.cast.place(from).netns(), door, protocol).finds_nobody(what);
        }
    }
}

/// e2e: "should be able to change the type from ExternalName to ClusterIP", "… to NodePort",
/// "… from ClusterIP to ExternalName", "… from NodePort to ExternalName".
#[test]
fn s37_types_change_to_and_fro() {
    let mut stage = two_nodes();
    let alias = "[{type: ExternalName}]";
    let inner = "[{endpoints: [b1, b2]}]";
    let outer = "[{type: NodePort, endpoints: [b1, b2]}]";
    publish(&mut stage, alias);
    let objects = publish(&mut stage, inner);
    cluster_reaches(
        &stage,
        &objects,
        "an alias becomes a Service",
        &["b1", "b2"],
    );
    let objects = publish(&mut stage, outer);
    let port = objects.node_port("s", seaway_model::Protocol::Tcp);
    cluster_reaches(&stage, &objects, "it gets a node port", &["b1", "b2"]);
    node_port_reaches(&stage, port, "it gets a node port", &["b1", "b2"]);
    let objects = publish(&mut stage, inner);
    node_port_is_closed(&stage, port, "it loses its node port");
    cluster_reaches(&stage, &objects, "it loses its node port", &["b1", "b2"]);
    publish(&mut stage, outer);
    publish(&mut stage, alias);
    node_port_is_closed(&stage, port, "a Service becomes an alias");
    for (family, protocol) in ways() {
        let door = objects.cluster_door("s", protocol, family);
        for from in ["pod1", "node2"] {
            let client = at(stage.cast.place(from).netns(), door, protocol);
            client.finds_nobody("a Service becomes an alias");
        }
    }
}

/// e2e: "should be updated after adding or deleting ports".
#[test]
fn s37_ports_come_go_and_change_their_names() {
    let mut stage = two_nodes();
    let one = "[{ports: [{name: a, port: 80}], endpoints: [b1]}]";
    let two =
        "[{ports: [{name: a, port: 80}, {name: b, port: 81, target: 8081}], endpoints: [b1]}]";
    let renamed = "[{ports: [{name: z, port: 80}], endpoints: [b1]}]";
    // The Service has been renamed a port, and its slices have not caught up.
    let behind = "[{ports: [{name: y, port: 80}], endpoints: []}]";
    let objects = publish(&mut stage, one);
    let beside = |stage: &Stage, name: Option<&str>| {
        for (family, protocol) in ways() {
            let mut door = objects.cluster_door("s", protocol, family);
            door.set_port(81);
            let client = at(stage.cast.place("pod1").netns(), door, protocol);
            match name {
                Some(name) => client.reaches("the second port", &[name]),
                None => client.is_refused("no second port"),
            }
        }
    };
    cluster_reaches(&stage, &objects, "one port", &["b1"]);
    beside(&stage, None);
    publish(&mut stage, two);
    cluster_reaches(&stage, &objects, "two ports", &["b1"]);
    beside(&stage, Some("b1:8081"));
    publish(&mut stage, one);
    beside(&stage, None);
    publish(&mut stage, behind);
    for (family, protocol) in ways() {
        let door = objects.cluster_door("s", protocol, family);
        at(stage.cast.place("pod1").netns(), door, protocol)
            .is_refused("renamed, no endpoints yet");
    }
    publish(&mut stage, renamed);
    cluster_reaches(&stage, &objects, "renamed", &["b1"]);
}

/// A node port and a cluster address that were one Service's are another's.
#[test]
fn s37_what_one_gives_up_another_may_have() {
    let mut stage = two_nodes();
    let first = "[{name: s, type: NodePort, cluster_ips: [10.96.77.7, 'fd00:10:96::4d07'],
        ports: [{node_port: 31000}], endpoints: [b1]}]";
    let second = "[{name: other, endpoints: [b1]},
        {name: s2, type: NodePort, cluster_ips: [10.96.77.7, 'fd00:10:96::4d07'],
        ports: [{node_port: 31000}], endpoints: [b2]}]";
    let objects = publish(&mut stage, first);
    cluster_reaches(&stage, &objects, "the first", &["b1"]);
    node_port_reaches(&stage, 31_000, "the first", &["b1"]);
    // In one step.
    publish(&mut stage, second);
    cluster_reaches(&stage, &objects, "the second", &["b2"]);
    node_port_reaches(&stage, 31_000, "the second", &["b2"]);
    // By nobody, and back.
    publish(&mut stage, "[]");
    node_port_is_closed(&stage, 31_000, "nobody's");
    publish(&mut stage, first);
    cluster_reaches(&stage, &objects, "the first again", &["b1"]);
    node_port_reaches(&stage, 31_000, "the first again", &["b1"]);
}

/// A Service that is deleted and made again with other addresses.
///
/// e2e: "should work after the service has been recreated", "should be able to up and down services".
#[test]
fn s37_a_service_comes_back_with_other_addresses() {
    let mut stage = two_nodes();
    let with = |last: usize, endpoints: &str| {
        format!(
            "[{{cluster_ips: [10.96.66.{last}, 'fd00:10:96::42{last:02x}'], endpoints: {endpoints}}}]"
        )
    };
    let before = publish(&mut stage, &with(1, "[b1, b2]"));
    cluster_reaches(&stage, &before, "at first", &["b1", "b2"]);
    let after = publish(&mut stage, &with(2, "[b1, b2]"));
    cluster_reaches(&stage, &after, "made again", &["b1", "b2"]);
    for (family, protocol) in ways() {
        let door = before.cluster_door("s", protocol, family);
        at(stage.cast.place("pod1").netns(), door, protocol).finds_nobody("its old address");
    }
    for endpoints in ["[b1]", "[b2]", "[b1, b2]"] {
        let objects = publish(&mut stage, &with(2, endpoints));
        let names: Vec<&str> = ["b1", "b2"]
            .into_iter()
            .filter(|name| endpoints.contains(name))
            .collect();
        cluster_reaches(&stage, &objects, endpoints, &names);
    }
}

/// A policy that changes takes effect for what is new, and a family that is taken away is gone.
///
/// e2e: "LoadBalancers ExternalTrafficPolicy should handle updates to ExternalTrafficPolicy field".
#[test]
fn s37_policies_and_families_change() {
    let mut stage = two_nodes();
    let cluster = "[{type: NodePort, endpoints: [b1]}]";
    let local = "[{type: NodePort, external: Local, internal: Local, endpoints: [b1]}]";
    let objects = publish(&mut stage, cluster);
    let port = objects.node_port("s", seaway_model::Protocol::Tcp);
    node_port_reaches(&stage, port, "policy Cluster", &["b1"]);
    publish(&mut stage, local);
    for (family, protocol) in ways() {
        let outside = stage.cast.place("outside").netns();
        let door = node_door(&stage, 2, family, port);
        at(outside, door, protocol).finds_nobody("policy Local, none here");
        let door = node_door(&stage, 1, family, port);
        at(outside, door, protocol).reaches("policy Local", &["b1"]);
        let door = objects.cluster_door("s", protocol, family);
        let pod = stage.cast.place("pod2").netns();
        at(pod, door, protocol).finds_nobody("internal policy Local, none here");
    }
    publish(&mut stage, cluster);
    node_port_reaches(&stage, port, "policy Cluster again", &["b1"]);
    publish(
        &mut stage,
        "[{type: NodePort, families: [v4], endpoints: [b1]}]",
    );
    for protocol in seaway_model::Protocol::ALL {
        let client = stage.cast.place("pod1").netns();
        let door = objects.cluster_door("s", protocol, seaway_model::Family::V6);
        at(client, door, protocol).finds_nobody("a family that is gone");
        let door = objects.cluster_door("s", protocol, seaway_model::Family::V4);
        at(client, door, protocol).reaches("a family that stays", &["b1"]);
    }
}
