//! Runs the planned exchanges: all of a source's together, several sources at a time.

use std::collections::BTreeMap;

use super::cases::Case;
use super::hands::{Hands, Source};
use super::{AT_ONCE, Numbered, not_tried};
use crate::parallel;
use crate::tool::{ProbeJob, ProbeKind, ProbeOutcome};

/// Tries all cases and gives what came of each.
pub(super) fn run(hands: &dyn Hands, cases: Vec<Case>) -> Vec<(Case, ProbeOutcome)> {
    run_within(hands, cases, Case::timeout_ms)
}

/// The same, with another patience.
pub(super) fn run_within(
    hands: &dyn Hands,
    cases: Vec<Case>,
    timeout_ms: impl Fn(&Case) -> u64 + Sync,
) -> Vec<(Case, ProbeOutcome)> {
    let mut sources: BTreeMap<Source, Vec<Numbered>> = BTreeMap::new();
    for (id, case) in (0..).zip(cases) {
        let source = Source {
            name: case.from.clone(),
            in_container: case.name.is_some(),
        };
        sources.entry(source).or_default().push((id, case));
    }
    let results = parallel::map(sources.into_iter().collect(), AT_ONCE, |(source, cases)| {
        run_source(hands, &source, cases, &timeout_ms)
    });
    let mut all: Vec<_> = results.into_iter().flatten().collect();
    all.sort_by_key(|(id, _, _)| *id);
    all.into_iter()
        .map(|(_, case, outcome)| (case, outcome))
        .collect()
}

fn run_source(
    hands: &dyn Hands,
    source: &Source,
    cases: Vec<Numbered>,
    timeout_ms: &impl Fn(&Case) -> u64,
) -> Vec<(u64, Case, ProbeOutcome)> {
    let jobs = cases
        .iter()
        .map(|(id, case)| job(*id, case, timeout_ms(case)));
    let mut jobs: Vec<ProbeJob> = jobs.collect();
    // Large transfers last, so that they do not stand in the way of what is timed.
    jobs.sort_by_key(|job| job.kind == ProbeKind::TcpBulk);
    let mut outcomes = hands.probe(source, &jobs).map_err(|e| e.to_string());
    let mut outcome = |id| match &mut outcomes {
        Ok(outcomes) => outcomes
            .remove(&id)
            .unwrap_or_else(|| not_tried("the probe process gave no answer")),
        Err(reason) => not_tried(reason),
    };
    cases
        .into_iter()
        .map(|(id, case)| (id, case, outcome(id)))
        .collect()
}

/// How a case is tried.
pub(super) fn job(id: u64, case: &Case, timeout_ms: u64) -> ProbeJob {
    ProbeJob {
        name: case.name.clone(),
        size: case.size,
        timeout_ms,
        ..ProbeJob::new(id, case.kind, case.target)
    }
}
