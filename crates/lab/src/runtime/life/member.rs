//! One container in the life of a Pod: waiting, starting, running, ended, and again.

use std::time::Duration;

use super::probing::{ProbeKind, Probes};
use super::{Action, BackOff, Hook, Note, Outcome, Stage, Time};
use crate::runtime::plan::{Plan, Restart, Role};

/// What a container whose hook took all its time is still given to end by itself.
const LAST_CHANCE: Duration = Duration::from_secs(2);
/// What runtimes report when a container's program cannot be started.
const CANNOT_RUN: i32 = 128;

/// How one run of a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started: Time,
    pub(crate) finished: Time,
    pub(crate) id: Option<String>,
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartFailure {
    /// Something that it needs is missing; it is tried again and meanwhile waits for that reason.
    Waits { reason: String, message: String },
    /// Its program cannot run: that counts as a run that has failed.
    Broken { message: String },
}

/// Why and by when a container is stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    phase: StopPhase,
    kill_at: Time,
    /// Whether it has been given its last chance.
    extended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopPhase {
    Hook,
    Asked,
    Killed,
}

#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) id: String,
    pub(super) since: Time,
    pub(super) probes: Probes,
    pub(super) stop: Option<Stop>,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    Waiting {
        /// Why, unless it just has to wait for the Pod.
        trouble: Option<(String, String)>,
        not_before: Option<Time>,
        failures: u32,
    },
    Starting {
        /// Its end, if that was heard of before its start.
        early: Option<Outcome>,
        /// How often in a row the start has failed before.
        failures: u32,
    },
    Running(Running),
    Ended {
        how: Ended,
        /// When it starts again.
        again: Option<Time>,
    },
}

impl State {
    pub(super) const FRESH: State = State::Waiting {
        trouble: None,
        not_before: None,
        failures: 0,
    };
}

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) at: usize,
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) restarts: u32,
    crashes: u32,
}

impl Member {
    pub(super) fn new(at: usize) -> Member {
        Member {
            at,
            state: State::FRESH,
            last: None,
            restarts: 0,
            crashes: 0,
        }
    }

    /// Whether a process is or may be there.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Running(_))
    }

    pub(super) fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Running(running) => Some(running),
            _ => None,
        }
    }

    fn running_mut(&mut self, run: u32) -> Option<&mut Running> {
        match &mut self.state {
            State::Running(running) if self.restarts == run => Some(running),
            _ => None,
        }
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended { how, .. } => Some(how),
            _ => None,
        }
    }

    /// Whether it has ended and will not start again.
    pub(super) fn is_over(&self, plan: &Plan) -> bool {
        self.ended()
            .is_some_and(|how| !restarts(plan, self.at, how.code))
    }

    /// Whether it runs and has come up.
    pub(super) fn has_started(&self) -> bool {
        self.running().is_some_and(|r| r.probes.started())
    }

    /// Starts it if it is time to.
    pub(super) fn start_if_due(&mut self, plan: &Plan, now: Time, todo: &mut Vec<Action>) {
        let failures = match &self.state {
            State::Waiting {
                not_before,
                failures,
                ..
            } if not_before.is_none_or(|at| at <= now) => *failures,
            State::Ended { how, again } if again.is_some_and(|at| at <= now) => {
                if !restarts(plan, self.at, how.code) {
                    return;
                }
                self.last = Some(how.clone());
                self.restarts += 1;
                0
            }
            _ => return,
        };
        self.state = State::Starting {
            early: None,
            failures,
        };
        todo.push(Action::Start {
            member: self.at,
            run: self.restarts,
        });
    }

    /// Takes the outcome of a start.
    pub(super) fn started(
        &mut self,
        stage: &mut Stage<'_>,
        run: u32,
        result: Result<String, StartFailure>,
    ) {
        let State::Starting { early, failures } = &mut self.state else {
            return;
        };
        if self.restarts != run {
            return;
        }
        let (early, failures) = (early.take(), *failures);
        match result {
            Ok(id) => self.runs(stage, id, early),
            Err(StartFailure::Waits { reason, message }) => {
                let text = format!("{reason}: {message}");
                stage.note(Note::warning("Failed", text).of(self.at));
                self.state = State::Waiting {
                    trouble: Some((reason, message)),
                    not_before: Some(stage.now + stage.back_off.config(failures)),
                    failures: failures + 1,
                };
            }
            Err(StartFailure::Broken { message }) => {
                stage.note(Note::warning("Failed", format!("Error: {message}")).of(self.at));
                let how = Ended {
                    code: CANNOT_RUN,
                    reason: "StartError".to_owned(),
                    message: Some(message),
                    started: stage.now,
                    finished: stage.now,
                    id: None,
                };
                self.ends(stage, how);
            }
        }
    }

    fn runs(&mut self, stage: &mut Stage<'_>, id: String, early: Option<Outcome>) {
        let plan = &stage.plan.members[self.at];
        let name = &plan.name;
        let notes = [
            (
                "Pulled",
                format!(
                    "Container image \"{}\" already present on machine",
                    plan.image
                ),
            ),
            ("Created", format!("Created container: {name}")),
            ("Started", format!("Started container {name}")),
        ];
        for (reason, text) in notes {
            stage.note(Note::normal(reason, text).of(self.at));
        }
        self.state = State::Running(Running {
            id,
            since: stage.now,
            probes: Probes::new(plan, stage.now),
            stop: None,
        });
        if plan.post_start && early.is_none() {
            stage.todo.push(self.hook(Hook::PostStart));
        }
        if let Some(outcome) = early {
            self.exited(stage, self.restarts, outcome);
        }
    }

    fn hook(&self, hook: Hook) -> Action {
        Action::Hook {
            member: self.at,
            run: self.restarts,
            hook,
        }
    }

    /// Takes the end of its process.
    pub(super) fn exited(&mut self, stage: &mut Stage<'_>, run: u32, outcome: Outcome) {
        if self.restarts != run {
            return;
        }
        match &mut self.state {
            State::Starting { early, .. } => *early = Some(outcome),
            State::Running(running) => {
                let reason = if outcome.code == 0 {
                    "Completed"
                } else {
                    "Error"
                };
                let how = Ended {
                    code: outcome.code,
                    reason: reason.to_owned(),
                    message: outcome.message,
                    started: running.since,
                    finished: stage.now,
                    id: Some(running.id.clone()),
                };
                self.ends(stage, how);
            }
            State::Waiting { .. } | State::Ended { .. } => {}
        }
    }

    /// 1. The first failure is made good at once, each further one later, up to a limit.
    /// 2. A container that has run long enough has never failed.
    fn ends(&mut self, stage: &mut Stage<'_>, how: Ended) {
        let again = if restarts(stage.plan, self.at, how.code) {
            if ran(&how) >= stage.back_off.steady {
                self.crashes = 0;
            }
            let wait = stage.back_off.crash(self.crashes);
            self.crashes = self.crashes.saturating_add(1);
            if !wait.is_zero() {
                let name = &stage.plan.members[self.at].name;
                let text = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    stage.plan.full_name()
                );
                stage.note(Note::warning("BackOff", text).of(self.at));
            }
            Some(stage.now + wait)
        } else {
            None
        };
        self.state = State::Ended { how, again };
    }

    /// Begins to stop it, if it runs; or lets it have no more time than until `by`.
    pub(super) fn stop(&mut self, stage: &mut Stage<'_>, by: Time, why: &str) {
        let pre_stop = stage.plan.members[self.at].pre_stop;
        let (at, run) = (self.at, self.restarts);
        let hook = self.hook(Hook::PreStop);
        let State::Running(running) = &mut self.state else {
            return;
        };
        if let Some(stop) = &mut running.stop {
            if !stop.extended && by < stop.kill_at {
                stop.kill_at = by;
            }
            return;
        }
        stage.note(Note::normal("Killing", why.to_owned()).of(at));
        let phase = if by <= stage.now {
            StopPhase::Killed
        } else if pre_stop {
            StopPhase::Hook
        } else {
            StopPhase::Asked
        };
        stage.todo.push(match phase {
            StopPhase::Hook => hook,
            StopPhase::Asked => Action::Ask { member: at, run },
            StopPhase::Killed => Action::Kill { member: at, run },
        });
        running.stop = Some(Stop {
            phase,
            kill_at: by,
            extended: false,
        });
    }

    /// Takes the end of a hook.
    pub(super) fn hook_done(
        &mut self,
        stage: &mut Stage<'_>,
        run: u32,
        hook: Hook,
        result: Result<(), String>,
    ) {
        let at = self.at;
        let grace = stage.plan.grace;
        let Some(running) = self.running_mut(run) else {
            return;
        };
        if let Err(reason) = &result {
            let title = match hook {
                Hook::PostStart => "FailedPostStartHook",
                Hook::PreStop => "FailedPreStopHook",
            };
            stage.note(Note::warning(title, reason.clone()).of(at));
        }
        match (hook, &mut running.stop) {
            (Hook::PreStop, Some(stop)) if stop.phase == StopPhase::Hook => {
                stop.ask(stage, at, run);
            }
            (Hook::PostStart, None) if result.is_err() => {
                self.stop(stage, stage.now + grace, "FailedPostStartHook");
            }
            _ => {}
        }
    }

    /// Takes the answer of a probe.
    pub(super) fn probed(
        &mut self,
        stage: &mut Stage<'_>,
        run: u32,
        kind: ProbeKind,
        result: Result<(), String>,
    ) {
        let (at, now) = (self.at, stage.now);
        let Some(running) = self.running_mut(run) else {
            return;
        };
        if let Err(reason) = &result {
            let text = format!("{} probe failed: {reason}", kind.title());
            stage.note(Note::warning("Unhealthy", text).of(at));
        }
        if let Some(grace) = running.probes.answer(kind, result.is_ok(), now) {
            let by = now + grace.unwrap_or(stage.plan.grace);
            let why = format!(
                "Container {} failed {} probe, will be restarted",
                stage.plan.members[at].name,
                kind.title().to_lowercase()
            );
            self.stop(stage, by, &why);
        }
    }

    /// Does what its own deadlines ask for.
    pub(super) fn meet_deadlines(&mut self, stage: &mut Stage<'_>) {
        let (member, run) = (self.at, self.restarts);
        let State::Running(running) = &mut self.state else {
            return;
        };
        if let Some(stop) = &mut running.stop
            && stop.kill_at <= stage.now
        {
            match stop.phase {
                StopPhase::Hook => stop.ask(stage, member, run),
                StopPhase::Asked => {
                    stop.phase = StopPhase::Killed;
                    stage.todo.push(Action::Kill { member, run });
                }
                StopPhase::Killed => {}
            }
        }
        let stopping = running.stop.is_some();
        for kind in running.probes.ask(stage.now, stopping) {
            stage.todo.push(Action::Probe { member, run, kind });
        }
    }

    /// When it next wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Waiting { not_before, .. } => *not_before,
            State::Starting { .. } => None,
            State::Running(running) => {
                let stop = running.stop.filter(|stop| stop.phase != StopPhase::Killed);
                let probes = running.probes.deadline(running.stop.is_some());
                stop.map(|stop| stop.kill_at)
                    .into_iter()
                    .chain(probes)
                    .min()
            }
            State::Ended { again, .. } => *again,
        }
    }

    /// Makes it ready for a new sandbox: what has to run there runs again.
    pub(super) fn renew(&mut self, plan: &Plan) {
        let again = match &self.state {
            State::Ended { how, .. } => {
                let init = plan.members[self.at].role == Role::Init;
                (init || restarts(plan, self.at, how.code)).then(|| how.clone())
            }
            _ => None,
        };
        if let Some(how) = again {
            self.last = Some(how);
            self.restarts += 1;
            self.state = State::FRESH;
        }
    }

    /// What it waits for may have come: it need not wait any longer.
    pub(super) fn nudge(&mut self) {
        if let State::Waiting { not_before, .. } = &mut self.state {
            *not_before = None;
        }
    }
}

impl Stop {
    /// Asks the container to end, and gives it a moment for that in any case.
    fn ask(&mut self, stage: &mut Stage<'_>, member: usize, run: u32) {
        self.phase = StopPhase::Asked;
        let chance = stage.now + LAST_CHANCE;
        if self.kill_at < chance {
            self.kill_at = chance;
            self.extended = true;
        }
        stage.todo.push(Action::Ask { member, run });
    }
}

impl BackOff {
    /// How long a container waits that has failed `before` times before.
    fn crash(&self, before: u32) -> Duration {
        match before.checked_sub(1) {
            None => Duration::ZERO,
            Some(n) => self.first.saturating_mul(1 << n.min(20)).min(self.longest),
        }
    }

    /// How long to wait before what has failed `before` times before is tried again.
    pub(super) fn config(&self, before: u32) -> Duration {
        self.first
            .saturating_mul(1 << before.min(4))
            .min(self.longest)
    }
}

fn ran(how: &Ended) -> Duration {
    Duration::try_from(how.finished.duration_since(how.started)).unwrap_or_default()
}

/// Whether a container that ended with this code is to start again.
fn restarts(plan: &Plan, member: usize, code: i32) -> bool {
    match (plan.members[member].role, plan.restart) {
        (Role::Sidecar, _) | (Role::Main, Restart::Always) => true,
        (Role::Main, Restart::OnFailure) => code != 0,
        (Role::Init, Restart::Always | Restart::OnFailure) => code != 0,
        (Role::Main | Role::Init, Restart::Never) => false,
    }
}
