//! Many at once, callers killed at random.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaway_kernel::netlink::{LinkSet, LinkTarget, Netlink, Request};
use seaway_testkit::eventually;
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

/// Pods that come while the kernel is compared with the plan are no drift: nobody makes their links a
/// second time, which would find the name taken and call the Pod's own link a stranger's.
#[test]
fn k1_pods_that_come_during_comparisons_are_let_be() {
    let node = Node::start();
    let _stays = Pod::attached("stays");
    let stop = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| change_until(&stop));
        come_and_go();
        stop.store(true, Ordering::Relaxed);
        stranger.join().expect("it ends")
    });
    eventually("no drift", Duration::from_secs(10), || match node.drift() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
    let log = node.log();
    let wrong = log.lines().find(|line| line.contains("row not in force"));
    assert_eq!(wrong, None, "beside {changes} changes of a stranger");
}

/// Changes a link of ours again and again, so that all is compared all the time.
fn change_until(stop: &AtomicBool) -> u32 {
    let mut netlink = Netlink::open().expect("socket");
    let name = &Leftovers::now().links[0];
    let link = netlink.link(LinkTarget::Name(name)).expect("dump");
    let target = LinkTarget::Index(link.expect("there").index);
    let change = |mtu| {
        Request::set_link(
            target,
            LinkSet {
                mtu: Some(mtu),
                ..LinkSet::default()
            },
        )
    };
    let mut times = 0;
    while !stop.load(Ordering::Relaxed) {
        netlink
            .send_all(&[change(1300 + times % 100)])
            .expect("changed");
        times += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    times
}

fn come_and_go() {
    let mut pods: Vec<Pod> = (0..40).map(|i| Pod::new(&format!("q{i}"))).collect();
    for _ in 0..5 {
        for pod in &mut pods {
            pod.add().expect("ADD");
        }
        for pod in &pods {
            pod.del().expect("DEL");
        }
    }
}
