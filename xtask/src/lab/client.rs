//! How the sample's client fares: it writes a line each second, and what happens meanwhile is told
//! apart by these lines.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Lab;
use crate::command;

/// The client writes each second, unless the machine is very busy.
const NEXT_LINE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What the client met while something happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Phase {
    what: String,
    asked: u64,
    pub(super) failed: u64,
    servers: BTreeSet<String>,
    errors: BTreeSet<String>,
}

/// The client, as far as it has been read.
pub(super) struct Client<'a> {
    lab: &'a Lab,
    read: usize,
    asked: u64,
    failed: u64,
}

impl Client<'_> {
    /// The sample's client, of which nothing has been read.
    pub(super) fn new(lab: &Lab) -> Client<'_> {
        Client {
            lab,
            read: 0,
            asked: 0,
            failed: 0,
        }
    }

    /// Waits until the client has told of all that happened up to now, and gives what it met.
    pub(super) fn phase(&mut self, what: &str) -> Result<Phase> {
        // A line that is there already may have been written before the last moment.
        let now = self.lines()?.len();
        let end = Instant::now() + NEXT_LINE;
        let lines = loop {
            let lines = self.lines()?;
            if lines.len() > now.max(self.read) {
                break lines;
            }
            if Instant::now() > end {
                bail!(
                    "the client has written nothing for {} s",
                    NEXT_LINE.as_secs()
                );
            }
            thread::sleep(LOOK_AGAIN);
        };
        let new = lines.get(self.read..).unwrap_or_default();
        let phase = phase(what, new, self.asked, self.failed)?;
        self.read = lines.len();
        (self.asked, self.failed) = (self.asked + phase.asked, self.failed + phase.failed);
        Ok(phase)
    }

    fn lines(&self) -> Result<Vec<String>> {
        let logs = command::output(&mut self.lab.kubectl(&["logs", "deployment/client"]))?;
        Ok(logs.lines().map(str::to_owned).collect())
    }
}

/// What new lines tell beyond what had been counted before.
fn phase(what: &str, lines: &[String], asked: u64, failed: u64) -> Result<Phase> {
    let mut phase = Phase {
        what: what.to_owned(),
        asked: 0,
        failed: 0,
        servers: BTreeSet::new(),
        errors: BTreeSet::new(),
    };
    for line in lines {
        let unclear = || format!("the client's line is not understood: {line}");
        let mut parts = line.split("; ");
        let counts = parts.next().unwrap_or_default();
        let count = |name: &str| {
            let mut counts = counts.split(", ");
            let count =
                counts.find_map(|count| count.strip_suffix(name)?.trim().parse::<u64>().ok());
            count.with_context(unclear)
        };
        phase.asked = count("asked")?.saturating_sub(asked);
        phase.failed = count("failed")?.saturating_sub(failed);
        for part in parts {
            if let Some(servers) = part.strip_prefix("of the last by ") {
                let names = servers.split(", ").filter_map(|one| one.split(' ').next());
                phase.servers.extend(names.map(str::to_owned));
            } else if let Some(error) = part.strip_prefix("failed: ") {
                phase.errors.insert(error.to_owned());
            }
        }
    }
    Ok(phase)
}

/// All phases in a table.
pub(super) fn table(phases: &[Phase]) -> String {
    let mut text = format!(
        "{:26}{:>8}  {:>6}  ANSWERED BY\n",
        "WEB APP, ASKED BY NAME", "REQUESTS", "ERRORS"
    );
    for phase in phases {
        let Phase {
            what,
            asked,
            failed,
            servers,
            errors,
        } = phase;
        text.push_str(&format!(
            "{what:26}{asked:>8}  {failed:>6}  {} Pods\n",
            servers.len()
        ));
        for error in errors {
            text.push_str(&format!("  {error}\n"));
        }
    }
    let [asked, failed] = [|p: &Phase| p.asked, |p: &Phase| p.failed]
        .map(|of: fn(&Phase) -> u64| phases.iter().map(of).sum::<u64>());
    text.push_str(&format!("{:26}{asked:>8}  {failed:>6}", "in all"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_phase_is_what_is_new_in_its_lines() {
        let lines = lines(&[
            "130 asked, 130 answered, 0 failed; of the last by web-1 10, web-2 20",
            "160 asked, 159 answered, 1 failed; of the last by web-2 14, web-3 15; failed: connect: refused",
        ]);
        let phase = phase("scaled", &lines, 100, 0).expect("understood");
        assert_eq!((phase.asked, phase.failed), (60, 1));
        assert_eq!(phase.servers.len(), 3);
        assert_eq!(
            table(&[phase]),
            "\
WEB APP, ASKED BY NAME    REQUESTS  ERRORS  ANSWERED BY
scaled                          60       1  3 Pods
  connect: refused
in all                          60       1"
        );
    }

    #[test]
    fn a_strange_line_is_shown() {
        let error = phase("scaled", &lines(&["nonsense"]), 0, 0).expect_err("not understood");
        assert!(error.to_string().contains("nonsense"), "{error}");
    }
}
