//! Row 8 of the scorecard: DEL succeeds whatever there is of the attachment, and nothing is left.

use std::fs;
use std::time::Duration;

use seaway_testkit::eventually;
use seaway_tests::{Call, Leftovers, Node, Pod};
use serde_json::{Value, json};

/// How long the agent may take to hear of the last link's end.
const LIMIT: Duration = Duration::from_secs(20);

/// A state of things, and what is called in it.
type Case = (&'static str, fn(&mut Node));

const CASES: [Case; 13] = [
    ("as usual", |_| {
        Pod::attached("a").del().expect("DEL");
    }),
    ("twice", |_| {
        let mut pod = Pod::attached("a");
        pod.del().expect("DEL");
        pod.del().expect("again");
        pod.add().expect("ADD after DEL");
        pod.del().expect("DEL");
    }),
    ("without ADD, of a Pod that is there", |_| {
        Pod::new("never").del().expect("DEL");
    }),
    ("without ADD and without a namespace", |_| {
        Call::new("DEL", "never").run().expect("DEL");
        let nowhere = Call::new("DEL", "never").netns("/run/netns/none".as_ref());
        nowhere.run().expect("DEL");
    }),
    ("the namespace is gone", |_| {
        let mut pod = Pod::attached("a");
        pod.destroy();
        pod.del().expect("DEL");
    }),
    ("alive, but no CNI_NETNS", |_| {
        let _pod = Pod::attached("a");
        Call::new("DEL", "a").run().expect("DEL");
    }),
    ("an empty prevResult", |_| {
        let pod = Pod::attached("a");
        let call = |result: Value| pod.call("DEL").config("prevResult", result);
        call(json!({})).run().expect("DEL");
        call(json!({"cniVersion": "1.1.0", "ips": []}))
            .run()
            .expect("DEL");
    }),
    ("the agent is down", |node| {
        let pod = Pod::attached("a");
        node.kill_agent();
        pod.del().expect("DEL");
        pod.del().expect("again");
        node.start_agent();
    }),
    ("the agent is down, of nothing", |node| {
        node.kill_agent();
        Pod::new("never").del().expect("DEL");
        node.start_agent();
    }),
    ("the agent is down and the namespace gone", |node| {
        let mut pod = Pod::attached("a");
        node.kill_agent();
        pod.destroy();
        pod.del().expect("DEL");
        node.start_agent();
    }),
    ("while ADD is still running", |_| {
        for i in 0..20 {
            let pod = Pod::new(&format!("a{i}"));
            let add = pod.call("ADD").spawn();
            pod.del().expect("DEL beside ADD");
            let _ = add.wait_with_output().expect("ended");
            pod.del().expect("DEL after both");
        }
    }),
    ("after a reboot, the state lost", |node| reboot(node, false)),
    ("after a reboot, the state kept", |node| reboot(node, true)),
];

/// No link, no namespace; the runtime remembers, and so may the state directory.
fn reboot(node: &mut Node, state_is_kept: bool) {
    let mut before = Pod::attached("before");
    let mut after = Pod::attached("after");
    node.kill_agent();
    before.destroy();
    after.destroy();
    if !state_is_kept {
        fs::remove_dir_all("/run/seaway").expect("cleared");
    }
    before.del().expect("before the agent starts");
    node.start_agent();
    after.del().expect("after the agent started");
}

#[test]
fn r08_del_succeeds_in_every_state() {
    let mut node = Node::start();
    for (what, case) in CASES {
        println!("{what}");
        case(&mut node);
        Leftovers::wait_for_none();
        // The kernel is rid of a link a moment before the agent knows.
        eventually(what, LIMIT, || {
            let status = node.status();
            let pools = status["pod_cidrs"].as_array().expect("a list");
            match pools.len() == 2 && pools.iter().all(|pool| pool["held"] == 0) {
                true => Ok(()),
                false => Err(status),
            }
        });
    }
    println!("{} cases", CASES.len());
}
