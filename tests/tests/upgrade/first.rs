//! Row 14 of the scorecard: when ADD answers, addresses, routes and Services are in force, for the first
//! packet of a new Pod and the first to it. What Pods say in others' names is `paths`' part.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;

use seaway_model::{Family, Protocol, Transport, Wiring};
use seaway_tests::Pod;
use seaway_tests::net::{Shape, outside_address};
use seaway_tests::probe::{Greeter, udp};
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

/// How many Pods are attached while clients hammer.
const HAMMERED: usize = 12;
/// How often each client asks once ADD has answered.
const AFTERWARDS: usize = 10;
/// How long an answer is waited for that may not come yet.
const BEFORE: Duration = Duration::from_millis(20);
const PORT: u16 = 4711;

/// A moment that clients see pass.
struct Moment {
    begun: Barrier,
    passed: OnceLock<()>,
}

/// Asks without a pause, from before an ADD until after it: what came of it before the ADD's answer,
/// and after. Each question is a new flow.
fn hammer(from: &Netns, door: SocketAddr, moment: &Moment) -> [Vec<Outcome>; 2] {
    let [mut early, mut late] = [Vec::new(), Vec::new()];
    early.push(ask(from, door, Protocol::Udp, BEFORE));
    moment.begun.wait();
    while late.len() < AFTERWARDS {
        match moment.passed.get() {
            None => early.push(ask(from, door, Protocol::Udp, BEFORE)),
            Some(()) => late.push(ask(from, door, Protocol::Udp, SOON)),
        }
    }
    [early, late]
}

/// The address that is given next.
fn following(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from(u32::from(v4) + 1).into(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from(u128::from(v6) + 1).into(),
    }
}

/// Clients inside the new Pod ask a Service; clients of both nodes ask the Pod at the address that it
/// is going to get. What is sent from inside is answered or told at once to have no way; nothing that
/// anybody sends after ADD's answer is lost.
fn hammered(stage: &Stage, service: [SocketAddr; 2], pod: &mut Pod, at: [IpAddr; 2]) -> usize {
    let inside = Netns::try_clone(pod.netns()).expect("a descriptor");
    let _server = Greeter::start(&inside, PORT, "new");
    let neighbours = ["pod1", "pod2"].map(|name| stage.cast.place(name).netns());
    let mut clients = service.map(|door| (&inside, door)).to_vec();
    for from in neighbours {
        clients.extend(at.map(|to| (from, SocketAddr::new(to, PORT))));
    }
    let moment = Moment {
        begun: Barrier::new(clients.len() + 1),
        passed: OnceLock::new(),
    };
    let (added, heard) = std::thread::scope(|scope| {
        let moment = &moment;
        let threads: Vec<_> = clients
            .iter()
            .map(|(from, door)| scope.spawn(|| hammer(from, *door, moment)))
            .collect();
        moment.begun.wait();
        let added = pod.add();
        let _first = moment.passed.set(());
        let heard = threads.into_iter().map(|t| t.join().expect("no panic"));
        (added, heard.collect::<Vec<_>>())
    });
    added.expect("ADD");
    assert_eq!(Family::ALL.map(|family| pod.address(family)), at, "as told");
    let mut asked = 0;
    for ((_, door), [early, late]) in clients.iter().zip(heard) {
        let answered = |outcome: &Outcome| matches!(outcome, Outcome::Answered(_));
        assert!(!answered(&early[0]), "before ADD, {door}");
        assert!(late.iter().all(answered), "after ADD, {door}: {late:?}");
        let mut since = early.iter().skip_while(|outcome| !answered(outcome));
        assert!(since.all(answered), "during ADD, {door}: {early:?}");
        asked += early.len() + late.len();
    }
    asked
}

fn hammering_clients_lose_nothing(shape: &Shape) {
    let mut stage = Stage::set(shape.clone(), &TableSettings::default());
    let objects = stage.publish_written("[{name: s, type: ClusterIP, endpoints: [b1, b2]}]");
    let service = Family::ALL.map(|family| objects.cluster_door("s", Protocol::Udp, family));
    let last = stage.net.pod(1, "before");
    let mut at = Family::ALL.map(|family| last.address(family));
    let mut asked = 0;
    for i in 0..HAMMERED {
        at = at.map(following);
        let mut pod = stage.net.bare_pod(1, &format!("hammered{i}"));
        asked += hammered(&stage, service, &mut pod, at);
        pod.del().expect("DEL");
    }
    assert_eq!(
        stage.net.agent(1).status()["repairs"],
        0,
        "nothing was wrong"
    );
    println!("{HAMMERED} Pods: {asked} questions during and after ADD, none lost");
}

#[test]
fn r14_clients_that_hammer_during_add_lose_nothing() {
    hammering_clients_lose_nothing(&Shape::flat().transport(Transport::Direct));
}

#[test]
fn r14_clients_that_hammer_during_add_lose_nothing_on_a_bridge() {
    let shape = Shape::routed().vxlan_over(Family::V4);
    hammering_clients_lose_nothing(&shape.wiring(Wiring::Bridge));
}
