//! Row 17: objects that claim what is not theirs. They are refused and reported with the object and
//! the field, nothing of them gets into the kernel, and nobody else suffers.

use std::net::IpAddr;

use seaway_model::{Family, Protocol};
use seaway_testkit::eventually;
use seaway_tests::net::Shape;
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::{Objects, Stage, at};
use seaway_tests::shell;
use serde_json::Value;

use crate::common::{LIMIT, publish, ways};

/// A Service that has nothing to do with any of it.
const HONEST: &str = "{name: honest, type: NodePort, endpoints: [b1, b2]}";

fn open() -> Stage {
    let settings = TableSettings {
        external_ips: true,
        ..TableSettings::default()
    };
    Stage::set(Shape::flat(), &settings)
}

/// What the agent of node 1 finds wrong.
fn findings(stage: &Stage) -> Vec<String> {
    let status = stage.net.agent(1).status();
    let findings = status["findings"].as_array().expect("a list").iter();
    let line = |f: &Value| {
        let part = |name: &str| f[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", part("object"), part("field"), part("message"))
    };
    findings.map(line).collect()
}

/// It is said of an object, with the field, and of what value.
fn is_reported(stage: &Stage, object: &str, field: &str, value: &str) {
    eventually("it is reported", LIMIT, || {
        let findings = findings(stage);
        let said = |line: &&String| {
            [object, field, value]
                .iter()
                .all(|word| line.contains(word))
        };
        match findings.iter().find(said) {
            Some(_) => Ok(()),
            None => Err((
                object.to_owned(),
                field.to_owned(),
                value.to_owned(),
                findings,
            )),
        }
    });
}

/// No element of the kernel's tables has an address.
fn is_nowhere(stage: &Stage, map: &str, address: IpAddr) {
    let text = shell::run(stage.net.node(1), "nft list table inet seaway");
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('\t') && !line.starts_with("\t\t") {
            inside = line.contains(map);
        }
        let words = line.split(|c: char| !(c.is_ascii_hexdigit() || ".:".contains(c)));
        let has = words
            .filter_map(|w| w.parse().ok())
            .any(|a: IpAddr| a == address);
        assert!(!(inside && has), "{address} is in {map}: {line}");
    }
}

fn honest_goes_on(stage: &Stage, objects: &Objects) {
    for (family, protocol) in ways() {
        let door = objects.cluster_door("honest", protocol, family);
        at(stage.cast.place("pod1").netns(), door, protocol).reaches("honest", &["b1", "b2"]);
        let port = objects.node_port("honest", protocol);
        let door = stage.node_door(1, family, port);
        at(stage.cast.place("outside").netns(), door, protocol).reaches("honest", &["b1", "b2"]);
    }
}

/// CVE-2020-8554 and its kin: addresses of nodes, Pods, Services, DNS, loopback, for both fields.
#[test]
fn r17_addresses_that_belong_to_others_are_refused_and_reported() {
    let mut stage = open();
    let claims = ["node2", "pod2", "service-net", "dns", "loopback"];
    let service = |(number, claim): (usize, &&str)| {
        format!(
            "{{name: e{number}, external_ips: [{claim}], ports: [{{port: 8080}}], endpoints: [b1]}},
             {{name: l{number}, type: LoadBalancer, load_balancer: [{claim}],
               ports: [{{port: 8080}}], endpoints: [b1]}}"
        )
    };
    let all: Vec<String> = claims.iter().enumerate().map(service).collect();
    // The cluster address of the honest one is claimed, too.
    let objects = publish(&mut stage, &format!("[{HONEST}, {}]", all.join(", ")));
    let mut objects = objects;
    let vip = objects.service(0, "honest").cluster_ips.clone();
    let thief = objects
        .services
        .iter_mut()
        .find(|s| s.name.name() == "c0-e0");
    thief.expect("it is there").external_ips.extend(&vip);
    stage.publish(&objects);
    for number in 0..claims.len() {
        let external = objects
            .service(0, &format!("e{number}"))
            .external_ips
            .clone();
        for address in external {
            let text = address.to_string();
            is_reported(
                &stage,
                &format!("default/c0-e{number}"),
                "externalIPs",
                &text,
            );
            if !vip.contains(&address) {
                is_nowhere(&stage, "frontends", address);
            }
        }
        let balancer = objects
            .service(0, &format!("l{number}"))
            .load_balancer_ips
            .clone();
        for address in balancer {
            let name = format!("default/c0-l{number}");
            is_reported(&stage, &name, "loadBalancer", &address.to_string());
        }
    }
    // What is there answers by itself.
    for (family, protocol) in ways() {
        let door = (stage.cast.place("node2").address(family), 8080).into();
        at(stage.cast.place("pod1").netns(), door, protocol).reaches("the node's own", &["node2"]);
        let door = objects.cluster_door("honest", protocol, family);
        at(stage.cast.place("pod1").netns(), door, protocol).reaches("its own", &["b1", "b2"]);
    }
    honest_goes_on(&stage, &objects);
}

/// CVE-2021-25737, -25740: slices that lead to the node, its neighbourhood, or nowhere.
#[test]
fn r17_endpoints_that_are_nobodys_to_give_are_refused_and_reported() {
    let mut stage = open();
    let bad = [
        "127.0.0.1",
        "127.8.8.8",
        "169.254.169.254",
        "224.0.0.251",
        "255.255.255.255",
        "0.0.0.0",
        "192.168.7.1",
        "192.168.7.2",
        "::1",
        "fe80::1",
        "ff02::1",
        "::",
        "::ffff:10.244.1.3",
        "fd00:7::2",
    ];
    let service = |(number, address): (usize, &&str)| {
        format!(
            "{{name: s{number}, endpoints: [{{addresses: ['{address}'], anonymous: true}}]}},
             {{name: t{number}, endpoints: [b1, {{addresses: ['{address}'], anonymous: true}}]}}"
        )
    };
    let all: Vec<String> = bad.iter().enumerate().map(service).collect();
    let objects = publish(&mut stage, &format!("[{HONEST}, {}]", all.join(", ")));
    for (number, address) in bad.iter().enumerate() {
        let address: IpAddr = address.parse().expect("valid");
        let family = Family::of(address);
        for name in ["s", "t"] {
            let slice = format!("default/c0-{name}{number}-0");
            is_reported(&stage, &slice, "endpoints", &address.to_string());
        }
        is_nowhere(&stage, "backends", address);
        for protocol in Protocol::ALL {
            let client = stage.cast.place("pod1").netns();
            let door = objects.cluster_door(&format!("s{number}"), protocol, family);
            at(client, door, protocol).is_refused(&address.to_string());
            let door = objects.cluster_door(&format!("t{number}"), protocol, family);
            at(client, door, protocol).reaches(&address.to_string(), &["b1"]);
        }
    }
    honest_goes_on(&stage, &objects);
}

/// CVE-2021-29923: a number with leading zeros is no address. The file as a whole is refused then,
/// and the last one holds; from the API one object is (`crates/api`).
#[test]
fn r17_leading_zeros_are_no_address() {
    let mut stage = open();
    let objects = publish(&mut stage, &format!("[{HONEST}]"));
    let text = stage.net.cluster.text();
    let b1 = stage.cast.place("b1").address(Family::V4).to_string();
    let octal = b1.replacen("10.", "010.", 1);
    let file = std::path::Path::new("/run/cluster.yaml");
    std::fs::write(
        file.with_extension("new"),
        text.replace(&format!("\"{b1}\""), &format!("\"{octal}\"")),
    )
    .expect("written");
    std::fs::rename(file.with_extension("new"), file).expect("renamed");
    eventually("it is refused", LIMIT, || {
        let problem = stage.net.agent(1).status()["source_problem"].clone();
        match problem.as_str() {
            Some(text) if text.contains("/run/cluster.yaml") => Ok(()),
            _ => Err(problem),
        }
    });
    honest_goes_on(&stage, &objects);
    stage.publish(&objects);
    honest_goes_on(&stage, &objects);
}
