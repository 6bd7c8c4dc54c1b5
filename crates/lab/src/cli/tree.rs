//! `seaway lab` alone: the labs of this machine as a tree of nodes and Pods with their addresses.

use std::io::IsTerminal;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::client::Client;
use crate::protocol::{LabStatus, NodeStatus, PodStatus, ProcessStatus};
use crate::state::{self, StateDir};
use crate::topology::{CONTROL_PLANE, OUTSIDE};

/// The whole picture.
pub(super) fn run() -> anyhow::Result<String> {
    let labs = state::all()?;
    if labs.is_empty() {
        return Ok("no labs; `seaway lab up` makes one, `seaway lab --help` shows the rest".into());
    }
    let paint = Paint(std::io::stdout().is_terminal());
    let trees: Vec<String> = labs.iter().map(|lab| tree(lab, paint)).collect();
    Ok(trees.join("\n\n"))
}

fn tree(lab: &StateDir, paint: Paint) -> String {
    let status = Client::of(lab.name()).and_then(|client| client.status());
    match status {
        Ok(status) => {
            let kubeconfig = lab.kubeconfig().display().to_string();
            render(&status, &kubeconfig, paint)
        }
        Err(e) => format!(
            "{}  {}",
            paint.strong(lab.name().as_str()),
            paint.bad(&e.to_string())
        ),
    }
}

/// Colours, on a terminal only.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("31", text)
    }
}

/// A line of the tree: what stands before its columns, and the columns.
struct Line {
    lead: String,
    columns: Vec<String>,
    good: Option<bool>,
}

fn render(status: &LabStatus, kubeconfig: &str, paint: Paint) -> String {
    let control = status.network.control_plane_addresses();
    let mut lines = vec![
        machine(
            OUTSIDE,
            &status.outside.addresses,
            &status.outside.processes,
        ),
        machine(CONTROL_PLANE, &control, &status.control_plane),
    ];
    for (at, node) in status.nodes.iter().enumerate() {
        node_lines(status, node, at + 1 == status.nodes.len(), &mut lines);
    }
    let head = format!("{}  KUBECONFIG={kubeconfig}", paint.strong(&status.name));
    let body = lay_out(&lines, paint);
    format!("{head}\n│  {}\n{body}", status.network)
}

/// A machine that has no Pods.
fn machine(name: &str, addresses: &[IpNet], daemons: &[ProcessStatus]) -> Line {
    let addresses: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
    Line {
        lead: format!("├─ {name}"),
        columns: vec![
            String::new(),
            addresses_text(&addresses),
            processes(daemons),
        ],
        good: Some(all_run(daemons)),
    }
}

fn node_lines(status: &LabStatus, node: &NodeStatus, last: bool, lines: &mut Vec<Line>) {
    let addresses: Vec<IpAddr> = node.addresses.iter().map(ipnet::IpNet::addr).collect();
    lines.push(Line {
        lead: format!("{} {}", branch(last), node.name),
        columns: vec![
            String::new(),
            addresses_text(&addresses),
            processes(&node.processes),
        ],
        good: Some(all_run(&node.processes)),
    });
    let pods: Vec<&PodStatus> = status.pods_of(&node.name).collect();
    for (at, pod) in pods.iter().enumerate() {
        let trunk = if last { "  " } else { "│ " };
        lines.push(pod_line(pod, trunk, at + 1 == pods.len()));
    }
}

fn pod_line(pod: &PodStatus, trunk: &str, last: bool) -> Line {
    let addresses = match pod.host_network {
        true => "(the node's network)".to_owned(),
        false => addresses_text(&pod.addresses),
    };
    let phase = match pod.ready {
        true => "Ready".to_owned(),
        false => pod.phase.clone(),
    };
    Line {
        lead: format!("{trunk} {} {}/{}", branch(last), pod.namespace, pod.name),
        columns: vec![phase, addresses, processes(&pod.processes)],
        good: Some(pod.ready || pod.phase == "Succeeded"),
    }
}

fn branch(last: bool) -> &'static str {
    if last { "└─" } else { "├─" }
}

fn addresses_text(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join("  ")
}

fn all_run(processes: &[ProcessStatus]) -> bool {
    processes.iter().all(|process| process.pid.is_some())
}

/// `agent, serve`, with what does not run and what had to be started again.
fn processes(all: &[ProcessStatus]) -> String {
    let text = |process: &ProcessStatus| {
        let name = process.name.rsplit('/').next().unwrap_or_default();
        let down = if process.pid.is_none() { " (down)" } else { "" };
        match process.restarts {
            0 => format!("{name}{down}"),
            1 => format!("{name}{down} (1 restart)"),
            n => format!("{name}{down} ({n} restarts)"),
        }
    };
    all.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn lay_out(lines: &[Line], paint: Paint) -> String {
    let width_of = |get: &dyn Fn(&Line) -> Option<&String>| {
        let widths = lines
            .iter()
            .filter_map(get)
            .map(|text| text.chars().count());
        widths.max().unwrap_or(0)
    };
    let lead = width_of(&|line| Some(&line.lead));
    let columns = lines
        .iter()
        .map(|line| line.columns.len())
        .max()
        .unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| width_of(&|line| line.columns.get(at)))
        .collect();
    let text = |line: &Line| {
        let mut text = format!("{:lead$}", line.lead);
        for (at, column) in line.columns.iter().enumerate() {
            let padded = format!("{column:width$}", width = widths[at]);
            let painted = match (at, line.good) {
                (0, Some(true)) => paint.good(&padded),
                (0 | 2, Some(false)) => paint.bad(&padded),
                _ => padded,
            };
            text.push_str("  ");
            text.push_str(&painted);
        }
        text.trim_end().to_owned()
    };
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::protocol::MachineStatus;
    use crate::topology::Network;

    fn process(name: &str, pid: Option<i32>, restarts: u32) -> ProcessStatus {
        ProcessStatus {
            name: name.into(),
            pid,
            restarts,
        }
    }

    fn node(number: u8) -> NodeStatus {
        NodeStatus {
            name: format!("node{number}"),
            addresses: vec![format!("172.18.0.{number}/16").parse().expect("valid")],
            processes: vec![process(&format!("node{number}/agent"), Some(7), 0)],
        }
    }

    fn pod(node: &str, name: &str, ready: bool) -> PodStatus {
        PodStatus {
            namespace: "default".into(),
            name: name.into(),
            phase: "Pending".into(),
            ready,
            host_network: false,
            checked: true,
            node: node.into(),
            addresses: vec!["10.244.1.2".parse().expect("valid")],
            container_id: "x".into(),
            netns: "/run/netns/x".into(),
            result: Value::Null,
            processes: vec![process("main", Some(9), 2)],
        }
    }

    #[test]
    fn a_lab_is_drawn_as_a_tree() {
        let status = LabStatus {
            name: "demo".into(),
            network: Network::default(),
            outside: MachineStatus {
                addresses: Network::default().outside_addresses(),
                processes: vec![process("outside/serve", Some(8), 0)],
            },
            control_plane: vec![process("control/apiserver", None, 1)],
            nodes: vec![node(1), node(2)],
            pods: vec![pod("node1", "a", true), pod("node2", "b", false)],
        };
        let expected = "\
demo  KUBECONFIG=/k
│  wiring routed, transport auto, underlay flat of MTU 1500, IPv4 and IPv6
├─ outside                203.0.113.10  2001:db8:5ea::10  serve
├─ control                172.18.255.1  fd00:5ea::ffff    apiserver (down) (1 restart)
├─ node1                  172.18.0.1                      agent
│  └─ default/a  Ready    10.244.1.2                      main (2 restarts)
└─ node2                  172.18.0.2                      agent
   └─ default/b  Pending  10.244.1.2                      main (2 restarts)";
        assert_eq!(render(&status, "/k", Paint(false)), expected);
    }
}
