//! Doing what the keeper is told: following the cluster, changing the wiring, lowering paths.

use std::time::Instant;

use seaway_model::{ClusterEvent, NodeName};
use seaway_plan::ChangeSet;
use seaway_plan::check::findings;

use super::services::FlowNews;
use super::{Command, Keeper, LOOK};
use crate::bridged;
use crate::journal::Topic;
use crate::state::State;
use crate::strangers;

impl Keeper {
    /// Does all that waits. Cluster events that came one behind the other are one change: a burst of
    /// nodes costs the kernel one batch.
    pub(super) fn obey_all(&mut self) {
        let mut events = Vec::new();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Cluster(more) => events.extend(more),
                other => {
                    self.follow(std::mem::take(&mut events));
                    self.obey(other);
                }
            }
        }
        self.follow(events);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::SourceProblem(problem) => {
                if let Some(problem) = &problem {
                    tracing::warn!(%problem, "the cluster's state cannot be read; the last one holds");
                }
                self.shared.lock().note_source(problem, Instant::now());
            }
            Command::Refused(objects) => self.tell_refused(objects),
            Command::Cluster(events) => self.follow(events),
            Command::Compare => self.ask_node(Instant::now()),
            Command::Rewire => self.rewire(),
            Command::PathMtu(node, mtu) => self.path_mtu(node, mtu),
        }
    }

    /// Takes in cluster events. The node counts as ready for Pods only when all that follows from
    /// them is in force, the uplink included.
    fn follow(&mut self, mut events: Vec<ClusterEvent>) {
        if events.is_empty() {
            return;
        }
        let began = Instant::now();
        self.shared.programming.taken(&events);
        let synced = events.contains(&ClusterEvent::Synced);
        events.retain(|event| *event != ClusterEvent::Synced);
        let (changes, new_gateways, touched, flows, of_nodes) = {
            let mut state = self.shared.lock();
            let own = |event: &ClusterEvent| match event {
                ClusterEvent::NodeUpsert(node) => node.name == *state.planner.name(),
                _ => false,
            };
            self.uplink_due |= events.iter().any(own);
            self.ports_due |= events.iter().any(is_of_service);
            let mut of_nodes = events.iter().any(is_of_node);
            let before = state.planner.pod_cidrs().to_vec();
            let mut changes = ChangeSet::default();
            for event in events {
                let more = state.cluster(event);
                // Before, all that counts is what there is in the end.
                if state.synced {
                    changes.append(more);
                }
            }
            let new_gateways = state.synced && state.planner.pod_cidrs() != before;
            let touched = std::mem::take(&mut state.touched);
            // A node's address may be an endpoint of Services that no event was about.
            of_nodes &= !changes.backends.is_empty();
            let flows = FlowNews::of(&state, &touched, &changes, of_nodes);
            // Before anybody sees what is planned.
            flows.expect(&self.shared.flows);
            (changes, new_gateways, touched, flows, of_nodes)
        };
        let failures = self.carry_out(&changes);
        self.shared.programming.done(began.elapsed(), &failures);
        self.compare_flows(flows);
        if !touched.is_empty() || of_nodes || self.uplink_due {
            self.renew_checks((!of_nodes).then_some(&touched));
            self.look_due.get_or_insert(Instant::now() + LOOK);
        }
        if new_gateways {
            self.ask_all_pods();
        }
        if synced {
            self.choose_uplink();
            self.shared.lock().cluster(ClusterEvent::Synced);
            self.reconcile();
            self.renew_checks(None);
            self.shared.flows.compare_all();
            self.ask_all_pods();
            self.look_around();
            seaway_kernel::limits::give_back_memory();
        }
        self.shared.announce();
    }

    /// Tells which objects are wrong: one condition for all, which status has word for word.
    fn tell_refused(&self, objects: Option<String>) {
        let journal = &self.shared.journal;
        match objects {
            Some(_) if journal.rests(&Topic::Objects, Instant::now()) => {}
            Some(message) => journal.holds(Topic::Objects, "ObjectsRefused", message),
            None => journal.over(&Topic::Objects, "ObjectsAccepted", || {
                "every object of the cluster can be read again".to_owned()
            }),
        }
    }

    /// Changes the wiring, if the last Pod of the one before is gone.
    fn rewire(&mut self) {
        let Some(changes) = self.shared.lock().rewire() else {
            return;
        };
        self.carry_out(&changes);
        // Whatever could not be carried out is tried again with all else.
        self.ask_node(Instant::now());
        self.shared.lock().rewired();
        self.shared.announce();
        self.tell_wiring();
    }

    fn path_mtu(&mut self, node: NodeName, mtu: Option<u32>) {
        let changes = self.shared.lock().path_mtu(node, mtu);
        self.carry_out(&changes);
        self.tell_paths();
    }

    /// Tells to which nodes packets must be smaller: one condition for all, so that a network whose
    /// paths change all the time does not flood the Node's Events. Status has the list.
    fn tell_paths(&self) {
        let journal = &self.shared.journal;
        if journal.rests(&Topic::PathMtu, Instant::now()) {
            return;
        }
        let lowered = lowered_paths(&self.shared.lock());
        match lowered {
            Some(message) => journal.holds(Topic::PathMtu, "PathMtuLowered", message),
            None => journal.over(&Topic::PathMtu, "PathMtuRestored", || {
                "packets as large as the uplink takes get to every node again".to_owned()
            }),
        }
    }

    /// Looks for what people should know of, and tells it.
    pub(super) fn look_around(&mut self) {
        self.tell_wiring();
        self.tell_paths();
        let (port, lost) = {
            let state = self.shared.lock();
            let vxlan = state.planner.settings().vxlan.as_ref();
            (vxlan.map(|vxlan| vxlan.port), unreachable(&state))
        };
        let journal = &self.shared.journal;
        match lost {
            Some(message) => journal.holds(Topic::Peers, "NodesUnreachable", message),
            None => journal.over(&Topic::Peers, "NodesReachable", || {
                "there is a way to the Pods of every node again".to_owned()
            }),
        }
        self.ports_due = true;
        self.tell_objects();
        bridged::look(&self.shared);
        strangers::look(&self.shared, port);
    }

    /// Tells that a wiring waits, or has come.
    pub(crate) fn tell_wiring(&self) {
        let (now, waiting) = {
            let state = self.shared.lock();
            (state.wiring(), state.waiting_wiring())
        };
        let journal = &self.shared.journal;
        match waiting {
            // Without the number of Pods, so that it is told once.
            Some(wanted) => journal.holds(
                Topic::Wiring,
                "WiringWaits",
                format!(
                    "Pods of this node are wired {now}; wiring {wanted} comes as soon as the last of \
                     them is gone: drain the node to have it now"
                ),
            ),
            None => journal.over(&Topic::Wiring, "WiringChanged", || {
                format!("Pods of this node are wired {now} from now on")
            }),
        }
    }
}

/// Addresses may have become a node's, or nobody's.
fn is_of_node(event: &ClusterEvent) -> bool {
    matches!(
        event,
        ClusterEvent::NodeUpsert(_) | ClusterEvent::NodeDelete(_)
    )
}

/// A Service may have got ports or lost them.
fn is_of_service(event: &ClusterEvent) -> bool {
    matches!(
        event,
        ClusterEvent::ServiceUpsert(_) | ClusterEvent::ServiceDelete(_)
    )
}

/// The nodes to which packets must be smaller than the uplink takes, in one line, if there are any.
fn lowered_paths(state: &State) -> Option<String> {
    let planner = &state.planner;
    let mut lowered = planner
        .nodes()
        .keys()
        .filter_map(|name| Some((name, planner.path_mtu(name)?)));
    let (node, mtu) = lowered.next()?;
    let more = match lowered.count() {
        0 => String::new(),
        more => format!(" ({more} more nodes have such paths, see `seaway status`)"),
    };
    let whole = planner.uplink().map_or(0, |uplink| uplink.mtu);
    Some(format!(
        "packets to node {node} get there with {mtu} bytes at most, and the uplink takes {whole}: \
         somebody on the way drops larger ones and does not say so; routes to its Pods are \
         lowered{more}"
    ))
}

/// The nodes to whose Pods there is no way, in one line, if there are any.
fn unreachable(state: &State) -> Option<String> {
    let all = findings(&state.planner).into_iter();
    let mut lost = all.filter(|finding| finding.message.contains("is not reachable"));
    let first = lost.next()?;
    let more = match lost.count() {
        0 => String::new(),
        more => format!(" (and {more} more like it, see `seaway status`)"),
    };
    Some(format!("{}: {}{more}", first.object, first.message))
}
