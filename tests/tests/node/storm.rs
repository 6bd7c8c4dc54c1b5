//! Many at once, callers killed at random.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use seaway_tests::probe::assert_talk;
use seaway_tests::{Leftovers, Node, Pod};

/// Row 9 of the scorecard.
#[test]
fn r09_a_hundred_parallel_adds_with_callers_killed() {
    let node = Node::start();
    let mut pods: Vec<Pod> = (0..100).map(|i| Pod::new(&format!("p{i}"))).collect();
    let mut calls: Vec<_> = pods.iter().map(|pod| pod.call("ADD").spawn()).collect();
    for (i, call) in calls.iter_mut().enumerate() {
        if i % 3 == 0 {
            std::thread::sleep(Duration::from_micros((i as u64 * 37) % 900));
            call.kill().expect("killed");
        }
    }
    for call in calls {
        call.wait_with_output().expect("ended");
    }
    // A runtime that lost its caller deletes and tries again.
    for (i, pod) in pods.iter_mut().enumerate() {
        if i % 3 == 0 {
            pod.del().expect("DEL");
            pod.add().expect("ADD again");
        }
    }
    let status = node.status();
    let attachments = status["attachments"].as_array().expect("a list");
    let addresses: HashSet<IpAddr> = attachments
        .iter()
        .flat_map(|a| a["addresses"].as_array().expect("a list"))
        .map(|a| a.as_str().expect("text").parse().expect("an address"))
        .collect();
    assert_eq!(
        (attachments.len(), addresses.len()),
        (100, 200),
        "unique addresses"
    );
    assert_eq!(node.drift(), Vec::<serde_json::Value>::new());
    assert_talk(&pods[0], &pods[99]);
    let deletions: Vec<_> = pods.iter().map(|pod| pod.call("DEL").spawn()).collect();
    for deletion in deletions {
        assert!(deletion.wait_with_output().expect("ended").status.success());
    }
    Leftovers::wait_for_none();
}

/// K5: an ADD of what is still dying waits for it, and gets it.
#[test]
fn k5_add_of_an_attachment_that_is_still_dying() {
    let _node = Node::start();
    let mut pod = Pod::new("a");
    for _ in 0..20 {
        pod.add().expect("ADD right behind DEL");
        pod.del().expect("DEL");
    }
    Leftovers::wait_for_none();
}
