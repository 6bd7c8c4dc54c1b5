//! `seaway install`: the manifest for a Kubernetes cluster, from what people choose.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use seaway_deploy::{POLICY_NOTE, Values, manifest};

use crate::install_host;

/// What to install, and how.
#[derive(Args)]
pub(crate) struct InstallArgs {
    /// Values, in the form of the chart's values.yaml. May be given more than once; what comes later
    /// counts.
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// One value, such as transport=vxlan or vxlan.vni=7; lists as a,b. May be given more than once;
    /// counts more than files.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    host: install_host::InstallHostArgs,
}

impl InstallArgs {
    fn values(&self) -> anyhow::Result<Values> {
        let mut values = Values::default();
        for file in &self.values {
            let named = || format!("--values {}", file.display());
            let text = std::fs::read_to_string(file).with_context(named)?;
            values.merge_yaml(&text).with_context(named)?;
        }
        for assignment in &self.set {
            values.set(assignment).context("--set")?;
        }
        values.check_together()?;
        Ok(values)
    }
}

pub(crate) fn run(args: &InstallArgs) -> anyhow::Result<ExitCode> {
    if args.host.host {
        return install_host::run(&args.host);
    }
    let text = manifest(&args.values()?);
    eprintln!("\n!!! {}\n", POLICY_NOTE.replace('\n', "\n!!! "));
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
