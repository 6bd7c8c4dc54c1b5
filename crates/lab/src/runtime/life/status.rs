//! What a Pod's life looks like from outside: phase, conditions and the states of its containers,
//! in the words that kubelet uses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as ApiTime;

use super::member::{Ended, Member, State};
use super::{Ending, Life, Sandbox, Step, Time};
use crate::runtime::plan::Role;

const SCHEDULED: &str = "PodScheduled";
const READY_TO_START: &str = "PodReadyToStartContainers";
const INITIALIZED: &str = "Initialized";
const CONTAINERS_READY: &str = "ContainersReady";
const READY: &str = "Ready";

/// What the status of a Pod takes from elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The addresses of the node.
    pub(crate) host_ips: Vec<IpAddr>,
    /// What the API's object says at present.
    pub(crate) conditions: Vec<PodCondition>,
    pub(crate) qos_class: Option<String>,
}

/// Since when each condition is what it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Transitions(BTreeMap<&'static str, (bool, Time)>);

/// A condition of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Condition {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Condition {
    const TRUE: Condition = Condition {
        holds: true,
        reason: None,
        message: None,
    };

    fn fails(reason: &'static str, message: Option<String>) -> Condition {
        Condition {
            holds: false,
            reason: Some(reason),
            message,
        }
    }
}

/// The phase of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Life {
    /// What to report of the Pod.
    pub(crate) fn status(&self, around: &Surroundings) -> PodStatus {
        let statuses = |wanted: &dyn Fn(Role) -> bool| {
            let own = self
                .members
                .iter()
                .filter(|m| wanted(self.plan.members[m.at].role));
            let statuses: Vec<_> = own.map(|m| self.container_status(m)).collect();
            (!statuses.is_empty()).then_some(statuses)
        };
        let too_long = self.ending == Some(Ending::TooLong);
        let text = |ip: &IpAddr| ip.to_string();
        let pod_ips = self
            .addresses
            .iter()
            .map(|ip| PodIP { ip: text(ip) })
            .collect::<Vec<_>>();
        let host_ips = around
            .host_ips
            .iter()
            .map(|ip| HostIP { ip: text(ip) })
            .collect();
        PodStatus {
            phase: Some(format!("{:?}", self.phase())),
            reason: too_long.then(|| "DeadlineExceeded".to_owned()),
            message: too_long.then(|| {
                "Pod was active on the node longer than the specified deadline".to_owned()
            }),
            conditions: Some(self.conditions(around)),
            container_statuses: statuses(&|role| role == Role::Main),
            init_container_statuses: statuses(&|role| role != Role::Main),
            host_ip: around.host_ips.first().map(text),
            host_ips: Some(host_ips),
            pod_ip: self.addresses.first().map(text),
            pod_ips: (!pod_ips.is_empty()).then_some(pod_ips),
            start_time: Some(ApiTime(self.begun)),
            qos_class: around.qos_class.clone(),
            observed_generation: self.plan.generation,
            ..PodStatus::default()
        }
    }

    /// Whether all that there is of the Pod is ready to serve.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready().holds
    }

    /// How the Pod is, in one word.
    pub(crate) fn phase_name(&self) -> String {
        format!("{:?}", self.phase())
    }

    /// 1. A Pod that ran too long has failed as soon as nothing runs.
    /// 2. One that is through, or was ended, is what its containers came to, once nothing runs.
    /// 3. It runs once a main container has ever run.
    fn phase(&self) -> Phase {
        let over = self.ending.is_some() || self.is_through();
        if over && self.is_quiet() && !matches!(self.volumes, Step::Busy(_)) {
            let well = |m: &Member| m.ended().is_some_and(|how| how.code == 0);
            return match self.ending {
                Some(Ending::TooLong) => Phase::Failed,
                _ if self.mains().all(well) => Phase::Succeeded,
                _ => Phase::Failed,
            };
        }
        let has_run = |m: &Member| m.running().is_some() || m.ended().is_some() || m.last.is_some();
        if self.mains().any(has_run) {
            Phase::Running
        } else {
            Phase::Pending
        }
    }

    fn is_member_ready(&self, member: &Member) -> bool {
        match self.plan.members[member.at].role {
            Role::Init => member.ended().is_some_and(|how| how.code == 0),
            Role::Sidecar | Role::Main => member.running().is_some_and(|r| r.probes.ready()),
        }
    }

    fn names(&self, wanted: impl Fn(&&Member) -> bool) -> Vec<&str> {
        let members = self.members.iter().filter(wanted);
        members
            .map(|m| self.plan.members[m.at].name.as_str())
            .collect()
    }

    fn initialized(&self) -> Condition {
        if self.phase() == Phase::Succeeded {
            return Condition {
                reason: Some("PodCompleted"),
                ..Condition::TRUE
            };
        }
        if self.initialized {
            return Condition::TRUE;
        }
        let incomplete = self.names(|m| match self.plan.members[m.at].role {
            Role::Init => !self.is_member_ready(m),
            Role::Sidecar => !m.has_started(),
            Role::Main => false,
        });
        if incomplete.is_empty() {
            return Condition::TRUE;
        }
        let list = incomplete.join(" ");
        let message = format!("containers with incomplete status: [{list}]");
        Condition::fails("ContainersNotInitialized", Some(message))
    }

    fn containers_ready(&self) -> Condition {
        match self.phase() {
            Phase::Succeeded => return Condition::fails("PodCompleted", None),
            Phase::Failed => return Condition::fails("PodFailed", None),
            Phase::Pending | Phase::Running => {}
        }
        let unready =
            self.names(|m| self.plan.members[m.at].role != Role::Init && !self.is_member_ready(m));
        if unready.is_empty() {
            return Condition::TRUE;
        }
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        Condition::fails("ContainersNotReady", Some(message))
    }

    fn ready(&self) -> Condition {
        let containers = self.containers_ready();
        if !containers.holds {
            return containers;
        }
        let complaints: Vec<_> = self
            .plan
            .gates
            .iter()
            .filter_map(|gate| match gate.status.as_deref() {
                Some("True") => None,
                Some(other) => Some(format!(
                    "the status of pod readiness gate \"{}\" is not \"True\", but {other}",
                    gate.condition
                )),
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{}\" does not exist.",
                    gate.condition
                )),
            })
            .collect();
        if complaints.is_empty() {
            return Condition::TRUE;
        }
        Condition::fails("ReadinessGatesNotReady", Some(complaints.join(", ")))
    }

    fn own_conditions(&self) -> [(&'static str, Condition); 4] {
        let ready_to_start = Condition {
            holds: self.sandbox == Sandbox::Up,
            ..Condition::default()
        };
        [
            (READY_TO_START, ready_to_start),
            (INITIALIZED, self.initialized()),
            (READY, self.ready()),
            (CONTAINERS_READY, self.containers_ready()),
        ]
    }

    /// Remembers when conditions change.
    pub(super) fn note_transitions(&mut self, now: Time) {
        for (kind, condition) in self.own_conditions() {
            let entry = self
                .transitions
                .0
                .entry(kind)
                .or_insert((condition.holds, now));
            if entry.0 != condition.holds {
                *entry = (condition.holds, now);
            }
        }
    }

    /// Ours, and those of others as they are.
    fn conditions(&self, around: &Surroundings) -> Vec<PodCondition> {
        let own = self.own_conditions();
        let is_own = |c: &&PodCondition| own.iter().any(|(kind, _)| c.type_ == *kind);
        let foreign: Vec<_> = around
            .conditions
            .iter()
            .filter(|c| !is_own(c))
            .cloned()
            .collect();
        let scheduled = foreign.iter().any(|c| c.type_ == SCHEDULED);
        let by_name = (!scheduled).then(|| self.condition(SCHEDULED, Condition::TRUE));
        let own = own
            .clone()
            .map(|(kind, condition)| self.condition(kind, condition));
        own.into_iter().chain(by_name).chain(foreign).collect()
    }

    fn condition(&self, kind: &'static str, condition: Condition) -> PodCondition {
        let since = self
            .transitions
            .0
            .get(kind)
            .map_or(self.begun, |(_, since)| *since);
        PodCondition {
            type_: kind.to_owned(),
            status: if condition.holds { "True" } else { "False" }.to_owned(),
            reason: condition.reason.map(str::to_owned),
            message: condition.message,
            last_transition_time: Some(ApiTime(since)),
            observed_generation: self.plan.generation,
            last_probe_time: None,
        }
    }

    fn container_status(&self, member: &Member) -> ContainerStatus {
        let plan = &self.plan.members[member.at];
        let (state, before) = self.shown(member);
        let id = match &member.state {
            State::Running(running) => Some(running.id.clone()),
            State::Ended { how, .. } => how.id.clone(),
            State::Waiting { .. } | State::Starting { .. } => {
                member.last.as_ref().and_then(|how| how.id.clone())
            }
        };
        ContainerStatus {
            name: plan.name.clone(),
            image: plan.image.clone(),
            image_id: id
                .as_ref()
                .map(|_| format!("seaway://{}", plan.image))
                .unwrap_or_default(),
            container_id: id,
            ready: self.is_member_ready(member),
            started: Some(member.has_started()),
            restart_count: i32::try_from(member.restarts).unwrap_or(i32::MAX),
            state: Some(state),
            last_state: before.map(|how| terminated(&how)),
            ..ContainerStatus::default()
        }
    }

    /// The state of a container, and how its last run before that ended.
    fn shown(&self, member: &Member) -> (ContainerState, Option<Ended>) {
        let last = member.last.clone();
        match &member.state {
            State::Waiting {
                trouble: Some((reason, message)),
                ..
            } => (waiting(reason, Some(message.clone())), last),
            State::Waiting { .. } | State::Starting { .. } => (self.waits_for_pod(), last),
            State::Running(running) => (
                ContainerState {
                    running: Some(ContainerStateRunning {
                        started_at: Some(ApiTime(running.since)),
                    }),
                    ..ContainerState::default()
                },
                last,
            ),
            State::Ended { how, again } => {
                let wait = again.map(|at| at.duration_since(how.finished));
                let wait = wait.and_then(|wait| Duration::try_from(wait).ok());
                match wait.filter(|wait| !wait.is_zero() && self.ending.is_none()) {
                    Some(wait) => (self.crash_loop(member, wait), Some(how.clone())),
                    None => (terminated(how), last),
                }
            }
        }
    }

    fn waits_for_pod(&self) -> ContainerState {
        let has_init = self.plan.members.iter().any(|m| m.role != Role::Main);
        let usual = if has_init {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        match &self.trouble {
            Some(failure) => waiting(
                failure.waiting.unwrap_or(usual),
                Some(failure.message.clone()),
            ),
            None => waiting(usual, None),
        }
    }

    fn crash_loop(&self, member: &Member, wait: Duration) -> ContainerState {
        let message = format!(
            "back-off {}s restarting failed container={} pod={}",
            wait.as_secs(),
            self.plan.members[member.at].name,
            self.plan.full_name()
        );
        waiting("CrashLoopBackOff", Some(message))
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ContainerState::default()
    }
}

fn terminated(how: &Ended) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: how.id.clone(),
            exit_code: how.code,
            reason: Some(how.reason.clone()),
            message: how.message.clone(),
            started_at: Some(ApiTime(how.started)),
            finished_at: Some(ApiTime(how.finished)),
            signal: None,
        }),
        ..ContainerState::default()
    }
}
