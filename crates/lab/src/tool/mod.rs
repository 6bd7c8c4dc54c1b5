//! What runs in the lab's Pods: a server that tells who asked, and clients that measure.
//!
//! These are ordinary programs on ordinary sockets. They know nothing of labs, nodes or Seaway, so
//! that what they see is what any program in a Pod would see.

mod ending;
mod fetch;
mod follow;
mod greeting;
mod http;
mod load;
mod lookup;
mod pause;
mod ping;
mod probe;
mod sctp;
mod serve;
mod stream;
mod tally;
mod udp_echo;
mod until;

pub use fetch::{FetchArgs, FetchError};
pub use follow::{FollowArgs, Order, Told};
pub use greeting::{Greeting, Seen};
pub use load::{LoadArgs, LoadReport};
pub use lookup::{Data, Found, LookupArgs, LookupError, Record, RecordKind};
pub use ping::{PingArgs, PingError};
pub use probe::{ProbeArgs, ProbeJob, ProbeKind, ProbeOutcome};
pub use serve::{ServeArgs, ServeError};
pub use stream::{StreamArgs, StreamReport};
pub use tally::{Rtt, Summary};

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};

/// Programs for Pods: an echo server and its clients.
#[derive(Debug, Subcommand)]
pub enum ToolCommand {
    /// Answer HTTP, TCP and UDP with the host's name and the address that is seen as the peer's.
    Serve(ServeArgs),
    /// Fetch a page over HTTP and print it.
    Fetch(FetchArgs),
    /// Send requests at a steady rate and count the answers.
    Ping(PingArgs),
    /// Make many connections, one after the other, and tell who answered and what went wrong.
    Load(LoadArgs),
    /// Look a name up by DNS, as programs here would.
    Lookup(LookupArgs),
    /// Keep one TCP connection busy until standard input closes, checking every byte.
    Stream(StreamArgs),
    /// Run the probes that standard input describes, one JSON object a line.
    Probe(ProbeArgs),
    /// Do what a file says, order after order: probes, loads.
    #[command(hide = true)]
    Follow(FollowArgs),
    /// Do nothing, so that a Pod's namespaces stay alive.
    #[command(hide = true)]
    Pause,
}

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Runs one of the tools.
pub fn run(command: ToolCommand) -> anyhow::Result<ExitCode> {
    match command {
        ToolCommand::Serve(args) => serve::run(&args)?,
        ToolCommand::Fetch(args) => print(fetch::run(&args)?.trim_end())?,
        ToolCommand::Ping(args) => return report_ping(&args),
        ToolCommand::Load(args) => return report_load(&args),
        ToolCommand::Lookup(args) => report_lookup(&args)?,
        ToolCommand::Stream(args) => return report_stream(&args),
        ToolCommand::Probe(args) => {
            let input = io::BufReader::new(io::stdin());
            probe::run(&args, input, io::stdout()).context("run the probes")?;
        }
        ToolCommand::Follow(args) => follow::run(&args).context("follow orders")?,
        ToolCommand::Pause => pause::run(),
    };
    Ok(ExitCode::SUCCESS)
}

fn report_ping(args: &PingArgs) -> anyhow::Result<ExitCode> {
    let summary = ping::run(args)?;
    match args.output {
        Output::Json => print(&serde_json::to_string(&summary)?)?,
        Output::Text => print(&summary.to_string())?,
    }
    Ok(exit_code(summary.received > 0))
}

fn report_load(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let report = load::run(args)?;
    match args.output {
        Output::Json => print(&serde_json::to_string(&report)?)?,
        Output::Text => print(&report.to_string())?,
    }
    Ok(exit_code(report.failed == 0 && report.answered > 0))
}

fn report_lookup(args: &LookupArgs) -> anyhow::Result<()> {
    let found = lookup::run(args)?;
    match args.output {
        Output::Json => print(&serde_json::to_string(&found)?)?,
        Output::Text => print(&lookup::text(&found))?,
    }
    Ok(())
}

fn report_stream(args: &StreamArgs) -> anyhow::Result<ExitCode> {
    let report = stream::run(args);
    match args.output {
        Output::Json => print(&serde_json::to_string(&report)?)?,
        Output::Text => print(&report.to_string())?,
    }
    Ok(exit_code(report.error.is_none()))
}

fn exit_code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}
