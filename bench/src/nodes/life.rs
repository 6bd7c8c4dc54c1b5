//! One life of an agent: born into a kernel that holds nothing of it, told of all nodes, watched
//! while nodes join and leave, killed, and started again on what it has made.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ipnet::IpNet;

use super::objects;
use super::place::Place;
use super::sight::Sight;
use crate::cpu;
use crate::footprint::{memory, resident};
use crate::rounds::Visit;
use crate::stats::median;

/// How long anything may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The thread of an agent that never rests: it asks all peers in turn which packets get to them.
const NOT_COUNTED: &str = "prober";

/// How long an agent does nothing when all that follows from a change is done.
const QUIET: Duration = Duration::from_millis(30);

/// What a life measures: name, unit.
pub(super) const METRICS: [(&str, &str); 14] = [
    ("rows", ""),
    ("cold-routes", "ms"),
    ("cold-settled", "ms"),
    ("cold-cpu", "ms"),
    ("warm-settled", "ms"),
    ("warm-cpu", "ms"),
    ("rss", "MB"),
    ("anon", "MB"),
    ("peak-rss", "MB"),
    ("write", "ms"),
    ("join", "ms"),
    ("join-cpu", "ms"),
    ("leave", "ms"),
    ("leave-cpu", "ms"),
];

/// The time until a joining node's routes are in force, of every join.
#[derive(Debug, Default)]
pub(super) struct Joins(pub(super) Vec<f64>);

/// Lives one life.
pub(super) fn live(
    place: &mut Place<'_>,
    cpu: usize,
    joins: usize,
    all: &mut Joins,
) -> Result<Visit> {
    place.wipe()?;
    let routes: Vec<IpNet> = (1..=place.peers()).flat_map(objects::pod_nets).collect();
    let sight = Sight::open(place.room().netns())?;
    let start = Instant::now();
    let mut agent = place.start_agent(cpu)?;
    let pid = agent.pid();
    let last = sight.wait_for(&routes, PATIENCE);
    let last = last.with_context(|| agent.said(place))?;
    let cold_cpu = spent(pid)?;
    let (rows, settled) = agent.settle(place, PATIENCE)?;
    let (rss, anon) = (resident(pid)?, memory(pid, "RssAnon:")?);
    let peak = memory(pid, "VmHWM:")?;
    let cold = [last, settled].map(|at| millis(at.max(last) - start));
    let changes = change(place, &sight, pid, joins, all);
    let changes = changes.with_context(|| agent.said(place))?;
    drop(agent);
    let start = Instant::now();
    let mut agent = place.start_agent(cpu)?;
    let (_, warm) = agent.settle(place, PATIENCE)?;
    let warm = [millis(warm - start), spent(agent.pid())?];
    let mut visit = vec![rows, cold[0], cold[1], cold_cpu, warm[0], warm[1]];
    visit.extend([rss, anon, peak]);
    visit.extend(changes);
    Ok(visit)
}

/// Lets a node join and leave so many times; gives the metrics of that.
fn change(
    place: &mut Place<'_>,
    sight: &Sight,
    pid: u32,
    joins: usize,
    all: &mut Joins,
) -> Result<[f64; 5]> {
    let new = objects::pod_nets(place.peers() + 1);
    let mut writes = Vec::new();
    let (mut came, mut came_cpu) = (Vec::new(), Vec::new());
    let (mut went, mut went_cpu) = (Vec::new(), Vec::new());
    for _ in 0..joins {
        let (before, start) = (spent(pid)?, Instant::now());
        place.join()?;
        writes.push(millis(start.elapsed()));
        let last = sight.wait_for(&new, PATIENCE)?;
        came.push(millis(last.saturating_duration_since(start)));
        cpu::rest(pid, NOT_COUNTED, QUIET, PATIENCE)?;
        came_cpu.push(spent(pid)? - before);
        let (before, start) = (spent(pid)?, Instant::now());
        place.leave()?;
        let last = sight.wait_for_end(&new, PATIENCE)?;
        went.push(millis(last.saturating_duration_since(start)));
        cpu::rest(pid, NOT_COUNTED, QUIET, PATIENCE)?;
        went_cpu.push(spent(pid)? - before);
    }
    all.0.extend(&came);
    Ok([&writes, &came, &came_cpu, &went, &went_cpu].map(|values| median(values)))
}

/// Milliseconds of CPU time that an agent has used, but for the thread that never rests.
fn spent(pid: u32) -> Result<f64> {
    Ok(millis(cpu::of_process_without(pid, NOT_COUNTED)?))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
