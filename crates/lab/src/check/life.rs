//! Two promises about a Pod's life, tried on a Pod made for this: a killed container comes back with
//! the same address, and a deleted Pod's address is free again.

use std::net::IpAddr;
use std::time::Duration;

use seaway_model::Family;

use super::cases::{Case, Path};
use super::not_tried;
use super::probes::probe;
use super::report::Report;
use crate::agent_client::held_addresses;
use crate::client::Client;
use crate::cluster::{CONTAINERS, Cluster, ReadyPod};
use crate::error::LabError;
use crate::protocol::LabStatus;
use crate::tool::{ProbeJob, ProbeKind, ProbeOutcome};
use crate::waiting::eventually;

/// A container that was killed may have to wait for its turn.
const COMES_BACK: Duration = Duration::from_secs(15);
const MADE: Duration = Duration::from_secs(30);
/// Longer than the grace that the Pod's containers have.
const DELETED: Duration = Duration::from_secs(30);
/// Long enough for an answer on one machine, short enough to be waited for.
const SILENCE_MS: u64 = 500;

/// The Pod of the trial, deleted at the end whatever happens.
struct Trial<'a> {
    client: &'a Client,
    cluster: &'a Cluster,
    pod: ReadyPod,
    deleted: bool,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.deleted
            && let Err(e) = self.cluster.delete_pod(&self.pod.name, DELETED)
        {
            tracing::warn!("delete the Pod {} of the check: {e}", self.pod.name);
        }
    }
}

/// Adds the rows of both promises to the report.
pub(super) fn check(client: &Client, status: &LabStatus, report: &mut Report) {
    let Some(node) = status.nodes.first() else {
        return;
    };
    let name = format!("check-{}", std::process::id());
    let tried = Cluster::open(&client.state().kubeconfig())
        .and_then(|cluster| try_with(client, &cluster, &node.name, &name, report));
    if let Err(e) = tried {
        report.add(&no_case(&node.name, &name), &not_tried(&e.to_string()));
    }
}

fn try_with(
    client: &Client,
    cluster: &Cluster,
    node: &str,
    name: &str,
    report: &mut Report,
) -> Result<(), LabError> {
    cluster.create_pod(node, name)?;
    let bare = ReadyPod {
        name: name.to_owned(),
        node: node.to_owned(),
        addresses: Vec::new(),
    };
    let mut trial = Trial {
        client,
        cluster,
        pod: bare,
        deleted: false,
    };
    trial.pod = cluster.await_pod(name, MADE)?;
    trial.restart(report);
    trial.delete(report);
    Ok(())
}

impl Trial<'_> {
    fn restart(&self, report: &mut Report) {
        let back = self.kill_and_await();
        for address in &self.pod.addresses {
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
        self.client
            .kill(&format!("{}/{container}", self.pod.name), 9)?;
        let mut last = Ok(());
        let back = eventually(COMES_BACK, || {
            last = self.is_back(container);
            last.is_ok()
        });
        if back { Ok(()) } else { last }
    }

    fn is_back(&self, container: &str) -> Result<(), LabError> {
        let restarts = self.cluster.restarts(&self.pod.name)?;
        if restarts.get(container).is_none_or(|count| *count == 0) {
            return Err(LabError::Request(format!(
                "{}/{container} was killed and does not come back",
                self.pod.name
            )));
        }
        let now = self.cluster.await_pod(&self.pod.name, COMES_BACK)?;
        (now.addresses == self.pod.addresses)
            .then_some(())
            .ok_or_else(|| {
                LabError::Request(format!(
                    "the Pod had {:?}, now it has {:?}",
                    self.pod.addresses, now.addresses
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
        let deleted = self.cluster.delete_pod(&self.pod.name, DELETED);
        self.deleted = true;
        for address in &self.pod.addresses {
            let case = self.case(Path::DeletedPod, *address);
            let freed = match &deleted {
                Ok(()) => self.is_free(&case),
                Err(e) => Err(e.to_string()),
            };
            report.add_plain(&case, freed);
        }
    }

    /// Free means that nobody answers there and that the agent does not hold it.
    fn is_free(&self, case: &Case) -> Result<(), String> {
        let address = case.target.ip();
        let outcome = self.ask(case, SILENCE_MS);
        if outcome.ok {
            return Err(format!(
                "{address} still answers, as {}",
                outcome.host.unwrap_or_default()
            ));
        }
        let node = self
            .client
            .enter(&self.pod.node)
            .map_err(|e| e.to_string())?;
        let held = held_addresses(&node).map_err(|e| e.to_string())?;
        if held.contains(&address) {
            return Err(format!(
                "the agent of {} still holds {address}",
                self.pod.node
            ));
        }
        Ok(())
    }

    /// Tries the case from the Pod's node.
    fn ask(&self, case: &Case, timeout_ms: u64) -> ProbeOutcome {
        let job = ProbeJob {
            id: 0,
            kind: case.kind,
            target: case.target,
            size: 0,
            timeout_ms,
        };
        let outcomes = self
            .client
            .enter(&self.pod.node)
            .and_then(|node| probe(&node, &[job]));
        match outcomes {
            Ok(mut outcomes) => outcomes
                .remove(&0)
                .unwrap_or_else(|| not_tried("the probe gave no answer")),
            Err(e) => not_tried(&e.to_string()),
        }
    }

    fn case(&self, path: Path, address: IpAddr) -> Case {
        let mut case = no_case(&self.pod.node, &self.pod.name);
        case.path = path;
        case.family = Family::of(address);
        case.target = (address, CONTAINERS[0].echo).into();
        case.expected_seen = self.node_address(case.family).unwrap_or(address);
        case
    }

    fn node_address(&self, family: Family) -> Option<IpAddr> {
        let status = self.client.status().ok()?;
        let node = status
            .nodes
            .into_iter()
            .find(|node| node.name == self.pod.node)?;
        node.addresses
            .iter()
            .map(ipnet::IpNet::addr)
            .find(|a| Family::of(*a) == family)
    }
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
        expected_seen: [0, 0, 0, 0].into(),
        expected_host: pod.to_owned(),
    }
}
