//! Which files hold the log of one run of a container.
//!
//! `<run>.log` is written now; `<run>.log.<k>` was set aside earlier, a greater `k` earlier still.

use std::io;
use std::path::{Path, PathBuf};

/// The run and the age of a log file.
fn parse(name: &str) -> Option<(u64, u64)> {
    let (run, rest) = name.split_once(".log")?;
    let run = run.parse().ok()?;
    match rest.strip_prefix('.') {
        None if rest.is_empty() => Some((run, 0)),
        None => None,
        Some(age) => Some((run, age.parse().ok()?)),
    }
}

fn listing(directory: &Path) -> io::Result<Vec<(u64, u64)>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(parse));
    }
    Ok(found)
}

/// The newest run, or the one before.
pub(super) fn run(directory: &Path, previous: bool) -> io::Result<Option<u64>> {
    let mut runs: Vec<u64> = listing(directory)?
        .into_iter()
        .map(|(run, _)| run)
        .collect();
    runs.sort_unstable();
    runs.dedup();
    Ok(runs.iter().rev().nth(usize::from(previous)).copied())
}

/// The files of a run, oldest first.
pub(super) fn of_run(directory: &Path, wanted: u64) -> io::Result<Vec<PathBuf>> {
    let mut ages: Vec<u64> = listing(directory)?
        .into_iter()
        .filter(|(run, _)| *run == wanted)
        .map(|(_, age)| age)
        .collect();
    ages.sort_unstable_by(|a, b| b.cmp(a));
    Ok(ages
        .into_iter()
        .map(|age| match age {
            0 => current(directory, wanted),
            age => directory.join(format!("{wanted}.log.{age}")),
        })
        .collect())
}

/// The file that is written now.
pub(super) fn current(directory: &Path, run: u64) -> PathBuf {
    directory.join(format!("{run}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_run_and_age() {
        assert_eq!(parse("0.log"), Some((0, 0)));
        assert_eq!(parse("12.log.3"), Some((12, 3)));
        for other in ["x.log", "0.log.gz", "0.logs", "0.txt", ".log"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
