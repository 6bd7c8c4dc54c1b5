//! `bench api`: what the API server's requests, watches and objects cost, with many Pods.
//!
//! The server is the real binary behind TLS in a room of its own; its clients are this program's
//! threads. What the server costs is its CPU time; wall times also hold what the client does.
//! This file says what is measured in which order; how is in the modules below.

pub(crate) mod client;
mod fill;
mod list;
mod memory;
mod pods;
mod scale;
pub(crate) mod server;
mod watch;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use self::fill::Fill;
use self::scale::Scale;
use self::server::{Server, Site};
use self::watch::Numbers;
use crate::Options;
use crate::binaries::Binaries;
use crate::report::{Label, Report};
use crate::rounds::{self, Plan, Visits};
use crate::stats::median;

/// Fewer Pods than this have no hundredth that says anything.
const FEWEST: usize = 200;

/// What `bench api` understands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Pods in the store [default: 10000, with --quick 1000].
    #[arg(long)]
    pods: Option<usize>,
    /// Only these cases.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Case>,
}

/// Kinds of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// From exec to the first answer.
    Start,
    /// Pods made one by one and several at once.
    Create,
    /// Lists of all of them.
    List,
    /// Changes and who hears of them.
    Watch,
    /// Bytes an object, watchers, and what stays when all is deleted.
    Memory,
    /// The same with a tenth of the Pods and with all of them.
    Scale,
}

impl Arguments {
    fn wants(&self, case: Case) -> bool {
        self.only.is_empty() || self.only.contains(&case)
    }
}

fn label(case: &str, metric: &'static str, unit: &'static str) -> Label {
    Label {
        bench: "api",
        case: case.to_owned(),
        metric,
        unit,
    }
}

/// Runs the cases.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let options = &arguments.options;
    let count = arguments.pods.unwrap_or(options.amount(10_000));
    ensure!(count >= FEWEST, "--pods {count}: give at least {FEWEST}");
    let mut report = options.report();
    let binaries = Binaries::find()?;
    let site = Site::new(&binaries)?;
    if arguments.wants(Case::Start) {
        start(&site, options, &mut report)?;
    }
    if arguments.only == [Case::Start] {
        return Ok(());
    }
    let (server, _) = site.start()?;
    server.prepare(options.cpu)?;
    with_pods(&server, count, arguments, &mut report)
}

/// The cases that need Pods, on one server.
fn with_pods(
    server: &Server<'_>,
    count: usize,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<()> {
    let options = &arguments.options;
    let mut fill = Fill::new(server, count)?;
    if arguments.wants(Case::Create) {
        report.note(&format!("making {count} Pods"));
        fill.measure(options, report)?;
    }
    let mut numbers = Numbers::default();
    let mut scale = None;
    if arguments.wants(Case::Scale) {
        // More than a tenth are there already if they were counted one by one.
        report.note("looking at the first Pods");
        scale = Some(Scale::begin(&mut fill, count, &mut numbers, options)?);
    }
    let full = fill.complete()?;
    if let Some(scale) = scale {
        report.note("looking at all Pods");
        scale.end(server, count, &mut numbers, options, report)?;
    }
    if arguments.wants(Case::Memory) {
        memory::watchers(server, report)?;
    }
    if arguments.wants(Case::List) {
        report.note("listing");
        list::measure(server, count, options, report)?;
    }
    if arguments.wants(Case::Watch) {
        report.note("watching");
        watch::measure(server, count, &mut numbers, options, report)?;
    }
    if arguments.wants(Case::Memory) {
        memory::measure(server, count, full, report)?;
    }
    Ok(())
}

/// From exec to /readyz, beside a start of the same binary that does nothing.
fn start(site: &Site, options: &Options, report: &mut Report) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let series = rounds::run(plan, 2, |subject| {
        let took = match subject {
            0 => site.start_for_nothing()?,
            _ => site.start()?.1,
        };
        Ok(vec![took.as_secs_f64() * 1e3])
    })?;
    report.note_noise("start", &series);
    let [nothing, ready] = [0, 1].map(|subject| series.values(subject, 0));
    let label = |case| label(case, "wall", "ms");
    report.add(label("exec --version").alone(median(&nothing), nothing.len()))?;
    report.add(label("start to /readyz").beside(&ready, "exec --version", &nothing))?;
    report.print_table();
    Ok(())
}
