//! The probes of one running container: when each is due, and what its answers add up to.

use std::time::Duration;

use super::Time;
use crate::runtime::plan::{MemberPlan, ProbePlan};

/// How often a container that has never been ready is asked whether it is, at most: nothing is lost
/// by asking early, and a person waits for the answer.
const EAGER: Duration = Duration::from_secs(1);

/// What a container is given to open its ports before it is asked for the first time.
const FIRST: Duration = Duration::from_millis(200);

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    pub(crate) const ALL: [ProbeKind; 3] = [
        ProbeKind::Startup,
        ProbeKind::Readiness,
        ProbeKind::Liveness,
    ];

    /// As messages begin with it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }
}

/// One probe of one run of a container.
#[derive(Clone, Debug)]
struct Probing {
    plan: ProbePlan,
    next: Time,
    in_flight: bool,
    /// How often in a row the last answer came.
    streak: u32,
    last: Option<bool>,
    /// What the answers add up to.
    good: bool,
    /// Whether it has ever been good because of an answer.
    proven: bool,
}

impl Probing {
    fn new(plan: ProbePlan, kind: ProbeKind, since: Time) -> Probing {
        let first = match kind {
            ProbeKind::Startup | ProbeKind::Readiness => FIRST,
            ProbeKind::Liveness => plan.period,
        };
        Probing {
            plan,
            next: since + plan.initial_delay + first,
            in_flight: false,
            streak: 0,
            last: None,
            good: kind == ProbeKind::Liveness,
            proven: false,
        }
    }

    /// Takes an answer. `true` if this one makes failures enough.
    fn answer(&mut self, kind: ProbeKind, ok: bool, now: Time) -> bool {
        self.in_flight = false;
        self.streak = if self.last == Some(ok) {
            self.streak + 1
        } else {
            1
        };
        self.last = Some(ok);
        let enough = match ok {
            true => self.streak >= self.plan.successes,
            false => self.streak >= self.plan.failures,
        };
        if enough {
            self.good = ok;
            self.proven |= ok;
        }
        let eager = kind == ProbeKind::Readiness && !self.proven;
        let pause = if eager {
            self.plan.period.min(EAGER)
        } else {
            self.plan.period
        };
        self.next = now + pause;
        enough && !ok
    }
}

/// All probes of one run of a container.
#[derive(Clone, Debug)]
pub(super) struct Probes([Option<Probing>; 3]);

impl Probes {
    pub(super) fn new(plan: &MemberPlan, since: Time) -> Probes {
        Probes(ProbeKind::ALL.map(|kind| {
            let probe = match kind {
                ProbeKind::Startup => plan.startup,
                ProbeKind::Readiness => plan.readiness,
                ProbeKind::Liveness => plan.liveness,
            };
            probe.map(|plan| Probing::new(plan, kind, since))
        }))
    }

    fn of(&self, kind: ProbeKind) -> Option<&Probing> {
        self.0[kind as usize].as_ref()
    }

    /// Whether the container has come up, as far as its startup probe is concerned.
    pub(super) fn started(&self) -> bool {
        self.of(ProbeKind::Startup).is_none_or(|probe| probe.good)
    }

    /// Whether the container may be sent requests.
    pub(super) fn ready(&self) -> bool {
        self.started() && self.of(ProbeKind::Readiness).is_none_or(|probe| probe.good)
    }

    /// Whether a probe of this kind has anything to find out now.
    ///
    /// 1. Until the container has started, only the startup probe asks; after that, never again.
    /// 2. A container that is being stopped is asked for nothing but its readiness.
    fn wanted(&self, kind: ProbeKind, stopping: bool) -> bool {
        match kind {
            ProbeKind::Startup => !self.started() && !stopping,
            ProbeKind::Readiness => self.started(),
            ProbeKind::Liveness => self.started() && !stopping,
        }
    }

    /// Marks those that are due as asked, and tells which.
    pub(super) fn ask(&mut self, now: Time, stopping: bool) -> Vec<ProbeKind> {
        let due = |kind: &ProbeKind| {
            self.wanted(*kind, stopping)
                && self
                    .of(*kind)
                    .is_some_and(|p| !p.in_flight && p.next <= now)
        };
        let due: Vec<_> = ProbeKind::ALL.into_iter().filter(due).collect();
        for kind in &due {
            if let Some(probe) = &mut self.0[*kind as usize] {
                probe.in_flight = true;
            }
        }
        due
    }

    /// When the next one is due.
    pub(super) fn deadline(&self, stopping: bool) -> Option<Time> {
        let next = |kind: ProbeKind| {
            let probe = self.of(kind).filter(|p| !p.in_flight)?;
            self.wanted(kind, stopping).then_some(probe.next)
        };
        ProbeKind::ALL.into_iter().filter_map(next).min()
    }

    /// Takes an answer. Gives the grace period that the probe wants to leave the container (or
    /// nothing of its own) if the container has to end now.
    pub(super) fn answer(
        &mut self,
        kind: ProbeKind,
        ok: bool,
        now: Time,
    ) -> Option<Option<Duration>> {
        let probe = self.0[kind as usize].as_mut()?;
        let failed = probe.answer(kind, ok, now);
        (failed && kind != ProbeKind::Readiness).then_some(probe.plan.grace)
    }
}
