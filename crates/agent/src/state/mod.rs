//! What the agent knows, as plain data. Locks and IO are elsewhere.

mod guard;
mod judge;
mod peers;
mod ports;
mod wiring;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use seaway_kernel::realise::RowFailure;
use seaway_kernel::uplink::ChosenUplink;
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, ContainerId, Family, LinkRow, NodeName, Pod, PodName,
    PortMapping, Row, ServiceName, Settings,
};
use seaway_plan::ipam::{AllocationError, Holder, Ipam};
use seaway_plan::{ChangeSet, Input, Planner, Tables};

use crate::pathmtu::Findings;
use crate::records::Record;
use crate::services::touched;

pub(crate) use guard::WHOLE;
pub(crate) use judge::Demand;
#[cfg(test)]
pub(crate) use peers::Peer;
pub(crate) use peers::Peers;

/// The least MTU of a link with IPv6.
const LEAST_V6_MTU: u32 = 1280;

/// What is wrong with the source.
#[derive(Clone, Debug)]
pub(crate) struct SourceProblem {
    pub(crate) text: String,
    /// When something began to be wrong, even if it was something else.
    pub(crate) since: Instant,
}

/// What a comparison of the kernel with the plan came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// How many rows differed.
    pub(crate) drifted: usize,
}

/// The agent's knowledge.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) planner: Planner,
    /// What people chose. What is planned has another wiring while Pods with that one live.
    pub(crate) wanted: Settings,
    /// The wiring is being changed: no Pod may be attached meanwhile.
    pub(crate) rewiring: bool,
    pub(crate) ipam: Ipam,
    pub(crate) records: BTreeMap<AttachmentId, Record>,
    /// Ports of the node whose attachment is out of the plan, and that the kernel may still have.
    pub(crate) closing: BTreeMap<AttachmentId, Vec<PortMapping>>,
    pub(crate) dying: Vec<Attachment>,
    /// How many ADDs wait for something that is dying.
    pub(crate) awaited: usize,
    pub(crate) busy: HashSet<ContainerId>,
    pub(crate) failures: BTreeMap<(&'static str, String), RowFailure>,
    pub(crate) uplink: Result<ChosenUplink, String>,
    /// What the source is called, for people.
    pub(crate) source: String,
    pub(crate) source_problem: Option<SourceProblem>,
    /// What people may want to know of the node, and what nothing depends on.
    pub(crate) notes: Vec<String>,
    /// Why the own Node or Lease cannot be written, if so.
    pub(crate) node_problem: Option<String>,
    /// The cluster has been read once.
    pub(crate) synced: bool,
    /// What followed from that is in force.
    pub(crate) settled: bool,
    /// The node's filters have been in force.
    pub(crate) guarded: bool,
    pub(crate) repairs: u64,
    /// The last comparison with the kernel.
    pub(crate) compared: Option<Compared>,
    /// All addresses of the node, where what is planned depends on them.
    pub(crate) host_addresses: Vec<IpAddr>,
    /// The Services that the last events were about.
    pub(crate) touched: BTreeSet<ServiceName>,
    /// What the prober knows of the paths to other nodes.
    pub(crate) paths: Findings,
    /// What is wrong with the runtime's configuration.
    pub(crate) conflist: Vec<String>,
}

impl State {
    pub(crate) fn new(node: NodeName, settings: Settings) -> State {
        State {
            planner: Planner::new(node, settings.clone()),
            wanted: settings,
            rewiring: false,
            ipam: Ipam::default(),
            records: BTreeMap::new(),
            closing: BTreeMap::new(),
            dying: Vec::new(),
            awaited: 0,
            busy: HashSet::new(),
            failures: BTreeMap::new(),
            uplink: Err("not chosen yet".to_owned()),
            source: String::new(),
            source_problem: None,
            notes: Vec::new(),
            node_problem: None,
            synced: false,
            settled: false,
            guarded: false,
            repairs: 0,
            compared: None,
            host_addresses: Vec::new(),
            touched: BTreeSet::new(),
            paths: Findings::default(),
            conflist: Vec::new(),
        }
    }

    pub(crate) fn is_busy(&self, id: &AttachmentId) -> bool {
        self.busy.contains(&id.container)
    }

    /// Why no Pod can be attached now, if so.
    pub(crate) fn unready(&self) -> Option<String> {
        if self.synced && !self.settled {
            let why =
                "the kernel has not been compared with the plan yet; the agent's log says why";
            return Some(why.to_owned());
        }
        if !self.settled {
            let problem = self
                .source_problem
                .as_ref()
                .map_or("it has not answered yet", |problem| &problem.text);
            return Some(format!("the cluster's state is not known yet: {problem}"));
        }
        if let Some(mtu) = self.mtu_too_small() {
            return Some(mtu);
        }
        if let Some(filters) = self.unguarded() {
            return Some(filters);
        }
        if self.ipam.has_pools() {
            return None;
        }
        let mut problems: Vec<String> = self
            .ipam
            .refused()
            .iter()
            .map(ToString::to_string)
            .collect();
        let findings = seaway_plan::check::findings(&self.planner).into_iter();
        problems.extend(findings.map(|f| format!("{} {}: {}", f.object, f.field, f.message)));
        Some(problems.join("; "))
    }

    /// Linux takes IPv6 away from a link with a smaller MTU than 1280 bytes (RFC 8200).
    fn mtu_too_small(&self) -> Option<String> {
        let v6 = |net: &&ipnet::IpNet| Family::of_net(net) == Family::V6;
        let net = self.planner.pod_cidrs().iter().find(v6)?;
        let mtu = self.planner.pod_mtu();
        (self.planner.uplink().is_some() && mtu < LEAST_V6_MTU).then(|| {
            format!(
                "Pod links would have an MTU of {mtu} bytes, and IPv6 (pod CIDR {net}) needs \
                 {LEAST_V6_MTU}: raise --mtu or the uplink's MTU"
            )
        })
    }

    /// Notes what is wrong with the source, or that nothing is any more.
    pub(crate) fn note_source(&mut self, problem: Option<String>, now: Instant) {
        let since = self.source_problem.as_ref().map_or(now, |p| p.since);
        self.source_problem = problem.map(|text| SourceProblem { text, since });
    }

    /// Counts repairs. What a starting agent finds missing was never there.
    pub(crate) fn note_repairs(&mut self, count: usize) {
        if self.settled {
            self.repairs += count as u64;
        }
    }

    /// So many of the node's rows that differed are as planned now: where there are many, nobody
    /// looks again soon.
    pub(crate) fn note_as_planned(&mut self, count: usize) {
        if let Some(compared) = &mut self.compared {
            compared.drifted = compared.drifted.saturating_sub(count);
        }
    }

    /// Whether the cluster has other nodes with Pods.
    pub(crate) fn has_peers(&self) -> bool {
        let peers = self
            .planner
            .nodes()
            .values()
            .filter(|n| n.name != *self.planner.name());
        peers.into_iter().any(|node| !node.pod_cidrs.is_empty())
    }

    /// Takes in a change of the cluster: rows and held addresses.
    pub(crate) fn cluster(&mut self, event: ClusterEvent) -> ChangeSet {
        touched::note(&event, &self.planner, &mut self.touched);
        match &event {
            ClusterEvent::PodUpsert(pod) => {
                self.release_pod(&pod.name);
                self.hold_pod(pod);
            }
            ClusterEvent::PodDelete(name) => self.release_pod(name),
            ClusterEvent::Synced => self.synced = true,
            ClusterEvent::NodeUpsert(_) | ClusterEvent::NodeDelete(_) => {}
            ClusterEvent::ServiceUpsert(_)
            | ClusterEvent::ServiceDelete(_)
            | ClusterEvent::SliceUpsert(_)
            | ClusterEvent::SliceDelete(_) => return self.planner.apply(Input::Cluster(event)),
        }
        let own = |state: &State| state.planner.node().map(|node| node.addresses.clone());
        let before = own(self).unwrap_or_default();
        let changes = self.planner.apply(Input::Cluster(event));
        for address in before {
            self.ipam.release(address, &Holder::Node);
        }
        for address in own(self).unwrap_or_default() {
            self.ipam.hold(address, Holder::Node);
        }
        self.ipam.set_cidrs(self.planner.pod_cidrs());
        changes
    }

    fn hold_pod(&mut self, pod: &Pod) {
        if pod.holds_addresses_on(self.planner.name()) {
            for address in &pod.addresses {
                self.ipam.hold(*address, Holder::Pod(pod.name.clone()));
            }
        }
    }

    fn release_pod(&mut self, name: &PodName) {
        let known = self
            .planner
            .pods()
            .get(name)
            .map(|pod| pod.addresses.clone());
        for address in known.unwrap_or_default() {
            self.ipam.release(address, &Holder::Pod(name.clone()));
        }
    }

    /// Gives addresses to a new attachment; nothing is planned yet.
    pub(crate) fn reserve(&mut self, id: &AttachmentId) -> Result<Vec<IpAddr>, AllocationError> {
        self.ipam.allocate(&Holder::Attachment(id.clone()))
    }

    /// Makes an attachment part of the plan, its addresses held.
    pub(crate) fn attach(&mut self, record: Record) -> ChangeSet {
        let attachment = record.attachment.clone();
        for address in &attachment.addresses {
            self.ipam
                .hold(*address, Holder::Attachment(attachment.id.clone()));
        }
        self.closing.remove(&attachment.id);
        self.records.insert(attachment.id.clone(), record);
        self.planner.apply(Input::Attach(attachment))
    }

    /// Takes an attachment out of the plan. Its addresses stay held until [`State::let_go`], and its
    /// ports of the node until [`State::closed`]: who got one before the kernel is rid of it would
    /// lose it to the deletion.
    pub(crate) fn withdraw(&mut self, id: &AttachmentId) -> Option<(Attachment, ChangeSet)> {
        let record = self.records.remove(id)?;
        let ports = &record.attachment.extras.ports;
        if !ports.is_empty() {
            self.closing.insert(id.clone(), ports.clone());
        }
        let changes = self.planner.apply(Input::Detach(id.clone()));
        if !self.failures.is_empty() {
            let id = id.to_string();
            self.failures.retain(|(_, key), _| !key.contains(&id));
        }
        Some((record.attachment, changes))
    }

    /// Marks a withdrawn attachment as waiting for the reaper.
    pub(crate) fn doom(&mut self, attachment: Attachment) {
        for address in &attachment.addresses {
            self.ipam
                .hold(*address, Holder::Dying(attachment.id.clone()));
            self.ipam
                .release(*address, &Holder::Attachment(attachment.id.clone()));
        }
        self.dying.push(attachment);
    }

    /// Frees the addresses of an attachment that is out of the plan and out of the kernel.
    pub(crate) fn let_go(&mut self, attachment: &Attachment) {
        for address in &attachment.addresses {
            self.ipam
                .release(*address, &Holder::Attachment(attachment.id.clone()));
            self.ipam
                .release(*address, &Holder::Dying(attachment.id.clone()));
        }
    }

    pub(crate) fn is_dying(&self, id: &AttachmentId) -> bool {
        self.dying.iter().any(|attachment| attachment.id == *id)
    }

    /// Everything has been compared, and only this differs: the rest is in force, whatever was wrong
    /// with it. (A link that was made anew is, and what hung on it follows.)
    pub(crate) fn forget_failures_but(&mut self, different: &ChangeSet) {
        if !self.failures.is_empty() {
            let keys: BTreeSet<_> = different.keys().into_iter().collect();
            self.failures.retain(|key, _| keys.contains(key));
        }
    }

    /// Notes which of the changes failed; those that were tried and did not are fine again.
    pub(crate) fn note_outcome(&mut self, tried: &ChangeSet, failures: Vec<RowFailure>) {
        self.note_filters(tried, &failures);
        if !self.failures.is_empty() {
            self.failures
                .remove(&(LinkRow::TABLE, guard::WHOLE.to_owned()));
            for key in tried.keys() {
                self.failures.remove(&key);
            }
        }
        for failure in failures {
            self.failures
                .insert((failure.table, failure.key.clone()), failure);
        }
    }

    /// The rows that the namespace of an attachment's Pod must hold, if they can be known.
    pub(crate) fn pod_rows(&self, id: &AttachmentId) -> Option<Tables> {
        let attachment = &self.records.get(id)?.attachment;
        self.knows_gateways_of(attachment)
            .then(|| self.planner.pod_side_rows(attachment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_repaired_differs_no_more() {
        let node = NodeName::new("a").expect("valid");
        let mut state = State::new(node, Settings::default());
        state.note_as_planned(1);
        assert!(state.compared.is_none(), "nobody has looked yet");
        state.compared = Some(Compared {
            at: Instant::now(),
            took: Duration::ZERO,
            drifted: 70_001,
        });
        state.note_as_planned(70_000);
        assert_eq!(state.compared.map(|compared| compared.drifted), Some(1));
    }
}
