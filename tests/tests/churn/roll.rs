//! Row 24: all backends are replaced under load. As long as one is ready nothing fails; those that end
//! are used when there is none else; with none the client is told at once.

use std::collections::BTreeMap;
use std::time::Instant;

use seaway_model::{Family, Protocol};
use seaway_tests::net::Shape;
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::stage::ways;
use seaway_tests::services::{Crowd, Load, Objects, Outcome, Stage, at};

use crate::rounds::{assert_unharmed, connecting, rounds};

/// Backends that are really there: each can be stopped.
struct Backends(BTreeMap<&'static str, Crowd>);

impl Backends {
    fn start(&mut self, stage: &Stage, name: &'static str) {
        let crowd = Crowd::start(vec![stage.cast.server(name)]);
        self.0.insert(name, crowd);
    }

    /// Lets what is under way come to its end, and stops the server.
    fn stop(&mut self, loads: &[Load], name: &str) {
        loads.iter().for_each(|load| load.wait_for_more(2));
        self.0.remove(name);
    }
}

fn publish(stage: &mut Stage, endpoints: &str) -> Objects {
    stage.publish_written(&format!("[{{type: NodePort, endpoints: [{endpoints}]}}]"))
}

/// New flows go to these and no others, from all sides.
fn leads_to(stage: &Stage, objects: &Objects, what: &str, names: &[&str]) {
    for (family, protocol) in ways() {
        let cluster = objects.cluster_door("s", protocol, family);
        let node = stage.node_door(2, family, objects.node_port("s", protocol));
        for (from, door) in [("pod1", cluster), ("node1", cluster), ("outside", node)] {
            at(stage.cast.place(from).netns(), door, protocol).reaches(what, names);
        }
    }
}

fn ending(name: &str) -> String {
    format!("{{at: {name}, ready: false, serving: true, terminating: true}}")
}

/// A connection to a certain backend.
fn stream_to(stage: &Stage, objects: &Objects, family: Family, name: &str) -> Load {
    let door = objects.cluster_door("s", Protocol::Tcp, family);
    let pace = std::time::Duration::from_millis(10);
    loop {
        let load = Load::streaming(stage.cast.place("pod2").netns(), door, pace);
        load.wait_for_more(1);
        if load.tally().answered.contains_key(name) {
            return load;
        }
    }
}

/// e2e: the rolling updates of "LoadBalancers", and S28: what is open to one that ends is left to it.
#[test]
fn r24_a_rolling_update_under_load_loses_nothing() {
    let settings = TableSettings::default();
    let mut stage = Stage::set_without_servers(Shape::flat(), &settings);
    let mut backends = Backends(BTreeMap::new());
    for name in ["b1", "b2"] {
        backends.start(&stage, name);
    }
    let objects = publish(&mut stage, "b1, b2");
    let loads = connecting(&stage, &objects, "s");
    loads.iter().for_each(|load| load.wait_for_more(2));
    let mut here = ["b1", "b2"];
    for round in 0..2 * rounds(1) {
        let next = if here == ["b1", "b2"] {
            ["c1", "c2"]
        } else {
            ["b1", "b2"]
        };
        for at in 0..2 {
            let (old, new, other) = (here[at], next[at], if at == 0 { here[1] } else { next[0] });
            let what = format!("round {round}: {old} is replaced by {new}");
            let streams = Family::ALL.map(|family| stream_to(&stage, &objects, family, old));
            backends.start(&stage, new);
            publish(&mut stage, &format!("{old}, {other}, {new}"));
            leads_to(&stage, &objects, &what, &[old, other, new]);
            publish(&mut stage, &format!("{}, {other}, {new}", ending(old)));
            leads_to(&stage, &objects, &what, &[other, new]);
            publish(&mut stage, &format!("{other}, {new}"));
            leads_to(&stage, &objects, &what, &[other, new]);
            for stream in streams {
                stream.wait_for_more(2);
                stream.end_without_loss();
            }
            backends.stop(&loads, old);
            loads.iter().for_each(|load| load.wait_for_more(2));
            assert_unharmed(&what, &loads);
        }
        here = next;
    }
    for load in loads {
        let names = load.end_without_loss();
        assert!(names.len() > 2, "{names:?}");
    }
}

/// e2e: "should fallback to terminating endpoints when there are no ready endpoints", and to zero.
#[test]
fn r24_to_those_that_end_to_none_and_back() {
    let mut stage = Stage::two_nodes();
    let objects = publish(&mut stage, "b1, b2");
    let loads = connecting(&stage, &objects, "s");
    loads.iter().for_each(|load| load.wait_for_more(2));
    let both = format!("{}, {}", ending("b1"), ending("b2"));
    publish(&mut stage, &both);
    leads_to(&stage, &objects, "only those that end", &["b1", "b2"]);
    publish(&mut stage, &format!("{both}, c1"));
    leads_to(&stage, &objects, "one is ready", &["c1"]);
    publish(&mut stage, &ending("b2"));
    leads_to(&stage, &objects, "one that ends", &["b2"]);
    for load in loads {
        load.wait_for_more(2);
        load.end_without_loss();
    }
    let none = Objects::written("[{type: NodePort, endpoints: []}]", &stage.cast);
    stage.tell(&none);
    let start = Instant::now();
    let door = objects.cluster_door("s", Protocol::Tcp, Family::V4);
    let client = at(stage.cast.place("pod1").netns(), door, Protocol::Tcp);
    seaway_testkit::eventually("it is refused", crate::rounds::LIMIT, || {
        match client.ask() {
            Outcome::Refused => Ok(()),
            other => Err(other),
        }
    });
    println!("first refused after {:?}", start.elapsed());
    stage.wait_heard();
    for (family, protocol) in ways() {
        let cluster = objects.cluster_door("s", protocol, family);
        let node = stage.node_door(2, family, objects.node_port("s", protocol));
        for (from, door) in [("pod1", cluster), ("node1", cluster), ("outside", node)] {
            at(stage.cast.place(from).netns(), door, protocol).is_refused("none");
        }
    }
    publish(&mut stage, "c2");
    leads_to(&stage, &objects, "one again", &["c2"]);
}
