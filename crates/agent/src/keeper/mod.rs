//! The keeper: applies what changes in the cluster, and keeps the kernel as planned.
//!
//! One thread that sleeps until a command, a notification or a deadline comes. A notification
//! that agrees with the plan costs a look-up; one that contradicts it leads to a comparison of the
//! kernel with the plan and to the repair of what differs.

mod follow;
mod pods;
mod reconcile;
mod services;
mod trust;
mod uplink;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_kernel::KernelError;
use seaway_kernel::netlink::Netlink;
use seaway_kernel::realise::{Devices, FirewallWatch, NodeRealiser, Sighting, Watch};
use seaway_kernel::uplink::UplinkRule;
use seaway_model::{
    Attachment, ClusterEvent, Device, Family, NodeName, Row, SysctlKey, SysctlRow, SysctlScope,
};
use seaway_plan::Table;

use crate::records::Record;
use crate::shared::Shared;
use crate::state::Demand;

/// How often everything is compared although nothing was seen.
const AUDIT: Duration = Duration::from_secs(60);
/// How much longer the time between two audits is than what one takes.
const AUDIT_SHARE: u32 = 200;
/// How long changes gather before people are told what does not go together.
const LOOK: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long to rest after a comparison that found nothing wrong, so that somebody who changes
/// things back and forth cannot keep the agent busy.
const REST: Duration = Duration::from_millis(20);

/// How many sightings are judged one by one; beyond, everything is compared.
const MAX_SIGHTINGS: usize = 4096;

/// What the keeper is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// The cluster changed.
    Cluster(Vec<ClusterEvent>),
    /// The source has a problem, or none any more.
    SourceProblem(Option<String>),
    /// Some objects of the cluster are wrong in themselves, or none is any more.
    Refused(Option<String>),
    /// A request left something that is not as planned.
    Compare,
    /// The last Pod of the wiring before may be gone.
    Rewire,
    /// The largest packet in bytes that gets to a node, or that all do which the uplink takes.
    PathMtu(NodeName, Option<u32>),
}

/// The keeper's own things; what others may see is in [`Shared`].
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    node: Box<dyn NodeRealiser>,
    netlink: Netlink,
    watch: Watch,
    firewall: FirewallWatch,
    devices: Arc<Devices>,
    commands: Receiver<Command>,
    rule: UplinkRule,
    saved: PathBuf,
    node_due: Option<Instant>,
    uplink_due: bool,
    rest_until: Instant,
    retry: Duration,
    audit_at: Instant,
    /// How long the last comparison took.
    compared_in: Duration,
    pods: pods::Repairs,
    /// Whether the tables of Services need not be read again.
    trust: trust::Trust,
    /// Attachments whose namespace is gone, and to which ports of the node may still lead.
    lost: Vec<Attachment>,
    /// When the objects of the cluster are to be looked at again.
    look_due: Option<Instant>,
    /// The ports of Services are to be looked at again, too.
    ports_due: bool,
    /// The objects of which people have been told.
    told_objects: BTreeSet<String>,
}

/// Whether an attachment's namespace still exists where it was, so that its link can be made again.
pub(crate) fn leads_on(shared: &Shared, record: &Record) -> bool {
    !matches!(pods::reopen(shared, record), Ok(None))
}

impl Keeper {
    /// A keeper of the calling thread's namespace; it watches from now on. The file `saved` tells
    /// what settings of the uplink were before us.
    pub(crate) fn new(
        shared: Arc<Shared>,
        devices: Arc<Devices>,
        commands: Receiver<Command>,
        rule: UplinkRule,
        saved: PathBuf,
    ) -> Result<Keeper, KernelError> {
        let now = Instant::now();
        Ok(Keeper {
            node: shared.host.node()?,
            netlink: Netlink::open()?,
            watch: Watch::open(devices.clone())?,
            firewall: FirewallWatch::open()?,
            shared,
            devices,
            commands,
            rule,
            saved,
            node_due: Some(now),
            uplink_due: true,
            rest_until: now,
            retry: RETRY.0,
            audit_at: now + AUDIT,
            compared_in: Duration::ZERO,
            pods: pods::Repairs::default(),
            trust: trust::Trust::default(),
            lost: Vec::new(),
            look_due: None,
            ports_due: true,
            told_objects: BTreeSet::new(),
        })
    }

    /// Works for ever.
    pub(crate) fn run(mut self) -> Result<(), KernelError> {
        loop {
            self.wait();
            self.look()?;
            self.obey_all();
            if Instant::now() >= self.audit_at {
                self.audit_at = Instant::now() + AUDIT.max(self.compared_in * AUDIT_SHARE);
                self.uplink_due = true;
                self.ask_node(Instant::now());
                self.ask_all_pods();
                self.look_around();
                self.shared.flows.compare_all();
            }
            if std::mem::take(&mut self.uplink_due) {
                self.choose_uplink();
            }
            if self.look_due.is_some_and(|due| due <= Instant::now()) {
                self.look_due = None;
                self.tell_objects();
            }
            self.repair_pods();
            let now = Instant::now();
            if self.node_due.is_some_and(|due| due <= now) && self.rest_until <= now {
                self.reconcile();
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) {
        let now = Instant::now();
        let node = self.node_due.map(|due| due.max(self.rest_until));
        let due = [
            Some(self.audit_at),
            node,
            self.pods.next_due(),
            self.look_due,
        ]
        .into_iter()
        .flatten()
        .min();
        let left = due.unwrap_or(self.audit_at).saturating_duration_since(now);
        // One millisecond more, so that the deadline has passed when the wait is over.
        let limit = u16::try_from(left.as_millis() + 1).map_or(PollTimeout::MAX, PollTimeout::from);
        let limit = if left.is_zero() {
            PollTimeout::ZERO
        } else {
            limit
        };
        let wake = self.shared.keeper.wake_fd();
        let mut fds = [
            PollFd::new(self.watch.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.firewall.as_fd(), PollFlags::POLLIN),
            PollFd::new(wake.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, limit);
        if fds[2].any() == Some(true) {
            let _ = wake.read();
        }
    }

    /// Judges everything that was seen since the last look.
    fn look(&mut self) -> Result<(), KernelError> {
        let mut sightings: Vec<Sighting> = Vec::new();
        self.watch.drain(|sighting| {
            if sightings.len() < MAX_SIGHTINGS && sightings.last() != Some(&sighting) {
                sightings.push(sighting);
            }
        })?;
        if sightings.len() >= MAX_SIGHTINGS {
            sightings = vec![Sighting::Overflow];
        }
        if self.firewall.drain()? {
            tracing::debug!("somebody changed our filters");
            self.trust.doubt();
            self.ask_node(Instant::now());
        }
        if sightings.is_empty() {
            return Ok(());
        }
        if sightings.contains(&Sighting::Overflow) {
            self.uplink_due = true;
            self.ask_all_pods();
        }
        let demands: Vec<Demand> = {
            let state = self.shared.lock();
            sightings
                .iter()
                .filter_map(|sighting| state.judge(sighting))
                .collect()
        };
        for demand in demands {
            tracing::debug!(?demand, "drift");
            match demand {
                Demand::Node => self.ask_node(Instant::now()),
                Demand::Pod(id) => self.pods.ask(id, Instant::now()),
                Demand::Settings(device) => self.check_settings(device.as_ref()),
                Demand::Uplink => self.uplink_due = true,
            }
        }
        Ok(())
    }

    /// Asks for every Pod's namespace to be looked at.
    fn ask_all_pods(&mut self) {
        let ids: Vec<_> = self.shared.lock().records.keys().cloned().collect();
        for id in ids {
            self.pods.ask(id, Instant::now());
        }
    }

    fn ask_node(&mut self, at: Instant) {
        self.node_due = Some(self.node_due.map_or(at, |due| due.min(at)));
    }

    /// Compares just the settings that a notification is about.
    fn check_settings(&mut self, device: Option<&Device>) {
        let scopes = match device {
            Some(device) => vec![
                SysctlScope::Device(device.clone()),
                SysctlScope::Neighbours(device.clone()),
            ],
            None => vec![SysctlScope::Family, SysctlScope::All],
        };
        let keys = scopes
            .iter()
            .flat_map(|scope| Family::ALL.map(|family| (family, scope)));
        let mut planned: Table<SysctlRow> = Table::default();
        for (family, scope) in keys {
            let first = SysctlKey {
                family,
                scope: scope.clone(),
                name: "",
            };
            let same = |row: &&SysctlRow| row.key.family == family && row.key.scope == *scope;
            let state = self.shared.lock();
            let rows = state
                .planner
                .rows()
                .sysctls
                .iter_from(first)
                .take_while(same);
            rows.for_each(|row| drop(planned.insert(row.clone())));
        }
        let observed = self.node.settings(&planned);
        let differs = |row: &SysctlRow| observed.get(&row.key()).is_some_and(|o| !row.in_force(o));
        if planned.iter().any(differs) {
            self.ask_node(Instant::now());
        }
    }
}
