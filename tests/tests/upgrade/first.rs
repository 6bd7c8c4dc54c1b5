//! Row 14 of the scorecard: when ADD answers, addresses, routes and Services are in force, for the first
//! packet of a new Pod and the first to it. What Pods say in others' names is `paths`' part.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seaway_model::{Family, Protocol, Transport, Wiring};
use seaway_tests::Pod;
use seaway_tests::net::{Shape, outside_address};
use seaway_tests::probe::udp;
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::{Objects, Outcome, Stage, ask};

const PODS: usize = 50;
/// A packet that is to come comes at once, but for a busy machine.
const SOON: Duration = Duration::from_secs(4);

/// One packet to each, and each is answered or heard.
fn first_packets(stage: &Stage, objects: &Objects, pod: &Pod) -> usize {
    let mut count = 0;
    for family in Family::ALL {
        let at = |name: &str| SocketAddr::new(stage.cast.place(name).address(family), 8080);
        let cluster = objects.cluster_door("s", Protocol::Udp, family);
        for door in [at("b1"), at("b2"), cluster] {
            let outcome = ask(pod.netns(), door, Protocol::Udp, SOON);
            assert!(
                matches!(outcome, Outcome::Answered(_)),
                "{door}: {outcome:?}"
            );
            count += 1;
        }
        let outside = &stage.net.fabric.outside;
        udp(pod.netns(), outside, outside_address(family)).expect("heard outside");
        udp(stage.net.node(1), pod.netns(), pod.address(family)).expect("heard from the node");
        udp(
            stage.cast.place("pod2").netns(),
            pod.netns(),
            pod.address(family),
        )
        .expect("heard from another node's Pod");
        count += 3;
    }
    count
}

fn first_packet_of_many(shape: &Shape) {
    let mut stage = Stage::set(shape.clone(), &TableSettings::default());
    let objects = stage.publish_written("[{name: s, type: NodePort, endpoints: [b1, b2]}]");
    let (mut packets, mut took) = (0, Vec::new());
    for i in 0..PODS {
        let mut pod = stage.net.bare_pod(1, &format!("new{i}"));
        let began = Instant::now();
        pod.add().expect("ADD");
        took.push(began.elapsed());
        packets += first_packets(&stage, &objects, &pod);
        pod.del().expect("DEL");
    }
    took.sort();
    let median = took[PODS / 2];
    println!("{PODS} Pods: {packets} first packets, all arrived; ADD {median:?}");
}

#[test]
fn r14_all_is_in_force_when_add_answers() {
    first_packet_of_many(&Shape::flat().transport(Transport::Direct));
}

#[test]
fn r14_all_is_in_force_when_add_answers_on_a_bridge() {
    let shape = Shape::routed().vxlan_over(Family::V4);
    first_packet_of_many(&shape.wiring(Wiring::Bridge));
}
