//! `cargo xtask bench NAME`: builds everything that is measured, then hands over to seaway-bench.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::{self, cargo};
use crate::{dist, setup};

const NAMES: [&str; 7] = [
    "agent",
    "api",
    "calibrate",
    "cni",
    "nodes",
    "path",
    "services",
];

/// Runs the benchmark that the first argument names; its exit code is ours.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let name = args.first().map_or("", String::as_str);
    if !NAMES.contains(&name) {
        bail!(
            "there is no benchmark {name:?}, take one of: {}",
            NAMES.join(", ")
        );
    }
    setup::require_root("a benchmark")?;
    setup::ensure(setup::Scope::Bench)?;
    let binaries = dist::build()?;
    dist::build_floors(&binaries)?;
    let mut bench = cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        "seaway-bench",
        "--",
    ]);
    let status = command::status(bench.args(args).env("SEAWAY_BIN_DIR", binaries))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
