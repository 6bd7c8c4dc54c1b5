//! Making Pods: one after another and several at once, beside requests that do nothing.
//!
//! The store grows on the way, so this also notes how its memory grows.

use std::time::Instant;

use anyhow::Result;

use super::client::{Connection, Request, spread};
use super::label;
use super::pods;
use super::server::Server;
use crate::Options;
use crate::report::Report;
use crate::rounds::{self, Plan, Series, Visits};
use crate::stats::{median, percentile, slope};

/// Connections that work at once.
const WORKERS: usize = 8;
/// How often the memory is looked at where Pods are made without measuring.
const SLICES: usize = 10;

/// Subjects.
const VERSION: usize = 0;
const CREATE: usize = 1;
const VERSION_AT_ONCE: usize = 2;
const CREATE_AT_ONCE: usize = 3;
const SUBJECTS: usize = 4;

/// Metrics of a visit: of single requests, or how many a second.
const P50: usize = 0;
const P99: usize = 1;
const RATE: usize = 2;
const CPU: usize = 3;

/// The Pods up to now.
#[derive(Debug)]
pub(crate) struct Fill<'a> {
    server: &'a Server<'a>,
    serial: Connection,
    at_once: Vec<Connection>,
    wanted: usize,
    made: usize,
    /// Pods, and megabytes of the server in memory.
    memory: Vec<(f64, f64)>,
}

/// What the server held when all Pods were there and nothing had been done to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    /// Megabytes in memory without Pods.
    pub(crate) empty: f64,
    /// Megabytes in memory with all.
    pub(crate) full: f64,
    /// Bytes in memory that each Pod added.
    pub(crate) each: f64,
    /// Bytes of a Pod's JSON.
    pub(crate) json: f64,
}

impl<'a> Fill<'a> {
    /// None yet, of so many.
    pub(crate) fn new(server: &'a Server<'a>, wanted: usize) -> Result<Fill<'a>> {
        let mut fill = Fill {
            server,
            serial: server.connect()?,
            at_once: server.several(WORKERS)?,
            wanted,
            made: 0,
            memory: Vec::new(),
        };
        fill.note_memory()?;
        Ok(fill)
    }

    /// Makes Pods in rounds, beside requests that do nothing.
    pub(crate) fn measure(&mut self, options: &Options, report: &mut Report) -> Result<()> {
        let plan = Plan {
            rounds: options.rounds(),
            visits: Visits::Once,
        };
        // Each round makes Pods twice; one round warms up and some may be thrown away.
        let most = 1 + plan.rounds + plan.rounds.div_ceil(2);
        let slice = (self.wanted / (2 * most)).max(1);
        let series = rounds::run(plan, SUBJECTS, |subject| self.visit(subject, slice))?;
        report.note_noise("create", &series);
        rows(&series, report)
    }

    fn visit(&mut self, subject: usize, count: usize) -> Result<Vec<f64>> {
        match subject {
            VERSION => self.one_by_one(&vec![None; count]),
            VERSION_AT_ONCE => self.several_at_once(&vec![None; count]),
            CREATE => {
                let batch = self.next(count);
                self.one_by_one(&batch)
            }
            _ => {
                let batch = self.next(count);
                self.several_at_once(&batch)
            }
        }
    }

    /// The next Pods, as paths and manifests.
    fn next(&mut self, count: usize) -> Vec<Option<(String, String)>> {
        let numbers = self.made..self.made + count;
        self.made += count;
        numbers
            .map(|i| Some((pods::collection(i), pods::manifest(i))))
            .collect()
    }

    fn one_by_one(&mut self, batch: &[Option<(String, String)>]) -> Result<Vec<f64>> {
        let mut waits = Vec::with_capacity(batch.len());
        let connection = &mut self.serial;
        let cost = self.server.spend(|| {
            batch.iter().try_for_each(|pod| {
                let start = Instant::now();
                connection.ask(request(pod.as_ref()))?;
                waits.push(start.elapsed().as_secs_f64() * 1e6);
                Ok(())
            })
        })?;
        self.note_memory()?;
        let count = batch.len() as f64;
        Ok(vec![
            median(&waits),
            percentile(&waits, 99.0),
            count / cost.wall,
            cost.cpu * 1e6 / count,
        ])
    }

    fn several_at_once(&mut self, batch: &[Option<(String, String)>]) -> Result<Vec<f64>> {
        let connections = &mut self.at_once;
        let cost = self.server.spend(|| {
            spread(connections, batch.len(), |connection, i| {
                connection.ask(request(batch[i].as_ref())).map(|_| ())
            })
        })?;
        self.note_memory()?;
        let count = batch.len() as f64;
        let (rate, cpu) = (count / cost.wall, cost.cpu * 1e6 / count);
        Ok(vec![f64::NAN, f64::NAN, rate, cpu])
    }

    /// The server that they are made on.
    pub(crate) fn server(&self) -> &'a Server<'a> {
        self.server
    }

    /// How many there are.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// Megabytes that the server held without any.
    pub(crate) fn empty(&self) -> f64 {
        self.memory.first().map_or(f64::NAN, |(_, rss)| *rss)
    }

    /// Makes Pods until there are so many.
    pub(crate) fn reach(&mut self, count: usize) -> Result<()> {
        let slice = (self.wanted / SLICES).max(1);
        while self.made < count {
            let batch = self.next(slice.min(count - self.made));
            self.several_at_once(&batch)?;
        }
        Ok(())
    }

    /// Connections that were left alone for a while may be closed: others take their place.
    pub(crate) fn reconnect(&mut self) -> Result<()> {
        self.at_once = self.server.several(WORKERS)?;
        self.serial = self.server.connect()?;
        Ok(())
    }

    /// Makes those that are missing.
    pub(crate) fn complete(mut self) -> Result<Full> {
        self.reach(self.wanted)?;
        // Nobody has used the old connection for long, so that it may be closed by now.
        self.serial = self.server.connect()?;
        let object = self.serial.ask(Request::get(&pods::path(0)))?.len();
        Ok(Full {
            empty: self.empty(),
            full: self.server.resident()?,
            each: slope(&self.memory) * 1e6,
            json: object as f64,
        })
    }

    fn note_memory(&mut self) -> Result<()> {
        self.memory
            .push((self.made as f64, self.server.resident()?));
        Ok(())
    }
}

fn request(pod: Option<&(String, String)>) -> Request<'_> {
    match pod {
        Some((path, manifest)) => Request::post(path, manifest),
        None => Request::get("/version"),
    }
}

fn rows(series: &Series, report: &mut Report) -> Result<()> {
    let of = |subject, metric| series.values(subject, metric);
    for (case, name, baseline, subject, metrics) in [
        (
            "create-serial",
            "GET /version",
            VERSION,
            CREATE,
            &[(P50, "p50", "us"), (P99, "p99", "us"), (CPU, "cpu", "us")][..],
        ),
        (
            "create-8",
            "GET /version x8",
            VERSION_AT_ONCE,
            CREATE_AT_ONCE,
            &[(RATE, "rate", "/s"), (CPU, "cpu", "us")][..],
        ),
    ] {
        for (metric, metric_name, unit) in metrics {
            let trivial = of(baseline, *metric);
            report.add(label(name, metric_name, unit).alone(median(&trivial), trivial.len()))?;
            let row = label(case, metric_name, unit).beside(&of(subject, *metric), name, &trivial);
            report.add(row)?;
        }
    }
    report.print_table();
    Ok(())
}
