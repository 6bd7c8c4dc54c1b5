//! What the check found: one row a path, family and protocol, each with the exchanges behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use seaway_model::Family;
use serde::Serialize;

use super::cases::{Case, Path};
use super::verdict::{NOT_REWRITTEN, REWRITTEN, judge};
use crate::tool::{ProbeKind, ProbeOutcome};
use crate::topology::Network;

/// The whole finding.
#[derive(Debug, Serialize)]
pub struct Report {
    pub(crate) ok: bool,
    /// What was checked.
    pub(crate) network: Subject,
    /// The smallest MTU of a Pod in bytes, if there is one.
    pub(crate) pod_mtu: Option<u32>,
    pub(crate) rows: Vec<Row>,
    /// What else is to be known, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    #[serde(skip)]
    origin: Origin,
}

/// What was checked.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Subject {
    /// A lab, and how its network is.
    Lab(Network),
    /// A cluster.
    Cluster(ClusterFacts),
}

/// A cluster that was checked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClusterFacts {
    /// Where its API is.
    pub(crate) server: String,
    /// The Namespace that everything was made in.
    pub(crate) namespace: String,
    /// Its nodes, and the Pods that were made on each.
    pub(crate) nodes: BTreeMap<String, Vec<String>>,
    /// The families that its Pods have.
    pub(crate) families: Vec<Family>,
}

/// Where to look when something is wrong.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// At a lab's own logs, and from inside of its machines.
    Lab {
        /// Its name.
        lab: String,
        /// The folder of its logs.
        logs: PathBuf,
    },
    /// At a cluster's nodes and objects.
    Cluster {
        /// The Namespace of what the check makes.
        namespace: String,
    },
}

impl From<Network> for Subject {
    fn from(network: Network) -> Subject {
        Subject::Lab(network)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Lab(network) => network.fmt(f),
            Subject::Cluster(facts) => facts.fmt(f),
        }
    }
}

impl fmt::Display for ClusterFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families: Vec<_> = self.families.iter().map(ToString::to_string).collect();
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|(node, pods)| format!("{node} ({})", pods.join(", ")))
            .collect();
        let families = families.join(" and ");
        write!(f, "{}, {families}, nodes {}", self.server, nodes.join(", "))
    }
}

/// A path in one family and protocol.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) path: Path,
    pub(crate) family: Family,
    pub(crate) protocol: ProbeKind,
    pub(crate) ok: bool,
    /// The middle one of the exchanges that went well.
    pub(crate) latency_us: Option<u64>,
    pub(crate) exchanges: Vec<Exchange>,
    /// Why nothing of it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_tried: Option<String>,
}

/// One exchange of a row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Exchange {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) target: String,
    pub(crate) ok: bool,
    /// The client's address as the server saw it.
    pub(crate) seen: Option<IpAddr>,
    /// Whether that is the client's own: nothing rewrote it.
    pub(crate) own_address: Option<bool>,
    /// What the server may see: the client's own address within the cluster, its node's outside.
    pub(crate) expected: Vec<IpAddr>,
    pub(crate) latency_us: Option<u64>,
    pub(crate) error: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Report {
    pub(super) fn new(origin: Origin, network: Subject, pod_mtu: Option<u32>) -> Report {
        Report {
            ok: true,
            network,
            pod_mtu,
            rows: Vec::new(),
            notes: Vec::new(),
            origin,
        }
    }

    /// For people: what was checked, a table, and what went wrong.
    pub fn text(&self) -> String {
        crate::cli::check_text(self)
    }

    /// Whether everything that was tried is right.
    pub fn is_ok(&self) -> bool {
        self.ok
    }

    /// Adds a row that cannot be tried.
    pub(crate) fn add_untried(&mut self, case: &Case, why: &str) {
        self.row(case).not_tried = Some(why.to_owned());
    }

    /// Adds an exchange that was tried.
    pub(crate) fn add(&mut self, case: &Case, outcome: &ProbeOutcome) {
        let verdict = judge(case, outcome);
        let seen = outcome.seen.map(|seen| seen.ip());
        self.push(case, verdict, seen, outcome.latency_us);
    }

    /// Adds something that is right or wrong without an exchange.
    pub(crate) fn add_plain(&mut self, case: &Case, verdict: Result<(), String>) {
        self.push(case, verdict, None, None);
    }

    fn push(
        &mut self,
        case: &Case,
        verdict: Result<(), String>,
        seen: Option<IpAddr>,
        latency_us: Option<u64>,
    ) {
        let error = verdict.err();
        let exchange = Exchange {
            from: case.from.clone(),
            to: case.to.clone(),
            target: match &case.name {
                Some(name) => format!("{name}, {}", case.target),
                None => case.target.to_string(),
            },
            ok: error.is_none(),
            seen,
            own_address: seen.map(|seen| seen == case.own),
            expected: case.expected.clone(),
            latency_us,
            hint: error.as_ref().map(|error| self.hint(case, error)),
            error,
        };
        self.ok &= exchange.ok;
        let row = self.row(case);
        row.ok &= exchange.ok;
        row.exchanges.push(exchange);
        row.latency_us = median(
            row.exchanges
                .iter()
                .filter(|e| e.ok)
                .filter_map(|e| e.latency_us)
                .collect(),
        );
    }

    /// The row of a case, in the order of paths, protocols and families.
    fn row(&mut self, case: &Case) -> &mut Row {
        let key = (case.path, case.kind, case.family);
        let at = match self
            .rows
            .binary_search_by_key(&key, |row| (row.path, row.protocol, row.family))
        {
            Ok(at) => at,
            Err(at) => {
                self.rows.insert(at, Row::of(case));
                at
            }
        };
        &mut self.rows[at]
    }

    fn hint(&self, case: &Case, error: &str) -> String {
        let suspect = if error.contains(REWRITTEN) || error.contains(NOT_REWRITTEN) {
            Suspect::Translation
        } else if error.contains("refused") && case.is_of_a_service() {
            Suspect::Service
        } else if error.contains("refused") {
            Suspect::Server
        } else {
            Suspect::Node
        };
        match &self.origin {
            Origin::Lab { lab, logs } => in_lab(&suspect, lab, logs, &case.from_node),
            Origin::Cluster { namespace } => in_cluster(&suspect, namespace, &case.from_node),
        }
    }
}

/// What may be the matter.
enum Suspect {
    Translation,
    Service,
    Server,
    Node,
}

fn in_lab(suspect: &Suspect, lab: &str, logs: &std::path::Path, node: &str) -> String {
    let exec = format!("seaway lab exec --name {lab} {node}");
    match suspect {
        Suspect::Translation => format!(
            "look for a rule that translates addresses: `{exec} -- nft list ruleset`, or `iptables-save`"
        ),
        Suspect::Service => format!(
            "see what the Service has, `seaway lab kubectl --name {lab} get endpointslices -A`, and where packets go: `{exec} -- seaway trace --help`"
        ),
        Suspect::Server => format!(
            "the server does not run: see `seaway lab status --name {lab}` and {}",
            logs.display()
        ),
        Suspect::Node => {
            let log = logs.join(format!("{node}-agent.log"));
            format!(
                "look for rows that are not as planned: `{exec} -- seaway tables`, and at {}",
                log.display()
            )
        }
    }
}

fn in_cluster(suspect: &Suspect, namespace: &str, node: &str) -> String {
    let keep = "check again with --keep";
    match suspect {
        Suspect::Translation => format!(
            "look on {node} for a rule that translates addresses: `nft list ruleset`, or `iptables-save`"
        ),
        Suspect::Service => format!(
            "{keep}, and see what the Service has: `kubectl get endpointslices -n {namespace}`; on {node}, `seaway trace` says where packets go"
        ),
        Suspect::Server => format!(
            "{keep}, and see whether the server runs: `kubectl get pods -o wide -n {namespace}`"
        ),
        Suspect::Node => format!(
            "look on {node} for rows that are not as planned, `seaway tables`, and for what its agent says: `kubectl logs -n seaway-system -l app.kubernetes.io/component=agent --prefix`"
        ),
    }
}

impl Row {
    fn of(case: &Case) -> Row {
        Row {
            path: case.path,
            family: case.family,
            protocol: case.kind,
            ok: true,
            latency_us: None,
            exchanges: Vec::new(),
            not_tried: None,
        }
    }

    /// The exchange that stands for the row: one that failed, if one did.
    pub(crate) fn example(&self) -> Option<&Exchange> {
        self.exchanges
            .iter()
            .find(|e| !e.ok)
            .or(self.exchanges.first())
    }

    /// How many exchanges failed.
    pub(crate) fn failed(&self) -> usize {
        self.exchanges.iter().filter(|e| !e.ok).count()
    }
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// A lab's report for tests of how it is shown.
#[cfg(test)]
pub(crate) mod samples {
    use super::super::cases::Wanted;
    use super::*;

    pub(crate) fn case(path: Path, family: Family, kind: ProbeKind) -> Case {
        let (own, target) = match family {
            Family::V4 => ("10.244.1.2", "10.244.2.2:7777"),
            Family::V6 => ("fd00:10:244:1::2", "[fd00:10:244:2::2]:7777"),
        };
        Case {
            path,
            family,
            kind,
            from: "pod-1-1".into(),
            from_node: "node1".into(),
            to: "pod-2-1".into(),
            target: target.parse().expect("valid"),
            size: 0,
            own: own.parse().expect("valid"),
            expected: vec![own.parse().expect("valid")],
            name: None,
            wanted: Wanted::host("pod-2-1"),
        }
    }

    pub(crate) fn good(case: &Case) -> ProbeOutcome {
        ProbeOutcome {
            id: Some(1),
            ok: true,
            seen: Some((case.expected[0], 4000).into()),
            host: Some("pod-2-1".into()),
            hosts: BTreeMap::new(),
            latency_us: Some(120),
            error: None,
        }
    }

    pub(crate) fn empty() -> Report {
        let origin = Origin::Lab {
            lab: "seaway".into(),
            logs: "/run/seaway-lab/seaway/logs".into(),
        };
        Report::new(origin, Network::default().into(), Some(1450))
    }

    pub(crate) fn of_a_cluster() -> Report {
        let facts = ClusterFacts {
            server: "https://192.0.2.1:6443/".into(),
            namespace: "seaway-check-a1b2c".into(),
            nodes: BTreeMap::from([("n1".into(), vec!["pod-1-1".into(), "pod-1-2".into()])]),
            families: Family::ALL.to_vec(),
        };
        let origin = Origin::Cluster {
            namespace: facts.namespace.clone(),
        };
        Report::new(origin, Subject::Cluster(facts), Some(1450))
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{case, empty, good};
    use super::*;

    fn sample() -> Case {
        case(Path::PodToPodOtherNode, Family::V4, ProbeKind::Udp)
    }

    #[test]
    fn one_failed_exchange_fails_its_row_and_the_report() {
        let (case, mut report) = (sample(), empty());
        report.add(&case, &good(&case));
        assert!(report.ok && report.rows[0].ok);
        report.add(&case, &ProbeOutcome::bad(None, "Connection refused".into()));
        assert!(!report.ok && !report.rows[0].ok);
        assert_eq!((report.rows.len(), report.rows[0].failed()), (1, 1));
        let example = report.rows[0].example().expect("there are two");
        assert!(
            example
                .hint
                .as_deref()
                .is_some_and(|hint| hint.contains("does not run"))
        );
    }

    #[test]
    fn rows_are_in_the_order_of_paths_protocols_and_families() {
        let mut report = empty();
        for family in [Family::V6, Family::V4] {
            for kind in [ProbeKind::Udp, ProbeKind::Tcp] {
                for path in [Path::DeletedPod, Path::Localhost] {
                    report.add_plain(&case(path, family, kind), Ok(()));
                }
            }
        }
        let first: Vec<_> = report
            .rows
            .iter()
            .take(3)
            .map(|r| (r.path, r.protocol, r.family))
            .collect();
        let expected = [
            (Path::Localhost, ProbeKind::Tcp, Family::V4),
            (Path::Localhost, ProbeKind::Tcp, Family::V6),
            (Path::Localhost, ProbeKind::Udp, Family::V4),
        ];
        assert_eq!(first, expected);
    }

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!(median(vec![9, 1, 5]), Some(5));
        assert_eq!(median(vec![]), None);
    }
}
