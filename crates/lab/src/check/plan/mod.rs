//! Which exchanges are tried: from where to where, and what the server must see. Pure.

mod services;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use seaway_model::Family;

use super::cases::{Case, Path, Wanted};
use super::view::{Exposed, NodeView, PodView, View};
use crate::cluster::CONTAINERS;
use crate::supervisor::NODE_PORTS;
use crate::tool::ProbeKind;
use crate::topology::OUTSIDE;

const BULK_BYTES: usize = 4 << 20;
const FRAGMENTED_BYTES: usize = 8000;

/// Between whom the paths of more than one end are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Each with the next one: grows with the lab.
    Ring,
    /// Each with every other one: grows with its square.
    All,
}

/// An end of a path.
#[derive(Clone, Copy)]
struct End<'a> {
    name: &'a str,
    host: &'a str,
    node: &'a str,
    addresses: &'a [IpAddr],
    port: u16,
    mtu: u32,
}

impl<'a> End<'a> {
    fn node(node: &'a NodeView) -> End<'a> {
        End::machine(&node.name, &node.addresses, node.echo)
    }

    fn outside(view: &'a View) -> End<'a> {
        End::machine(OUTSIDE, &view.outside, NODE_PORTS.1)
    }

    fn machine(name: &'a str, addresses: &'a [IpAddr], port: u16) -> End<'a> {
        End {
            name,
            host: name,
            node: name,
            addresses,
            port,
            mtu: 0,
        }
    }

    fn pod(node: &'a str, pod: &'a PodView) -> End<'a> {
        End {
            name: &pod.name,
            host: &pod.host,
            node,
            addresses: &pod.addresses,
            port: CONTAINERS[0].echo,
            mtu: pod.mtu,
        }
    }

    /// A port of `node`, behind which is the Pod.
    fn host_port(node: &'a NodeView, exposed: &'a Exposed) -> End<'a> {
        End {
            addresses: &node.addresses,
            port: exposed.port,
            ..End::pod(&node.name, &exposed.pod)
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
            plan.pod_outwards(End::pod(&node.name, pod), node, &others, End::outside(view));
        }
        plan.node_outwards(node, &others);
        if let Some(exposed) = view.exposed.as_ref().filter(|e| e.node == node.name) {
            plan.host_port(exposed, node, &others);
            let outside = End {
                node: &node.name,
                ..End::outside(view)
            };
            let port = End::host_port(node, exposed);
            plan.add(Path::OutsideToHostPort, outside, port, &SMALL);
        }
    }
    if let Some(staged) = &view.staged {
        services::plan(&mut plan.cases, view, staged, pairs);
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
            let end = End::pod(&node.name, pod);
            self.localhost(end);
            self.add(Path::PodToItself, end, end, &SMALL);
            for other in neighbours(&node.pods, at, pairs) {
                let other = End::pod(&node.name, other);
                self.add(Path::PodToPodSameNode, end, other, &SMALL_AND_LARGE);
            }
        }
    }

    fn pod_outwards(
        &mut self,
        pod: End<'_>,
        node: &NodeView,
        others: &[&NodeView],
        outside: End<'_>,
    ) {
        self.add(Path::PodToOwnNode, pod, End::node(node), &SMALL);
        for other in others {
            self.add(Path::PodToOtherNode, pod, End::node(other), &SMALL);
            if let Some(peer) = other.pods.first() {
                let peer = End::pod(&other.name, peer);
                self.add(Path::PodToPodOtherNode, pod, peer, &SMALL_AND_LARGE);
            }
        }
        self.add_seen(Path::PodToOutside, pod, outside, &SMALL, &node.addresses);
    }

    fn node_outwards(&mut self, node: &NodeView, others: &[&NodeView]) {
        let own = End::node(node);
        if let Some(pod) = node.pods.first() {
            let pod = End::pod(&node.name, pod);
            self.add(Path::NodeToLocalPod, own, pod, &SMALL);
        }
        for other in others {
            if let Some(pod) = other.pods.first() {
                let pod = End::pod(&other.name, pod);
                self.add(Path::NodeToOtherNodesPod, own, pod, &SMALL);
            }
        }
    }

    /// The ways to a port of `node` from within the cluster.
    fn host_port(&mut self, exposed: &Exposed, node: &NodeView, others: &[&NodeView]) {
        let port = End::host_port(node, exposed);
        for other in others {
            self.add(Path::OtherNodeToHostPort, End::node(other), port, &SMALL);
            if let Some(pod) = other.pods.first() {
                let pod = End::pod(&other.name, pod);
                self.add(Path::OtherNodesPodToHostPort, pod, port, &SMALL);
            }
        }
        let nodes_own = node.all_own();
        if let Some(pod) = node.pods.first() {
            // An answer that went past the node would not be known for one.
            let seen = match node.bridged {
                true => [&nodes_own[..], &pod.addresses].concat(),
                false => pod.addresses.clone(),
            };
            let pod = End::pod(&node.name, pod);
            self.add_seen(Path::LocalPodToHostPort, pod, port, &SMALL, &seen);
        }
        let own = End::pod(&node.name, &exposed.pod);
        self.add_seen(Path::PodToItsOwnHostPort, own, port, &SMALL, &nodes_own);
        let node_end = End::node(node);
        self.add(Path::NodeToItsOwnHostPort, node_end, port, &SMALL);
        let loopback = loopback().into_iter();
        let loopback: Vec<IpAddr> = loopback
            .filter(|a| port.address(Family::of(*a)).is_some())
            .collect();
        let over = |end| End {
            addresses: &loopback,
            ..end
        };
        let path = Path::NodeToHostPortOverLoopback;
        self.add_seen(path, over(node_end), over(port), &SMALL, &nodes_own);
    }

    /// From the Pod's first container to its second.
    fn localhost(&mut self, pod: End<'_>) {
        let addresses = loopback().into_iter();
        let addresses: Vec<IpAddr> = addresses
            .filter(|a| pod.address(Family::of(*a)).is_some())
            .collect();
        let main = End {
            addresses: &addresses,
            ..pod
        };
        let sidecar = End {
            port: CONTAINERS[1].echo,
            ..main
        };
        self.add(Path::Localhost, main, sidecar, &SMALL);
    }

    /// Both families, as far as both ends have them; the server is to see the source's own address.
    fn add(&mut self, path: Path, from: End<'_>, to: End<'_>, kinds: &[ProbeKind]) {
        self.add_seen(path, from, to, kinds, from.addresses);
    }

    /// The same, where the server is to see one of `seen`.
    fn add_seen(
        &mut self,
        path: Path,
        from: End<'_>,
        to: End<'_>,
        kinds: &[ProbeKind],
        seen: &[IpAddr],
    ) {
        for family in Family::ALL {
            let (Some(own), Some(address)) = (from.address(family), to.address(family)) else {
                continue;
            };
            let of_family = |address: &&IpAddr| Family::of(**address) == family;
            let expected: Vec<IpAddr> = seen.iter().filter(of_family).copied().collect();
            self.cases.extend(kinds.iter().map(|kind| Case {
                path,
                family,
                kind: *kind,
                from: from.name.to_owned(),
                from_node: from.node.to_owned(),
                to: to.name.to_owned(),
                target: (address, to.port).into(),
                size: size(*kind, from.mtu),
                own,
                expected: expected.clone(),
                name: None,
                wanted: Wanted::host(to.host),
            }));
        }
    }
}

fn loopback() -> [IpAddr; 2] {
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

fn size(kind: ProbeKind, mtu: u32) -> usize {
    match kind {
        ProbeKind::TcpBulk => BULK_BYTES,
        ProbeKind::UdpMtu => mtu as usize,
        ProbeKind::UdpFragmented => FRAGMENTED_BYTES,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(super) fn addresses(v4: String, v6: String) -> Vec<IpAddr> {
        [v4, v6].map(|a| a.parse().expect("valid")).into()
    }

    pub(super) fn pod(n: usize, p: usize) -> PodView {
        PodView {
            name: format!("pod-{n}-{p}"),
            host: format!("pod-{n}-{p}"),
            addresses: addresses(format!("10.244.{n}.{p}"), format!("fd00:10:244:{n}::{p}")),
            mtu: 1450,
        }
    }

    pub(super) fn view(nodes: usize, pods: usize) -> View {
        let node = |n| NodeView {
            name: format!("node{n}"),
            echo: NODE_PORTS.1,
            addresses: addresses(format!("172.18.0.{n}"), format!("fd00:5ea::{n}")),
            stand_ins: addresses("169.254.83.83".into(), "fd5e:a83::83".into()),
            bridged: false,
            pods: (1..=pods).map(|p| pod(n, p)).collect(),
        };
        View {
            nodes: (1..=nodes).map(node).collect(),
            outside: addresses("203.0.113.10".into(), "2001:db8::10".into()),
            reaches_outside: true,
            exposed: Some(Exposed {
                pod: pod(1, 99),
                node: "node1".into(),
                port: 20_000,
            }),
            staged: None,
        }
    }

    pub(super) fn by_path(cases: &[Case]) -> BTreeMap<Path, usize> {
        let mut counts = BTreeMap::new();
        cases
            .iter()
            .for_each(|case| *counts.entry(case.path).or_default() += 1);
        counts
    }

    #[test]
    fn two_nodes_have_every_path_in_both_families_and_directions() {
        let counts = by_path(&plan(&view(2, 2), Pairs::Ring));
        // The port is of one node; every other path is tried from both.
        let (port, small, large) = (2 * 2, 2 * 2 * 2, 2 * 5 * 2);
        let expected = BTreeMap::from([
            (Path::Localhost, small),
            (Path::PodToItself, small),
            (Path::PodToPodSameNode, large),
            (Path::PodToPodOtherNode, large),
            (Path::NodeToLocalPod, small),
            (Path::NodeToOtherNodesPod, small),
            (Path::PodToOwnNode, small),
            (Path::PodToOtherNode, small),
            (Path::PodToOutside, small),
            (Path::OutsideToHostPort, port),
            (Path::OtherNodeToHostPort, port),
            (Path::OtherNodesPodToHostPort, port),
            (Path::LocalPodToHostPort, port),
            (Path::PodToItsOwnHostPort, port),
            (Path::NodeToItsOwnHostPort, port),
            (Path::NodeToHostPortOverLoopback, port),
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
        let alone = View {
            exposed: None,
            ..view(1, 1)
        };
        let one = by_path(&plan(&alone, Pairs::All));
        let paths: Vec<_> = one.keys().copied().collect();
        assert_eq!(
            paths,
            [
                Path::Localhost,
                Path::PodToItself,
                Path::NodeToLocalPod,
                Path::PodToOwnNode,
                Path::PodToOutside,
            ]
        );
        let empty = View {
            exposed: None,
            ..view(3, 0)
        };
        assert!(plan(&empty, Pairs::Ring).is_empty());
    }

    #[test]
    fn the_server_must_see_the_right_address() {
        let node_or_stand_in = |text: &str| {
            ["172.18", "fd00:5ea", "169.254.83.83", "fd5e:a83::83"]
                .iter()
                .any(|start| text.starts_with(start))
        };
        for case in plan(&view(3, 2), Pairs::All) {
            let own: Vec<IpAddr> = vec![case.own];
            for seen in &case.expected {
                assert_eq!(Family::of(*seen), case.family, "{case:?}");
            }
            match case.path {
                Path::Localhost => assert!(case.own.is_loopback()),
                Path::PodToOutside => {
                    assert_eq!(case.expected.len(), 1);
                    assert!(node_or_stand_in(&case.expected[0].to_string()));
                    assert_ne!(
                        case.expected, own,
                        "a Pod's address does not leave the cluster"
                    );
                }
                Path::PodToItsOwnHostPort | Path::NodeToHostPortOverLoopback => {
                    assert!(
                        case.expected
                            .iter()
                            .all(|a| node_or_stand_in(&a.to_string()))
                    );
                }
                _ => assert_eq!(case.expected, own, "{:?}: nothing rewrites it", case.path),
            }
        }
    }

    #[test]
    fn a_port_of_the_node_is_asked_for_at_the_node_and_answered_by_the_pod() {
        for case in plan(&view(2, 1), Pairs::Ring) {
            if case.target.port() == 20_000 {
                assert_eq!(case.wanted, Wanted::host("pod-1-99"));
                let at = case.target.ip();
                let node = ["172.18.0.1", "fd00:5ea::1"].map(str::to_owned);
                assert!(at.is_loopback() || node.contains(&at.to_string()), "{at}");
            }
        }
    }

    #[test]
    fn one_family_alone_has_paths_of_that_family_alone() {
        let mut view = view(2, 2);
        let only_v6 = |all: &mut Vec<IpAddr>| all.retain(IpAddr::is_ipv6);
        for node in &mut view.nodes {
            only_v6(&mut node.addresses);
            node.pods
                .iter_mut()
                .for_each(|pod| only_v6(&mut pod.addresses));
        }
        let both = by_path(&plan(&self::view(2, 2), Pairs::Ring));
        let cases = plan(&view, Pairs::Ring);
        assert!(cases.iter().all(|case| case.family == Family::V6));
        let half: BTreeMap<_, _> = both.into_iter().map(|(path, n)| (path, n / 2)).collect();
        assert_eq!(by_path(&cases), half);
    }

    #[test]
    fn a_full_packet_is_as_large_as_the_sources_mtu() {
        let cases = plan(&view(2, 2), Pairs::Ring);
        let full: Vec<_> = cases
            .iter()
            .filter(|c| c.kind == ProbeKind::UdpMtu)
            .collect();
        assert!(!full.is_empty() && full.iter().all(|case| case.size == 1450));
    }
}
