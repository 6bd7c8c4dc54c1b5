//! Which paths are tried, from where to where, and what the server must see. Pure data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use seaway_model::Family;
use serde::Serialize;

use crate::cluster::CONTAINERS;
use crate::supervisor::NODE_PORTS;
use crate::tool::ProbeKind;

const BULK_BYTES: usize = 4 << 20;
const FRAGMENTED_BYTES: usize = 8000;

/// What there is to check.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) nodes: Vec<NodeView>,
}

#[derive(Clone, Debug)]
pub(super) struct NodeView {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) pods: Vec<PodView>,
}

#[derive(Clone, Debug)]
pub(super) struct PodView {
    /// As `lab exec` names it.
    pub(super) name: String,
    /// As it calls itself.
    pub(super) host: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) mtu: u32,
}

/// Between whom the paths of more than one end are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Each with the next one: grows with the lab.
    Ring,
    /// Each with every other one: grows with its square.
    All,
}

/// A path of the Pod network, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Path {
    Localhost,
    PodToItself,
    PodToPodSameNode,
    PodToPodOtherNode,
    NodeToLocalPod,
    NodeToOtherNodesPod,
    PodToOwnNode,
    PodToOtherNode,
    RestartedContainer,
    DeletedPod,
}

impl Path {
    /// For people.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Path::Localhost => "Pod: two containers over localhost",
            Path::PodToItself => "Pod -> itself, by its own address",
            Path::PodToPodSameNode => "Pod -> Pod, same node",
            Path::PodToPodOtherNode => "Pod -> Pod, other node",
            Path::NodeToLocalPod => "node -> its own Pod",
            Path::NodeToOtherNodesPod => "node -> other node's Pod",
            Path::PodToOwnNode => "Pod -> its own node",
            Path::PodToOtherNode => "Pod -> other node",
            Path::RestartedContainer => "killed container: back, same address",
            Path::DeletedPod => "deleted Pod: address free again",
        }
    }
}

/// One exchange to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) path: Path,
    pub(crate) family: Family,
    pub(crate) kind: ProbeKind,
    /// The node or Pod that it is tried from, and the node where that is.
    pub(crate) from: String,
    pub(crate) from_node: String,
    pub(crate) to: String,
    pub(crate) target: SocketAddr,
    pub(crate) size: usize,
    pub(crate) expected_seen: IpAddr,
    pub(crate) expected_host: String,
}

impl Case {
    /// How long it may take.
    pub(super) fn timeout_ms(&self) -> u64 {
        match self.kind {
            ProbeKind::TcpBulk => 20_000,
            _ => 2000,
        }
    }
}

/// An end of a path.
#[derive(Clone, Copy)]
struct End<'a> {
    name: &'a str,
    host: &'a str,
    node: &'a str,
    addresses: &'a [IpAddr],
    mtu: u32,
}

impl<'a> End<'a> {
    fn node(node: &'a NodeView) -> End<'a> {
        End {
            name: &node.name,
            host: &node.name,
            node: &node.name,
            addresses: &node.addresses,
            mtu: 0,
        }
    }

    fn pod(node: &'a NodeView, pod: &'a PodView) -> End<'a> {
        End {
            name: &pod.name,
            host: &pod.host,
            node: &node.name,
            addresses: &pod.addresses,
            mtu: pod.mtu,
        }
    }

    fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|a| Family::of(*a) == family)
    }
}

const SMALL: [ProbeKind; 2] = [ProbeKind::Tcp, ProbeKind::Udp];
const SMALL_AND_LARGE: [ProbeKind; 5] = [
    ProbeKind::Tcp,
    ProbeKind::Udp,
    ProbeKind::TcpBulk,
    ProbeKind::UdpMtu,
    ProbeKind::UdpFragmented,
];

/// All exchanges to try.
pub(super) fn plan(view: &View, pairs: Pairs) -> Vec<Case> {
    let mut plan = Plan::default();
    for (at, node) in view.nodes.iter().enumerate() {
        let others: Vec<&NodeView> = neighbours(&view.nodes, at, pairs);
        plan.within_node(node, pairs);
        if let Some(pod) = node.pods.first() {
            plan.pod_outwards(End::pod(node, pod), node, &others);
        }
        plan.node_outwards(node, &others);
    }
    plan.cases
}

/// The others that the one at `at` is tried with: the next one in the ring, or all.
fn neighbours<T>(all: &[T], at: usize, pairs: Pairs) -> Vec<&T> {
    let others = (1..all.len()).map(|step| &all[(at + step) % all.len()]);
    match pairs {
        Pairs::Ring => others.take(1).collect(),
        Pairs::All => others.collect(),
    }
}

#[derive(Default)]
struct Plan {
    cases: Vec<Case>,
}

impl Plan {
    /// Paths that do not leave the node: of one Pod in the ring (its loopback is like any other's).
    fn within_node(&mut self, node: &NodeView, pairs: Pairs) {
        let alone = match pairs {
            Pairs::Ring => 1,
            Pairs::All => node.pods.len(),
        };
        for (at, pod) in node.pods.iter().enumerate().take(alone) {
            let end = End::pod(node, pod);
            self.localhost(end);
            self.add(Path::PodToItself, end, end, &SMALL);
            for other in neighbours(&node.pods, at, pairs) {
                self.add(
                    Path::PodToPodSameNode,
                    end,
                    End::pod(node, other),
                    &SMALL_AND_LARGE,
                );
            }
        }
    }

    fn pod_outwards(&mut self, pod: End<'_>, node: &NodeView, others: &[&NodeView]) {
        self.add(Path::PodToOwnNode, pod, End::node(node), &SMALL);
        for other in others {
            self.add(Path::PodToOtherNode, pod, End::node(other), &SMALL);
            if let Some(peer) = other.pods.first() {
                self.add(
                    Path::PodToPodOtherNode,
                    pod,
                    End::pod(other, peer),
                    &SMALL_AND_LARGE,
                );
            }
        }
    }

    fn node_outwards(&mut self, node: &NodeView, others: &[&NodeView]) {
        if let Some(pod) = node.pods.first() {
            self.add(
                Path::NodeToLocalPod,
                End::node(node),
                End::pod(node, pod),
                &SMALL,
            );
        }
        for other in others {
            if let Some(pod) = other.pods.first() {
                self.add(
                    Path::NodeToOtherNodesPod,
                    End::node(node),
                    End::pod(other, pod),
                    &SMALL,
                );
            }
        }
    }

    /// From the Pod's first container to its second.
    fn localhost(&mut self, pod: End<'_>) {
        let loopback = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        for address in loopback {
            for kind in SMALL {
                let case = case(
                    Path::Localhost,
                    pod,
                    pod,
                    kind,
                    (address, CONTAINERS[1].echo),
                    address,
                );
                self.cases.push(case);
            }
        }
    }

    /// Both families, as far as both ends have them.
    fn add(&mut self, path: Path, from: End<'_>, to: End<'_>, kinds: &[ProbeKind]) {
        let port = if to.name == to.node {
            NODE_PORTS.1
        } else {
            CONTAINERS[0].echo
        };
        for family in Family::ALL {
            if let (Some(own), Some(address)) = (from.address(family), to.address(family)) {
                let of_kind = |kind: &ProbeKind| case(path, from, to, *kind, (address, port), own);
                self.cases.extend(kinds.iter().map(of_kind));
            }
        }
    }
}

fn case(
    path: Path,
    from: End<'_>,
    to: End<'_>,
    kind: ProbeKind,
    target: (IpAddr, u16),
    seen: IpAddr,
) -> Case {
    Case {
        path,
        family: Family::of(target.0),
        kind,
        from: from.name.to_owned(),
        from_node: from.node.to_owned(),
        to: to.name.to_owned(),
        target: target.into(),
        size: size(kind, from.mtu),
        expected_seen: seen,
        expected_host: to.host.to_owned(),
    }
}

fn size(kind: ProbeKind, mtu: u32) -> usize {
    match kind {
        ProbeKind::TcpBulk => BULK_BYTES,
        ProbeKind::UdpMtu => mtu as usize,
        ProbeKind::UdpFragmented => FRAGMENTED_BYTES,
        ProbeKind::Http | ProbeKind::Tcp | ProbeKind::Udp => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn addresses(v4: String, v6: String) -> Vec<IpAddr> {
        [v4, v6].map(|a| a.parse().expect("valid")).into()
    }

    fn view(nodes: usize, pods: usize) -> View {
        let pod = |n, p| PodView {
            name: format!("pod-{n}-{p}"),
            host: format!("pod-{n}-{p}"),
            addresses: addresses(format!("10.244.{n}.{p}"), format!("fd00:10:244:{n}::{p}")),
            mtu: 1500,
        };
        let node = |n| NodeView {
            name: format!("node{n}"),
            addresses: addresses(format!("172.18.0.{n}"), format!("fd00:5ea::{n}")),
            pods: (1..=pods).map(|p| pod(n, p)).collect(),
        };
        View {
            nodes: (1..=nodes).map(node).collect(),
        }
    }

    fn by_path(cases: &[Case]) -> BTreeMap<Path, usize> {
        let mut counts = BTreeMap::new();
        cases
            .iter()
            .for_each(|case| *counts.entry(case.path).or_default() += 1);
        counts
    }

    #[test]
    fn two_nodes_have_every_path_in_both_families_and_directions() {
        let counts = by_path(&plan(&view(2, 2), Pairs::Ring));
        let (small, large) = (2 * 2 * 2, 2 * 5 * 2);
        let expected = BTreeMap::from([
            (Path::Localhost, small),
            (Path::PodToItself, small),
            (Path::PodToPodSameNode, large),
            (Path::PodToPodOtherNode, large),
            (Path::NodeToLocalPod, small),
            (Path::NodeToOtherNodesPod, small),
            (Path::PodToOwnNode, small),
            (Path::PodToOtherNode, small),
        ]);
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_ring_grows_with_the_lab_and_all_pairs_with_its_square() {
        let count = |nodes, pairs| by_path(&plan(&view(nodes, 2), pairs))[&Path::PodToPodOtherNode];
        assert_eq!(
            (count(4, Pairs::Ring), count(16, Pairs::Ring)),
            (4 * 10, 16 * 10)
        );
        assert_eq!(
            (count(4, Pairs::All), count(16, Pairs::All)),
            (4 * 3 * 10, 16 * 15 * 10)
        );
    }

    #[test]
    fn small_labs_lack_paths_but_plan_no_nonsense() {
        let one = by_path(&plan(&view(1, 1), Pairs::All));
        let paths: Vec<_> = one.keys().copied().collect();
        assert_eq!(
            paths,
            [
                Path::Localhost,
                Path::PodToItself,
                Path::NodeToLocalPod,
                Path::PodToOwnNode
            ]
        );
        assert!(plan(&view(3, 0), Pairs::Ring).is_empty());
    }

    #[test]
    fn the_server_must_see_the_sources_own_address() {
        for case in plan(&view(3, 2), Pairs::All) {
            assert_eq!(Family::of(case.expected_seen), case.family);
            let seen = case.expected_seen.to_string();
            match case.path {
                Path::Localhost => assert!(case.expected_seen.is_loopback()),
                Path::NodeToLocalPod | Path::NodeToOtherNodesPod => {
                    assert!(
                        seen.starts_with("172.18") || seen.starts_with("fd00:5ea"),
                        "{seen}"
                    );
                }
                _ => assert!(
                    seen.starts_with("10.244") || seen.starts_with("fd00:10:244"),
                    "{seen}"
                ),
            }
        }
    }

    #[test]
    fn a_full_packet_is_as_large_as_the_sources_mtu() {
        let cases = plan(&view(2, 2), Pairs::Ring);
        let full: Vec<_> = cases
            .iter()
            .filter(|c| c.kind == ProbeKind::UdpMtu)
            .collect();
        assert!(!full.is_empty() && full.iter().all(|case| case.size == 1500));
    }
}
