//! The columns of Nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{AGE, NAME, NONE, joined, or, text, wide};
use crate::kinds::{Column, read};

const UNKNOWN: &str = "<unknown>";

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "The status of the node", status),
    text("Roles", "The roles of the node", roles),
    AGE,
    text(
        "Version",
        "Kubelet Version reported by the node.",
        |node, _| read::text(&node["status"]["nodeInfo"], "kubeletVersion").into(),
    ),
    wide(
        "Internal-IP",
        "The first internal address of the node.",
        |node, _| address(node, "InternalIP").into(),
    ),
    wide(
        "External-IP",
        "The first external address of the node.",
        |node, _| address(node, "ExternalIP").into(),
    ),
    wide("OS-Image", "OS Image reported by the node.", |node, _| {
        info(node, "osImage").into()
    }),
    wide(
        "Kernel-Version",
        "Kernel Version reported by the node.",
        |node, _| info(node, "kernelVersion").into(),
    ),
    wide(
        "Container-Runtime",
        "ContainerRuntime Version reported by the node.",
        |node, _| info(node, "containerRuntimeVersion").into(),
    ),
];

fn status(node: &Value, _: Timestamp) -> Value {
    let ready = read::list(&node["status"], "conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let ready = match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if read::flag(&node["spec"], "unschedulable") {
        return format!("{ready},SchedulingDisabled").into();
    }
    ready.into()
}

fn roles(node: &Value, _: Timestamp) -> Value {
    let labels = read::pairs(&node["metadata"], "labels");
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None => (key == "kubernetes.io/role").then_some(value),
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    joined(roles).into()
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = read::list(&node["status"], "addresses")
        .iter()
        .find(|address| address["type"] == kind);
    found.map_or(NONE, |address| read::text(address, "address"))
}

fn info<'a>(node: &'a Value, field: &str) -> &'a str {
    or(read::text(&node["status"]["nodeInfo"], field), UNKNOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_shown() {
        let node = json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"}]},
        });
        let cells: Vec<Value> = COLUMNS
            .iter()
            .map(|column| (column.cell)(&node, Timestamp::UNIX_EPOCH))
            .collect();
        assert_eq!(
            json!(cells),
            json!([
                "n",
                "NotReady,SchedulingDisabled",
                "edge,worker",
                "<unknown>",
                "v1",
                "10.0.0.1",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>"
            ])
        );
        assert_eq!(status(&json!({}), Timestamp::UNIX_EPOCH), "Unknown");
        assert_eq!(roles(&json!({}), Timestamp::UNIX_EPOCH), "<none>");
    }
}
