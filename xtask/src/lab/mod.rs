//! `cargo xtask lab`: the first look at Seaway, from nothing to a checked two-node lab with a web app
//! that is scaled and replaced while a client keeps asking.
//!
//! It only strings together what a user of the `seaway` binary would type. What it is called with is
//! for `seaway lab up`.

mod client;
mod next_steps;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;

use self::client::{Client, Phase};
use crate::command::{self, program};
use crate::{dist, kubectl, setup};

/// The lab is named, so that it meets no other.
const NAME: &str = "demo";
/// What a user could have written.
const SAMPLE: &str = "deploy/samples/web.yaml";

/// A lab of that name, and the programs to use on it.
struct Lab {
    seaway: PathBuf,
    kubectl: PathBuf,
}

/// Brings the lab up, checks every path, and ends well if the client met no error and the check
/// found none.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    setup::require_root("a lab")?;
    setup::ensure(setup::Scope::Lab)?;
    let kubectl = kubectl::ensure()?;
    let seaway = dist::build()?.join("seaway");
    take_down_leftover(&seaway)?;
    let lab = Lab { seaway, kubectl };
    command::run(lab.seaway("up", &[]).args(arguments))?;
    let mut client = Client::new(&lab);
    let mut phases = lab.sample(&mut client)?;
    let check = command::status(&mut lab.seaway("check", &[]))?;
    phases.push(client.phase("all paths checked")?);
    println!("\n{}", client::table(&phases));
    println!("{}", next_steps::text(&lab));
    let undisturbed = phases.iter().all(|phase| phase.failed == 0);
    Ok(if check.success() && undisturbed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Lab {
    /// A command of `seaway lab` on it.
    fn seaway(&self, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = program(&self.seaway, &["lab", subcommand, "--name", NAME]);
        command.args(arguments);
        command
    }

    /// A kubectl that is pointed at it.
    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = self.seaway("kubectl", arguments);
        command.env(kubectl::VARIABLE, &self.kubectl);
        command
    }

    /// Deploys the sample, scales it and replaces its Pods, and tells how its client fared.
    fn sample(&self, client: &mut Client<'_>) -> Result<Vec<Phase>> {
        let run = |arguments: &[&str]| command::run(&mut self.kubectl(arguments));
        let rolled_out = |name: &str| run(&["rollout", "status", name, "--timeout=120s"]);
        run(&["apply", "-f", SAMPLE])?;
        rolled_out("deployment/web")?;
        rolled_out("deployment/client")?;
        run(&[
            "get",
            "services,endpointslices,deployments,pods",
            "-o",
            "wide",
        ])?;
        let mut phases = vec![client.phase("three Pods")?];
        for (what, change) in [
            ("scaled to six", &["scale", "--replicas=6"][..]),
            ("all replaced by new ones", &["rollout", "restart"]),
            ("scaled to three", &["scale", "--replicas=3"]),
        ] {
            run(&[change, &["deployment/web"]].concat())?;
            rolled_out("deployment/web")?;
            phases.push(client.phase(what)?);
        }
        Ok(phases)
    }
}

/// A lab of this name may be left from the last time; only a failure to remove one that is there
/// is an error.
fn take_down_leftover(seaway: &Path) -> Result<()> {
    let list = command::output(&mut program(seaway, &["lab", "list"]))?;
    let mut names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    match names.any(|name| name == NAME) {
        true => command::run(&mut program(seaway, &["lab", "down", "--name", NAME])),
        false => Ok(()),
    }
}
