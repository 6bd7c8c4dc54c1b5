//! Things die: the agent at any point, the plugin at any system call, the node as a whole.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use seaway_kernel::fault::{FaultPoint, VARIABLE};
use seaway_model::Family;
use seaway_testkit::eventually;
use seaway_tests::probe::{Traffic, assert_talk};
use seaway_tests::{Call, Leftovers, Node, Pod};
use serde_json::{Value, json};

/// Row 1 of the scorecard: nothing is lost while the agent is killed, away and back.
#[test]
fn r01_agent_killed_under_traffic_loses_nothing() {
    let mut node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    let traffic = Family::ALL.map(|family| Traffic::start(&a, &b, family));
    for _ in 0..5 {
        node.kill_agent();
        traffic.iter().for_each(Traffic::wait_for_more);
        node.start_agent();
        traffic.iter().for_each(Traffic::wait_for_more);
        assert_eq!(node.drift(), Vec::<Value>::new());
        let repairs = node.status()["repairs"].as_u64();
        assert_eq!(repairs, Some(0), "adoption changes nothing: {}", node.log());
    }
    node.signal_agent(nix::sys::signal::Signal::SIGSTOP);
    traffic.iter().for_each(Traffic::wait_for_more);
    node.signal_agent(nix::sys::signal::Signal::SIGCONT);
    traffic.into_iter().for_each(Traffic::assert_nothing_lost);
    for pod in [&a, &b] {
        pod.check().expect("adopted whole");
    }
}

/// What must hold after any crash: a new Pod gets addresses that nobody has, DEL clears up, and a
/// new ADD works.
fn recover(node: &mut Node, broken: &mut Pod, neighbour: &Pod, how: &str) {
    if !node.agent_is_alive() {
        node.start_agent();
    }
    let other = Pod::attached("other");
    let held: HashSet<IpAddr> = node.status()["attachments"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|a| a["addresses"].as_array().expect("a list").clone())
        .map(|a| a.as_str().expect("text").parse().expect("an address"))
        .collect();
    let count = node.status()["attachments"].as_array().map(|a| 2 * a.len());
    assert_eq!(Some(held.len()), count, "{how}: an address is given twice");
    assert_talk(&other, neighbour);
    broken.del().unwrap_or_else(|e| panic!("{how}: DEL: {e:?}"));
    broken
        .add()
        .unwrap_or_else(|e| panic!("{how}: ADD again: {e:?}"));
    assert_talk(broken, neighbour);
    broken.del().expect("DEL");
    other.del().expect("DEL");
}

/// The names of the links that are not the neighbour's, once the reaper is through.
fn wait_for_one_link(how: &str) {
    eventually(how, Duration::from_secs(20), || {
        let left = Leftovers::now();
        let ok = left.links.len() == 1
            && left.routes.len() == 2
            && left.neighbours.len() == 2
            && left.files.len() == 1;
        if ok { Ok(()) } else { Err(left) }
    });
}

fn die_at(point: FaultPoint) {
    let mut node = Node::start();
    let neighbour = Pod::attached("neighbour");
    let how = format!("killed at {point:?}");
    let mut pod = Pod::new("victim");
    let in_add = (point as u8) < FaultPoint::DelReceived as u8;
    if !in_add {
        pod.add().expect("ADD");
    }
    node.kill_agent();
    node.spawn_agent(&[(VARIABLE, &(point as u8).to_string())]);
    // Points of the reaper are reached at start already, when there is something to reap.
    eventually("the agent serves", Duration::from_secs(20), || {
        if node.try_status().is_some_and(|s| s["ready"] == true) || !node.agent_is_alive() {
            Ok(())
        } else {
            Err(())
        }
    });
    let answer = if in_add { pod.add() } else { pod.del() };
    assert!(
        node.wait_for_death(),
        "{how}: the point was not reached ({answer:?})"
    );
    if in_add {
        assert_eq!(answer.expect_err("no agent, no ADD").code, 11);
    }
    recover(&mut node, &mut pod, &neighbour, &how);
    wait_for_one_link(&how);
}

#[test]
fn r01_agent_dies_at_every_fault_point_of_add() {
    let add = |point: &&FaultPoint| (**point as u8) < FaultPoint::DelReceived as u8;
    for point in FaultPoint::ALL.iter().filter(add) {
        std::thread::scope(|s| s.spawn(|| die_at(*point)).join()).expect("each in its own node");
    }
}

#[test]
fn r01_agent_dies_at_every_fault_point_of_del() {
    let del = |point: &&FaultPoint| (**point as u8) >= FaultPoint::DelReceived as u8;
    for point in FaultPoint::ALL.iter().filter(del) {
        std::thread::scope(|s| s.spawn(|| die_at(*point)).join()).expect("each in its own node");
    }
}

/// An ADD that the runtime gave up without a DEL is freed by GC.
#[test]
fn k8_gc_clears_up_after_a_crash() {
    for point in [
        FaultPoint::AddLinkMade,
        FaultPoint::AddPodSet,
        FaultPoint::DelWithdrawn,
    ] {
        std::thread::scope(|scope| {
            let test = || {
                let mut node = Node::start();
                let mut pod = Pod::new("victim");
                if point == FaultPoint::DelWithdrawn {
                    pod.add().expect("ADD");
                }
                node.kill_agent();
                node.spawn_agent(&[(VARIABLE, &(point as u8).to_string())]);
                node.wait_ready();
                let _ = if point == FaultPoint::DelWithdrawn {
                    pod.del()
                } else {
                    pod.add()
                };
                assert!(node.wait_for_death(), "{point:?}");
                // The note that DEL leaves is what a runtime that crashed too would not have left.
                let _ = std::fs::remove_dir_all("/run/seaway/deleted");
                node.start_agent();
                Call::new("GC", "x")
                    .config("cni.dev/valid-attachments", json!([]))
                    .run()
                    .expect("GC");
                Leftovers::wait_for_none();
            };
            scope.spawn(test).join()
        })
        .expect("each in its own node");
    }
}

/// A small generator, so that a failure can be repeated by its seed.
fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn r01_agent_dies_at_fifty_random_instants() {
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut node = Node::start();
    let neighbour = Pod::attached("neighbour");
    let mut pod = Pod::new("victim");
    for round in 0..50 {
        let how = format!("round {round}");
        let in_add = round % 2 == 0;
        if !in_add {
            pod.add().unwrap_or_else(|e| panic!("{how}: {e:?}"));
        }
        let call = pod.call(if in_add { "ADD" } else { "DEL" }).spawn();
        std::thread::sleep(Duration::from_micros(next(&mut seed) % 4000));
        node.kill_agent();
        let _ = call.wait_with_output().expect("ended");
        node.start_agent();
        pod.del().unwrap_or_else(|e| panic!("{how}: {e:?}"));
        pod.add().unwrap_or_else(|e| panic!("{how}: {e:?}"));
        assert_talk(&pod, &neighbour);
        pod.del().unwrap_or_else(|e| panic!("{how}: {e:?}"));
    }
    wait_for_one_link("fifty rounds");
}

/// How many system calls the plugin makes in a call.
fn count_syscalls(mut call: Call) -> usize {
    let log = "/run/syscalls";
    call.under = ["strace", "-f", "-o", log].map(str::to_owned).to_vec();
    call.run().expect("the call succeeds under strace");
    let text = std::fs::read_to_string(log).expect("strace's log");
    text.lines().filter(|line| line.contains('(')).count()
}

fn kill_at(mut call: Call, number: usize) {
    let inject = format!("inject=all:signal=KILL:when={number}");
    call.under = ["strace", "-f", "-o", "/dev/null", "-e", &inject]
        .map(str::to_owned)
        .to_vec();
    let _ = call.run();
}

/// Row 6 of the scorecard.
#[test]
fn r06_plugin_killed_at_every_system_call() {
    let mut node = Node::start();
    let neighbour = Pod::attached("neighbour");
    let mut pod = Pod::new("victim");
    let in_add = count_syscalls(pod.call("ADD"));
    let in_del = count_syscalls(pod.call("DEL"));
    assert!(
        in_add > 10 && in_del > 10,
        "{in_add} and {in_del} system calls"
    );
    for (command, count) in [("ADD", in_add), ("DEL", in_del)] {
        for number in 1..=count {
            if command == "DEL" {
                pod.add()
                    .unwrap_or_else(|e| panic!("{command} {number}: {e:?}"));
            }
            kill_at(pod.call(command), number);
            pod.del()
                .unwrap_or_else(|e| panic!("{command} {number}: {e:?}"));
        }
        recover(&mut node, &mut pod, &neighbour, command);
    }
    wait_for_one_link("every system call");
}

/// Row 10 of the scorecard: nothing is remembered that is gone. The state directory is empty after a
/// reboot, being tmpfs; every other cycle shows that one that was kept is harmless, too.
#[test]
fn r10_a_reboot_frees_every_address() {
    const CYCLES: usize = 20;
    const PODS: usize = 8;
    let mut node = Node::start();
    let (mut first, mut leaked) = (Vec::new(), 0);
    for cycle in 0..CYCLES {
        let began = Instant::now();
        if !node.agent_is_alive() {
            node.spawn_agent(&[]);
        }
        let mut pods: Vec<Pod> = (0..PODS)
            .map(|i| Pod::new(&format!("p{cycle}-{i}")))
            .collect();
        // As a runtime does: again and again, until the agent is there.
        let mut refused = 0;
        while let Err(error) = pods[0].add() {
            assert_eq!(error.code, 11, "{error:?}");
            refused += 1;
            assert!(began.elapsed() < Duration::from_secs(20), "{error:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        first.push(began.elapsed());
        for pod in &mut pods[1..] {
            pod.add().expect("ADD");
        }
        let all = pods.iter().flat_map(|pod| pod.addresses.iter().copied());
        let different: BTreeSet<IpAddr> = all.collect();
        assert_eq!(different.len(), 2 * PODS, "no address is given twice");
        let status = node.status();
        for pool in status["pod_cidrs"].as_array().expect("a list") {
            let held = pool["held"].as_u64().expect("a number");
            leaked += held.abs_diff(PODS as u64);
        }
        assert_eq!(leaked, 0, "cycle {cycle}: {status}");
        node.kill_agent();
        pods.iter_mut().for_each(Pod::destroy);
        wait_for_no_link();
        if cycle % 2 == 0 {
            std::fs::remove_dir_all("/run/seaway").expect("cleared");
        }
        println!(
            "cycle {cycle}: first Pod after {:?}, told {refused} times to try again",
            first[cycle]
        );
    }
    node.start_agent();
    Leftovers::wait_for_none();
    first.sort();
    let (median, worst) = (first[CYCLES / 2], first[CYCLES - 1]);
    println!("{CYCLES} reboots: {leaked} leaked, first Pod after {median:?}, {worst:?} at most");
}

fn wait_for_no_link() {
    let what = "the kernel is rid of the links";
    eventually(what, Duration::from_secs(20), || {
        let links = Leftovers::now().links;
        if links.is_empty() { Ok(()) } else { Err(links) }
    });
}
