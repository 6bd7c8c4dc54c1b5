//! Tables for people: aligned columns without lines, as kubectl prints them; headers and colours on
//! a terminal only.

use std::net::IpAddr;

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use seaway_model::Family;

use crate::protocol::{LabStatus, PodStatus};

/// An empty table.
pub(super) fn new(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        headers
            .iter()
            .map(|text| Cell::new(text).add_attribute(Attribute::Bold)),
    );
    table
}

/// The table as text: columns two spaces apart.
pub(super) fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Nodes and Pods with their addresses.
pub(super) fn lab(status: &LabStatus) -> String {
    let mut table = new(&["NODE", "POD", "IPv4", "IPv6", "RESTARTS"]);
    for node in &status.nodes {
        let addresses: Vec<IpAddr> = node.addresses.iter().map(ipnet::IpNet::addr).collect();
        let restarts = node.processes.iter().map(|p| p.restarts).sum();
        table.add_row(row(&node.name, "", &addresses, restarts));
        for pod in status.pods_of(&node.name) {
            table.add_row(pod_row(pod));
        }
    }
    text(&mut table)
}

fn pod_row(pod: &PodStatus) -> [String; 5] {
    let restarts = pod.processes.iter().map(|p| p.restarts).sum();
    row(&pod.node, &pod.target(), &pod.addresses, restarts)
}

fn row(node: &str, pod: &str, addresses: &[IpAddr], restarts: u32) -> [String; 5] {
    let [v4, v6] = Family::ALL.map(|family| {
        let of_family = addresses.iter().filter(|a| Family::of(**a) == family);
        of_family
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    });
    let pod = if pod.is_empty() { "-" } else { pod };
    [
        node.to_owned(),
        pod.to_owned(),
        v4,
        v6,
        restarts.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::protocol::{MachineStatus, NodeStatus, ProcessStatus};
    use crate::topology::Network;

    #[test]
    fn a_lab_is_shown_as_nodes_and_their_pods() {
        let process = |name: &str, restarts| ProcessStatus {
            name: name.into(),
            pid: Some(9),
            restarts,
        };
        let node = NodeStatus {
            name: "node1".into(),
            addresses: ["172.18.0.1/16", "fd00:5ea::1/64"]
                .map(|a| a.parse().expect("valid"))
                .into(),
            processes: vec![process("node1/agent", 2), process("node1/serve", 1)],
        };
        let pod = PodStatus {
            namespace: "default".into(),
            name: "pod-1-1".into(),
            phase: "Running".into(),
            ready: true,
            host_network: false,
            checked: true,
            node: "node1".into(),
            addresses: ["10.244.1.2", "fd00:10:244:1::2"]
                .map(|a| a.parse().expect("valid"))
                .into(),
            container_id: "x".into(),
            netns: "/run/netns/x".into(),
            result: Value::Null,
            processes: vec![process("pod-1-1/main", 0)],
        };
        let status = LabStatus {
            name: "seaway".into(),
            network: Network::default(),
            outside: MachineStatus {
                addresses: Vec::new(),
                processes: Vec::new(),
            },
            control_plane: Vec::new(),
            nodes: vec![node],
            pods: vec![pod],
        };
        assert_eq!(
            lab(&status),
            "NODE   POD      IPv4        IPv6              RESTARTS\n\
             node1  -        172.18.0.1  fd00:5ea::1       3\n\
             node1  pod-1-1  10.244.1.2  fd00:10:244:1::2  0"
        );
    }
}
