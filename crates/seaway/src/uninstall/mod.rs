//! `seaway uninstall`: from the whole cluster, or with `--host` from this node.

mod clean_up_pod;
mod cluster;
mod host;
mod objects;
mod report;

use std::process::ExitCode;

use clap::Args;

use crate::inspect::Format;
use cluster::ClusterArgs;
use host::UninstallHostArgs;

/// From where, and how to print.
#[derive(Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    host: UninstallHostArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

pub(crate) fn run(args: UninstallArgs) -> anyhow::Result<ExitCode> {
    match args.host.host {
        true => host::run(args.host, args.output),
        false => cluster::run(&args.cluster, args.output),
    }
}
