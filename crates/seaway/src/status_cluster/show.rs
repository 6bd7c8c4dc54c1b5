//! The status of a cluster for people.

use seaway_api::heartbeat::PoolSummary;

use super::view::{AgentState, ClusterStatus, Complaint, Controller, NodeStatus, names};
use crate::table::{self, Tone};

/// What goes to the left of a value, the value, and how that is.
type Fact = (&'static str, String, Tone);

pub(super) fn print(status: &ClusterStatus) {
    println!("{}", table::facts(&headline(status)));
    if !status.nodes.is_empty() {
        println!();
        println!("{}", nodes(&status.nodes));
    }
    for line in complaints(status) {
        println!("{line}");
    }
}

pub(super) fn headline(status: &ClusterStatus) -> Vec<Fact> {
    let health = match status.problems.len() {
        0 => ("all is well".to_owned(), Tone::Good),
        1 => ("1 problem".to_owned(), Tone::Bad),
        n => (format!("{n} problems"), Tone::Bad),
    };
    let mut facts = vec![("Seaway", health.0, health.1), agents(status)];
    facts.push(controller(status.controller.as_ref()));
    facts.push(versions(status));
    let known = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
    let services = format!(
        "{}  {} EndpointSlices",
        known(status.services),
        known(status.endpoint_slices)
    );
    facts.push(("Services", services, Tone::Plain));
    let attached: usize = status.nodes.iter().map(|node| node.pods).sum();
    let (waiting, tone) = match status.pods_without_address {
        Some(0) => (String::new(), Tone::Plain),
        waiting => (
            format!("  {} without an address for more than 30 s", known(waiting)),
            Tone::Bad,
        ),
    };
    facts.push(("Pods", format!("{attached} attached{waiting}"), tone));
    let policies = match status.policies_not_enforced {
        Some(0) => ("none".to_owned(), Tone::Plain),
        None => ("?".to_owned(), Tone::Warn),
        Some(count) => (format!("{count} NOT ENFORCED"), Tone::Bad),
    };
    facts.push(("NetworkPolicies", policies.0, policies.1));
    facts
}

fn agents(status: &ClusterStatus) -> Fact {
    let agents = &status.agents;
    let mut line = format!("{} of {} ready", agents.ready, agents.wanted);
    for (count, what) in [
        (agents.not_ready, "not ready"),
        (agents.silent, "silent"),
        (agents.missing, "nodes without an agent"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    let well = agents.ready == agents.wanted && agents.wanted > 0;
    ("Agents", line, if well { Tone::Good } else { Tone::Bad })
}

fn controller(controller: Option<&Controller>) -> Fact {
    let name = "Controller";
    let Some(controller) = controller else {
        return (name, "none has led".to_owned(), Tone::Dim);
    };
    let heard = controller.renewed_seconds_ago.map_or_else(
        || "never heard of".to_owned(),
        |seconds| format!("heard of {} ago", age(seconds)),
    );
    let line = match (&controller.holder, &controller.version) {
        (None, _) => format!("nobody leads, {heard}"),
        (Some(holder), Some(version)) => format!("{holder} leads, version {version}, {heard}"),
        (Some(holder), None) => format!("{holder} leads, {heard}"),
    };
    let tone = if controller.vacant {
        Tone::Bad
    } else {
        Tone::Good
    };
    (name, line, tone)
}

fn versions(status: &ClusterStatus) -> Fact {
    let all: Vec<String> = match status.versions.len() {
        0 | 1 => status.versions.keys().cloned().collect(),
        _ => status
            .versions
            .iter()
            .map(|(version, count)| format!("{version} ({count})"))
            .collect(),
    };
    match all.len() {
        0 => ("Version", "not known".to_owned(), Tone::Dim),
        1 => ("Version", all.join(""), Tone::Plain),
        _ => ("Version", format!("MIXED: {}", all.join(", ")), Tone::Warn),
    }
}

const HEADER: [&str; 10] = [
    "NODE", "AGENT", "VERSION", "PODS", "FREE", "NETWORK", "MTU", "ROWS", "HEARD", "PROBLEMS",
];

pub(super) fn nodes(nodes: &[NodeStatus]) -> String {
    let rows = nodes.iter().map(|node| cells(node).to_vec());
    let table = table::toned_rows(&HEADER, rows).to_string();
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn cells(node: &NodeStatus) -> [(String, Tone); HEADER.len()] {
    let plain = |text: String| (text, Tone::Plain);
    let told = node.version.is_some();
    let or_dash = |text: String| plain(if told { text } else { "-".to_owned() });
    let rows = node.rows;
    let drifted = if rows.drifted > 0 {
        Tone::Bad
    } else {
        Tone::Plain
    };
    let rows = format!("{}/{}/{}", rows.planned, rows.drifted, rows.repaired);
    let free: Vec<String> = node.pod_cidrs.iter().map(free).collect();
    let heard = node
        .heartbeat_seconds_ago
        .map(|seconds| format!("{} ago", age(seconds)));
    let network = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let problems = match node.problems {
        0 => ("-".to_owned(), Tone::Dim),
        count => (count.to_string(), Tone::Bad),
    };
    [
        plain(node.node.clone()),
        state(node),
        plain(network(&node.version)),
        or_dash(node.pods.to_string()),
        or_dash(free.join(" ")),
        or_dash(format!(
            "{}/{}",
            network(&node.transport),
            network(&node.wiring)
        )),
        or_dash(node.mtu.unwrap_or_default().to_string()),
        (or_dash(rows).0, drifted),
        plain(heard.unwrap_or_else(|| "never".to_owned())),
        problems,
    ]
}

fn state(node: &NodeStatus) -> (String, Tone) {
    let (text, tone) = match node.agent {
        AgentState::Ready => ("ready", Tone::Good),
        AgentState::NotReady => ("not ready", Tone::Bad),
        AgentState::Silent => ("silent", Tone::Bad),
        AgentState::Missing => ("none", Tone::Bad),
        AgentState::Unreadable => ("unreadable", Tone::Bad),
        AgentState::NotWanted => ("not wanted", Tone::Dim),
    };
    (text.to_owned(), tone)
}

/// What is left of a pod CIDR; there is no point in counting those of IPv6.
fn free(pool: &PoolSummary) -> String {
    match pool.usable {
        0..1_000_000 => format!("{}/{}", pool.free, pool.usable),
        _ => "many".to_owned(),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Problems, warnings and notes, each with its nodes and what to do next.
fn complaints(status: &ClusterStatus) -> Vec<String> {
    let mut lines = Vec::new();
    for (title, all, tone) in [
        ("Problems", &status.problems, Tone::Bad),
        ("Warnings", &status.warnings, Tone::Warn),
        ("Notes", &status.notes, Tone::Plain),
    ] {
        if !all.is_empty() {
            lines.push(String::new());
            lines.push(format!("{title}:"));
        }
        for complaint in all {
            lines.push(table::paint(&format!("  {}", said(complaint)), tone));
            if !complaint.next.is_empty() {
                lines.push(format!("      next: {}", complaint.next));
            }
        }
    }
    lines
}

fn said(complaint: &Complaint) -> String {
    match complaint.nodes.is_empty() {
        true => complaint.text.clone(),
        false => format!("{}: {}", names(&complaint.nodes), complaint.text),
    }
}

/// Everything without colours, as a test sees it.
#[cfg(test)]
pub(super) fn plain(status: &ClusterStatus) -> String {
    let facts = headline(status).into_iter();
    let facts = facts.map(|(name, value, _)| format!("{name}: {value}"));
    let mut lines: Vec<String> = facts.collect();
    lines.push(nodes(&status.nodes));
    lines.extend(complaints(status));
    lines.join("\n")
}
