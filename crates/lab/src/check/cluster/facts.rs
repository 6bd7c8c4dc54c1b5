//! What a cluster's objects say of what there is to check. Pure but for the choice of ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use seaway_model::{Family, loopback_alias};

use crate::cluster::takes_servers;
use crate::error::LabError;

/// The first of the ports that servers on nodes have: below those that are given out.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 10_000;

/// The nodes that take part, and a word about each that does not; those that were asked for have to.
pub(super) fn choose(
    all: Vec<Node>,
    wanted: &[String],
) -> Result<(Vec<Node>, Vec<String>), LabError> {
    for name in wanted {
        let found = all.iter().find(|node| node.name_any() == *name);
        let node = found.ok_or_else(|| LabError::Api(format!("there is no node {name}")))?;
        takes_servers(node).map_err(LabError::Api)?;
    }
    let is_wanted = |node: &Node| wanted.is_empty() || wanted.contains(&node.name_any());
    let mut left_out = Vec::new();
    let mut chosen = Vec::new();
    for node in all.into_iter().filter(is_wanted) {
        match takes_servers(&node) {
            Ok(()) => chosen.push(node),
            Err(why) => left_out.push(format!("not tried: {why}")),
        }
    }
    if chosen.is_empty() {
        let why = match left_out.is_empty() {
            true => "there is none".to_owned(),
            false => left_out.join("; "),
        };
        return Err(LabError::Api(format!("no node is ready: {why}")));
    }
    Ok((chosen, left_out))
}

/// A node's own addresses, one a family, as others reach it.
pub(super) fn addresses(node: &Node, families: &[Family]) -> Vec<IpAddr> {
    let status = node.status.as_ref();
    let all = status.and_then(|status| status.addresses.as_ref());
    let internal = all
        .into_iter()
        .flatten()
        .filter(|a| a.type_ == "InternalIP");
    let parsed: Vec<IpAddr> = internal.filter_map(|a| a.address.parse().ok()).collect();
    let first = |family: &Family| parsed.iter().find(|a| Family::of(**a) == *family);
    families.iter().filter_map(first).copied().collect()
}

/// What stands for sources of a node that cannot show their own address: what it sends from a
/// loopback address, and the addresses of its bridge or tunnel, which are the first of its networks.
pub(super) fn stand_ins(node: &Node) -> Vec<IpAddr> {
    let mut all = Family::ALL.map(loopback_alias).to_vec();
    let cidrs = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_ref());
    for cidr in cidrs.into_iter().flatten() {
        if let Ok(net) = cidr.parse::<IpNet>() {
            all.extend([net.network(), next(net.network())]);
        }
    }
    all
}

fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(a) => Ipv4Addr::from(u32::from(a).wrapping_add(1)).into(),
        IpAddr::V6(a) => Ipv6Addr::from(u128::from(a).wrapping_add(1)).into(),
    }
}

/// Addresses that stand for a host outside: nothing is ever sent there, since nothing is tried.
pub(super) fn nowhere(families: &[Family]) -> Vec<IpAddr> {
    let of = |family: &Family| -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        }
    };
    families.iter().map(of).collect()
}

/// Two ports for servers on nodes that others hardly have.
pub(super) fn node_ports() -> [u16; 2] {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(std::process::id());
    let offset = u16::try_from(hash % u64::from(PORTS / 2)).unwrap_or(0) * 2;
    [FIRST_PORT + offset, FIRST_PORT + offset + 1]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, ready: &str) -> Node {
        let node = json!({
            "metadata": {"name": name},
            "spec": {"podCIDRs": ["10.244.3.0/24", "fd00:10:244:3::/64"]},
            "status": {
                "conditions": [{"type": "Ready", "status": ready, "message": "no network"}],
                "addresses": [
                    {"type": "Hostname", "address": name},
                    {"type": "ExternalIP", "address": "198.51.100.7"},
                    {"type": "InternalIP", "address": "fd00::7"},
                    {"type": "InternalIP", "address": "172.18.0.7"},
                ],
            },
        });
        serde_json::from_value(node).expect("a Node")
    }

    #[test]
    fn nodes_that_are_not_ready_are_named_and_those_asked_for_have_to_be() {
        let all = || vec![node("a", "True"), node("b", "False"), node("c", "True")];
        let names = |nodes: &[Node]| -> Vec<String> { nodes.iter().map(Node::name_any).collect() };
        let (chosen, left_out) = choose(all(), &[]).expect("two are ready");
        assert_eq!(names(&chosen), ["a", "c"]);
        assert_eq!(left_out, ["not tried: the node b is not ready: no network"]);
        let (chosen, _) = choose(all(), &["c".into()]).expect("it is ready");
        assert_eq!(names(&chosen), ["c"]);
        for (wanted, why) in [
            ("b", "the node b is not ready: no network"),
            ("x", "there is no node x"),
        ] {
            let refused = choose(all(), &[wanted.into()]).expect_err(wanted);
            assert_eq!(refused.to_string(), why);
        }
        let none = choose(vec![node("b", "False")], &[]).expect_err("none");
        assert!(none.to_string().starts_with("no node is ready: "), "{none}");
        assert!(choose(Vec::new(), &[]).is_err());
    }

    #[test]
    fn a_nodes_addresses_are_the_internal_ones_in_order_of_family() {
        let text =
            |all: Vec<IpAddr>| -> Vec<String> { all.iter().map(IpAddr::to_string).collect() };
        let node = node("a", "True");
        assert_eq!(
            text(addresses(&node, &Family::ALL)),
            ["172.18.0.7", "fd00::7"]
        );
        assert_eq!(text(addresses(&node, &[Family::V6])), ["fd00::7"]);
        assert_eq!(
            text(stand_ins(&node))[2..],
            [
                "10.244.3.0",
                "10.244.3.1",
                "fd00:10:244:3::",
                "fd00:10:244:3::1"
            ]
        );
    }
}
