//! `seaway uninstall`.

use std::process::ExitCode;

use clap::Args;

use crate::inspect::Format;
use crate::uninstall_host::{self, UninstallHostArgs};

/// From where, and how to print.
#[derive(Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    host: UninstallHostArgs,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

pub(crate) fn run(args: UninstallArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.host.host, "give --host");
    uninstall_host::run(args.host, args.output)
}
