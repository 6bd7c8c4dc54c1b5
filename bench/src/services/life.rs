//! One life of an agent among many Services: born into a kernel that holds nothing of it, told of
//! all, watched while endpoints change one by one and then many a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::inside::chosen;
use super::objects;
use super::sight::Sight;
use super::spot::{Agent, Spot};
use super::stage::{Kind, Stage};
use crate::cpu;
use crate::footprint::{memory, resident};

/// How long anything may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many changes belong to the start.
const FIRST: usize = 25;
/// The thread of an agent that never rests.
const NOT_COUNTED: &str = "prober";
/// How long an agent does nothing when its start is over: it looks at flows twice, and rests in
/// between.
const QUIET: Duration = Duration::from_secs(3);
/// How many changes a second a storm has.
pub(super) const STORM: u32 = 1_000;

/// How much is done in a life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Endpoints that are replaced one by one.
    pub(super) changes: usize,
    /// How long the storm lasts; none where it is zero.
    pub(super) storm: Duration,
}

/// What was seen of a life.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// Milliseconds from the start until all is in force, from the end of the last list until then,
    /// and of CPU.
    pub(super) cold: [f64; 3],
    /// The same for an agent that finds everything in force.
    pub(super) warm: [f64; 3],
    /// Megabytes in memory then: all, anonymous, and the most ever.
    pub(super) memory: [f64; 3],
    /// Rows that were in force then.
    pub(super) rows: f64,
    /// Milliseconds of the slowest of [`FIRST`] changes right behind the start: the agent still looks
    /// at the flows of all Services then, and the allocator sorts what the lists have left.
    pub(super) first: f64,
    /// Milliseconds from each change until it was in force.
    pub(super) changes: Vec<f64>,
    /// CPU milliseconds of the agent for each change.
    pub(super) change_cpu: f64,
    /// Milliseconds from each change of the storm until it was in force.
    pub(super) storm: Vec<f64>,
    /// The share of a CPU that the agent used in the storm.
    pub(super) storm_cpu: f64,
}

/// Lives one life.
pub(super) fn live(spot: &mut Spot, cpu: usize, effort: Effort) -> Result<Life> {
    spot.wipe()?;
    let (agent, cold) = born(spot, cpu)?;
    let pid = agent.pid();
    let mut life = Life {
        cold,
        memory: [
            resident(pid)?,
            memory(pid, "RssAnon:")?,
            memory(pid, "VmHWM:")?,
        ],
        ..Life::default()
    };
    life.rows = agent.rows(spot)?;
    change(spot, &agent, effort.changes, &mut life).with_context(|| agent.said(spot))?;
    if !effort.storm.is_zero() {
        storm(spot, &agent, effort, &mut life).with_context(|| agent.said(spot))?;
    }
    drop(agent);
    let (agent, warm) = born(spot, cpu)?;
    drop(agent);
    life.warm = warm;
    Ok(life)
}

/// Starts an agent and waits until everything is in force: what [`Life::cold`] has.
fn born(spot: &Spot, cpu: usize) -> Result<(Agent, [f64; 3])> {
    let start = Instant::now();
    let mut agent = spot.start_agent(cpu)?;
    let ready = agent.wait_until_ready(spot, PATIENCE)?;
    let spent = spent(agent.pid())?;
    let listed = spot
        .stage
        .listed()
        .context("the agent has listed nothing")?;
    let programmed = ready.saturating_duration_since(listed);
    Ok((agent, [millis(ready - start), millis(programmed), spent]))
}

/// Replaces endpoints one by one, each as soon as the one before is in force.
fn change(spot: &Spot, agent: &Agent, count: usize, life: &mut Life) -> Result<()> {
    let mut sight = Sight::open(spot.room().netns())?;
    for n in 0..FIRST {
        life.first = life.first.max(change_one(spot, &mut sight, n)?);
    }
    cpu::rest(agent.pid(), NOT_COUNTED, QUIET, PATIENCE)?;
    let before = spent(agent.pid())?;
    for n in FIRST..FIRST + count {
        life.changes.push(change_one(spot, &mut sight, n)?);
        // What the agent does after a change is no part of the next one.
        std::thread::sleep(Duration::from_millis(2));
    }
    life.change_cpu = (spent(agent.pid())? - before) / count.max(1) as f64;
    Ok(())
}

/// Milliseconds from the `n`-th change until it is in force.
fn change_one(spot: &Spot, sight: &mut Sight, n: usize) -> Result<f64> {
    let event = event(spot, n);
    let start = Instant::now();
    spot.stage.send(Kind::Slices, &event);
    let at = sight.wait_for(objects::newcomer(n), PATIENCE)?;
    Ok(millis(at.saturating_duration_since(start)))
}

/// Replaces [`STORM`] endpoints a second, whatever is in force.
fn storm(spot: &Spot, agent: &Agent, effort: Effort, life: &mut Life) -> Result<()> {
    let pause = Duration::from_secs(1) / STORM;
    let count = (effort.storm.as_secs_f64() * f64::from(STORM)) as usize;
    let events: Vec<Vec<u8>> = (0..count)
        .map(|n| event(spot, FIRST + effort.changes + n))
        .collect();
    let mut sight = Sight::open(spot.room().netns())?;
    let (before, start) = (spent(agent.pid())?, Instant::now());
    let mut sent = Vec::with_capacity(count);
    for (n, event) in (0u32..).zip(&events) {
        while start.elapsed() < pause * n {
            sight.look()?;
            std::thread::yield_now();
        }
        sent.push(Instant::now());
        spot.stage.send(Kind::Slices, event);
    }
    // A change that is overtaken by a later one of the same Service is in force with that one.
    let mut next: HashMap<usize, Instant> = HashMap::new();
    for n in (0..count).rev() {
        let (service, newcomer) = (
            chosen(spot.scale, FIRST + effort.changes + n),
            objects::newcomer(FIRST + effort.changes + n),
        );
        let at = match next.get(&service) {
            Some(later) => sight.came(newcomer).unwrap_or(*later),
            None => sight.wait_for(newcomer, PATIENCE)?,
        };
        next.insert(service, at);
        life.storm
            .push(millis(at.saturating_duration_since(sent[n])));
    }
    let wall = millis(start.elapsed());
    life.storm_cpu = (spent(agent.pid())? - before) / wall;
    Ok(())
}

/// The `n`-th change, ready to be sent.
fn event(spot: &Spot, n: usize) -> Vec<u8> {
    let i = chosen(spot.scale, n);
    let endpoints = objects::changed(spot.scale, i, n);
    let version = spot.stage.next_version();
    let port = objects::TARGET_PORT;
    Stage::event(&objects::slice_manifest(i, &endpoints, port, version))
}

/// Milliseconds of CPU time that an agent has used, but for the thread that never rests.
fn spent(pid: u32) -> Result<f64> {
    Ok(millis(cpu::of_process_without(pid, NOT_COUNTED)?))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
