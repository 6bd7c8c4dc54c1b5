//! `cargo xtask test`: everything that CI runs, and the time that each stage took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{self, cargo};
use crate::{dist, helm, kubectl, layers, lint, setup};

/// Every valid way between Pods is tried, instead of those in which every two choices meet.
const FULL_MATRIX: &str = "--full-matrix";
/// How the tests are told.
const FULL_MATRIX_VARIABLE: &str = "SEAWAY_FULL_MATRIX";

/// Runs the stages in order and stops at the first that fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let full_matrix = match arguments {
        [] => false,
        [one] if one == FULL_MATRIX => true,
        other => bail!("`cargo xtask test` takes {FULL_MATRIX} or nothing, got {other:?}"),
    };
    setup::require_root("the test suite")?;
    let mut stages = Stages::default();
    let result = all(&mut stages, full_matrix);
    eprint!("{}", stages.table());
    result
}

fn all(stages: &mut Stages, full_matrix: bool) -> Result<()> {
    stages.run("setup", || setup::ensure(setup::Scope::All))?;
    let kubectl = kubectl::ensure()?;
    let helm = helm::ensure()?;
    stages.run("lint", lint::run)?;
    stages.run("layers", layers::run)?;
    let next = stages.run("build next", dist::build_next)?;
    let binaries = stages.run("build", dist::build)?;
    // Before the others, so that the last summary printed is the one of all tests.
    stages.run("doc tests", || {
        command::run(&mut cargo(&["test", "--quiet", "--workspace", "--doc"]))
    })?;
    stages.run("tests", || {
        let mut nextest = cargo(&["nextest", "run", "--workspace"]);
        nextest.env("SEAWAY_BIN_DIR", &binaries);
        nextest.env("SEAWAY_NEXT_BIN_DIR", &next);
        if full_matrix {
            nextest.env(FULL_MATRIX_VARIABLE, "1");
        }
        nextest.env(helm::VARIABLE, &helm);
        command::run(nextest.env(kubectl::VARIABLE, &kubectl))
    })
}

/// What has run, and for how long.
#[derive(Default)]
struct Stages(Vec<(&'static str, Duration)>);

impl Stages {
    fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("== {name}");
        let start = Instant::now();
        let result = work();
        self.0.push((name, start.elapsed()));
        result.with_context(|| format!("stage \"{name}\" failed"))
    }

    fn table(&self) -> String {
        let line =
            |name: &str, time: Duration| format!("{name:<12}{:>7.1} s\n", time.as_secs_f64());
        let lines = self.0.iter().map(|(name, time)| line(name, *time));
        let total = line("total", self.0.iter().map(|(_, time)| *time).sum());
        lines.chain([total]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_flag_that_there_is_is_taken() {
        let error = run(&["--full".to_owned()])
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains(FULL_MATRIX) && error.contains("--full\""),
            "{error}"
        );
    }

    #[test]
    fn a_failed_stage_is_named_and_timed_all_the_same() {
        let mut stages = Stages::default();
        stages.run("first", || Ok(())).expect("it succeeds");
        let error = stages
            .run::<()>("second", || anyhow::bail!("no luck"))
            .expect_err("it fails");
        let _: () = stages.run("third", || Ok(())).expect("it succeeds");
        assert_eq!(format!("{error:#}"), "stage \"second\" failed: no luck");
        let table = stages.table();
        let names: Vec<_> = table
            .lines()
            .filter_map(|l| l.split_whitespace().next())
            .collect();
        assert_eq!(names, ["first", "second", "third", "total"]);
    }
}
