//! The incremental planner of one node.
//!
//! An input marks what it can touch, and only that is planned again: a Pod or another node costs
//! the same whatever else there is. Only a change of the node itself, of its uplink or of what
//! people chose touches all. What an object's rows were is planned again from the object as it
//! was, so that nothing but the rows themselves is stored.

mod services;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, Family, Node, NodeName, Pod, PodName, Settings,
};

use crate::context::{Context, Method, OwnNode};
use crate::ledger::{Ledger, Owner};
use crate::rows::{
    PeerView, attachment_rows, base_rows, peer_rows, pod_address, pod_side_rows, totals_rows,
};
use crate::services::Services;
use crate::table::{ChangeSet, Tables};
use crate::totals::Totals;

/// The node's way to the other nodes, as chosen on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The node's own addresses on it, at most one a family.
    pub addresses: Vec<IpAddr>,
    /// The networks that are on its link.
    pub networks: Vec<IpNet>,
    /// It takes routes from router advertisements, and would no more once the node forwards.
    pub learns_routes: bool,
    /// It drops IPv4 packets that come another way than the way back, unless told otherwise.
    pub strict: bool,
}

impl Uplink {
    /// The node's own address of `family`.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|a| Family::of(*a) == family)
    }
}

/// An address of a Pod's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// The address with the prefix length that the interface has.
    pub net: IpNet,
    /// The Pod's way out.
    pub gateway: IpAddr,
}

/// What the planner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The cluster changed.
    Cluster(ClusterEvent),
    /// The uplink was chosen, changed or lost.
    Uplink(Option<Uplink>),
    /// A Pod interface belongs to this node.
    Attach(Attachment),
    /// It no longer does.
    Detach(AttachmentId),
    /// What people chose for the node is now this.
    Settings(Settings),
    /// All addresses that the node has now, its own links and loopback included.
    HostAddresses(Vec<IpAddr>),
    /// The largest packet in bytes, of those that the uplink takes, that gets to a node; `None`
    /// when all do.
    PathMtu(NodeName, Option<u32>),
}

/// Plans the rows of one node's network namespace.
#[derive(Clone, Debug)]
pub struct Planner {
    nodes: BTreeMap<NodeName, Node>,
    pods: BTreeMap<PodName, Pod>,
    attachments: BTreeMap<AttachmentId, Attachment>,
    path_mtu: BTreeMap<NodeName, u32>,
    context: Context,
    ledger: Ledger,
    totals: Totals,
    services: Services,
}

impl Planner {
    /// A planner of the node `name` that knows nothing yet.
    pub fn new(name: NodeName, settings: Settings) -> Planner {
        let context = Context::new(name, settings);
        let mut planner = Planner {
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            attachments: BTreeMap::new(),
            path_mtu: BTreeMap::new(),
            context,
            ledger: Ledger::default(),
            totals: Totals::default(),
            services: Services::default(),
        };
        let base = base_rows(&planner.context);
        let _ = planner.replace(Owner::Base, &Tables::default(), &base);
        planner
    }

    /// Takes in one input and gives what changes in the planned rows.
    pub fn apply(&mut self, input: Input) -> ChangeSet {
        match input {
            Input::Cluster(event) => self.cluster(event),
            Input::Uplink(uplink) => {
                let context = self.context.clone();
                self.change_context(Context { uplink, ..context })
            }
            Input::Attach(attachment) => self.attach(attachment.id.clone(), Some(attachment)),
            Input::Detach(id) => self.attach(id, None),
            Input::Settings(settings) => {
                let context = self.context.clone();
                self.change_context(Context {
                    settings,
                    ..context
                })
            }
            Input::HostAddresses(all) => self.change_host_addresses(all),
            Input::PathMtu(name, mtu) => {
                let node = self.nodes.get(&name).cloned();
                self.change_node(name, node, mtu)
            }
        }
    }

    fn cluster(&mut self, event: ClusterEvent) -> ChangeSet {
        match event {
            ClusterEvent::NodeUpsert(node) => {
                let name = node.name.clone();
                let mtu = self.path_mtu.get(&name).copied();
                self.change_node(name, Some(node), mtu)
            }
            ClusterEvent::NodeDelete(name) => self.change_node(name, None, None),
            ClusterEvent::PodUpsert(pod) => {
                self.pods.insert(pod.name.clone(), pod);
                ChangeSet::default()
            }
            ClusterEvent::PodDelete(name) => {
                self.pods.remove(&name);
                ChangeSet::default()
            }
            ClusterEvent::ServiceUpsert(service) => {
                let name = service.name.clone();
                self.change_service(&name, Some(service))
            }
            ClusterEvent::ServiceDelete(name) => self.change_service(&name, None),
            ClusterEvent::SliceUpsert(slice) => self.insert_slice(slice),
            ClusterEvent::SliceDelete(name) => self.remove_slice(&name),
            ClusterEvent::Synced => ChangeSet::default(),
        }
    }

    /// Sets what is known of a node; of one that is gone nothing stays known.
    fn change_node(&mut self, name: NodeName, now: Option<Node>, mtu: Option<u32>) -> ChangeSet {
        let known = self.nodes.get(&name);
        let known_mtu = self.path_mtu.get(&name).copied();
        if known == now.as_ref() && known_mtu == mtu {
            return ChangeSet::default();
        }
        let old = self.peer_rows(&name);
        let before = match now {
            Some(node) => self.nodes.insert(name.clone(), node),
            None => self.nodes.remove(&name),
        };
        match mtu {
            Some(mtu) => drop(self.path_mtu.insert(name.clone(), mtu)),
            None => drop(self.path_mtu.remove(&name)),
        }
        let mut changes = self.change_places(&name, before.as_ref());
        if name == self.context.name {
            let context = self.context.clone();
            changes.append(self.change_context(context));
            return changes;
        }
        let new = self.peer_rows(&name);
        changes.append(self.replace(Owner::Peer(name), &old, &new));
        changes.append(self.settle());
        changes
    }

    fn peer_rows(&self, name: &NodeName) -> Tables {
        match self.peer(name) {
            Some(peer) => peer_rows(&self.context, peer),
            None => Tables::default(),
        }
    }

    fn peer(&self, name: &NodeName) -> Option<PeerView<'_>> {
        let node = self
            .nodes
            .get(name)
            .filter(|_| *name != self.context.name)?;
        let path_mtu = self.path_mtu.get(name).copied();
        Some(PeerView { node, path_mtu })
    }

    fn attach(&mut self, id: AttachmentId, now: Option<Attachment>) -> ChangeSet {
        if self.attachments.get(&id) == now.as_ref() {
            return ChangeSet::default();
        }
        // The first attachment of a node without pod CIDRs brings the filters, which concern all.
        let mut changes = ChangeSet::default();
        let before = match now {
            Some(attachment) => self.attachments.insert(id.clone(), attachment),
            None => self.attachments.remove(&id),
        };
        let rows = |ctx: &Context, a: Option<&Attachment>| {
            a.map(|a| attachment_rows(ctx, a)).unwrap_or_default()
        };
        let old = rows(&self.context, before.as_ref());
        let new = rows(&self.context, self.attachments.get(&id));
        self.totals.count_strays(&old, &new);
        changes.append(self.replace(Owner::Attachment(id), &old, &new));
        changes.append(self.change_context(self.context.clone()));
        changes.append(self.settle());
        changes
    }

    /// Brings what the context says of the node's own object and Pods up to date.
    fn with_own(&self, mut context: Context) -> Context {
        context.own = self.nodes.get(&context.name).map(|node| OwnNode {
            addresses: node.addresses.clone(),
            pod_cidrs: node.pod_cidrs.iter().map(IpNet::trunc).collect(),
        });
        let has_cidrs = !context.pod_cidrs().is_empty();
        context.filters = context.own.is_some() && (has_cidrs || !self.attachments.is_empty());
        context
    }

    /// Plans everything again if the context becomes another.
    fn change_context(&mut self, context: Context) -> ChangeSet {
        let context = self.with_own(context);
        if context == self.context {
            // Services care for more of the node than all others.
            let mut changes = self.change_ground();
            changes.append(self.settle());
            return changes;
        }
        let old = std::mem::replace(&mut self.context, context);
        let mut changes = self.change_ground();
        let new = &self.context;
        let mut take = |owner, before: &Tables, after: &Tables| {
            changes.append(self.ledger.replace(owner, before, after));
        };
        take(Owner::Base, &base_rows(&old), &base_rows(new));
        for (id, attachment) in &self.attachments {
            let before = attachment_rows(&old, attachment);
            let after = attachment_rows(new, attachment);
            self.totals.count_strays(&before, &after);
            take(Owner::Attachment(id.clone()), &before, &after);
        }
        for (name, node) in self.nodes.iter().filter(|(name, _)| **name != new.name) {
            let path_mtu = self.path_mtu.get(name).copied();
            let peer = PeerView { node, path_mtu };
            let (before, after) = (peer_rows(&old, peer), peer_rows(new, peer));
            take(Owner::Peer(name.clone()), &before, &after);
        }
        self.totals.count(&changes);
        // What follows from all others is replaced as it was planned: by the old summary.
        let before = totals_rows(&old, self.totals.summary());
        self.totals
            .renew(self.ledger.tables(), self.services.affinities());
        let after = totals_rows(&self.context, self.totals.summary());
        changes.append(self.ledger.replace(Owner::Totals, &before, &after));
        changes
    }

    fn replace(&mut self, owner: Owner, old: &Tables, new: &Tables) -> ChangeSet {
        let changes = self.ledger.replace(owner, old, new);
        self.totals.count(&changes);
        changes
    }

    /// Plans again what follows from all other rows, if that changed.
    fn settle(&mut self) -> ChangeSet {
        let Some(before) = self
            .totals
            .renew(self.ledger.tables(), self.services.affinities())
        else {
            return ChangeSet::default();
        };
        let old = totals_rows(&self.context, &before);
        let new = totals_rows(&self.context, self.totals.summary());
        self.ledger.replace(Owner::Totals, &old, &new)
    }

    /// The rows that the node's namespace must hold.
    pub fn rows(&self) -> &Tables {
        self.ledger.tables()
    }

    /// The planned rows that are there for one attachment: those on its own devices and those
    /// elsewhere. Costs nothing that grows with the node.
    pub fn rows_of(&self, id: &AttachmentId) -> Tables {
        match self.attachments.get(id) {
            Some(attachment) => {
                let rows = attachment_rows(&self.context, attachment);
                self.ledger.won(&Owner::Attachment(id.clone()), &rows)
            }
            None => Tables::default(),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &NodeName {
        &self.context.name
    }

    /// The node's own object, if the cluster knows it.
    pub fn node(&self) -> Option<&Node> {
        self.nodes.get(&self.context.name)
    }

    /// The node's own pod CIDRs.
    pub fn pod_cidrs(&self) -> &[IpNet] {
        self.node()
            .map(|node| &node.pod_cidrs[..])
            .unwrap_or_default()
    }

    /// All nodes by name.
    pub fn nodes(&self) -> &BTreeMap<NodeName, Node> {
        &self.nodes
    }

    /// All Pods by name.
    pub fn pods(&self) -> &BTreeMap<PodName, Pod> {
        &self.pods
    }

    /// The attachments of this node.
    pub fn attachments(&self) -> &BTreeMap<AttachmentId, Attachment> {
        &self.attachments
    }

    /// What people chose.
    pub fn settings(&self) -> &Settings {
        &self.context.settings
    }

    /// The uplink.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.context.uplink.as_ref()
    }

    /// What the namespace of an attachment's Pod must hold.
    pub fn pod_side_rows(&self, attachment: &Attachment) -> Tables {
        pod_side_rows(&self.context, attachment)
    }

    /// Each of an attachment's addresses as the Pod's interface has it, with its gateway.
    pub fn pod_addresses(&self, attachment: &Attachment) -> Vec<PodAddress> {
        let addresses = attachment.addresses.iter();
        addresses.map(|a| pod_address(&self.context, *a)).collect()
    }

    /// The MTU of Pod links in bytes: what people chose, and no more than gets through on every
    /// way that a packet may take to another node.
    pub fn pod_mtu(&self) -> u32 {
        self.context.pod_mtu()
    }

    /// How packets get to the Pods of another node that have addresses of `family`; `None` when
    /// there is no way, of which [`crate::check`] says why.
    pub fn method_to(&self, peer: &NodeName, family: Family) -> Option<Method> {
        let peer = self.peer(peer)?;
        self.context.way(peer.node, family).ok()
    }

    /// The largest packet in bytes that gets to a node, when it is less than the uplink takes.
    pub fn path_mtu(&self, peer: &NodeName) -> Option<u32> {
        self.path_mtu.get(peer).copied()
    }

    /// What rows follow from beside their object.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }
}
