//! Foreign runtimes (K15): Debian's containerd with its CRI plugin, `ctr run --cni` and podman, all
//! with Debian's runc, call the real plugin.

#![expect(clippy::expect_used, reason = "a test fails by panic")]

mod callers;
mod controllers;
mod crowd;
mod daemonset;
mod readiness;
mod restarts;
mod sandboxes;

use std::time::Duration;

use seaway_tests::cri::Site;

/// How long anything may take that is not measured.
const LIMIT: Duration = Duration::from_secs(20);

/// How many attachments the agent of node `number` knows.
fn attachments(site: &Site, number: usize) -> usize {
    let status = site.net.agent(number).status();
    status["attachments"].as_array().expect("a list").len()
}
