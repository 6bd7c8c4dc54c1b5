//! Watches: how soon a change reaches a watcher, and what many watchers cost.
//!
//! Each change bears a number, and every watcher must see every number once: a lost or doubled
//! event ends the run.

use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::client::{Connection, Events, Request, spread};
use super::label;
use super::pods;
use super::server::Server;
use crate::Options;
use crate::report::Report;
use crate::rounds::{self, Plan, Round, Series, Visits};
use crate::stats::{median, percentile};

/// Watchers of the subjects of the fan-out; the first tells what the changes alone cost.
pub(crate) const WATCHERS: [usize; 3] = [0, 1, 50];
/// Connections that make changes at once.
const WRITERS: usize = 8;
/// Changes one after another in a visit.
const SINGLES: usize = 100;
const LOST: Duration = Duration::from_secs(30);

/// Starts watching all Pods, from now on.
pub(crate) fn watch(server: &Server<'_>, revision: &str) -> Result<Events> {
    let path = format!(
        "/api/v1/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=3000&resourceVersion={revision}"
    );
    server.connect()?.watch(&path)
}

/// A change of a Pod's status, written down before any clock runs.
#[derive(Debug)]
pub(super) struct Change {
    path: String,
    body: String,
}

impl Change {
    pub(super) fn new(pod: usize, number: usize) -> Change {
        Change {
            path: format!("{}/status", pods::path(pod)),
            body: pods::status(pod, number),
        }
    }

    pub(super) fn send(&self, connection: &mut Connection) -> Result<()> {
        let request = Request::patch(&self.path, &self.body);
        connection.ask(request).map(|_| ())
    }
}

/// Both cases.
pub(crate) fn measure(
    server: &Server<'_>,
    count: usize,
    numbers: &mut Numbers,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    latency(server, count, numbers, options, report)?;
    fan_out(server, count, numbers, options, report)
}

/// Numbers of changes that no earlier change had, so that each changes something.
#[derive(Debug, Default)]
pub(super) struct Numbers(usize);

impl Numbers {
    pub(super) fn take(&mut self, count: usize) -> usize {
        let first = self.0;
        self.0 += count;
        first
    }
}

/// One watcher, one writer: from the write to its reply and to its delivery.
fn latency(
    server: &Server<'_>,
    count: usize,
    numbers: &mut Numbers,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let mut writer = server.connect()?;
    let mut events = watch(server, &server.revision()?)?;
    let (sender, seen) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The receiver goes first when the run has failed or is over.
            while let Ok(event) = events.next() {
                let found = (pods::mark(event), Instant::now());
                if sender.send(found).is_err() {
                    break;
                }
            }
        });
        let series = rounds::run(plan, 1, |_| {
            let first = numbers.take(SINGLES);
            let range = first..first + SINGLES;
            singles(&mut writer, range, count, &seen)
        })?;
        drop(seen);
        // One more change wakes the watcher's thread, which then finds nobody who listens.
        Change::new(0, numbers.take(1)).send(&mut writer)?;
        report.note_noise("watch-latency", &series);
        latency_rows(&series, report)
    })
}

/// Metrics of a visit, in microseconds.
const REPLY_P50: usize = 0;
const REPLY_P99: usize = 1;
const SEEN_P50: usize = 2;
const SEEN_P99: usize = 3;

fn singles(
    writer: &mut Connection,
    numbers: std::ops::Range<usize>,
    count: usize,
    seen: &mpsc::Receiver<(Option<usize>, Instant)>,
) -> Result<Vec<f64>> {
    let (mut replies, mut deliveries) = (Vec::new(), Vec::new());
    for number in numbers {
        let change = Change::new(number % count, number);
        let start = Instant::now();
        change.send(writer)?;
        replies.push(start.elapsed().as_secs_f64() * 1e6);
        let at = delivery(seen, number)?;
        deliveries.push(at.duration_since(start).as_secs_f64() * 1e6);
    }
    let both = [&replies, &deliveries];
    let metrics = both.map(|waits| [median(waits), percentile(waits, 99.0)]);
    Ok(metrics.concat())
}

/// When the change of that number arrived; bookmarks are passed over.
fn delivery(seen: &mpsc::Receiver<(Option<usize>, Instant)>, number: usize) -> Result<Instant> {
    loop {
        let (mark, at) = seen
            .recv_timeout(LOST)
            .with_context(|| format!("change {number} did not reach the watcher"))?;
        match mark {
            Some(mark) if mark == number => return Ok(at),
            Some(other) => bail!("change {other} reached the watcher instead of {number}"),
            None => {}
        }
    }
}

fn latency_rows(series: &Series, report: &mut Report) -> Result<()> {
    for (name, reply, seen) in [("p50", REPLY_P50, SEEN_P50), ("p99", REPLY_P99, SEEN_P99)] {
        let [reply, seen] = [reply, seen].map(|metric| series.values(0, metric));
        let label = |case| label(case, name, "us");
        report.add(label("patch-reply").alone(median(&reply), reply.len()))?;
        report.add(label("watch-delivery").beside(&seen, "patch-reply", &reply))?;
    }
    report.print_table();
    Ok(())
}

/// Metrics of a visit of the fan-out.
const WALL: usize = 0;
const CPU: usize = 1;
const BYTES: usize = 2;

/// So many watchers, each of which gets a change of half of the Pods.
fn fan_out(
    server: &Server<'_>,
    count: usize,
    numbers: &mut Numbers,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Once,
    };
    let changes = count / 2;
    let mut writers = server.several(WRITERS)?;
    let series = rounds::run(plan, WATCHERS.len(), |subject| {
        let first = numbers.take(changes);
        let batch: Vec<Change> = (0..changes).map(|i| Change::new(i, first + i)).collect();
        let revision = server.revision()?;
        let watchers = (0..WATCHERS[subject])
            .map(|_| watch(server, &revision))
            .collect::<Result<Vec<_>>>()?;
        let mut bytes = 0;
        let cost = server.spend(|| {
            bytes = deliver(watchers, &mut writers, first, &batch)?;
            Ok(())
        })?;
        Ok(vec![cost.wall * 1e3, cost.cpu * 1e3, bytes as f64])
    })?;
    report.note_noise("fan-out", &series);
    fan_out_rows(&series, changes, report)
}

/// Makes the changes and waits until every watcher has all of them; the bytes that they got.
pub(super) fn deliver(
    watchers: Vec<Events>,
    writers: &mut [Connection],
    first: usize,
    changes: &[Change],
) -> Result<u64> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = watchers
            .into_iter()
            .map(|events| receive(scope, events, first, changes.len()))
            .collect();
        let written = spread(writers, changes.len(), |writer, i| changes[i].send(writer));
        let received = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let received = received.collect::<Vec<_>>();
        written?;
        received.into_iter().sum()
    })
}

fn receive<'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut events: Events,
    first: usize,
    changes: usize,
) -> ScopedJoinHandle<'scope, Result<u64>> {
    scope.spawn(move || {
        let mut tally = Tally::new(first, changes);
        while tally.missing > 0 {
            let event = events.next().with_context(|| tally.state())?;
            if let Some(number) = pods::mark(event) {
                tally.count(number)?;
            }
        }
        Ok(events.bytes())
    })
}

/// What a watcher has seen.
#[derive(Debug)]
struct Tally {
    first: usize,
    seen: Vec<bool>,
    missing: usize,
}

impl Tally {
    fn new(first: usize, changes: usize) -> Tally {
        Tally {
            first,
            seen: vec![false; changes],
            missing: changes,
        }
    }

    fn count(&mut self, number: usize) -> Result<()> {
        let place = number.checked_sub(self.first);
        let seen = place.and_then(|place| self.seen.get_mut(place));
        let seen =
            seen.with_context(|| format!("change {number} belongs to no watcher's share"))?;
        ensure!(!*seen, "change {number} was delivered twice");
        *seen = true;
        self.missing -= 1;
        Ok(())
    }

    fn state(&self) -> String {
        let all = self.seen.len();
        format!("a watcher misses {} of {all} events", self.missing)
    }
}

fn fan_out_rows(series: &Series, changes: usize, report: &mut Report) -> Result<()> {
    let name = |subject: usize| format!("fan-out-{}", WATCHERS[subject]);
    for (metric, what, unit) in [(CPU, "cpu", "ms"), (WALL, "wall", "ms")] {
        let values = [0, 1, 2].map(|subject| series.values(subject, metric));
        let label = |subject| label(&name(subject), what, unit);
        report.add(label(0).alone(median(&values[0]), values[0].len()))?;
        report.add(label(1).beside(&values[1], &name(0), &values[0]))?;
        report.add(label(2).beside(&values[2], &name(1), &values[1]))?;
    }
    let per_change = series.each(|round| round.value(0, CPU) * 1e3 / changes as f64);
    report.add(label(&name(0), "cpu/patch", "us").alone(median(&per_change), per_change.len()))?;
    // One watcher costs less than the changes vary, so there is no such figure for it.
    let events = (changes * WATCHERS[2]) as f64;
    let beyond = |round: &Round| round.value(2, CPU) - round.value(0, CPU);
    let per_event = series.each(|round| beyond(round) * 1e3 / events);
    let row = label(&name(2), "cpu/event", "us");
    report.add(row.beside(&per_event, "fan-out-0 cpu/patch", &per_change))?;
    for subject in [1, 2] {
        let rate =
            series.each(|round| round.value(subject, BYTES) / 1e3 / round.value(subject, WALL));
        report.add(label(&name(subject), "delivered", "MB/s").alone(median(&rate), rate.len()))?;
    }
    report.print_table();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_counts_once() {
        let mut tally = Tally::new(10, 2);
        assert!(tally.count(11).is_ok());
        assert!(tally.count(11).is_err(), "twice");
        assert!(tally.count(12).is_err(), "nobody's");
        assert!(tally.count(9).is_err(), "of an earlier round");
        assert_eq!(tally.state(), "a watcher misses 1 of 2 events");
        assert!(tally.count(10).is_ok());
        assert_eq!(tally.missing, 0);
    }
}
