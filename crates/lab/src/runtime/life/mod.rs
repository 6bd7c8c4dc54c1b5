//! The life of one Pod as a state machine: it is told what has happened and what time it is, and
//! says what to do next, when it wants to be asked again, and what to report.
//!
//! It has no clock and does no IO. Whoever drives it does every [`Action`] once and tells the
//! outcome by an [`Input`]; all but [`Action::Ask`], [`Action::Kill`], [`Action::Note`] and
//! [`Action::Forget`] have one.

mod member;
mod probing;
mod status;
mod words;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub(crate) use member::StartFailure;
pub(crate) use probing::ProbeKind;
pub(crate) use status::Surroundings;
pub(crate) use words::{Action, BackOff, Failure, Hook, Input, Note, Outcome};

use super::plan::{Plan, Restart, Role};
use member::Member;
use status::Transitions;
use words::Stage;

/// A moment: of the machine's clock when the runtime began, going on steadily from there.
pub(crate) type Time = k8s_openapi::jiff::Timestamp;

/// What containers are given to end whose sandbox has died under them.
const WITHOUT_SANDBOX: Duration = Duration::from_secs(2);

/// How far something is that has to be made once and may have to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Todo(Retry),
    Busy(Retry),
    Done,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Retry {
    failures: u32,
    not_before: Option<Time>,
}

impl Retry {
    fn is_due(&self, now: Time) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    fn after(self, back_off: &BackOff, now: Time) -> Retry {
        Retry {
            failures: self.failures.saturating_add(1),
            not_before: Some(now + back_off.config(self.failures)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sandbox {
    Absent(Retry),
    Coming(Retry),
    Up,
    /// To be removed.
    Broken(Retry),
    Going(Retry),
}

/// Why everything of the Pod has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The Pod itself goes.
    Asked,
    /// It has run for as long as it was allowed to.
    TooLong,
}

/// One Pod.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    plan: Plan,
    back_off: BackOff,
    begun: Time,
    volumes: Step,
    sandbox: Sandbox,
    addresses: Vec<IpAddr>,
    /// Why the containers have to wait, as far as that is not a container's own trouble.
    trouble: Option<Failure>,
    /// Whether all init containers are through in this sandbox.
    initialized: bool,
    members: Vec<Member>,
    ending: Option<Ending>,
    /// Until when containers that are being stopped have time, once that has begun.
    stop_by: Option<Time>,
    transitions: Transitions,
    /// A Pod that had ended before it came here.
    settled: bool,
    forgotten: bool,
    /// When it last did all that it could: what was due then waits for something else than time.
    looked: Time,
}

impl Life {
    /// A Pod that has just come. One that has ended already (`settled`) is never started.
    pub(crate) fn new(plan: Plan, back_off: BackOff, settled: bool, now: Time) -> Life {
        let members = (0..plan.members.len()).map(Member::new).collect();
        let mut life = Life {
            plan,
            back_off,
            begun: now,
            volumes: Step::Todo(Retry::default()),
            sandbox: Sandbox::Absent(Retry::default()),
            addresses: Vec::new(),
            trouble: None,
            initialized: false,
            members,
            ending: None,
            stop_by: None,
            transitions: Transitions::default(),
            settled,
            forgotten: false,
            looked: now,
        };
        life.note_transitions(now);
        life
    }

    /// The Pod, as it is to be.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether it had ended before it came here, so that there is nothing to report.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// The addresses that it has, or had at last.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// How often a container has been started again.
    pub(crate) fn restarts(&self, member: usize) -> u32 {
        self.members.get(member).map_or(0, |m| m.restarts)
    }

    /// Takes what has happened, and tells what to do about it.
    pub(crate) fn step(&mut self, input: Input, now: Time) -> Vec<Action> {
        let mut todo = Vec::new();
        self.take(input, now, &mut todo);
        todo.append(&mut self.advance(now));
        todo
    }

    fn take(&mut self, input: Input, now: Time, todo: &mut Vec<Action>) {
        match input {
            Input::Prepared(result) => self.prepared(result, now, todo),
            Input::SandboxUp(result) => self.sandbox_up(result, now, todo),
            Input::SandboxDied => {
                if self.sandbox == Sandbox::Up {
                    let text = "Pod sandbox changed, it will be killed and re-created.";
                    todo.push(Action::Note(Note::normal(
                        "SandboxChanged",
                        text.to_owned(),
                    )));
                    self.sandbox = Sandbox::Broken(Retry::default());
                    self.shorten(now + self.plan.grace.min(WITHOUT_SANDBOX));
                }
            }
            Input::SandboxRemoved(result) => self.sandbox_removed(result, now, todo),
            Input::Changed(plan) => self.changed(*plan, now, todo),
            Input::Nudged => self.nudge(),
            Input::End(grace) => self.end(Ending::Asked, now + grace),
            Input::Started {
                member,
                run,
                result,
            } => {
                self.on(member, now, todo, |m, stage| m.started(stage, run, result));
            }
            Input::Exited {
                member,
                run,
                outcome,
            } => {
                self.on(member, now, todo, |m, stage| m.exited(stage, run, outcome));
            }
            Input::Probed {
                member,
                run,
                kind,
                result,
            } => {
                self.on(member, now, todo, |m, stage| {
                    m.probed(stage, run, kind, result);
                });
            }
            Input::Hooked {
                member,
                run,
                hook,
                result,
            } => {
                self.on(member, now, todo, |m, stage| {
                    m.hook_done(stage, run, hook, result);
                });
            }
        }
    }

    fn on(
        &mut self,
        member: usize,
        now: Time,
        todo: &mut Vec<Action>,
        act: impl FnOnce(&mut Member, &mut Stage<'_>),
    ) {
        if let Some(member) = self.members.get_mut(member) {
            let mut stage = Stage {
                plan: &self.plan,
                back_off: &self.back_off,
                now,
                todo,
            };
            act(member, &mut stage);
        }
    }

    fn prepared(&mut self, result: Result<(), Failure>, now: Time, todo: &mut Vec<Action>) {
        let Step::Busy(retry) = self.volumes else {
            return;
        };
        self.volumes = match result {
            Ok(()) => {
                self.trouble = None;
                Step::Done
            }
            Err(failure) => {
                todo.push(Action::Note(Note::warning(
                    "FailedMount",
                    failure.message.clone(),
                )));
                self.trouble = Some(failure);
                Step::Todo(retry.after(&self.back_off, now))
            }
        };
    }

    fn sandbox_up(
        &mut self,
        result: Result<Vec<IpAddr>, Failure>,
        now: Time,
        todo: &mut Vec<Action>,
    ) {
        let Sandbox::Coming(retry) = self.sandbox else {
            return;
        };
        self.sandbox = match result {
            Ok(addresses) => {
                self.addresses = addresses;
                self.trouble = None;
                Sandbox::Up
            }
            Err(failure) => {
                let text = format!("Failed to create pod sandbox: {}", failure.message);
                todo.push(Action::Note(Note::warning("FailedCreatePodSandBox", text)));
                self.trouble = Some(failure);
                Sandbox::Absent(retry.after(&self.back_off, now))
            }
        };
    }

    fn sandbox_removed(&mut self, result: Result<(), Failure>, now: Time, todo: &mut Vec<Action>) {
        let Sandbox::Going(retry) = self.sandbox else {
            return;
        };
        self.sandbox = match result {
            Ok(()) => Sandbox::Absent(Retry::default()),
            Err(failure) => {
                let text = format!("error killing pod: {}", failure.message);
                todo.push(Action::Note(Note::warning("FailedKillPod", text)));
                Sandbox::Broken(retry.after(&self.back_off, now))
            }
        };
    }

    /// Of a Pod that runs, only images (and what does not concern us) can change.
    fn changed(&mut self, plan: Plan, now: Time, todo: &mut Vec<Action>) {
        if plan.members.len() != self.plan.members.len() {
            return;
        }
        let old = std::mem::replace(&mut self.plan, plan);
        for at in 0..self.members.len() {
            if old.members[at].image == self.plan.members[at].image {
                continue;
            }
            let by = now + self.plan.grace;
            let name = &self.plan.members[at].name;
            let why = format!("Container {name} definition changed, will be restarted");
            self.on(at, now, todo, |member, stage| {
                member.nudge();
                member.stop(stage, by, &why);
            });
        }
    }

    fn nudge(&mut self) {
        self.members.iter_mut().for_each(Member::nudge);
        if let Step::Todo(retry) = &mut self.volumes {
            retry.not_before = None;
        }
    }

    /// 1. What is asked for prevails over what has come of itself.
    /// 2. Who asks again can shorten the time, not prolong it.
    fn end(&mut self, ending: Ending, by: Time) {
        if self.ending != Some(Ending::Asked) {
            self.ending = Some(ending);
        }
        self.shorten(by);
    }

    fn shorten(&mut self, by: Time) {
        self.stop_by = Some(self.stop_by.map_or(by, |before| before.min(by)));
    }

    /// Does all that can be done now.
    ///
    /// 1. A Pod that has run too long ends.
    /// 2. One that ends, that is through, or whose sandbox is broken is taken down: first the main
    ///    containers, then the sidecars, then the sandbox.
    /// 3. Any other is built up: volumes, sandbox, init containers in order, main containers.
    /// 4. Then each container's own deadlines are met.
    pub(crate) fn advance(&mut self, now: Time) -> Vec<Action> {
        let mut todo = Vec::new();
        self.looked = self.looked.max(now);
        if self.forgotten {
            return todo;
        }
        if self.ending.is_none() && self.lasts_until().is_some_and(|at| at <= now) {
            self.end(Ending::TooLong, now + self.plan.grace);
        }
        if self.ending.is_some() {
            if self.take_down(now, &mut todo) && self.ending == Some(Ending::Asked) {
                self.forgotten = true;
                todo.push(Action::Forget);
            }
        } else if self.settled {
            return todo;
        } else if self.is_through() || self.is_broken() {
            self.take_down(now, &mut todo);
        } else {
            self.build_up(now, &mut todo);
        }
        for at in 0..self.members.len() {
            self.on(at, now, &mut todo, Member::meet_deadlines);
        }
        self.note_transitions(now);
        todo
    }

    /// When it next wants to be asked.
    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.forgotten {
            return None;
        }
        let volumes = match self.volumes {
            Step::Todo(retry) => retry.not_before,
            Step::Busy(_) | Step::Done => None,
        };
        let sandbox = match self.sandbox {
            Sandbox::Absent(retry) | Sandbox::Broken(retry) => retry.not_before,
            Sandbox::Coming(_) | Sandbox::Up | Sandbox::Going(_) => None,
        };
        let lasts = self.lasts_until().filter(|_| self.ending.is_none());
        let members = self.members.iter().filter_map(Member::deadline);
        members
            .chain([volumes, sandbox, lasts].into_iter().flatten())
            .filter(|at| *at > self.looked)
            .min()
    }

    fn lasts_until(&self) -> Option<Time> {
        let over = self.settled || self.is_through();
        self.plan
            .active_deadline
            .filter(|_| !over)
            .map(|limit| self.begun + limit)
    }

    /// Whether nothing is left for the containers to do.
    fn is_through(&self) -> bool {
        let failed_init = |m: &Member| {
            self.plan.members[m.at].role == Role::Init
                && self.plan.restart == Restart::Never
                && m.ended().is_some_and(|how| how.code != 0)
        };
        let mut mains = self.mains().peekable();
        self.members.iter().any(failed_init)
            || mains.peek().is_some() && mains.all(|m| m.is_over(&self.plan))
    }

    fn is_broken(&self) -> bool {
        matches!(self.sandbox, Sandbox::Broken(_) | Sandbox::Going(_))
    }

    fn mains(&self) -> impl Iterator<Item = &Member> {
        let main = |m: &&Member| self.plan.members[m.at].role == Role::Main;
        self.members.iter().filter(main)
    }

    fn is_quiet(&self) -> bool {
        !self.members.iter().any(Member::is_active)
    }

    /// Takes a further step down; tells whether nothing is left.
    fn take_down(&mut self, now: Time, todo: &mut Vec<Action>) -> bool {
        let by = *self.stop_by.get_or_insert(now + self.plan.grace);
        self.stop_members(by, now, todo);
        if !self.is_quiet() || matches!(self.volumes, Step::Busy(_)) {
            return false;
        }
        match self.sandbox {
            Sandbox::Absent(_) => true,
            Sandbox::Coming(_) | Sandbox::Going(_) => false,
            Sandbox::Up => {
                self.remove_sandbox(Retry::default(), todo);
                false
            }
            Sandbox::Broken(retry) => {
                if retry.is_due(now) {
                    self.remove_sandbox(retry, todo);
                }
                false
            }
        }
    }

    fn remove_sandbox(&mut self, retry: Retry, todo: &mut Vec<Action>) {
        self.sandbox = Sandbox::Going(retry);
        todo.push(Action::RemoveSandbox);
    }

    /// Sidecars go on as long as a container that may need them.
    fn stop_members(&mut self, by: Time, now: Time, todo: &mut Vec<Action>) {
        let is_sidecar = |plan: &Plan, at: usize| plan.members[at].role == Role::Sidecar;
        let served = |m: &Member| m.is_active() && !is_sidecar(&self.plan, m.at);
        let sidecars_stay = self.members.iter().any(served) && by > now;
        for at in 0..self.members.len() {
            if sidecars_stay && is_sidecar(&self.plan, at) {
                continue;
            }
            let why = format!("Stopping container {}", self.plan.members[at].name);
            self.on(at, now, todo, |member, stage| member.stop(stage, by, &why));
        }
    }

    fn build_up(&mut self, now: Time, todo: &mut Vec<Action>) {
        self.stop_by = None;
        match self.volumes {
            Step::Todo(retry) if retry.is_due(now) => {
                self.volumes = Step::Busy(retry);
                todo.push(Action::Prepare);
                return;
            }
            Step::Todo(_) | Step::Busy(_) => return,
            Step::Done => {}
        }
        match self.sandbox {
            Sandbox::Absent(retry) if retry.is_due(now) => {
                self.sandbox = Sandbox::Coming(retry);
                self.initialized = false;
                let plan = &self.plan;
                self.members
                    .iter_mut()
                    .for_each(|member| member.renew(plan));
                todo.push(Action::CreateSandbox);
            }
            Sandbox::Up => self.run_members(now, todo),
            _ => {}
        }
    }

    fn run_members(&mut self, now: Time, todo: &mut Vec<Action>) {
        for member in &mut self.members {
            match self.plan.members[member.at].role {
                Role::Init => {
                    if self.initialized || member.ended().is_some_and(|how| how.code == 0) {
                        continue;
                    }
                    member.start_if_due(&self.plan, now, todo);
                    return;
                }
                Role::Sidecar => {
                    member.start_if_due(&self.plan, now, todo);
                    if !self.initialized && !member.has_started() {
                        return;
                    }
                }
                Role::Main => {
                    self.initialized = true;
                    member.start_if_due(&self.plan, now, todo);
                }
            }
        }
    }
}
