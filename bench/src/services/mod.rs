//! `bench services`: what Services cost a node that knows one, or a hundred thousand.
//!
//! One real agent on one CPU, told of Services by a stage that speaks the API's protocol. When a
//! change is in force is seen from outside, in the kernel's notices. The same parts are then done in
//! this process, one by one, to tell where the time goes. Then Pods connect to a Service and, in the
//! same rounds, to the Pod behind it.

mod connect;
mod inside;
mod life;
mod objects;
mod sight;
mod spot;
mod stage;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use self::connect::Offer;
use self::inside::Parts;
use self::life::{Effort, Life};
use self::objects::Scale;
use self::spot::Spot;
use self::stage::Kind;
use crate::Options;
use crate::binaries::Binaries;
use crate::cpu::Cpus;
use crate::report::{Aim, Label, Report, Row};
use crate::rounds::{self, Plan, Visits};
use crate::stats::{median, percentile, slope};
use crate::tcp::Link;

/// What `bench services` understands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// How many Services there are where endpoints change [default: 1,1000,10000,50000,100000, with
    /// --quick 1,1000,10000].
    #[arg(long, value_delimiter = ',')]
    services: Vec<usize>,
    /// What is programmed from nothing, as SERVICESxENDPOINTS [default: 10000x5, 45000x1, 5000x50,
    /// 100000x2, with --quick 10000x5].
    #[arg(long, value_delimiter = ',', value_parser = scale)]
    cold: Vec<Scale>,
    /// How many Services there are where Pods connect [default: 1,50000, with --quick 1,10000].
    #[arg(long, value_delimiter = ',')]
    connect: Vec<usize>,
    /// Only these parts: change, cold, connect, inside.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// How many endpoints change, one by one [default: 500, with --quick 100].
    #[arg(long)]
    changes: Option<usize>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// An endpoint changes: latency, CPU, and memory.
    Change,
    /// Everything from nothing.
    Cold,
    /// Connecting to a Service.
    Connect,
    /// The parts of an agent, without an agent.
    Inside,
}

fn scale(text: &str) -> Result<Scale, String> {
    let parts = text.split_once('x');
    let parts = parts.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (services, endpoints) = parts.ok_or("give SERVICESxENDPOINTS, such as 10000x5")?;
    let scale = Scale {
        services,
        endpoints,
    };
    check(scale)
        .map(|()| scale)
        .map_err(|error| error.to_string())
}

/// More have no addresses here.
fn check(scale: Scale) -> Result<()> {
    let (services, endpoints) = (scale.services, scale.endpoints);
    ensure!(
        (1..=200_000).contains(&services) && (1..=290_000).contains(&(services * endpoints)),
        "{services}x{endpoints}: give 1 to 200000 Services with at most 290000 endpoints in all"
    );
    Ok(())
}

/// What is aimed at when an endpoint changes: milliseconds, and that they do not grow.
const CHANGE_AIM: Aim = Aim::AtMost(1.0);
const CONSTANT_AIM: Aim = Aim::AtMost(1.25);
/// What is aimed at from nothing, in milliseconds.
const COLD_AIMS: [(usize, usize, f64); 4] = [
    (10_000, 5, 500.0),
    (45_000, 1, 2_000.0),
    (5_000, 50, 5_000.0),
    (100_000, 2, 2_000.0),
];
/// What is aimed at beside the Pod's own address.
const CONNECT_AIM: Aim = Aim::AtMost(1.10);

/// Measures every part that is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let options = &arguments.options;
    let mut report = options.report();
    let binaries = Binaries::find()?;
    Cpus::current()?.without(options.cpu)?.keep_this_thread()?;
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wanted(Part::Inside) {
        insides(arguments, &binaries, &mut report)?;
    }
    if wanted(Part::Cold) {
        colds(arguments, &binaries, &mut report)?;
    }
    if wanted(Part::Change) {
        changes(arguments, &binaries, &mut report)?;
    }
    if wanted(Part::Connect) {
        connects(arguments, &binaries, &mut report)?;
    }
    Ok(())
}

impl Arguments {
    fn sizes(&self) -> Result<Vec<usize>> {
        let sizes = match (&self.services[..], self.options.quick) {
            ([], true) => vec![1, 1_000, 10_000],
            ([], false) => vec![1, 1_000, 10_000, 50_000, 100_000],
            (given, _) => given.to_vec(),
        };
        let endpoints = 1;
        for services in &sizes {
            check(Scale {
                services: *services,
                endpoints,
            })?;
        }
        Ok(sizes)
    }

    fn colds(&self) -> Vec<Scale> {
        match (&self.cold[..], self.options.quick) {
            ([], quick) => COLD_AIMS[..if quick { 1 } else { COLD_AIMS.len() }]
                .iter()
                .map(|(services, endpoints, _)| Scale {
                    services: *services,
                    endpoints: *endpoints,
                })
                .collect(),
            (given, _) => given.to_vec(),
        }
    }

    fn changes(&self) -> usize {
        let usual = if self.options.quick { 100 } else { 500 };
        self.changes.unwrap_or(usual).clamp(1, 10_000)
    }

    /// Lives of an agent: each is long.
    fn lives(&self) -> usize {
        self.options
            .rounds
            .unwrap_or(if self.options.quick { 1 } else { 3 })
            .max(1)
    }
}

fn label(case: &str, metric: &'static str, unit: &'static str) -> Label {
    Label {
        bench: "services",
        case: case.to_owned(),
        metric,
        unit,
    }
}

/// A figure that is compared with nothing, the median over lives.
fn figure(
    case: &str,
    scale: Scale,
    (metric, unit): (&'static str, &'static str),
    values: &[f64],
) -> Row {
    label(case, metric, unit)
        .alone(median(values), values.len())
        .of_services(scale.services)
}

/// The parts of an agent, without one: at every size of (a), and of every scale of (b).
fn insides(arguments: &Arguments, binaries: &Binaries, report: &mut Report) -> Result<()> {
    let endpoints = 1;
    let sizes = arguments.sizes()?.into_iter().map(|services| Scale {
        services,
        endpoints,
    });
    let mut scales: Vec<Scale> = sizes.collect();
    scales.extend(arguments.colds());
    scales.dedup();
    for scale in scales {
        let Scale {
            services,
            endpoints,
        } = scale;
        report.note(&format!("inside: {services} Services x {endpoints}"));
        let mut spot = Spot::new(scale, binaries)?;
        let all = (0..arguments.lives()).map(|_| inside::parts(&mut spot, arguments.changes()));
        let all: Vec<Parts> = all.collect::<Result<_>>()?;
        let each =
            |number: &dyn Fn(&Parts) -> f64| -> Vec<f64> { all.iter().map(number).collect() };
        let case = format!("inside-x{endpoints}");
        for (metric, unit, values) in [
            ("rows", "", each(&|p| p.rows)),
            ("cold-plan", "ms", each(&|p| p.cold[0])),
            ("cold-apply", "ms", each(&|p| p.cold[1])),
            ("cold-observe", "ms", each(&|p| p.cold[2])),
            ("plan-one-p50", "ms", each(&|p| p.percentile(0, 50.0))),
            ("plan-one-p99", "ms", each(&|p| p.percentile(0, 99.0))),
            ("apply-one-p50", "ms", each(&|p| p.percentile(1, 50.0))),
            ("apply-one-p99", "ms", each(&|p| p.percentile(1, 99.0))),
        ] {
            let row = figure(&case, scale, (metric, unit), &values);
            report.add(match metric {
                "cold-apply" => judged_cold(row, scale),
                _ => row,
            })?;
        }
        report.print_table();
    }
    Ok(())
}

fn lives(
    arguments: &Arguments,
    scale: Scale,
    effort: Effort,
    binaries: &Binaries,
) -> Result<(Vec<Life>, Spot)> {
    let mut spot = Spot::new(scale, binaries)?;
    let cpu = arguments.options.cpu;
    let lives = (0..arguments.lives()).map(|_| life::live(&mut spot, cpu, effort));
    let lives = lives.collect::<Result<_>>()?;
    Ok((lives, spot))
}

/// What is aimed at for a scale, if anything is.
fn judged_cold(row: Row, scale: Scale) -> Row {
    let wanted = (scale.services, scale.endpoints);
    let aim = COLD_AIMS.iter().find(|(a, b, _)| (*a, *b) == wanted);
    match aim {
        Some((.., aim)) => row.judged(Aim::AtMost(*aim)),
        None => row,
    }
}

/// From the start of an agent until everything is in force.
fn colds(arguments: &Arguments, binaries: &Binaries, report: &mut Report) -> Result<()> {
    for scale in arguments.colds() {
        let Scale {
            services,
            endpoints,
        } = scale;
        report.note(&format!("cold: {services} Services x {endpoints}"));
        let effort = Effort {
            changes: 1,
            storm: Duration::ZERO,
        };
        let (all, spot) = lives(arguments, scale, effort, binaries)?;
        let each = |number: &dyn Fn(&Life) -> f64| -> Vec<f64> { all.iter().map(number).collect() };
        let case = format!("cold-x{endpoints}");
        let told = [Kind::Services, Kind::Slices].map(|kind| spot.stage.size(kind) as f64 / 1e6);
        let lists = [told.iter().sum::<f64>()];
        report.add(figure(&case, scale, ("lists", "MB"), &lists))?;
        report.add(figure(&case, scale, ("rows", ""), &each(&|l| l.rows)))?;
        for (metric, part) in [("in-force", 0), ("programmed", 1)] {
            let row = figure(&case, scale, (metric, "ms"), &each(&|l| l.cold[part]));
            report.add(judged_cold(row, scale))?;
        }
        for (metric, unit, values) in [
            ("in-force-cpu", "ms", each(&|l| l.cold[2])),
            ("again", "ms", each(&|l| l.warm[0])),
            ("again-programmed", "ms", each(&|l| l.warm[1])),
            ("again-cpu", "ms", each(&|l| l.warm[2])),
            ("rss", "MB", each(&|l| l.memory[0])),
            ("anon", "MB", each(&|l| l.memory[1])),
            ("peak-rss", "MB", each(&|l| l.memory[2])),
        ] {
            report.add(figure(&case, scale, (metric, unit), &values))?;
        }
        report.print_table();
    }
    Ok(())
}

/// An endpoint changes, at every size; how memory grows with that.
fn changes(arguments: &Arguments, binaries: &Binaries, report: &mut Report) -> Result<()> {
    let mut sizes = Vec::new();
    let (mut rss, mut anon) = (Vec::new(), Vec::new());
    for services in arguments.sizes()? {
        let scale = Scale {
            services,
            endpoints: 1,
        };
        report.note(&format!("endpoint-change: {services} Services"));
        let effort = Effort {
            changes: arguments.changes(),
            storm: Duration::from_secs(if arguments.options.quick { 2 } else { 10 }),
        };
        let (all, _) = lives(arguments, scale, effort, binaries)?;
        let each = |number: &dyn Fn(&Life) -> f64| -> Vec<f64> { all.iter().map(number).collect() };
        let joined: Vec<f64> = all.iter().flat_map(|l| l.changes.clone()).collect();
        let stormy: Vec<f64> = all.iter().flat_map(|l| l.storm.clone()).collect();
        let share = |metric, values: &[f64], p| {
            let row = label("endpoint-change", metric, "ms");
            row.alone(percentile(values, p), values.len())
                .of_services(services)
        };
        report.add(share("p50", &joined, 50.0))?;
        let row = share("p99", &joined, 99.0);
        report.add(row.judged(CHANGE_AIM))?;
        if let Some(first) = sizes.first() {
            let first: &Vec<f64> = first;
            let base = median(first);
            let row = label("endpoint-change", "growth", "x");
            let row = row.alone(median(&joined) / base, joined.len());
            report.add(row.of_services(services).judged(CONSTANT_AIM))?;
        }
        report.add(figure(
            "endpoint-change",
            scale,
            ("first", "ms"),
            &each(&|l| l.first),
        ))?;
        report.add(figure(
            "endpoint-change",
            scale,
            ("cpu", "ms"),
            &each(&|l| l.change_cpu),
        ))?;
        report.add(figure(
            "storm-1000",
            scale,
            ("cpu-share", ""),
            &each(&|l| l.storm_cpu),
        ))?;
        for (metric, p) in [("p50", 50.0), ("p99", 99.0)] {
            let row = label("storm-1000", metric, "ms");
            let row = row.alone(percentile(&stormy, p), stormy.len());
            report.add(row.of_services(services))?;
        }
        for (metric, values, points) in [
            ("rss", each(&|l| l.memory[0]), &mut rss),
            ("anon", each(&|l| l.memory[1]), &mut anon),
        ] {
            points.push((services as f64, median(&values)));
            report.add(figure("memory", scale, (metric, "MB"), &values))?;
        }
        sizes.push(joined);
        report.print_table();
    }
    if rss.len() > 1 {
        for (metric, points) in [("rss-each", &rss), ("anon-each", &anon)] {
            let row = label("memory", metric, "B");
            report.add(row.alone(slope(points) * 1e6, points.len()))?;
        }
        report.print_table();
    }
    Ok(())
}

/// A Service's address beside the Pod's own.
fn connects(arguments: &Arguments, binaries: &Binaries, report: &mut Report) -> Result<()> {
    let options = &arguments.options;
    let sizes = match (&arguments.connect[..], options.quick) {
        ([], true) => vec![1, 10_000],
        ([], false) => vec![1, 50_000],
        (given, _) => given.to_vec(),
    };
    report.note("connect: a Service's address beside the Pod's own");
    let offers = sizes
        .iter()
        .map(|services| Offer::new(*services, options.cpu, binaries));
    let offers: Vec<Offer> = offers.collect::<Result<_>>()?;
    let mut links: Vec<Link<'_>> = Vec::new();
    for offer in &offers {
        let direct = offer.direct(options.cpu)?;
        let by_service = offer.by_service(&direct)?;
        links.extend([direct, by_service]);
    }
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let connections = options.amount(1_000);
    let series = rounds::run(plan, links.len(), |i| {
        connect::visit(&links[i], connections)
    })?;
    report.note_noise("connect", &series);
    for (metric, (name, unit)) in connect::METRICS.into_iter().enumerate() {
        for (i, offer) in offers.iter().enumerate() {
            let [own, service] = [2 * i, 2 * i + 1].map(|i| series.values(i, metric));
            let services = offer.services();
            let row = label("own-address", name, unit).alone(median(&own), own.len());
            report.add(row.of_services(services))?;
            let row = label("cluster-ip", name, unit).beside(&service, "own-address", &own);
            let row = row.of_services(services);
            report.add(match name {
                "connect" | "connection" => row.judged(CONNECT_AIM),
                "rate" => row.judged(Aim::AtLeast(1.0 / 1.10)),
                _ => row,
            })?;
            if i > 0 {
                let first = series.values(1, metric);
                let name_of_first = format!("cluster-ip of {}", offers[0].services());
                let row =
                    label("cluster-ip-growth", name, unit).beside(&service, &name_of_first, &first);
                report.add(row.of_services(services))?;
            }
        }
    }
    report.print_table();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_read_and_bounded() {
        let wanted = Scale {
            services: 45_000,
            endpoints: 1,
        };
        assert_eq!(scale("45000x1"), Ok(wanted));
        for bad in ["45000", "0x1", "1x0", "100000x5", "axb"] {
            assert!(scale(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stride_visits_every_service() {
        let scale = Scale {
            services: 1_000,
            endpoints: 1,
        };
        let all: std::collections::BTreeSet<usize> =
            (0..1_000).map(|n| inside::chosen(scale, n)).collect();
        assert_eq!(all.len(), 1_000);
    }
}
