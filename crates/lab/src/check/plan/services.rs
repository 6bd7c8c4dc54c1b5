//! Which exchanges are tried with Services: from where, to which of their addresses, and what must
//! come of each. Pure.

use std::net::{IpAddr, SocketAddr};

use seaway_model::Family;

use super::{Pairs, neighbours};
use crate::check::cases::{Case, Path, Wanted};
use crate::check::view::{NodeView, PodView, ServiceView, Staged, View};
use crate::tool::ProbeKind;
use crate::topology::OUTSIDE;

/// So many that each of a few Pods is drawn at least once, but for one time in a hundred million.
const SPREAD: usize = 48;
/// So many that a client that is not kept at its Pod changes it.
const KEPT: usize = 24;

const BOTH: [ProbeKind; 2] = [ProbeKind::Tcp, ProbeKind::Udp];

/// Who asks.
#[derive(Clone, Copy)]
struct Client<'a> {
    name: &'a str,
    /// The node whose rows matter.
    node: &'a str,
    addresses: &'a [IpAddr],
}

impl<'a> Client<'a> {
    fn pod(node: &'a NodeView, pod: &'a PodView) -> Client<'a> {
        Client {
            name: &pod.name,
            node: &node.name,
            addresses: &pod.addresses,
        }
    }

    fn node(node: &'a NodeView) -> Client<'a> {
        Client {
            name: &node.name,
            node: &node.name,
            addresses: &node.addresses,
        }
    }

    /// The host beyond the cluster, on its way in by a node.
    fn outside(view: &'a View, node: &'a NodeView) -> Client<'a> {
        Client {
            name: OUTSIDE,
            node: &node.name,
            addresses: &view.outside,
        }
    }
}

/// What is asked for, and what must come of it.
struct Try<'a> {
    path: Path,
    to: String,
    /// One a family.
    at: &'a [IpAddr],
    /// How to ask, and at which port.
    ways: Vec<(ProbeKind, u16)>,
    seen: Vec<IpAddr>,
    wanted: Wanted,
    name: Option<String>,
}

impl<'a> Try<'a> {
    /// The cluster addresses of a Service.
    fn service(path: Path, service: &'a ServiceView, kinds: &[ProbeKind]) -> Try<'a> {
        Try {
            path,
            to: service.name.clone(),
            at: &service.addresses,
            ways: kinds.iter().map(|kind| (*kind, service.port)).collect(),
            seen: Vec::new(),
            wanted: Wanted::Success,
            name: None,
        }
    }

    /// A Service's ports at addresses of a node.
    fn node_port(path: Path, service: &'a ServiceView, node: &str, at: &'a [IpAddr]) -> Try<'a> {
        let ports = service.node_ports.into_iter().flatten();
        Try {
            to: format!("{node}, {}", service.name),
            at,
            ways: BOTH.into_iter().zip(ports).collect(),
            ..Try::service(path, service, &[])
        }
    }

    fn sees(self, seen: &[IpAddr]) -> Try<'a> {
        Try {
            seen: seen.to_vec(),
            ..self
        }
    }

    fn wants(self, wanted: Wanted) -> Try<'a> {
        Try { wanted, ..self }
    }
}

/// All exchanges with the Services of a check.
pub(super) fn plan(cases: &mut Vec<Case>, view: &View, staged: &Staged, pairs: Pairs) {
    let mut plan = Plan { cases, staged };
    for (at, node) in view.nodes.iter().enumerate() {
        if let Some(pod) = node.pods.first() {
            plan.pod_asks(node, pod, &neighbours(&view.nodes, at, pairs));
        }
        plan.node_asks(node);
        plan.outside_asks(view, node);
        if node.name == staged.lone_node {
            plan.asks_itself(node);
        }
    }
}

struct Plan<'a> {
    cases: &'a mut Vec<Case>,
    staged: &'a Staged,
}

impl Plan<'_> {
    fn pod_asks(&mut self, node: &NodeView, pod: &PodView, others: &[&NodeView]) {
        let Staged {
            web, sticky, empty, ..
        } = self.staged;
        let client = Client::pod(node, pod);
        // An answer that went past the node would not be known for one.
        let seen = match node.bridged {
            true => [&pod.addresses[..], &node.all_own()].concat(),
            false => pod.addresses.clone(),
        };
        let kinds: &[ProbeKind] = match self.staged.sctp {
            true => &[ProbeKind::Tcp, ProbeKind::Udp, ProbeKind::Sctp],
            false => &BOTH,
        };
        let to_web = |path, kinds: &[_]| {
            let found = Try::service(path, web, kinds);
            found.sees(&seen).wants(self.any())
        };
        let named = |path, kinds: &[_], name| Try {
            name: Some(name),
            ..to_web(path, kinds)
        };
        let srv = format!("_tcp._tcp.{}", web.domain);
        let mut all = vec![
            to_web(Path::PodToClusterIp, kinds),
            to_web(Path::Spread, &[ProbeKind::TcpMany, ProbeKind::UdpMany])
                .wants(Wanted::AllOf(self.staged.web_hosts.clone())),
            Try::service(Path::Affinity, sticky, &[ProbeKind::TcpMany])
                .sees(&seen)
                .wants(Wanted::AlwaysOneOf(self.staged.web_hosts.clone())),
            Try::service(Path::NoEndpoints, empty, &BOTH).wants(Wanted::Refusal),
            named(
                Path::NameToAddress,
                &[ProbeKind::Lookup],
                web.domain.clone(),
            )
            .wants(Wanted::Success),
            named(Path::NameToAddress, &[ProbeKind::Srv], srv).wants(Wanted::Success),
            named(
                Path::NameToConnection,
                &[ProbeKind::Tcp],
                web.domain.clone(),
            ),
        ];
        for at in [node].iter().chain(others) {
            let seen = [&pod.addresses[..], &at.all_own()].concat();
            let port = Try::node_port(Path::PodToNodePort, web, &at.name, &at.addresses);
            all.push(port.sees(&seen).wants(self.any()));
        }
        all.into_iter().for_each(|one| self.add(client, one));
    }

    fn node_asks(&mut self, node: &NodeView) {
        let Staged { web, empty, .. } = self.staged;
        let client = Client::node(node);
        let loopback: Vec<IpAddr> = super::loopback()
            .into_iter()
            .filter(|a| {
                node.addresses
                    .iter()
                    .any(|own| own.is_ipv4() == a.is_ipv4())
            })
            .collect();
        let over_loopback = Path::NodeToNodePortOverLoopback;
        let over = Client {
            addresses: &loopback,
            ..client
        };
        let own = Try::node_port(Path::NodeToNodePort, web, &node.name, &node.addresses);
        for (client, one) in [
            (client, Try::service(Path::NodeToClusterIp, web, &BOTH)),
            (client, own),
            (
                over,
                Try::node_port(over_loopback, web, "localhost", &loopback),
            ),
        ] {
            self.add(client, one.sees(&node.all_own()).wants(self.any()));
        }
        let none = Try::service(Path::NoEndpoints, empty, &BOTH);
        self.add(client, none.wants(Wanted::Refusal));
    }

    fn outside_asks(&mut self, view: &View, node: &NodeView) {
        let Staged { web, lone, .. } = self.staged;
        let client = Client::outside(view, node);
        let at = &node.addresses;
        let any = Try::node_port(Path::OutsideToNodePort, web, &node.name, at);
        self.add(client, any.sees(&node.all_own()).wants(self.any()));
        let local = |path| Try::node_port(path, lone, &node.name, at);
        let local = match node.name == self.staged.lone_node {
            true => local(Path::OutsideToLocalNodePort)
                .sees(&view.outside)
                .wants(Wanted::host(&self.staged.lone_pod.host)),
            false => local(Path::OutsideToLocalNodePortElsewhere).wants(Wanted::Silence),
        };
        self.add(client, local);
    }

    fn asks_itself(&mut self, node: &NodeView) {
        let Staged { lone, lone_pod, .. } = self.staged;
        let itself = Try::service(Path::PodToItsOwnService, lone, &BOTH)
            .sees(&node.all_own())
            .wants(Wanted::host(&lone_pod.host));
        self.add(Client::pod(node, lone_pod), itself);
    }

    /// Any of the Pods.
    fn any(&self) -> Wanted {
        Wanted::Answer(self.staged.web_hosts.clone())
    }

    /// Both families, as far as both ends have them.
    fn add(&mut self, from: Client<'_>, what: Try<'_>) {
        for family in Family::ALL {
            let of_family = |all: &[IpAddr]| -> Vec<IpAddr> {
                let all = all.iter().filter(|a| Family::of(**a) == family);
                all.copied().collect()
            };
            let (own, at) = (of_family(from.addresses), of_family(what.at));
            let (Some(own), Some(address)) = (own.first(), at.first()) else {
                continue;
            };
            for (kind, port) in &what.ways {
                self.cases.push(Case {
                    path: what.path,
                    family,
                    kind: *kind,
                    from: from.name.to_owned(),
                    from_node: from.node.to_owned(),
                    to: what.to.clone(),
                    target: SocketAddr::new(*address, *port),
                    name: what.name.clone(),
                    size: size(*kind, what.path),
                    own: *own,
                    expected: of_family(&what.seen),
                    wanted: what.wanted.clone(),
                });
            }
        }
    }
}

fn size(kind: ProbeKind, path: Path) -> usize {
    match (kind, path) {
        (ProbeKind::TcpMany | ProbeKind::UdpMany, Path::Affinity) => KEPT,
        (ProbeKind::TcpMany | ProbeKind::UdpMany, _) => SPREAD,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{addresses, by_path, pod, view};
    use super::*;

    fn service(name: &str, number: u8, node_ports: Option<[u16; 2]>) -> ServiceView {
        ServiceView {
            name: name.into(),
            domain: format!("{name}.check-1.svc.cluster.local"),
            addresses: addresses(format!("10.96.0.{number}"), format!("fd00:10:96::{number}")),
            port: 80,
            node_ports,
        }
    }

    fn staged() -> Staged {
        Staged {
            web: service("web", 2, Some([30_001, 30_002])),
            web_hosts: vec!["web-a".into(), "web-b".into()],
            sticky: service("sticky", 3, None),
            empty: service("empty", 4, None),
            lone: service("lone", 5, Some([30_003, 30_004])),
            lone_pod: pod(1, 90),
            lone_node: "node1".into(),
            sctp: true,
        }
    }

    fn planned(nodes: usize, pods: usize) -> Vec<Case> {
        let mut cases = Vec::new();
        plan(&mut cases, &view(nodes, pods), &staged(), Pairs::Ring);
        cases
    }

    #[test]
    fn every_node_is_a_client_and_a_way_in() {
        let counts = by_path(&planned(2, 2));
        // From each of two nodes, in both families.
        let each = |kinds: usize| 2 * 2 * kinds;
        let expected = BTreeMap::from([
            (Path::PodToClusterIp, each(3)),
            (Path::PodToItsOwnService, 2 * 2),
            (Path::NodeToClusterIp, each(2)),
            (Path::PodToNodePort, 2 * each(2)),
            (Path::NodeToNodePort, each(2)),
            (Path::NodeToNodePortOverLoopback, each(2)),
            (Path::OutsideToNodePort, each(2)),
            (Path::OutsideToLocalNodePort, 2 * 2),
            (Path::OutsideToLocalNodePortElsewhere, 2 * 2),
            (Path::NameToAddress, each(2)),
            (Path::NameToConnection, each(1)),
            (Path::Spread, each(2)),
            (Path::Affinity, each(1)),
            (Path::NoEndpoints, 2 * each(2)),
        ]);
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_lab_of_one_node_lacks_only_the_node_without_the_pod() {
        let two: Vec<Path> = by_path(&planned(2, 1)).into_keys().collect();
        let one: Vec<Path> = by_path(&planned(1, 1)).into_keys().collect();
        let missing: Vec<_> = two.iter().filter(|path| !one.contains(path)).collect();
        assert_eq!(missing, [&Path::OutsideToLocalNodePortElsewhere]);
        assert!(by_path(&planned(2, 0)).contains_key(&Path::NodeToClusterIp));
    }

    #[test]
    fn the_source_is_kept_inside_and_by_policy_local_and_hidden_else() {
        for case in planned(3, 1) {
            let is_kept = case.expected.contains(&case.own);
            match case.path {
                Path::PodToClusterIp | Path::Spread | Path::OutsideToLocalNodePort => {
                    assert_eq!(case.expected, [case.own], "{case:?}");
                }
                Path::OutsideToNodePort
                | Path::PodToItsOwnService
                | Path::NodeToNodePortOverLoopback => {
                    assert!(!is_kept && !case.expected.is_empty(), "{case:?}");
                }
                Path::NodeToClusterIp => assert!(is_kept, "{case:?}"),
                _ => {}
            }
            for seen in &case.expected {
                assert_eq!(Family::of(*seen), case.family, "{case:?}");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_whole_service_and_of_its_port() {
        let cases = planned(1, 1);
        let names: Vec<_> = cases
            .iter()
            .filter(|case| case.family == Family::V6)
            .filter_map(|case| Some((case.kind, case.name.clone()?, case.target.to_string())))
            .collect();
        let name = "web.check-1.svc.cluster.local".to_owned();
        let srv = format!("_tcp._tcp.{name}");
        let at = "[fd00:10:96::2]:80".to_owned();
        assert_eq!(
            names,
            [
                (ProbeKind::Lookup, name.clone(), at.clone()),
                (ProbeKind::Srv, srv, at.clone()),
                (ProbeKind::Tcp, name, at)
            ]
        );
    }
}
