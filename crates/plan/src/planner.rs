//! The incremental planner of one node.
//!
//! An input marks what it can touch, and only that is planned again: a Pod or another node costs
//! the same whatever else there is. Only a change of the node itself or of its uplink touches all.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Attachment, AttachmentId, ClusterEvent, Family, Node, NodeName, Pod, PodName};

use crate::ledger::{Ledger, Owner};
use crate::rows::{attachment_rows, base_rows, peer_rows, pod_mtu};
use crate::table::{ChangeSet, Tables};

/// The node's way to the other nodes, as chosen on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The node's own addresses on it, at most one a family.
    pub addresses: Vec<IpAddr>,
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
}

/// Plans the rows of one node's network namespace.
#[derive(Clone, Debug)]
pub struct Planner {
    name: NodeName,
    nodes: BTreeMap<NodeName, Node>,
    pods: BTreeMap<PodName, Pod>,
    attachments: BTreeMap<AttachmentId, Attachment>,
    uplink: Option<Uplink>,
    ledger: Ledger,
}

impl Planner {
    /// A planner of the node `name` that knows nothing yet.
    pub fn new(name: NodeName) -> Planner {
        Planner {
            name,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            attachments: BTreeMap::new(),
            uplink: None,
            ledger: Ledger::default(),
        }
    }

    /// Takes in one input and gives what changes in the planned rows.
    pub fn apply(&mut self, input: Input) -> ChangeSet {
        match input {
            Input::Cluster(event) => self.cluster(event),
            Input::Uplink(uplink) => {
                if self.uplink == uplink {
                    return ChangeSet::default();
                }
                self.uplink = uplink;
                self.plan_all()
            }
            Input::Attach(attachment) => {
                let id = attachment.id.clone();
                self.attachments.insert(id.clone(), attachment);
                self.plan(&Owner::Attachment(id))
            }
            Input::Detach(id) => {
                self.attachments.remove(&id);
                self.plan(&Owner::Attachment(id))
            }
        }
    }

    fn cluster(&mut self, event: ClusterEvent) -> ChangeSet {
        match event {
            ClusterEvent::NodeUpsert(node) => {
                let name = node.name.clone();
                self.nodes.insert(name.clone(), node);
                self.plan_node(name)
            }
            ClusterEvent::NodeDelete(name) => {
                self.nodes.remove(&name);
                self.plan_node(name)
            }
            ClusterEvent::PodUpsert(pod) => {
                self.pods.insert(pod.name.clone(), pod);
                ChangeSet::default()
            }
            ClusterEvent::PodDelete(name) => {
                self.pods.remove(&name);
                ChangeSet::default()
            }
            ClusterEvent::Synced => ChangeSet::default(),
        }
    }

    fn plan_node(&mut self, name: NodeName) -> ChangeSet {
        if name == self.name {
            self.plan_all()
        } else {
            self.plan(&Owner::Peer(name))
        }
    }

    fn plan_all(&mut self) -> ChangeSet {
        let attachments = self.attachments.keys().cloned().map(Owner::Attachment);
        let peers = self
            .nodes
            .keys()
            .filter(|n| **n != self.name)
            .cloned()
            .map(Owner::Peer);
        let owners: Vec<Owner> = std::iter::once(Owner::Base)
            .chain(attachments)
            .chain(peers)
            .collect();
        let mut changes = ChangeSet::default();
        for owner in owners {
            changes.append(self.plan(&owner));
        }
        changes
    }

    fn plan(&mut self, owner: &Owner) -> ChangeSet {
        let uplink = self.uplink.as_ref();
        let rows = match owner {
            Owner::Base => base_rows(self.pod_cidrs()),
            Owner::Attachment(id) => self
                .attachments
                .get(id)
                .map(|a| attachment_rows(a, uplink))
                .unwrap_or_default(),
            Owner::Peer(name) => self
                .nodes
                .get(name)
                .map(|peer| peer_rows(peer, self.pod_cidrs(), uplink))
                .unwrap_or_default(),
        };
        self.ledger.set(owner, rows)
    }

    /// The rows that the node's namespace must hold.
    pub fn rows(&self) -> &Tables {
        self.ledger.tables()
    }

    /// The node's name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// The node's own object, if the cluster knows it.
    pub fn node(&self) -> Option<&Node> {
        self.nodes.get(&self.name)
    }

    /// The node's own pod CIDRs.
    pub fn pod_cidrs(&self) -> &[IpNet] {
        self.nodes
            .get(&self.name)
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

    /// The uplink.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.uplink.as_ref()
    }

    /// The MTU of Pod links in bytes.
    pub fn pod_mtu(&self) -> u32 {
        pod_mtu(self.uplink.as_ref())
    }
}
