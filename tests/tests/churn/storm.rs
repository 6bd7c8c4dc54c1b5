//! Row 26, small: endpoints of many Services change without pause. One Service that does not change
//! loses nothing, the agents stay small, and in the end what is in force is what was told.

use std::time::{Duration, Instant};

use seaway_tests::net::Shape;
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::{Cast, Objects, Stage};

use crate::chaos::Chaos;
use crate::rounds::{assert_unharmed, connecting, rounds, staying};

/// What an agent may gain by a storm, in KiB: some of it is what it holds by then.
const GAIN: u64 = 64 * 1024;

/// The resident memory of a process in KiB.
fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("a line");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

#[test]
fn r26_a_storm_of_endpoints_costs_a_stable_service_nothing() {
    let settings = TableSettings {
        external_ips: true,
        ..TableSettings::default()
    };
    let mut stage = Stage::set(Shape::flat(), &settings);
    let stable = "[{name: stable, type: NodePort, cluster_ips: [10.96.222.1, 'fd00:10:96::de01'],
        ports: [{node_port: 32222}], endpoints: [b1, b2]}]";
    let stable = Objects::written(stable, &stage.cast);
    stage.publish(&stable);
    let mut loads = connecting(&stage, &stable, "stable");
    loads.extend(staying(&stage, &stable, "stable"));
    let mut chaos = Chaos::new(&Cast::on_paper());
    let with = |chaos: &Chaos| {
        let mut objects = chaos.objects();
        objects.services.extend(stable.services.iter().cloned());
        objects.slices.extend(stable.slices.iter().cloned());
        objects
    };
    chaos.change(500);
    stage.publish(&with(&chaos));
    let before: Vec<u64> = stage
        .net
        .agents
        .iter()
        .map(|a| memory(a.agent_pid()))
        .collect();
    for _ in 0..60 * rounds(1) {
        chaos.change(10);
        stage.tell(&with(&chaos));
        std::thread::sleep(Duration::from_millis(40));
    }
    let start = Instant::now();
    stage.wait_heard();
    println!(
        "caught up {:?} after the last of {} events",
        start.elapsed(),
        chaos.events
    );
    for (agent, before) in stage.net.agents.iter().zip(before) {
        let after = memory(agent.agent_pid());
        println!("{}: {before} KiB before, {after} KiB after", agent.name);
        assert!(
            after < before + GAIN,
            "{}: {before} to {after} KiB",
            agent.name
        );
    }
    loads.iter().for_each(|load| load.wait_for_more(3));
    assert_unharmed("the storm", &loads);
    for load in loads {
        let names = load.end_without_loss();
        assert!(
            names.keys().all(|n| ["b1", "b2"].contains(&n.as_str())),
            "{names:?}"
        );
    }
}
