//! `bench cni`: attaching and detaching Pods, beside the reference plugins and beside the least that
//! any plugin could do.
//!
//! This file says what is measured and which rows come of it; how is in the modules below.

mod batch;
mod contender;
mod floor;
mod removal;
mod serial;
mod stock;
mod waits;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::contender::{Contender, Floor, Peer, Seaway, Start};
use self::stock::Stock;
use crate::binaries::Binaries;
use crate::cpu::Cpus;
use crate::report::{Label, Report};
use crate::rounds::{Plan, Series, Visits};
use crate::stats::{median, percentile};
use crate::{Options, calibrate};

/// What `bench cni` understands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Only these cases.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Case>,
    /// Pods that are removed at once [default: 1000, with --quick 100].
    #[arg(long)]
    pods: Option<usize>,
    /// Count how often an ADD and a DEL wait for a grace period of RCU, and nothing else.
    #[arg(long)]
    trace_rcu: bool,
    /// Only the peers and the floors, without Seaway.
    #[arg(long)]
    floors_only: bool,
}

/// Kinds of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// One Pod after another.
    Serial,
    /// Several callers at once.
    Parallel,
    /// Fifty callers at the same instant.
    Burst,
    /// A whole node's Pods removed.
    Remove,
}

impl Arguments {
    fn wants(&self, case: Case) -> bool {
        self.only.is_empty() || self.only.contains(&case)
    }
}

/// Everything that can attach Pods, each in a room of its own.
struct Cast {
    seaway: Option<Seaway>,
    floor: Floor,
    exec: Start,
    bare: Start,
    peers: [Peer; 3],
}

/// The contenders in the order of their visits, and the Pods of each.
struct Field<'a> {
    contenders: Vec<&'a dyn Contender>,
    stocks: Vec<Stock>,
}

/// Runs the cases.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    raise_file_limit();
    if arguments.trace_rcu {
        // Before there is any thread that a signal could end.
        waits::block_signals()?;
    }
    let mut report = arguments.options.report();
    let cast = Cast::new(arguments.floors_only)?;
    if arguments.trace_rcu {
        return trace(&cast, arguments, &mut report);
    }
    calibrate::run(&arguments.options, &mut report)?;
    let mut field = Field::new(&cast);
    if arguments.wants(Case::Serial) {
        serial_cases(&mut field, &arguments.options, &mut report)?;
    }
    for (case, name, workers, pods) in [
        (Case::Parallel, "parallel-1", 1, 32),
        (Case::Parallel, "parallel-8", 8, 64),
        (Case::Parallel, "parallel-32", 32, 96),
        (Case::Burst, "burst-50", 50, 50),
    ] {
        if arguments.wants(case) {
            batch_case(
                &mut field,
                name,
                workers,
                pods,
                &arguments.options,
                &mut report,
            )?;
        }
    }
    match &cast.seaway {
        Some(seaway) if arguments.wants(Case::Remove) => {
            let pods = arguments.pods.unwrap_or(arguments.options.amount(1000));
            remove_case(&cast, seaway, pods, &arguments.options, &mut report)
        }
        _ => Ok(()),
    }
}

impl Cast {
    fn new(floors_only: bool) -> Result<Cast> {
        let binaries = Binaries::find()?;
        let seaway = match floors_only {
            true => None,
            false => Some(Seaway::new(&binaries)?),
        };
        Ok(Cast {
            seaway,
            floor: Floor::new()?,
            exec: Start::usual(&binaries)?,
            bare: Start::bare(&binaries)?,
            peers: [Peer::bridge()?, Peer::bridge_dual()?, Peer::ptp()?],
        })
    }

    fn seaway(&self) -> Option<&dyn Contender> {
        self.seaway.as_ref().map(|seaway| seaway as &dyn Contender)
    }
}

impl<'a> Field<'a> {
    /// Seaway stands at both ends of the order: its second visits are compared with its first.
    fn new(cast: &'a Cast) -> Field<'a> {
        let floors: [&dyn Contender; 3] = [&cast.floor, &cast.exec, &cast.bare];
        let peers = cast.peers.iter().map(|peer| peer as &dyn Contender);
        let middle = floors.into_iter().chain(peers);
        let contenders: Vec<_> = cast
            .seaway()
            .into_iter()
            .chain(middle)
            .chain(cast.seaway())
            .collect();
        let stocks = contenders.iter().map(|_| Stock::default()).collect();
        Field { contenders, stocks }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.contenders
            .iter()
            .position(|contender| contender.name() == name)
    }

    /// Where Seaway stands a second time.
    fn again(&self) -> Option<usize> {
        let last = self.contenders.iter().rposition(|c| c.name() == "seaway")?;
        (Some(last) != self.find("seaway")).then_some(last)
    }

    fn keep_daemons(&self, cpus: Cpus) -> Result<()> {
        let mut daemons = self
            .contenders
            .iter()
            .filter_map(|contender| contender.daemon());
        daemons.try_for_each(|pid| cpus.keep_process(pid))
    }
}

fn label(case: String, metric: &'static str, unit: &'static str) -> Label {
    Label {
        bench: "cni",
        case,
        metric,
        unit,
    }
}

/// Many namespaces are held open; without the right to raise the limit `--pods` has to be smaller.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// 200 ADDs of each in ten rounds, then as many DELs, everything on one CPU.
fn serial_cases(field: &mut Field, options: &Options, report: &mut Report) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(options.amount(10)),
    };
    let all = Cpus::current()?;
    let one = Cpus::one(options.cpu)?;
    one.keep_this_thread()?;
    field.keep_daemons(one)?;
    report.note("one Pod after another");
    let added = serial::add(field, plan)?;
    serial_rows(field, "add-serial", &added, report)?;
    let deleted = serial::del(field, plan)?;
    serial_rows(field, "del-serial", &deleted, report)?;
    for (contender, stock) in field.contenders.iter().zip(&mut field.stocks) {
        stock.detach_all(*contender)?;
    }
    all.keep_this_thread()?;
    field.keep_daemons(all)?;
    report.print_table();
    Ok(())
}

fn serial_rows(field: &Field, case: &str, series: &Series, report: &mut Report) -> Result<()> {
    report.note_noise(case, series);
    let others = field.contenders.iter().enumerate();
    for (i, contender) in others.filter(|(_, contender)| contender.name() != "seaway") {
        let of = format!("{case}:{}", contender.name());
        let values = series.values(i, serial::WALL);
        report.add(label(of, "wall", "ms").alone(median(&values), values.len()))?;
    }
    let Some(seaway) = field.find("seaway") else {
        return Ok(());
    };
    for (metric, name) in [(serial::WALL, "wall"), (serial::CPU, "cpu")] {
        let ours = series.values(seaway, metric);
        for (baseline, values) in serial_baselines(field, series, metric) {
            report.add(label(case.to_owned(), name, "ms").beside(&ours, &baseline, &values))?;
        }
    }
    let samples = series.samples(seaway, serial::WALL);
    for (name, p) in [("wall-p99", 99.0), ("wall-min", 0.0)] {
        let value = percentile(&samples, p);
        report.add(label(case.to_owned(), name, "ms").alone(value, samples.len()))?;
    }
    if let Some(again) = field.again() {
        let [a, b] = [seaway, again].map(|i| series.values(i, serial::WALL));
        report.add(label(format!("{case}-noise"), "wall", "ms").beside(&b, "seaway", &a))?;
    }
    Ok(())
}

/// Each peer, and the floor together with starting a process.
fn serial_baselines(field: &Field, series: &Series, metric: usize) -> Vec<(String, Vec<f64>)> {
    let of = |name: &str| field.find(name).map(|i| series.values(i, metric));
    let sum = |name: &str| {
        let [floor, start] = [field.find("floor")?, field.find(name)?];
        let sum = series.each(|round| round.value(floor, metric) + round.value(start, metric));
        Some((format!("floor+{name}"), sum))
    };
    let mut baselines: Vec<_> = ["bridge", "bridge-dual", "ptp"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), of(name)?)))
        .collect();
    // The floor has no process whose CPU time could be asked for.
    if metric == serial::WALL {
        baselines.extend(["exec", "bare-exec"].into_iter().filter_map(sum));
    }
    baselines
}

/// Several callers at once: ADD of all Pods, then DEL of all.
fn batch_case(
    field: &mut Field,
    name: &str,
    workers: usize,
    pods: usize,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Once,
    };
    report.note(&format!("{name}: {pods} Pods"));
    let names: Vec<&str> = ["seaway", "exec", "bridge", "ptp"]
        .into_iter()
        .filter(|name| field.find(name).is_some())
        .collect();
    let series = batch::rounds(field, &names, workers, pods, plan)?;
    report.note_noise(name, &series);
    for (metric, (verb, what, unit)) in batch::METRICS.into_iter().enumerate() {
        for (i, contender) in names
            .iter()
            .enumerate()
            .filter(|(_, name)| **name != "seaway")
        {
            let values = series.values(i, metric);
            let case = format!("{verb}-{name}:{contender}");
            report.add(label(case, what, unit).alone(median(&values), values.len()))?;
        }
        if let Some(seaway) = names.iter().position(|name| *name == "seaway") {
            let ours = series.values(seaway, metric);
            for (i, baseline) in names.iter().enumerate().filter(|(i, _)| *i != seaway) {
                let values = series.values(i, metric);
                let case = format!("{verb}-{name}");
                report.add(label(case, what, unit).beside(&ours, baseline, &values))?;
            }
        }
    }
    report.print_table();
    Ok(())
}

/// All Pods of a node, by DEL of each and by one GC, beside bare pairs deleted as one group.
fn remove_case(
    cast: &Cast,
    seaway: &Seaway,
    pods: usize,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Once,
    };
    report.note(&format!("{pods} Pods removed"));
    let series = removal::rounds(seaway, &cast.floor, &cast.exec, pods, plan)?;
    report.note_noise("remove", &series);
    let [by_del, by_gc, floor, exec] = [0, 1, 2, 3].map(|i| series.values(i, 0));
    let both = series.each(|round| round.value(2, 0) + round.value(3, 0));
    let case = format!("remove-{pods}");
    let wall = |case: &str| label(case.to_owned(), "wall", "ms");
    let rounds = floor.len();
    report.add(wall(&format!("{case}:group-delete")).alone(median(&floor), rounds))?;
    report.add(wall(&format!("{case}:exec")).alone(median(&exec), rounds))?;
    report.add(wall(&case).beside(&by_del, "group-delete", &floor))?;
    report.add(wall(&case).beside(&by_del, "group-delete+exec", &both))?;
    report.add(wall(&format!("{case}-gc")).beside(&by_gc, "group-delete", &floor))?;
    report.print_table();
    Ok(())
}

fn trace(cast: &Cast, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let count = arguments.options.amount(200);
    let contenders: Vec<&dyn Contender> = cast
        .seaway()
        .into_iter()
        .chain(cast.peers.iter().map(|peer| peer as &dyn Contender))
        .collect();
    for waits in waits::count(&contenders, count)? {
        for (verb, value) in [("add", waits.add), ("del", waits.del)] {
            let case = match waits.name {
                "seaway" => format!("{verb}-grace-periods"),
                name => format!("{verb}-grace-periods:{name}"),
            };
            report.add(label(case, "waits", "count").alone(value as f64, count))?;
        }
    }
    report.print_table();
    Ok(())
}
