//! Row 1: agents are killed and stopped under load. What flows goes on, and what is new is led where
//! it was to be led.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use seaway_tests::services::{Load, Objects, Stage, at};

use crate::rounds::{Dice, assert_unharmed, connecting, rounds, staying};

/// The Service under load, and one beside it that changes.
fn objects(stage: &Stage, beside: &str) -> Objects {
    let services = format!(
        "[{{name: s, type: NodePort, endpoints: [b1, b2]}},
          {{name: beside, type: NodePort, affinity: 60, endpoints: {beside}}}]"
    );
    Objects::written(&services, &stage.cast)
}

fn go_on(loads: &[Load], count: usize) {
    loads.iter().for_each(|load| load.wait_for_more(count));
}

/// Also killed in the middle of a change, which is in force in the end all the same.
#[test]
fn r01_killed_agents_harm_no_flow() {
    let mut dice = Dice::new();
    let mut stage = Stage::two_nodes();
    let first = objects(&stage, "[b1]");
    stage.publish(&first);
    let mut loads = connecting(&stage, &first, "s");
    loads.extend(staying(&stage, &first, "s"));
    for round in 0..rounds(4) {
        let names = *dice.pick(&[&["b2"][..], &["c1", "b2"], &["b1", "c1", "c2"]]);
        let changed = objects(&stage, &format!("[{}]", names.join(", ")));
        stage.tell(&changed);
        std::thread::sleep(Duration::from_millis(dice.below(60) as u64));
        stage
            .net
            .agents
            .iter_mut()
            .for_each(seaway_tests::Agent::kill_agent);
        go_on(&loads, 4);
        let start = Instant::now();
        for agent in &mut stage.net.agents {
            agent.spawn_agent(&[]);
        }
        stage
            .net
            .agents
            .iter()
            .for_each(seaway_tests::Agent::wait_ready);
        println!("round {round}: ready after {:?}", start.elapsed());
        stage.wait_heard();
        assert_unharmed(&format!("round {round}"), &loads);
        let door = changed.cluster_door(
            "beside",
            seaway_model::Protocol::Tcp,
            seaway_model::Family::V4,
        );
        let outcome = at(
            stage.cast.place("pod1").netns(),
            door,
            seaway_model::Protocol::Tcp,
        )
        .ask();
        assert!(
            outcome.name().is_some_and(|n| names.contains(&n)),
            "{outcome:?}"
        );
    }
    go_on(&loads, 4);
    for load in loads {
        load.end_without_loss();
    }
}

#[test]
fn r01_stopped_agents_harm_no_flow() {
    let mut stage = Stage::two_nodes();
    let first = objects(&stage, "[b1]");
    stage.publish(&first);
    let mut loads = connecting(&stage, &first, "s");
    loads.extend(staying(&stage, &first, "s"));
    for agent in &stage.net.agents {
        agent.signal_agent(Signal::SIGSTOP);
    }
    go_on(&loads, 20 * rounds(1));
    let changed = objects(&stage, "[b2]");
    stage.tell(&changed);
    go_on(&loads, 2);
    for agent in &stage.net.agents {
        agent.signal_agent(Signal::SIGCONT);
    }
    stage.wait_heard();
    go_on(&loads, 2);
    for load in loads {
        load.end_without_loss();
    }
}
