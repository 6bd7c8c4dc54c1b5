//! `cargo xtask lab`: the first look at Seaway, from nothing to a checked two-node lab.
//!
//! It only strings together what a user of the `seaway` binary would type.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::command::{self, program};
use crate::{dist, setup};

/// The lab is named, so that it meets no other.
const NAME: &str = "demo";

/// Brings the lab up, checks every path, and ends as the check ends.
pub(crate) fn run() -> Result<ExitCode> {
    setup::require_root("a lab")?;
    setup::ensure(setup::Scope::Lab)?;
    let seaway = dist::build()?.join("seaway");
    take_down_leftover(&seaway)?;
    command::run(&mut program(&seaway, &["lab", "up", "--name", NAME]))?;
    let check = command::status(&mut program(&seaway, &["lab", "check", "--name", NAME]))?;
    println!("{}", next_steps(&seaway));
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

fn next_steps(seaway: &Path) -> String {
    let dir = seaway.parent().unwrap_or(seaway).display();
    format!(
        "\nThe lab \"{NAME}\" stays up. To go on with the commands that `lab up` named above:\n\
         \x20 export PATH={dir}:$PATH\n\
         and to take it down, leaving nothing behind:\n\
         \x20 seaway lab down --name {NAME}"
    )
}
