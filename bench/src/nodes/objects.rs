//! The nodes that an agent is told of: itself and its peers, as Node objects of the size that real
//! ones have, and as entries of a cluster file.
//!
//! Node `i` is the same in every run; the first is the agent's own. Nothing here talks to anybody.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use seaway_model::{Node, NodeName};
use serde_json::{Value, json};

/// The agent's own node.
pub(super) const OWN: usize = 0;
/// Where Nodes are made.
pub(super) const COLLECTION: &str = "/api/v1/nodes";

/// The name of a node.
pub(super) fn name(i: usize) -> String {
    format!("worker-{i:05}")
}

/// A node's own path.
pub(super) fn path(i: usize) -> String {
    format!("{COLLECTION}/{}", name(i))
}

/// The addresses of a node with the prefix lengths of the network that all nodes share.
pub(super) fn addresses(i: usize) -> [IpNet; 2] {
    let number = u32::try_from(i + 1).expect("far fewer nodes than addresses");
    let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 20, 0, 0)) + number);
    let v6 = Ipv6Addr::from(0xfd00_0020_u128 << 96 | u128::from(number));
    let lengths = "these lengths are of their families";
    [
        Ipv4Net::new(v4, 16).expect(lengths).into(),
        Ipv6Net::new(v6, 64).expect(lengths).into(),
    ]
}

/// The pod CIDRs of a node.
pub(super) fn pod_nets(i: usize) -> [IpNet; 2] {
    let number = u32::try_from(i).expect("far fewer nodes than networks");
    let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + (number << 8));
    let v6 = Ipv6Addr::from(0xfd00_0010_u128 << 96 | u128::from(number) << 64);
    let lengths = "these lengths are of their families";
    [
        Ipv4Net::new(v4, 24).expect(lengths).into(),
        Ipv6Net::new(v6, 64).expect(lengths).into(),
    ]
}

/// A node as planning has it.
pub(super) fn node(i: usize) -> Node {
    Node {
        name: NodeName::new(name(i)).expect("letters and digits"),
        addresses: addresses(i).map(|net| net.addr()).into(),
        pod_cidrs: pod_nets(i).into(),
        transport: None,
        zone: None,
        leaving: false,
    }
}

/// A cluster file with the agent's own node and so many peers.
pub(super) fn file(peers: usize) -> String {
    let entry = |i| {
        let addresses = addresses(i).map(|net| net.addr());
        json!({"name": name(i), "addresses": addresses, "podCIDRs": pod_nets(i)})
    };
    // JSON is YAML, but for an agent a line a node is what people write.
    let lines: String = (0..=peers).map(|i| format!("- {}\n", entry(i))).collect();
    format!("nodes:\n{lines}pods: []\n")
}

/// The manifest of a Node, about 6 KB as kubelets have them.
pub(super) fn manifest(i: usize) -> String {
    let (name, nets) = (name(i), pod_nets(i));
    let [v4, v6] = addresses(i).map(|net| net.addr());
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "beta.kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "standard-8",
                "topology.kubernetes.io/region": "north",
                "topology.kubernetes.io/zone": format!("north-{}", i % 3),
            },
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": {"podCIDR": nets[0], "podCIDRs": nets},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": v4},
                {"type": "InternalIP", "address": v6},
                {"type": "Hostname", "address": name},
            ],
            "allocatable": resources(),
            "capacity": resources(),
            "conditions": conditions(),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": (0..20).map(image).collect::<Vec<_>>(),
            "nodeInfo": info(i),
        },
    })
    .to_string()
}

fn resources() -> Value {
    json!({"cpu": "8", "ephemeral-storage": "101430960Ki", "hugepages-1Gi": "0",
        "hugepages-2Mi": "0", "memory": "32888284Ki", "pods": "110"})
}

fn conditions() -> Vec<Value> {
    let kinds = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ];
    let condition = |(kind, status, reason): (&str, &str, &str)| {
        json!({"type": kind, "status": status, "reason": reason,
            "message": format!("kubelet says {reason}"),
            "lastHeartbeatTime": "2026-11-01T10:00:00Z",
            "lastTransitionTime": "2026-11-01T09:00:00Z"})
    };
    kinds.into_iter().map(condition).collect()
}

fn image(n: u64) -> Value {
    let digest = format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(4);
    json!({
        "names": [
            format!("registry.example.com/shop/component-{n}@sha256:{digest}"),
            format!("registry.example.com/shop/component-{n}:v4.17.{n}"),
        ],
        "sizeBytes": 40_000_000 + n,
    })
}

fn info(i: usize) -> Value {
    json!({"architecture": "amd64", "operatingSystem": "linux",
        "bootID": format!("00000000-0000-4000-8000-{i:012}"),
        "machineID": format!("{i:032x}"), "systemUUID": format!("{i:032x}"),
        "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.12.0",
        "kubeProxyVersion": "v1.36.0", "kubeletVersion": "v1.36.0",
        "osImage": "Debian GNU/Linux 12 (bookworm)"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn nodes_share_a_network_and_no_address() {
        let all: BTreeSet<IpNet> = (0..6000).flat_map(pod_nets).collect();
        assert_eq!(all.len(), 12_000);
        let [own, last] = [0, 6000].map(addresses);
        assert!(
            own.iter()
                .zip(&last)
                .all(|(a, b)| a.trunc() == b.trunc() && a != b)
        );
    }

    #[test]
    fn a_manifest_says_what_the_model_says() {
        let value: Value = serde_json::from_str(&manifest(7)).expect("JSON");
        let node = node(7);
        assert_eq!(value["metadata"]["name"], json!(node.name));
        assert_eq!(value["spec"]["podCIDRs"], json!(node.pod_cidrs));
        assert_eq!(
            value["status"]["addresses"][1]["address"],
            json!(node.addresses[1])
        );
    }
}
