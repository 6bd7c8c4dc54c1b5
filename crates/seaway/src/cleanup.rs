//! `seaway cleanup`: removing everything of Seaway from this node.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use seaway_agent::{CleanupConfig, CleanupReport};
use serde_json::json;

use crate::agent::{PlaceArgs, UplinkArgs};
use crate::inspect::Format;

/// How many rows of a table are printed one by one.
const SHOWN: usize = 50;

/// What to clean up.
#[derive(Args)]
pub(crate) struct CleanupArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    /// Cut live Pods off, too.
    #[arg(long)]
    force: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

pub(crate) fn run(args: CleanupArgs) -> anyhow::Result<ExitCode> {
    args.place.open_settings()?;
    let config = CleanupConfig {
        socket: args.place.socket(),
        state_dir: args.place.state_dir,
        uplink: args.uplink.rule()?,
        force: args.force,
    };
    let report = seaway_agent::cleanup(&config).context("clean up")?;
    match args.output {
        Format::Json => println!("{}", json!(report)),
        Format::Table => print(&report),
    }
    Ok(match report.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

pub(crate) fn print(report: &CleanupReport) {
    for rows in report.rows.chunk_by(|(one, _), (next, _)| one == next) {
        for (table, row) in rows.iter().take(SHOWN) {
            println!("removed  {table}  {row}");
        }
        if let [(table, _), ..] = rows
            && rows.len() > SHOWN
        {
            println!("removed  {table}  and {} more", rows.len() - SHOWN);
        }
    }
    for link in &report.strange {
        println!("removed  links  {link}");
    }
    for file in &report.files {
        println!("removed  file  {}", file.display());
    }
    if report.leftovers > 0 {
        println!("removed  {} links of Pods that were gone", report.leftovers);
    }
    for failure in &report.failures {
        println!("NOT REMOVED  {failure}");
    }
    let links = report.leftovers + report.strange.len();
    if report.rows.is_empty() && report.files.is_empty() && links == 0 {
        println!("There was nothing of Seaway here.");
    }
    println!("Forwarding stays as it is (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding).");
}
