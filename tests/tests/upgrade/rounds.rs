//! Up and down, node by node, also with an agent that dies while it takes over; plugins of the other
//! version meanwhile.

use std::time::{Duration, Instant};

use seaway_model::{Family, Transport, Wiring};
use seaway_tests::net::Shape;
use seaway_tests::probe::assert_talk;
use seaway_tests::{Build, Pod};

use crate::world::World;

fn shapes() -> [Shape; 3] {
    [
        Shape::flat().transport(Transport::Direct),
        Shape::routed()
            .vxlan_over(Family::V4)
            .wiring(Wiring::Bridge),
        Shape::flat().vxlan_over(Family::V6).wiring(Wiring::Routed),
    ]
}

fn up_and_down(shape: &Shape) {
    let mut world = World::new(shape);
    for round in 0..2 {
        for build in [Build::Next, Build::This] {
            for number in [1, 2] {
                let what = format!("round {round}: node {number} to {build:?}");
                world.stage.net.agent_mut(number).kill_agent();
                world.go_on();
                world.stage.net.agent_mut(number).build = build;
                for die_after in [5, 20, 60].map(|ms| ms * round) {
                    if die_after > 0 {
                        let agent = world.stage.net.agent_mut(number);
                        agent.spawn_agent(&[]);
                        std::thread::sleep(Duration::from_millis(die_after));
                        agent.kill_agent();
                    }
                }
                let start = Instant::now();
                world.stage.net.agent_mut(number).start_agent();
                println!("{what}: ready after {:?}", start.elapsed());
                world.is_of(number, build);
                world.is_unharmed(&what);
                plugins(&world, number, round);
            }
        }
    }
    world
        .special
        .check()
        .expect("CHECK of what four agents took over");
    world.end();
}

/// Plugins of either version call whatever agent there is, and Pods of both versions' nodes talk.
fn plugins(world: &World, number: usize, round: u64) {
    let other = &world.special;
    for (add, del) in [(Build::This, Build::Next), (Build::Next, Build::This)] {
        let name = format!("mixed-{number}-{round}-{add:?}").to_lowercase();
        let mut pod: Pod = world.stage.net.bare_pod(number, &name);
        pod.build = add;
        pod.add().expect("ADD");
        assert_talk(&pod, other);
        pod.build = del;
        pod.check().expect("CHECK");
        pod.del().expect("DEL");
    }
}

#[test]
fn r19_direct_up_and_down_loses_nothing() {
    up_and_down(&shapes()[0]);
}

#[test]
fn r19_bridged_vxlan_up_and_down_loses_nothing() {
    up_and_down(&shapes()[1]);
}

#[test]
fn r19_vxlan_over_ipv6_up_and_down_loses_nothing() {
    up_and_down(&shapes()[2]);
}
