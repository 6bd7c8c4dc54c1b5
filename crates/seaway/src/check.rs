//! `seaway check`: tries every path of a cluster's Pod network, from its own nodes and Pods.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use seaway_lab::tool::Output;
use seaway_lab::{CheckOptions, Checker};
use seaway_model::Family;

use crate::reach::UserReachArgs;
use crate::told::told;

/// What a check ends with that could not be made.
const NOT_CHECKED: u8 = 2;
/// Seaway's own image, of this version.
const IMAGE: &str = concat!("seaway:", env!("CARGO_PKG_VERSION"));

/// How to check a cluster.
#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    reach: UserReachArgs,
    /// The image of the test Pods: Seaway's own, as nodes can pull it.
    #[arg(long, default_value = IMAGE)]
    image: String,
    /// The nodes that take part, with commas between them; all that are ready by default.
    #[arg(long, value_delimiter = ',', value_name = "NODE,...")]
    nodes: Vec<String>,
    /// Try each node and Pod with every other one, not only with the next one.
    #[arg(long)]
    all_pairs: bool,
    /// Try one family alone.
    #[arg(long, value_enum)]
    family: Option<FamilyFlag>,
    /// Do not try SCTP: test Pods then need no capability at all.
    #[arg(long)]
    no_sctp: bool,
    /// How long Pods may take to be ready, in seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
    /// Leave what was made, to look at it.
    #[arg(long, conflicts_with = "clean")]
    keep: bool,
    /// Delete what earlier checks have left, and check nothing.
    #[arg(long)]
    clean: bool,
    /// Format.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum FamilyFlag {
    #[value(name = "ipv4")]
    V4,
    #[value(name = "ipv6")]
    V6,
}

impl CheckArgs {
    fn options(&self) -> anyhow::Result<CheckOptions> {
        Ok(CheckOptions {
            access: self.reach.access()?,
            image: self.image.clone(),
            nodes: self.nodes.clone(),
            all_pairs: self.all_pairs,
            families: match self.family {
                None => Family::ALL.to_vec(),
                Some(FamilyFlag::V4) => vec![Family::V4],
                Some(FamilyFlag::V6) => vec![Family::V6],
            },
            sctp: !self.no_sctp,
            limit: Duration::from_secs(self.timeout),
            keep: self.keep,
        })
    }
}

/// Checks; the exit code tells whether every path is right (0), one is not (1), or whether nothing
/// could be found out (2).
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    try_run(args).unwrap_or_else(|error| {
        eprintln!("seaway: the cluster could not be checked: {}", told(&error));
        ExitCode::from(NOT_CHECKED)
    })
}

fn try_run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let options = args.options()?;
    let checker = Checker::new(&options, &tell)?;
    if args.clean {
        let deleted = checker.clean()?;
        end_of_line();
        for name in &deleted {
            println!("deleted: the Namespace {name}");
        }
        if deleted.is_empty() {
            println!("no check has left anything");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = checker.run();
    end_of_line();
    let report = report?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Text => println!("{}", report.text()),
    }
    Ok(match report.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Says what is done: in one line of a terminal, else a line each. Nobody may be reading: then there
/// is nobody to tell.
pub(crate) fn tell(what: &str) {
    let mut errors = io::stderr();
    drop(match errors.is_terminal() {
        true => write!(errors, "\r\x1b[K{what}").and_then(|()| errors.flush()),
        false => writeln!(errors, "{what}"),
    });
}

/// Ends the line that [`tell`] writes in.
pub(crate) fn end_of_line() {
    let mut errors = io::stderr();
    if errors.is_terminal() {
        drop(write!(errors, "\r\x1b[K").and_then(|()| errors.flush()));
    }
}
