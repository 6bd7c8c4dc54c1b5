//! Benchmarks of Seaway: every figure is a ratio to a baseline of the same run.
//!
//! Everything happens in namespaces of this program's own, and daemons are bound to die with it, so
//! nothing is left whichever way it ends, Ctrl-C included. Run it as `cargo xtask bench NAME`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its terminal"
)]

mod api;
mod binaries;
mod calibrate;
mod cluster;
mod cni;
mod cpu;
mod footprint;
mod hand;
mod launch;
mod machine;
mod nodes;
mod path;
mod plugin;
mod pressure;
mod report;
mod room;
mod rounds;
mod services;
mod stats;
mod tcp;
mod underlay;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::report::Report;

/// Benchmarks of Seaway: ratios to a baseline in the same run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What this machine's primitives cost: the floor below everything else.
    Calibrate(Options),
    /// The agent's memory, idle and with Pods, and how soon it serves after kill -9.
    Agent(footprint::Arguments),
    /// The API server: creates, lists, watches and memory with many Pods.
    Api(api::Arguments),
    /// ADD and DEL of Pods beside the reference plugins, and beside the bare netlink floor.
    Cni(cni::Arguments),
    /// What another node costs an agent that knows ten, a hundred, or thousands of them.
    Nodes(nodes::Arguments),
    /// TCP from Pod to Pod, of every wiring and transport, beside the bare path.
    Path(path::Arguments),
    /// What Services cost a node: endpoint changes, start, memory, and connecting to them.
    Services(services::Arguments),
    #[command(hide = true)]
    Launch(launch::Launch),
}

/// What every benchmark understands.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// One JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Few short rounds: to see that it runs, not to believe the figures.
    #[arg(long)]
    quick: bool,
    /// Rounds that count [default: 10, with --quick 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// The CPU that everything is kept to where cost is measured.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
}

impl Options {
    /// The number of rounds.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds
            .unwrap_or(if self.quick { 3 } else { 10 })
            .max(1)
    }

    /// `full`, or with `--quick` only a part of it.
    pub(crate) fn amount(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }

    /// Starts a report with what is known of the machine.
    pub(crate) fn report(&self) -> Report {
        let report = Report::new(self.json);
        machine::describe()
            .iter()
            .for_each(|line| report.note(line));
        report
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.bench {
        Bench::Calibrate(options) => calibrate::run(options, &mut options.report()),
        Bench::Agent(arguments) => footprint::run(arguments),
        Bench::Api(arguments) => api::run(arguments),
        Bench::Cni(arguments) => cni::run(arguments),
        Bench::Nodes(arguments) => nodes::run(arguments),
        Bench::Path(arguments) => path::run(arguments),
        Bench::Services(arguments) => services::run(arguments),
        Bench::Launch(launch) => launch.run(),
    }
}
