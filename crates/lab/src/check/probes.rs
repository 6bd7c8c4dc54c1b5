//! Runs the planned exchanges: one probe process in each source's namespaces, several at a time.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::cases::Case;
use super::{AT_ONCE, Numbered, not_tried};
use crate::client::Client;
use crate::error::{Context, LabError};
use crate::namespaces::Namespaces;
use crate::node_files::program;
use crate::parallel;
use crate::tool::{ProbeJob, ProbeKind, ProbeOutcome};

/// How long the probes of a container may take together.
const IN_CONTAINER: Duration = Duration::from_secs(60);

/// Tries all cases and gives what came of each.
pub(super) fn run(client: &Client, cases: Vec<Case>) -> Vec<(Case, ProbeOutcome)> {
    run_within(client, cases, Case::timeout_ms)
}

/// The same, with another patience.
pub(super) fn run_within(
    client: &Client,
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
        run_source(client, &source, cases, &timeout_ms)
    });
    let mut all: Vec<_> = results.into_iter().flatten().collect();
    all.sort_by_key(|(id, _, _)| *id);
    all.into_iter()
        .map(|(_, case, outcome)| (case, outcome))
        .collect()
}

/// Where probes are run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    /// The machine or Pod.
    name: String,
    /// Names are looked up by what a container knows; all else is the same without one.
    in_container: bool,
}

fn run_source(
    client: &Client,
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
    let outcomes = match source.in_container {
        true => probe_in_container(client, &source.name, &jobs),
        false => client
            .enter(&source.name)
            .and_then(|namespaces| probe(&namespaces, &jobs)),
    };
    let mut outcomes = outcomes.map_err(|e| e.to_string());
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

fn job(id: u64, case: &Case, timeout_ms: u64) -> ProbeJob {
    ProbeJob {
        name: case.name.clone(),
        size: case.size,
        timeout_ms,
        ..ProbeJob::new(id, case.kind, case.target)
    }
}

/// Runs a probe process inside and gives its outcomes by number.
pub(super) fn probe(
    namespaces: &Namespaces,
    jobs: &[ProbeJob],
) -> Result<HashMap<u64, ProbeOutcome>, LabError> {
    let path = program("seaway");
    let mut command = Command::new(&path);
    command
        .args(["tool", "probe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = namespaces.run(|| command.spawn())?.on("start", &path)?;
    Ok(outcomes(&exchange(child, &path, &input(jobs))?))
}

/// The same as a process of a Pod's container.
fn probe_in_container(
    client: &Client,
    pod: &str,
    jobs: &[ProbeJob],
) -> Result<HashMap<u64, ProbeOutcome>, LabError> {
    let command = ["seaway", "tool", "probe"].map(str::to_owned).into();
    let output = client.output_in_container(pod, command, &input(jobs), IN_CONTAINER)?;
    Ok(outcomes(&output))
}

fn input(jobs: &[ProbeJob]) -> String {
    jobs.iter().map(line).collect()
}

fn outcomes(output: &str) -> HashMap<u64, ProbeOutcome> {
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<ProbeOutcome>(line).ok())
        .filter_map(numbered)
        .collect()
}

fn line(job: &ProbeJob) -> String {
    let mut line = serde_json::to_string(job).expect("numbers and addresses are always JSON");
    line.push('\n');
    line
}

fn numbered(outcome: ProbeOutcome) -> Option<(u64, ProbeOutcome)> {
    Some((outcome.id?, outcome))
}

/// Input and output flow at the same time, so that neither pipe can fill up.
fn exchange(mut child: Child, path: &Path, input: &str) -> Result<String, LabError> {
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output().on("wait for", path)
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
