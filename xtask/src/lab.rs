//! `cargo xtask lab`: the first look at Seaway, from nothing to a checked two-node lab.
//!
//! It only strings together what a user of the `seaway` binary would type. What it is called with is
//! for `seaway lab up`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::command::{self, program};
use crate::{dist, kubectl, setup};

/// The lab is named, so that it meets no other.
const NAME: &str = "demo";
/// What a user could have written.
const SAMPLE: &str = "deploy/samples/hello.yaml";

/// Brings the lab up, checks every path, and ends as the check ends.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    setup::require_root("a lab")?;
    setup::ensure(setup::Scope::Lab)?;
    let kubectl = kubectl::ensure()?;
    let seaway = dist::build()?.join("seaway");
    take_down_leftover(&seaway)?;
    let mut up = program(&seaway, &["lab", "up", "--name", NAME]);
    command::run(up.args(arguments))?;
    for arguments in [
        &["apply", "-f", SAMPLE][..],
        &["rollout", "status", "deployment/hello", "--timeout=120s"],
        &["get", "deployments,pods,nodes", "-o", "wide"],
    ] {
        let mut lab = program(&seaway, &["lab", "kubectl", "--name", NAME]);
        command::run(lab.args(arguments).env(kubectl::VARIABLE, &kubectl))?;
    }
    let check = command::status(&mut program(&seaway, &["lab", "check", "--name", NAME]))?;
    println!("{}", next_steps(&seaway, &kubectl));
    Ok(if check.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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

fn next_steps(seaway: &Path, kubectl: &Path) -> String {
    let [dir, kubectl] = [seaway, kubectl].map(|path| path.parent().unwrap_or(path).display());
    format!(
        "\nThe lab \"{NAME}\" stays up. To go on with the commands that `lab up` named above:\n\
         \x20 export PATH={dir}:{kubectl}:$PATH\n\
         and to take it down, leaving nothing behind:\n\
         \x20 seaway lab down --name {NAME}"
    )
}
