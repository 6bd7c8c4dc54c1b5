//! `bench nodes`: what another node costs an agent that knows ten, a hundred, or thousands.
//!
//! One real agent on one CPU, told of nodes that do not exist by the real API server or by a
//! cluster file. What it does is seen from outside, in the kernel's notifications. The same parts
//! are then done in this process, one by one, to tell where the time goes.

mod inside;
mod life;
mod objects;
mod place;
mod sight;

use anyhow::{Result, ensure};
use clap::Args;
use seaway_model::Transport;

use self::life::Joins;
use self::place::{Place, Source};
use crate::Options;
use crate::api::server::Site;
use crate::binaries::Binaries;
use crate::cpu::Cpus;
use crate::report::{Aim, Label, Report};
use crate::rounds::{self, Plan, Series, Visits};
use crate::stats::{median, percentile};

/// What `bench nodes` understands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// How many peers; figures are compared with those of the first [default: 10,100,1000,5000,
    /// with --quick 10,100,1000].
    #[arg(long, value_delimiter = ',')]
    peers: Vec<usize>,
    /// How packets get to them.
    #[arg(long, value_delimiter = ',', default_values_t = [Transport::Direct, Transport::Vxlan])]
    transport: Vec<Transport>,
    /// What tells the agent of them.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["api", "file"])]
    source: Vec<Source>,
    /// Joins and leaves in each of an agent's lives.
    #[arg(long, default_value_t = 6)]
    joins: usize,
    /// Only the agent's parts, without an agent.
    #[arg(long)]
    parts_only: bool,
}

/// What is aimed at with 5,000 peers.
const MANY: usize = 5_000;
const AIMS: [(&str, Aim); 3] = [
    ("cold-routes", Aim::AtMost(1_000.0)),
    ("cold-settled", Aim::AtMost(1_000.0)),
    ("rss", Aim::AtMost(40.0)),
];
/// What must not grow with the number of nodes, but for the noise.
const CONSTANT: [&str; 6] = [
    "join",
    "join-cpu",
    "leave",
    "leave-cpu",
    "plan-one",
    "apply-one",
];
const CONSTANT_AIM: Aim = Aim::AtMost(1.25);

/// Measures every source and transport that is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let options = &arguments.options;
    let mut report = options.report();
    let peers = match (&arguments.peers[..], options.quick) {
        ([], true) => vec![10, 100, 1000],
        ([], false) => vec![10, 100, 1000, MANY],
        (given, _) => given.to_vec(),
    };
    ensure!(
        peers.iter().all(|n| (1..=10_000).contains(n)),
        "--peers: give numbers from 1 to 10000"
    );
    let binaries = Binaries::find()?;
    Cpus::current()?.without(options.cpu)?.keep_this_thread()?;
    for source in &arguments.source {
        for transport in &arguments.transport {
            one(
                arguments,
                *source,
                *transport,
                &peers,
                &binaries,
                &mut report,
            )?;
        }
    }
    Ok(())
}

fn one(
    arguments: &Arguments,
    source: Source,
    transport: Transport,
    peers: &[usize],
    binaries: &Binaries,
    report: &mut Report,
) -> Result<()> {
    let options = &arguments.options;
    let sites = peers
        .iter()
        .map(|_| Site::new(binaries))
        .collect::<Result<Vec<_>>>()?;
    let mut places = Vec::new();
    for (site, count) in sites.iter().zip(peers) {
        places.push(Place::new(site, source, transport, *count, binaries)?);
    }
    let name = match source {
        Source::Api => format!("{transport}-api"),
        Source::File => format!("{transport}-file"),
    };
    let plan = Plan {
        rounds: options.rounds.unwrap_or(if options.quick { 2 } else { 5 }),
        visits: Visits::Once,
    };
    let mut joins: Vec<Joins> = places.iter().map(|_| Joins::default()).collect();
    if !arguments.parts_only {
        report.note(&format!("{name}: lives of agents"));
        let series = rounds::run(plan, places.len(), |i| {
            life::live(&mut places[i], options.cpu, arguments.joins, &mut joins[i])
        })?;
        report.note_noise(&name, &series);
        rows(&name, &life::METRICS, peers, &series, report)?;
        for (count, Joins(all)) in peers.iter().zip(&joins) {
            let label = label(&name, *count, "join-p99", "ms");
            report.add(label.alone(percentile(all, 99.0), all.len()))?;
        }
        report.print_table();
    }
    report.note(&format!("{name}: the parts"));
    let series = rounds::run(plan, places.len(), |i| {
        inside::parts(&mut places[i], transport)
    })?;
    rows(&name, &inside::METRICS, peers, &series, report)?;
    report.print_table();
    Ok(())
}

fn label(case: &str, peers: usize, metric: &'static str, unit: &'static str) -> Label {
    Label {
        bench: "nodes",
        case: format!("{case}-{peers}"),
        metric,
        unit,
    }
}

fn rows(
    case: &str,
    metrics: &[(&'static str, &'static str)],
    peers: &[usize],
    series: &Series,
    report: &mut Report,
) -> Result<()> {
    for (metric, (name, unit)) in metrics.iter().enumerate() {
        let first = series.values(0, metric);
        if first.iter().any(|value| value.is_nan()) {
            continue;
        }
        for (i, count) in peers.iter().enumerate() {
            let label = label(case, *count, name, unit);
            let values = series.values(i, metric);
            if i == 0 {
                report.add(label.alone(median(&values), values.len()))?;
                continue;
            }
            let row = label.beside(&values, &peers[0].to_string(), &first);
            let aim = AIMS.iter().find(|(of, _)| of == name && *count == MANY);
            report.add(match aim {
                Some((_, aim)) => row.judged_by_value(*aim),
                None if CONSTANT.contains(name) => row.judged(CONSTANT_AIM),
                None => row,
            })?;
        }
    }
    Ok(())
}
