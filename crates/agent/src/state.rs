//! What the agent knows, as plain data. Locks and IO are elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use seaway_kernel::realise::{PodSighting, RowFailure, Sighting};
use seaway_kernel::uplink::ChosenUplink;
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, ContainerId, Device, LinkRow, NodeName, Pod, PodName,
    RouteKey, RouteRow, Row,
};
use seaway_plan::ipam::{AllocationError, Holder, Ipam};
use seaway_plan::{ChangeSet, Input, Planner, Tables, pod_side_rows};

use crate::records::Record;

/// What is wrong with the source.
#[derive(Clone, Debug)]
pub(crate) struct SourceProblem {
    pub(crate) text: String,
    /// When something began to be wrong, even if it was something else.
    pub(crate) since: Instant,
}

/// The agent's knowledge.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) planner: Planner,
    pub(crate) ipam: Ipam,
    pub(crate) records: BTreeMap<AttachmentId, Record>,
    pub(crate) dying: Vec<Attachment>,
    /// How many ADDs wait for something that is dying.
    pub(crate) awaited: usize,
    pub(crate) busy: HashSet<ContainerId>,
    pub(crate) failures: BTreeMap<(&'static str, String), RowFailure>,
    pub(crate) uplink: Result<ChosenUplink, String>,
    /// What the source is called, for people.
    pub(crate) source: String,
    pub(crate) source_problem: Option<SourceProblem>,
    /// The cluster has been read once.
    pub(crate) synced: bool,
    /// What followed from that is in force.
    pub(crate) settled: bool,
    pub(crate) repairs: u64,
}

/// What a sighting asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// The node's rows must be compared with the kernel.
    Node,
    /// The rows of a Pod's namespace must be compared with the kernel.
    Pod(AttachmentId),
    /// Settings of a device, or of the namespace, must be compared.
    Settings(Option<Device>),
    /// The uplink must be chosen anew.
    Uplink,
}

impl State {
    pub(crate) fn new(node: NodeName) -> State {
        State {
            planner: Planner::new(node),
            ipam: Ipam::default(),
            records: BTreeMap::new(),
            dying: Vec::new(),
            awaited: 0,
            busy: HashSet::new(),
            failures: BTreeMap::new(),
            uplink: Err("not chosen yet".to_owned()),
            source: String::new(),
            source_problem: None,
            synced: false,
            settled: false,
            repairs: 0,
        }
    }

    pub(crate) fn is_busy(&self, id: &AttachmentId) -> bool {
        self.busy.contains(&id.container)
    }

    /// Why no Pod can be attached now, if so.
    pub(crate) fn unready(&self) -> Option<String> {
        if !self.settled {
            let problem = self
                .source_problem
                .as_ref()
                .map_or("it has not answered yet", |problem| &problem.text);
            return Some(format!("the cluster's state is not known yet: {problem}"));
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

    /// Notes what is wrong with the source, or that nothing is any more.
    pub(crate) fn note_source(&mut self, problem: Option<String>, now: Instant) {
        let since = self.source_problem.as_ref().map_or(now, |p| p.since);
        self.source_problem = problem.map(|text| SourceProblem { text, since });
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
        match &event {
            ClusterEvent::PodUpsert(pod) => {
                self.release_pod(&pod.name);
                self.hold_pod(pod);
            }
            ClusterEvent::PodDelete(name) => self.release_pod(name),
            ClusterEvent::Synced => self.synced = true,
            ClusterEvent::NodeUpsert(_) | ClusterEvent::NodeDelete(_) => {}
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
    pub(crate) fn reserve(
        &mut self,
        id: &AttachmentId,
    ) -> Result<Vec<std::net::IpAddr>, AllocationError> {
        self.ipam.allocate(&Holder::Attachment(id.clone()))
    }

    /// Makes an attachment part of the plan, its addresses held.
    pub(crate) fn attach(&mut self, record: Record) -> ChangeSet {
        let attachment = record.attachment.clone();
        for address in &attachment.addresses {
            self.ipam
                .hold(*address, Holder::Attachment(attachment.id.clone()));
        }
        self.records.insert(attachment.id.clone(), record);
        self.planner.apply(Input::Attach(attachment))
    }

    /// Takes an attachment out of the plan. Its addresses stay held until [`State::let_go`].
    pub(crate) fn withdraw(&mut self, id: &AttachmentId) -> Option<(Attachment, ChangeSet)> {
        let record = self.records.remove(id)?;
        let changes = self.planner.apply(Input::Detach(id.clone()));
        let belongs = |key: &String| key.contains(&id.to_string());
        self.failures.retain(|(_, key), _| !belongs(key));
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

    /// Notes which of the changes failed; those that were tried and did not are fine again.
    pub(crate) fn note_outcome(&mut self, tried: &ChangeSet, failures: Vec<RowFailure>) {
        if !self.failures.is_empty() {
            self.failures.remove(&(LinkRow::TABLE, "(all)".to_owned()));
            for key in tried.keys() {
                self.failures.remove(&key);
            }
        }
        for failure in failures {
            self.failures
                .insert((failure.table, failure.key.clone()), failure);
        }
    }

    /// The rows that the namespace of an attachment's Pod must hold.
    pub(crate) fn pod_rows(&self, id: &AttachmentId) -> Option<Tables> {
        let record = self.records.get(id)?;
        Some(pod_side_rows(&record.attachment, self.planner.pod_mtu()))
    }

    /// What must be done about a sighting: nothing if it agrees with the plan, or is about
    /// something that a request is working on.
    pub(crate) fn judge(&self, sighting: &Sighting) -> Option<Demand> {
        let rows = self.planner.rows();
        let idle = |id: &AttachmentId| !self.is_busy(id);
        let on_idle = |device: &Device| !matches!(device, Device::PodLink(id) if self.is_busy(id));
        let wrong = match sighting {
            Sighting::Link(row) => rows
                .links
                .get(&row.device)
                .is_some_and(|planned| on_idle(&row.device) && !planned.in_force(row)),
            Sighting::LinkGone(id) => {
                rows.links.get(&Device::PodLink(id.clone())).is_some() && idle(id)
            }
            Sighting::UnknownLink(_) => self.busy.is_empty(),
            Sighting::Route(key, row) => self.route_wrong(key, row.as_ref()),
            Sighting::RouteGone(key) => rows
                .routes
                .get(key)
                .is_some_and(|planned| planned.attachment().is_none_or(idle)),
            Sighting::Neighbour(row) => rows
                .neighbours
                .get(&row.key())
                .is_some_and(|planned| on_idle(&row.device) && planned != row),
            Sighting::NeighbourGone(key) => {
                rows.neighbours.get(key).is_some() && on_idle(&key.device)
            }
            Sighting::Setting(device) => {
                return device
                    .as_ref()
                    .is_none_or(on_idle)
                    .then(|| Demand::Settings(device.clone()));
            }
            Sighting::Surroundings => return Some(Demand::Uplink),
            Sighting::Pod(id, what) => {
                return (idle(id) && self.pod_wrong(id, what)).then(|| Demand::Pod(id.clone()));
            }
            Sighting::Overflow => true,
        };
        wrong.then_some(Demand::Node)
    }

    fn route_wrong(&self, key: &RouteKey, row: Option<&RouteRow>) -> bool {
        match (self.planner.rows().routes.get(key), row) {
            (Some(planned), found) => {
                planned.attachment().is_none_or(|id| !self.is_busy(id))
                    && found.is_none_or(|found| !planned.in_force(found))
            }
            (None, Some(found)) => found.attachment().is_none(),
            (None, None) => false,
        }
    }

    fn pod_wrong(&self, id: &AttachmentId, what: &PodSighting) -> bool {
        let Some(rows) = self.pod_rows(id) else {
            return false;
        };
        match what {
            PodSighting::AddressGone(net) => rows.addresses.iter().any(|row| row.net == *net),
            PodSighting::RouteGone(key) => rows.routes.get(key).is_some(),
            PodSighting::NeighbourGone(address) => {
                rows.neighbours.iter().any(|row| row.address == *address)
            }
            PodSighting::Link(name, up) => !up && id.interface == *name,
        }
    }
}
