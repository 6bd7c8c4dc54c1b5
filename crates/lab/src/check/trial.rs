//! A Pod made for the check, with a port of its node, and the promises about a Pod's life that are
//! tried on it: a killed container comes back with the same address; a deleted Pod's address is free
//! again, and the port closed.

use std::net::IpAddr;
use std::time::Duration;

use seaway_model::Family;

use super::cases::{Case, Path, SILENCE_MS, Wanted};
use super::hands::{Hands, Source};
use super::probes::{self, job};
use super::report::Report;
use super::verdict::judge;
use super::view::{Exposed, NodeView};
use super::{Checked, not_tried};
use crate::cluster::{CONTAINERS, Cluster, HostPort, ReadyPod};
use crate::error::LabError;
use crate::tool::{ProbeKind, ProbeOutcome};
use crate::waiting::eventually;

/// A container that was killed may have to wait for its turn.
const COMES_BACK: Duration = Duration::from_secs(30);
/// The first of the ports that checks use, each its own, so that two at once do not meet.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 10_000;

/// The Pod of the trial, deleted at the end whatever happens.
pub(super) struct Trial<'a> {
    hands: &'a dyn Hands,
    pod: Made<'a>,
    node: Vec<IpAddr>,
    pub(super) exposed: Exposed,
}

/// Why there is no trial.
pub(super) struct Failed {
    pub(super) case: Case,
    pub(super) reason: LabError,
}

/// A Pod that is deleted at the end.
struct Made<'a> {
    cluster: &'a Cluster,
    ready: ReadyPod,
    /// How long it may take to be gone.
    limit: Duration,
    deleted: bool,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.deleted
            && let Err(e) = self.cluster.delete_pod(&self.ready.name, self.limit)
        {
            tracing::warn!("delete the Pod {} of the check: {e}", self.ready.name);
        }
    }
}

impl<'a> Trial<'a> {
    /// Makes the Pod on a node and waits until it is ready.
    pub(super) fn begin(checked: &Checked<'a>, node: &NodeView) -> Result<Trial<'a>, Box<Failed>> {
        let name = own_name();
        Trial::try_begin(checked, node, &name).map_err(|error| {
            Box::new(Failed {
                case: no_case(&node.name, &name),
                reason: error,
            })
        })
    }

    fn try_begin(
        checked: &Checked<'a>,
        node: &NodeView,
        name: &str,
    ) -> Result<Trial<'a>, LabError> {
        let (hands, cluster) = (checked.hands, checked.cluster);
        let port = own_port();
        let leads = HostPort {
            port,
            to: CONTAINERS[0].echo,
        };
        cluster.create_pod(&node.name, name, Some(leads))?;
        let bare = ReadyPod {
            name: name.to_owned(),
            node: node.name.clone(),
            addresses: Vec::new(),
        };
        let mut pod = Made {
            cluster,
            ready: bare,
            limit: hands.made(),
            deleted: false,
        };
        pod.ready = cluster.await_pod(name, hands.made())?;
        let view = hands.look_at(cluster.home(), &pod.ready)?;
        pod.ready.addresses.clone_from(&view.addresses);
        let exposed = Exposed {
            pod: view,
            node: pod.ready.node.clone(),
            port,
        };
        Ok(Trial {
            hands,
            pod,
            node: node.addresses.clone(),
            exposed,
        })
    }

    /// Adds the rows about the Pod's life to the report. The Pod is gone then.
    pub(super) fn check(&mut self, report: &mut Report) {
        self.restart(report);
        self.delete(report);
    }
}

fn own_port() -> u16 {
    let offset = u16::try_from(std::process::id() % PORTS).unwrap_or(0);
    FIRST_PORT + offset
}

impl Trial<'_> {
    fn restart(&self, report: &mut Report) {
        let back = self.kill_and_await();
        for address in &self.pod.ready.addresses {
            let case = self.case(Path::RestartedContainer, *address);
            let outcome = match &back {
                Ok(()) => self.await_answer(&case),
                Err(e) => not_tried(&e.to_string()),
            };
            report.add(&case, &outcome);
        }
    }

    /// Kills the Pod's first container and waits until it runs again, with the Pod unchanged.
    fn kill_and_await(&self) -> Result<(), LabError> {
        let container = CONTAINERS[0].name;
        self.hands.end_container(&self.pod.ready.name, container)?;
        let mut last = Ok(());
        let back = eventually(COMES_BACK, || {
            last = self.is_back(container);
            last.is_ok()
        });
        if back { Ok(()) } else { last }
    }

    fn is_back(&self, container: &str) -> Result<(), LabError> {
        let restarts = self.pod.cluster.restarts(&self.pod.ready.name)?;
        if restarts.get(container).is_none_or(|count| *count == 0) {
            return Err(LabError::Request(format!(
                "{}/{container} was killed and does not come back",
                self.pod.ready.name
            )));
        }
        let now = self
            .pod
            .cluster
            .await_pod(&self.pod.ready.name, COMES_BACK)?;
        let before = &self.pod.ready.addresses;
        let is_same = before.iter().all(|a| now.addresses.contains(a));
        is_same.then_some(()).ok_or_else(|| {
            LabError::Request(format!(
                "the Pod had {:?}, now it has {:?}",
                self.pod.ready.addresses, now.addresses
            ))
        })
    }

    fn await_answer(&self, case: &Case) -> ProbeOutcome {
        let mut outcome = not_tried("not tried");
        eventually(COMES_BACK, || {
            outcome = self.ask(case, case.timeout_ms());
            outcome.ok
        });
        outcome
    }

    fn delete(&mut self, report: &mut Report) {
        let deleted = self
            .pod
            .cluster
            .delete_pod(&self.pod.ready.name, self.pod.limit);
        self.pod.deleted = true;
        for address in &self.pod.ready.addresses {
            let case = self.case(Path::DeletedPod, *address);
            let freed = match &deleted {
                Ok(()) => self.is_free(&case),
                Err(e) => Err(e.to_string()),
            };
            report.add_plain(&case, freed);
        }
        if deleted.is_ok() {
            self.closed(report);
        }
    }

    /// The node itself refuses what nobody listens to.
    fn closed(&self, report: &mut Report) {
        let of = |address: &IpAddr, kind| {
            let mut case = self.case(Path::ClosedHostPort, *address);
            case.kind = kind;
            case.target = (*address, self.exposed.port).into();
            case.wanted = Wanted::Refusal;
            case
        };
        let kinds = [ProbeKind::Tcp, ProbeKind::Udp];
        let cases = self.node.iter().flat_map(|a| kinds.map(|kind| of(a, kind)));
        let cases = cases.collect();
        for (case, outcome) in probes::run_within(self.hands, cases, |_| SILENCE_MS) {
            report.add_plain(&case, judge(&case, &outcome));
        }
    }

    /// Free means that the Pod does not answer there and that the node does not keep it.
    fn is_free(&self, case: &Case) -> Result<(), String> {
        let address = case.target.ip();
        let outcome = self.try_ask(case, SILENCE_MS)?;
        if outcome.ok {
            return Err(format!(
                "{address} still answers, as {}",
                outcome.host.unwrap_or_default()
            ));
        }
        let node = &self.pod.ready.node;
        match self.hands.holds(node, address).map_err(|e| e.to_string())? {
            true => Err(format!("the agent of {node} still holds {address}")),
            false => Ok(()),
        }
    }

    /// Tries the case from the Pod's node.
    fn ask(&self, case: &Case, timeout_ms: u64) -> ProbeOutcome {
        let outcome = self.try_ask(case, timeout_ms);
        outcome.unwrap_or_else(|reason| not_tried(&reason))
    }

    /// The same; an error says that it could not be tried.
    fn try_ask(&self, case: &Case, timeout_ms: u64) -> Result<ProbeOutcome, String> {
        let source = Source {
            name: case.from.clone(),
            in_container: false,
        };
        let outcomes = self.hands.probe(&source, &[job(0, case, timeout_ms)]);
        let outcome = outcomes.map_err(|e| e.to_string())?.remove(&0);
        outcome.ok_or_else(|| "the probe gave no answer".to_owned())
    }

    fn case(&self, path: Path, address: IpAddr) -> Case {
        let mut case = no_case(&self.pod.ready.node, &self.pod.ready.name);
        case.path = path;
        case.family = Family::of(address);
        case.target = (address, CONTAINERS[0].echo).into();
        case.own = self.node_address(case.family).unwrap_or(address);
        case.expected = vec![case.own];
        case
    }

    fn node_address(&self, family: Family) -> Option<IpAddr> {
        let mut all = self.node.iter().copied();
        all.find(|address| Family::of(*address) == family)
    }
}

/// What this check calls what it makes, so that two at once do not meet.
pub(super) fn own_name() -> String {
    format!("check-{}", std::process::id())
}

/// The case of a Pod that could not even be made.
fn no_case(node: &str, pod: &str) -> Case {
    Case {
        path: Path::RestartedContainer,
        family: Family::V4,
        kind: ProbeKind::Tcp,
        from: node.to_owned(),
        from_node: node.to_owned(),
        to: pod.to_owned(),
        target: ([0, 0, 0, 0], CONTAINERS[0].echo).into(),
        size: 0,
        own: [0, 0, 0, 0].into(),
        expected: Vec::new(),
        name: None,
        wanted: Wanted::host(pod),
    }
}
