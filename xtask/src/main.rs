//! The commands of the project itself, run as `cargo xtask NAME`.
//!
//! This is not part of the product: it installs what the work needs, builds, checks and tests. It
//! depends on nothing of Seaway and on few crates, so that it compiles in seconds.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its terminal"
)]

mod bench;
mod command;
mod dist;
#[cfg(test)]
mod guarantees;
mod helm;
mod image;
mod kubectl;
mod lab;
mod layers;
mod lint;
mod metadata;
mod setup;
mod sources;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const HELP: &str = "\
The commands of the project, run as `cargo xtask NAME`:

  setup          install what is missing on this machine (Debian packages, cargo-nextest, kubectl)
  lab            bring up a two-node lab in network namespaces, deploy a sample, check every path
                 [what `seaway lab up` takes, such as --underlay routed --transport vxlan]
  test           everything that CI runs [--full-matrix: with all ways between Pods]
  bench NAME     run a benchmark (agent, api, calibrate, cni, nodes, path, services) [--json] [--help for more]
  build          build the static binaries that users run
  image          write the container image of them [--out FILE] [--from DIR: of these binaries]
  lint           formatting, clippy with warnings denied, length of files
  layers         check who may depend on whom
  help           this text
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    std::env::set_current_dir(root()?).context("going to the root of the repository")?;
    let (name, rest) = match args.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", args),
    };
    match name {
        "bench" => return bench::run(rest),
        "lab" => return lab::run(rest),
        "test" => test::run(rest)?,
        "image" => image::run(rest)?,
        "help" | "--help" | "-h" => print!("{HELP}"),
        _ if !rest.is_empty() => bail!("`cargo xtask {name}` takes no arguments, got {rest:?}"),
        "setup" => setup::ensure(setup::Scope::All)?,
        "build" => dist::build().map(drop)?,
        "lint" => lint::run()?,
        "layers" => layers::run()?,
        other => bail!("there is no command {other:?}\n\n{HELP}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The root of the repository: the folder that holds this package's own.
fn root() -> Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: run this as `cargo xtask NAME`")?;
    let root = PathBuf::from(own).join("..").canonicalize();
    root.context("finding the root of the repository")
}
