//! Rows 41 and 42 of the scorecard: agents work with the capabilities that the manifest gives them, and each
//! of these is needed. All other suites run their agents with them, too. Secrets stay secret, and no socket is open that is not listed.

mod bundle;
mod canaries;
mod listeners;

use std::fs;
use std::time::{Duration, Instant};

use seaway_kernel::netlink::{Netlink, Request};
use seaway_model::Family;
use seaway_tests::{Node, Pod, privileges};

/// How long what works takes at most.
const SOON: Duration = Duration::from_secs(15);

/// How long the agent may take to try the ways to a node that never answers: it asks slowly.
const ASKED: Duration = Duration::from_secs(60);

/// Numbers of capabilities, from `linux/capability.h`.
const NUMBERS: [(&str, u32); 5] = [
    ("NET_BIND_SERVICE", 10),
    ("NET_BROADCAST", 11),
    ("NET_ADMIN", 12),
    ("NET_RAW", 13),
    ("SYS_ADMIN", 21),
];

#[test]
fn r41_agents_have_the_declared_capabilities_alone() {
    let node = Node::start();
    let path = format!("/proc/{}/status", node.agent_pid());
    let status = fs::read_to_string(path).expect("the agent's status");
    let number = |name: &str| {
        let found = NUMBERS.iter().find(|(known, _)| *known == name);
        found
            .unwrap_or_else(|| panic!("{name} is not listed here"))
            .1
    };
    let declared = privileges::declared();
    let bits: u64 = declared.iter().map(|name| 1 << number(name)).sum();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(
            field(&status, set),
            format!("{bits:016x}"),
            "{set}: {declared:?}"
        );
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(field(&status, set), format!("{:016x}", 0), "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.strip_prefix(':'));
    value.expect("a field of that name").trim().to_owned()
}

#[test]
fn r41_every_promise_tried_here_holds_with_all_of_them() {
    let mut node = Node::without_agent();
    let capabilities = privileges::declared();
    broken(&mut node, capabilities).expect("all works");
}

#[test]
fn r41_each_capability_is_needed() {
    // A thread of its own, at the same time: each has a node of its own.
    let tried = privileges::declared().into_iter().map(|without| {
        let mut rest = privileges::declared();
        rest.retain(|name| *name != without);
        let broken = std::thread::spawn(move || broken(&mut Node::without_agent(), rest));
        (without, broken)
    });
    for (without, broken) in tried.collect::<Vec<_>>() {
        let broken = broken.join().expect("no panic");
        let broken = broken.expect_err(&format!("{without} is not needed for anything tried here"));
        println!("without {without}: {broken}");
    }
}

/// What does not work with these capabilities: the first of the promises that need some.
fn broken(node: &mut Node, capabilities: Vec<String>) -> Result<(), String> {
    node.capabilities = capabilities;
    node.spawn_agent(&[]);
    let is_ready = || match node.try_status() {
        Some(status) if status["ready"] == true => Ok(()),
        other => Err(other),
    };
    let told = |what: &str| format!("{what}; the log: {}", node.log());
    within(SOON, is_ready).map_err(|_| told("the agent is not ready"))?;
    let mut pod = Pod::new("a");
    pod.add().map_err(|e| told(&format!("ADD: {e:?}")))?;
    pod.check().map_err(|e| told(&format!("CHECK: {e:?}")))?;
    takes_care_inside(&pod).map_err(|e| told(&format!("a loss inside a Pod: {e}")))?;
    within(ASKED, || paths_are_asked(node))
        .map_err(|e| told(&format!("paths to other nodes: {e}")))?;
    pod.del().map_err(|e| told(&format!("DEL: {e:?}")))?;
    Ok(())
}

/// What a Pod loses inside comes back, long before the next audit.
fn takes_care_inside(pod: &Pod) -> Result<(), String> {
    for family in Family::ALL {
        let mut inside = Netlink::open_in(pod.netns()).expect("socket");
        let index = inside.link_index("eth0").expect("dump").expect("there");
        let net = Family::host_net(pod.address(family));
        let delete = Request::delete_address(index, net);
        inside.send_all(&[delete]).expect("deleted");
        within(SOON, || pod.check()).map_err(|e| format!("{family}: {e:?}"))?;
    }
    Ok(())
}

/// The way to each address of the other node was tried with packets of full size.
fn paths_are_asked(node: &Node) -> Result<(), String> {
    let paths = &node.status()["network"]["paths"];
    match paths["paths"].as_u64() > Some(0) && paths["unasked"] == 0 {
        true => Ok(()),
        false => Err(paths.to_string()),
    }
}

/// What holds in the end, or how it failed last.
fn within<T, E>(limit: Duration, mut condition: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + limit;
    loop {
        match condition() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
}
